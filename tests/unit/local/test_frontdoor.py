from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from deepseek_operator.local.frontdoor import Backend, FrontDoor
from deepseek_operator.local.keeper import free_ports
from support.waiting import until


class Upstream:
    """A small HTTP server that answers as told."""

    def __init__(self):
        self.seen = []
        self.release = asyncio.Event()
        self.release.set()

    async def handle(self, request):
        self.seen.append((request.method, request.path_qs, await request.text(), request.headers))
        await self.release.wait()
        mode = request.query.get("mode", "")
        if mode == "refuse":
            return web.json_response({"error": "bad"}, status=400)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Engine": "1"})
        await answer.prepare(request)
        for index in range(3):
            await answer.write(f"data: {index}\n\n".encode())
            await asyncio.sleep(0.05 if mode == "slow" else 0)
            if mode == "break" and index == 1:
                request.transport.abort()
                return answer
        await answer.write(b"data: [DONE]\n\n")
        return answer

    async def start(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = self.runner.addresses[0][1]
        return self


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def upstreams():
    started = [await Upstream().start() for _ in range(2)]
    yield started
    for upstream in started:
        upstream.release.set()
        await upstream.runner.cleanup()


@pytest.fixture
async def door(http, upstreams):
    backends = [Backend(f"pod-{index}", upstream.port) for index, upstream in enumerate(upstreams)]
    opened = FrontDoor(lambda: backends, http)
    opened_port = await opened.start(0)
    yield opened, f"http://127.0.0.1:{opened_port}", backends
    await opened.stop()


async def test_a_request_arrives_whole_and_its_answer_comes_back_whole(door, http, upstreams):
    opened, url, _ = door
    headers = {"Authorization": "Bearer x", "X-Request-Id": "7"}
    async with http.post(f"{url}/v1/completions?a=b%20c", data=b'{"q": 1}', headers=headers) as answer:
        body = await answer.text()

    method, path, text, seen = upstreams[0].seen[0]
    assert (method, path, text) == ("POST", "/v1/completions?a=b%20c", '{"q": 1}')
    assert seen["Authorization"] == "Bearer x"
    assert seen["X-Request-Id"] == "7"
    assert answer.status == 200
    assert answer.headers["X-Engine"] == "1"
    assert body.endswith("data: [DONE]\n\n")
    assert (opened.counts.requests, opened.counts.failed, opened.counts.cut) == (1, 0, 0)


async def test_events_pass_as_they_come_and_not_at_the_end(door, http):
    _, url, _ = door
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with http.post(f"{url}/v1/completions?mode=slow", data=b"{}") as answer:
        first = await answer.content.readline()
        first_after = loop.time() - began
        await answer.read()
        all_after = loop.time() - began

    assert first == b"data: 0\n"
    assert all_after - first_after > 0.08


async def test_the_engine_with_the_least_in_flight_gets_the_next_request(door, http, upstreams):
    opened, url, _ = door
    for upstream in upstreams:
        upstream.release.clear()
    waiting = [asyncio.create_task(http.post(f"{url}/x", data=b"{}")) for _ in range(6)]
    await until(lambda: sum(len(upstream.seen) for upstream in upstreams) == 6)

    assert [len(upstream.seen) for upstream in upstreams] == [3, 3]
    assert sum(opened.in_flight.values()) == 6
    for upstream in upstreams:
        upstream.release.set()
    for answer in await asyncio.gather(*waiting):
        await answer.read()
    await until(lambda: sum(opened.in_flight.values()) == 0)


async def test_a_refused_connection_is_tried_again_elsewhere(door, http):
    opened, url, backends = door
    backends[0] = Backend("pod-0", free_ports(1)[0])
    async with http.post(f"{url}/x", data=b"{}") as answer:
        assert answer.status == 200

    assert opened.counts.retried == 1
    assert opened.counts.by_pod == {"pod-1": 1}
    assert opened.counts.failed == 0


async def test_the_only_engine_is_asked_again_after_a_connection_that_failed(door, http, upstreams):
    opened, url, backends = door
    port = backends[0].port
    backends[:] = [Backend("pod-0", free_ports(1)[0])]
    request = asyncio.create_task(http.post(f"{url}/x", data=b"{}"))
    await until(lambda: opened.counts.retried == 1)
    backends[:] = [Backend("pod-0", port)]

    assert (await request).status == 200
    assert opened.counts.failed == 0


async def test_engines_that_cannot_be_reached_are_an_error_in_the_end(door, http):
    _, url, backends = door
    backends[:] = [Backend("pod-0", free_ports(1)[0])]
    async with http.post(f"{url}/x", data=b"{}") as answer:
        assert answer.status == 503
        assert "could be reached" in (await answer.json())["error"]["message"]


async def test_without_a_ready_engine_the_answer_is_503_and_says_when_to_come_back(door, http):
    opened, url, backends = door
    backends.clear()
    async with http.post(f"{url}/x", data=b"{}") as answer:
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
        assert "no engine is ready" in (await answer.json())["error"]["message"]
    async with http.get(f"{url}/healthz") as answer:
        assert answer.status == 503

    assert opened.counts.failed == 1


async def test_an_answer_that_breaks_off_reaches_the_client_broken(door, http):
    opened, url, _ = door
    with pytest.raises(aiohttp.ClientPayloadError):
        async with http.post(f"{url}/x?mode=break", data=b"{}") as answer:
            await answer.read()

    assert opened.counts.cut == 1
    assert opened.counts.retried == 0


async def test_an_engines_refusal_is_passed_on_and_counted(door, http):
    opened, url, _ = door
    async with http.post(f"{url}/x?mode=refuse", data=b"{}") as answer:
        assert answer.status == 400

    assert opened.counts.failed == 1
    assert opened.counts.by_status == {400: 1}


async def test_a_client_that_goes_away_frees_its_engine(door, http, upstreams):
    opened, url, _ = door
    upstreams[0].release.clear()
    request = asyncio.create_task(http.post(f"{url}/x", data=b"{}"))
    await until(lambda: upstreams[0].seen)
    request.cancel()

    await until(lambda: sum(opened.in_flight.values()) == 0)
    await until(lambda: opened.counts.abandoned == 1)
