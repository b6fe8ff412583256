"""Numbers that the supervisor and the engine's front door share: one small memory-mapped file, one writer per number.

No port, no lock, no copy: an 8-byte aligned store is atomic on the machines that run engines.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

VARIABLE: Final = "DEEPSEEK_STATE_FILE"

# Upper bounds in seconds; those of the latencies that objectives name, denser where objectives lie.
TTFT_BOUNDS: Final = (
    0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
TPOT_BOUNDS: Final = (
    0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5,
)  # fmt: skip

# Written by the supervisor.
CLOSING: Final = 0
"""1 while draining: responses tell keep-alive connections to close."""
REFUSING: Final = 1
"""1 once the engine is about to stop: new requests get 503 rather than the engine's 500."""
# Written by the front door.
IN_FLIGHT: Final = 2
STARTED: Final = 3
SUCCEEDED: Final = 4
FAILED: Final = 5
"""Answered with 5xx, or cut by an error in the engine."""
REJECTED: Final = 6
"""Answered with 4xx, or 503 while refusing."""
ABORTED: Final = 7
"""The client went away before the end."""
BUSY_SECONDS: Final = 8
"""Time with at least one request in flight, up to the last moment without one."""
BUSY_SINCE: Final = 9
"""Monotonic clock when the engine last became busy."""
TTFT: Final = 10
TPOT: Final = TTFT + len(TTFT_BOUNDS) + 2
_SLOTS: Final = TPOT + len(TPOT_BOUNDS) + 2


class SharedState:
    """An array of float64 in a file."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        size = _SLOTS * 8
        if create and not (path.is_file() and path.stat().st_size == size):
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        self._view = memoryview(self._map).cast("d")

    def get(self, slot: int) -> float:
        return self._view[slot]

    def set(self, slot: int, value: float) -> None:
        self._view[slot] = value

    def add(self, slot: int, value: float) -> None:
        self._view[slot] += value

    def observe(self, base: int, bounds: tuple[float, ...], value: float) -> None:
        """One value into the histogram at ``base``: a bucket per bound, one above them all, then the sum."""
        bucket = next((index for index, bound in enumerate(bounds) if value <= bound), len(bounds))
        self._view[base + bucket] += 1
        self._view[base + len(bounds) + 1] += value

    def histogram(self, base: int, bounds: tuple[float, ...]) -> tuple[tuple[float, ...], float]:
        """(count per bucket, the last one above all bounds; sum)."""
        end = base + len(bounds) + 1
        return tuple(self._view[base:end]), self._view[end]

    def enter(self, now: float) -> None:
        """A request came in at ``now`` on the monotonic clock, which all processes of a machine share."""
        self._view[STARTED] += 1
        if not self._view[IN_FLIGHT]:
            self._view[BUSY_SINCE] = now
        self._view[IN_FLIGHT] += 1

    def leave(self, now: float) -> None:
        """A request is over."""
        self._view[IN_FLIGHT] -= 1
        if not self._view[IN_FLIGHT]:
            self._view[BUSY_SECONDS] += now - self._view[BUSY_SINCE]

    def busy_seconds(self, now: float) -> float:
        """Time with at least one request in flight, up to ``now``."""
        running = now - self._view[BUSY_SINCE] if self._view[IN_FLIGHT] else 0.0
        return self._view[BUSY_SECONDS] + running

    def engine_is_new(self) -> None:
        """No request is in flight in a process that has just begun; totals go on."""
        for slot in (CLOSING, REFUSING, IN_FLIGHT):
            self._view[slot] = 0.0
