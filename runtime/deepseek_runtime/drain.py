"""The pod's life, and its end.

Not ready -> endpoints gone -> connections told to close -> requests in flight finished -> engine stopped.

The engine answers 500 to new requests from the moment it gets SIGTERM, while its /health still says 200. So it gets
SIGTERM last. Requests that arrive during the drain are served: a load balancer may send them until it has heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum

from deepseek_runtime import shared_state as slots
from deepseek_runtime.shared_state import SharedState

POLL_S = 0.1
# A client that reuses a connection may be sending at the moment the last request ends.
QUIET_S = 0.5


class Phase(StrEnum):
    """Where in its life the pod is."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


_NEXT = {
    Phase.STARTING: (Phase.READY, Phase.DRAINING, Phase.STOPPED),
    Phase.READY: (Phase.DRAINING, Phase.STOPPED),
    Phase.DRAINING: (Phase.STOPPED,),
    Phase.STOPPED: (),
}


class Lifecycle:
    """The current phase; it only ever moves forward."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING

    def go(self, phase: Phase) -> None:
        if phase not in _NEXT[self.phase]:
            raise ValueError(f"{self.phase} -> {phase}: not a step of the life of an engine")
        self.phase = phase


async def drain(
    state: SharedState,
    *,
    delay_s: float,
    timeout_s: float,
    alive: Callable[[], bool] = lambda: True,
    hurry: asyncio.Event | None = None,
) -> bool:
    """Wait until the engine may be stopped; True when nothing in flight is cut by that.

    ``delay_s`` passes in any case (endpoints need it to go), then until nothing was in flight for a
    moment, at most ``timeout_s``. Ends early when the engine is gone or somebody is in a hurry.
    """
    loop = asyncio.get_running_loop()
    state.set(slots.CLOSING, 1.0)

    def stop_waiting() -> bool:
        return not alive() or (hurry is not None and hurry.is_set())

    until = loop.time() + delay_s
    while loop.time() < until and not stop_waiting():  # noqa: ASYNC110 - the state is another process's memory
        await asyncio.sleep(min(POLL_S, max(0.0, until - loop.time())))
    until = loop.time() + timeout_s
    quiet_since: float | None = None
    while loop.time() < until and not stop_waiting():
        now = loop.time()
        if state.get(slots.IN_FLIGHT):
            quiet_since = None
        elif quiet_since is None:
            quiet_since = now
        elif now - quiet_since >= QUIET_S:
            break
        await asyncio.sleep(POLL_S)
    state.set(slots.REFUSING, 1.0)
    return not state.get(slots.IN_FLIGHT)
