from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from deepseek_runtime import follower
from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.follower import Leader
from support.launch_specs import launch_spec


class Pod:
    """A leader's supervisor, as far as its follower sees it."""

    def __init__(self) -> None:
        self.runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        async def livez(_: web.Request) -> web.Response:
            return web.Response(text="ok")

        app = web.Application()
        app.add_routes([web.get("/livez", livez)])
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None


@pytest.fixture
async def pod(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pod]:
    monkeypatch.setattr(follower, "_POLL_S", 0.02)
    monkeypatch.setattr(follower, "_LOST_AFTER_S", 0.3)
    monkeypatch.setattr(follower, "_GONE_AFTER_S", 0.1)
    pod = Pod()
    await pod.start()
    yield pod
    await pod.stop()


@pytest.fixture
async def leader(pod: Pod) -> AsyncIterator[Leader]:
    async with aiohttp.ClientSession() as session:
        yield Leader(session, launch_spec(metrics_port=pod.port), {"LWS_LEADER_ADDRESS": "127.0.0.1"})


async def test_a_follower_ends_when_its_leader_is_gone(pod: Pod, leader: Leader) -> None:
    task = asyncio.create_task(leader.watch())
    await asyncio.sleep(0.5)
    assert not task.done()
    await pod.stop()
    with pytest.raises(Failure, match="the leader of this replica does not answer") as caught:
        await asyncio.wait_for(task, 5)
    assert caught.value.reason is Reason.ENGINE_CRASHED


async def test_a_leader_that_has_not_begun_is_waited_for(pod: Pod, leader: Leader) -> None:
    await pod.stop()
    task = asyncio.create_task(leader.watch())
    await asyncio.sleep(0.6)
    assert not task.done()
    task.cancel()


async def test_a_stopping_follower_computes_until_its_leader_has_ended(pod: Pod, leader: Leader) -> None:
    task = asyncio.create_task(leader.outlive(timeout_s=10))
    await asyncio.sleep(0.4)
    assert not task.done()
    await pod.stop()
    await asyncio.wait_for(task, 2)


async def test_it_does_not_outlive_the_time_it_has(leader: Leader) -> None:
    began = time.monotonic()
    await leader.outlive(timeout_s=0.3)
    assert 0.3 <= time.monotonic() - began < 2
