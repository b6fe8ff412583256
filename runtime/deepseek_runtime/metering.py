"""What this replica served and what it cost: tokens, accelerator seconds by what they were for, dollars.

Tokens come from the engine's own counts of finished requests, so that aborted and failed ones do not count, and what
the pod asked of itself (warm-up, checks) is taken out again. Time runs from the start of the pod, useful or not.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

DIRECTIONS: Final = ("input", "cached", "output")
STATES: Final = ("useful", "idle", "cold_start", "draining", "lost")
DEFAULT_WINDOW_S: Final = 300.0

# Time between two containers of one pod that is still put down as lost; more than this is another life.
_LONGEST_GAP_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens by direction. ``input`` was computed, ``cached`` came from the prefix cache; a prompt is their sum."""

    input: float = 0.0
    cached: float = 0.0
    output: float = 0.0

    @property
    def total(self) -> float:
        return self.input + self.cached + self.output

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.input + other.input, self.cached + other.cached, self.output + other.output)

    def since(self, before: Tokens) -> Tokens:
        """The growth from ``before``, in no direction less than nothing."""
        return Tokens(
            max(0.0, self.input - before.input),
            max(0.0, self.cached - before.cached),
            max(0.0, self.output - before.output),
        )

    def least(self, other: Tokens) -> Tokens:
        """The smaller of both in each direction."""
        return Tokens(min(self.input, other.input), min(self.cached, other.cached), min(self.output, other.output))


@dataclass(frozen=True, slots=True)
class _Mark:
    at: float
    usd: Decimal
    tokens: float


class Meter:
    """Adds up. Times are seconds on any one clock that does not jump."""

    def __init__(self, *, accelerators: int, now: float, window_s: float = DEFAULT_WINDOW_S) -> None:
        self._accelerators = accelerators
        self._window_s = window_s
        self._last = now
        self._busy = 0.0
        self._engine = Tokens()
        self._own = Tokens()
        self.tokens = Tokens()
        self.seconds: dict[str, float] = dict.fromkeys(STATES, 0.0)
        self.usd = Decimal(0)
        self.priced = False
        self._marks: deque[_Mark] = deque([_Mark(now, Decimal(0), 0.0)])

    def tick(self, now: float, *, state: str, usd_per_hour: Decimal | None, busy: float = 0.0) -> None:
        """Time passed in ``state``. The part of ``useful`` by which ``busy`` (a total) did not grow was idle."""
        elapsed = max(0.0, now - self._last)
        self._last = now
        worked = min(elapsed, max(0.0, busy - self._busy))
        self._busy = busy
        if state == "useful":
            self._spend_time("useful", worked)
            self._spend_time("idle", elapsed - worked)
        else:
            self._spend_time(state, elapsed)
        if usd_per_hour is not None:
            self.priced = True
            self.usd += usd_per_hour * Decimal(elapsed) / 3600
        self._marks.append(_Mark(now, self.usd, self.tokens.total))
        while len(self._marks) > 2 and self._marks[1].at <= now - self._window_s:
            self._marks.popleft()

    def engine_counted(self, tokens: Tokens) -> None:
        """The engine's totals of finished requests; they may be read in the middle of a change."""
        growth = tokens.since(self._engine)
        self._engine += growth
        own = growth.least(self._own)
        self._own = self._own.since(own)
        self.tokens += growth.since(own)

    def asked_ourselves(self, tokens: Tokens) -> None:
        """Tokens of the pod's own requests: the engine counts them, nobody was served by them."""
        self._own += tokens

    @property
    def usd_per_hour(self) -> Decimal | None:
        """Over the window; None before any time was paid for."""
        first, last = self._marks[0], self._marks[-1]
        if not self.priced or last.at <= first.at:
            return None
        return (last.usd - first.usd) * 3600 / Decimal(last.at - first.at)

    @property
    def usd_per_million_tokens(self) -> Decimal | None:
        """Over the window; None where nothing was served in it."""
        first, last = self._marks[0], self._marks[-1]
        served = last.tokens - first.tokens
        return (last.usd - first.usd) * 1_000_000 / Decimal(served) if self.priced and served > 0 else None

    def save(self, path: Path, *, identity: str, wall_s: float) -> None:
        """Keep the totals for the pod's next container."""
        totals = {
            "identity": identity,
            "wallSeconds": wall_s,
            "tokens": [self.tokens.input, self.tokens.cached, self.tokens.output],
            "seconds": self.seconds,
            "usd": str(self.usd),
            "priced": self.priced,
        }
        temporary = path.with_suffix(".partial")
        temporary.write_text(json.dumps(totals))
        temporary.replace(path)

    def restore(self, path: Path, *, identity: str, wall_s: float, usd_per_hour: Decimal | None) -> bool:
        """Go on from the totals of the container before, whose absence is lost time; False where there are none."""
        try:
            totals = json.loads(path.read_text())
            gap_s = wall_s - float(totals["wallSeconds"])
            tokens = Tokens(*totals["tokens"])
            seconds: Mapping[str, float] = totals["seconds"]
            usd = Decimal(totals["usd"])
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError):
            return False
        if totals["identity"] != identity or not 0 <= gap_s <= _LONGEST_GAP_S:
            return False
        self.tokens, self.usd, self.priced = tokens, usd, bool(totals["priced"])
        self.seconds = {state: float(seconds.get(state, 0.0)) for state in STATES}
        self._spend_time("lost", gap_s)
        if usd_per_hour is not None:
            self.usd += usd_per_hour * Decimal(gap_s) / 3600
        self._marks = deque([_Mark(self._last, self.usd, self.tokens.total)])
        return True

    def _spend_time(self, state: str, seconds: float) -> None:
        self.seconds[state] += seconds * self._accelerators
