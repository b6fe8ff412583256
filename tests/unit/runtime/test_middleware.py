from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepseek_runtime import middleware
from deepseek_runtime import shared_state as slots
from deepseek_runtime.middleware import PROBE_HEADER, PROBE_VARIABLE, FrontDoor
from deepseek_runtime.shared_state import SharedState

SSE = [(b"content-type", b"text/event-stream; charset=utf-8")]
TOKEN = b'data: {"choices":[{"text":"x"}]}\n\n'


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Door:
    """A FrontDoor around an application that is written down as (seconds later, message)."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = SharedState(path, create=True)
        self.clock = Clock()
        self.sent: list[dict[str, Any]] = []
        monkeypatch.setenv(slots.VARIABLE, str(path))
        monkeypatch.setenv(PROBE_VARIABLE, "secret")
        monkeypatch.setattr(middleware, "time", self.clock)

    async def ask(
        self,
        *answer: tuple[float, dict[str, Any]],
        received: list[tuple[float, dict[str, Any]]] | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
        method: str = "POST",
        before_send: Callable[[], None] = lambda: None,
        error: BaseException | None = None,
    ) -> list[dict[str, Any]]:
        incoming = list(received or [(0.0, {"type": "http.request", "body": b"{}"})])

        async def app(_: object, receive: Any, send: Any) -> None:
            while incoming:
                await receive()
            for later, message in answer:
                self.clock.now += later
                before_send()
                await send(message)
            if error is not None:
                raise error

        async def receive() -> dict[str, Any]:
            later, message = incoming.pop(0)
            self.clock.now += later
            return message

        async def send(message: dict[str, Any]) -> None:
            self.sent.append(message)

        await FrontDoor(app)({"type": "http", "method": method, "headers": headers or []}, receive, send)  # type: ignore[arg-type]
        return self.sent

    def histogram(self, base: int, bounds: tuple[float, ...]) -> tuple[float, float]:
        counts, total = self.state.histogram(base, bounds)
        return sum(counts), round(total, 6)

    @property
    def ttft(self) -> tuple[float, float]:
        return self.histogram(slots.TTFT, slots.TTFT_BOUNDS)

    @property
    def tpot(self) -> tuple[float, float]:
        return self.histogram(slots.TPOT, slots.TPOT_BOUNDS)


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(tmp_path / "state", monkeypatch)


def start(status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers or []}


def body(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_first_token_is_timed_from_the_whole_request(door: Door) -> None:
    slow_upload = [
        (0.0, {"type": "http.request", "body": b"{", "more_body": True}),
        (5.0, {"type": "http.request", "body": b"}", "more_body": False}),
    ]
    await door.ask(
        (0.0, start(headers=SSE)),
        (0.3, body(TOKEN)),
        (0.1, body(TOKEN)),
        (0.1, body(TOKEN)),
        (9.0, body(b'data: {"choices":[],"usage":{"completion_tokens": 3}}\n\n')),
        (9.0, body(b"data: [DONE]\n\n")),
        (0.0, body(b"", more=False)),
        received=slow_upload,
    )
    assert door.ttft == (1, 0.3)
    assert door.tpot == (1, 0.1)
    assert door.state.get(slots.SUCCEEDED) == 1
    assert door.state.get(slots.IN_FLIGHT) == 0
    assert door.state.busy_seconds(1e9) == pytest.approx(5 + 0.5 + 18)


async def test_usage_says_how_many_tokens_a_chunk_held(door: Door) -> None:
    await door.ask(
        (0.0, start(headers=SSE)),
        (0.3, body(TOKEN)),
        (1.0, body(TOKEN)),
        (0.0, body(b'data: {"choices":[],"usage":{"completion_tokens":11}}\n\n')),
        (0.0, body(b"", more=False)),
    )
    assert door.tpot == (1, 0.1)


async def test_a_chats_opening_chunk_is_no_token(door: Door) -> None:
    await door.ask(
        (0.0, start(headers=SSE)),
        (0.2, body(b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n')),
        (0.0, body(TOKEN)),
        (0.4, body(TOKEN)),
        (0.4, body(TOKEN)),
        (0.0, body(b"data: [DONE]\n\n", more=False)),
    )
    assert door.tpot == (1, 0.4)


async def test_a_plain_answer_has_no_pace(door: Door) -> None:
    await door.ask((2.0, start()), (0.0, body(b"{}", more=False)))
    assert door.ttft == door.tpot == (0, 0)
    assert door.state.get(slots.SUCCEEDED) == 1


@pytest.mark.parametrize(("status", "outcome"), [(500, slots.FAILED), (503, slots.FAILED), (404, slots.REJECTED)])
async def test_how_an_answer_ended(door: Door, status: int, outcome: int) -> None:
    await door.ask((0.0, start(status)), (0.0, body(b"{}", more=False)))
    assert door.state.get(outcome) == 1


async def test_a_stream_that_ends_with_an_error_failed_although_its_status_was_200(door: Door) -> None:
    await door.ask(
        (0.0, start(headers=SSE)),
        (0.1, body(TOKEN)),
        (0.1, body(b'data: {"error": {"message": "cut"}}\n\n')),
        (0.0, body(b"data: [DONE]\n\n", more=False)),
    )
    assert door.state.get(slots.FAILED) == 1
    assert door.tpot == (0, 0)


async def test_a_client_that_goes_away_aborts(door: Door) -> None:
    await door.ask(
        (0.0, start(headers=SSE)),
        (0.1, body(TOKEN)),
        received=[(0.0, {"type": "http.request", "body": b""}), (0.0, {"type": "http.disconnect"})],
    )
    assert door.state.get(slots.ABORTED) == 1


async def test_an_error_in_the_engine_leaves_nothing_in_flight(door: Door) -> None:
    with pytest.raises(ZeroDivisionError):
        await door.ask((0.0, start(headers=SSE)), (0.1, body(TOKEN)), error=ZeroDivisionError())
    assert door.state.get(slots.FAILED) == 1
    assert door.state.get(slots.IN_FLIGHT) == 0


async def test_a_cancelled_request_leaves_nothing_in_flight(door: Door) -> None:
    with pytest.raises(asyncio.CancelledError):
        await door.ask((0.0, start(headers=SSE)), error=asyncio.CancelledError())
    assert door.state.get(slots.IN_FLIGHT) == 0


async def test_while_draining_answers_are_given_and_connections_told_to_close(door: Door) -> None:
    door.state.set(slots.CLOSING, 1)
    sent = await door.ask((0.0, start(headers=[(b"a", b"b")])), (0.0, body(b"{}", more=False)))
    assert sent[0]["status"] == 200
    assert sent[0]["headers"] == [(b"a", b"b"), (b"connection", b"close")]


async def test_when_the_engine_stops_new_requests_are_told_to_come_again(door: Door) -> None:
    door.state.set(slots.REFUSING, 1)
    sent = await door.ask((0.0, start()))
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"1") in sent[0]["headers"]
    assert door.state.get(slots.REJECTED) == 1
    assert door.state.get(slots.STARTED) == 0


async def test_what_is_in_flight_is_counted_while_it_is(door: Door) -> None:
    seen: list[float] = []
    await door.ask(
        (0.0, start()),
        (0.0, body(b"{}", more=False)),
        before_send=lambda: seen.append(door.state.get(slots.IN_FLIGHT)),
    )
    assert seen == [1, 1]


@pytest.mark.parametrize("token", [b"secret", b"guess"])
async def test_only_the_supervisors_own_requests_are_left_out(door: Door, token: bytes) -> None:
    await door.ask((0.0, start()), (0.0, body(b"{}", more=False)), headers=[(PROBE_HEADER, token)])
    assert door.state.get(slots.STARTED) == (0 if token == b"secret" else 1)


async def test_health_and_metrics_are_not_requests(door: Door) -> None:
    await door.ask((0.0, start()), (0.0, body(b"", more=False)), method="GET")
    assert door.state.get(slots.STARTED) == 0
