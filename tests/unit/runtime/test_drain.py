from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from deepseek_runtime import drain as drain_module
from deepseek_runtime import shared_state as slots
from deepseek_runtime.drain import Lifecycle, Phase, drain
from deepseek_runtime.shared_state import SharedState


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedState:
    monkeypatch.setattr(drain_module, "POLL_S", 0.01)
    monkeypatch.setattr(drain_module, "QUIET_S", 0.05)
    return SharedState(tmp_path / "state", create=True)


async def took(state: SharedState, **limits: object) -> tuple[bool, float]:
    began = time.monotonic()
    finished = await drain(state, **limits)  # type: ignore[arg-type]
    return finished, time.monotonic() - began


async def test_the_delay_passes_also_when_nothing_is_in_flight(state: SharedState) -> None:
    finished, seconds = await took(state, delay_s=0.2, timeout_s=5)
    assert finished
    assert 0.2 <= seconds < 1


async def test_connections_close_at_once_and_requests_are_refused_only_at_the_end(state: SharedState) -> None:
    task = asyncio.create_task(drain(state, delay_s=0.2, timeout_s=5))
    await asyncio.sleep(0.05)
    assert (state.get(slots.CLOSING), state.get(slots.REFUSING)) == (1, 0)
    await task
    assert state.get(slots.REFUSING) == 1


async def test_it_waits_for_what_is_in_flight_and_for_what_comes_during_the_delay(state: SharedState) -> None:
    state.enter(0)
    task = asyncio.create_task(took(state, delay_s=0.1, timeout_s=5))
    await asyncio.sleep(0.15)
    state.enter(0)
    state.leave(0)
    await asyncio.sleep(0.15)
    assert not task.done()
    state.leave(0)
    finished, seconds = await task
    assert finished
    assert seconds >= 0.35


async def test_a_moment_without_requests_is_not_the_end_yet(state: SharedState) -> None:
    state.enter(0)
    task = asyncio.create_task(drain(state, delay_s=0, timeout_s=5))
    await asyncio.sleep(0.03)
    state.leave(0)
    await asyncio.sleep(0.03)  # shorter than the quiet time
    state.enter(0)
    await asyncio.sleep(0.1)
    assert not task.done()
    state.leave(0)
    assert await task


async def test_the_timeout_says_that_something_is_cut(state: SharedState) -> None:
    state.enter(0)
    finished, seconds = await took(state, delay_s=0, timeout_s=0.2)
    assert not finished
    assert 0.2 <= seconds < 1


@pytest.mark.parametrize("why", ["the engine is gone", "somebody is in a hurry"])
async def test_nobody_waits_in_vain(state: SharedState, why: str) -> None:
    state.enter(0)
    hurry = asyncio.Event()
    if why == "somebody is in a hurry":
        hurry.set()
    finished, seconds = await took(
        state, delay_s=5, timeout_s=5, alive=lambda: why != "the engine is gone", hurry=hurry
    )
    assert not finished
    assert seconds < 1


def test_life_moves_forward_only() -> None:
    lifecycle = Lifecycle()
    lifecycle.go(Phase.READY)
    lifecycle.go(Phase.DRAINING)
    with pytest.raises(ValueError, match="draining -> ready"):
        lifecycle.go(Phase.READY)
    lifecycle.go(Phase.STOPPED)
    for phase in Phase:
        with pytest.raises(ValueError, match="not a step"):
            lifecycle.go(phase)
