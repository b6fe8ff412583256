"""Axes: where a value lies between two ends, and which round values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MOST_TICKS = 6
LOG_FROM = 5.0
"""Largest over smallest value from which an axis is logarithmic."""
ROOM = 1.15
"""What a logarithmic axis shows beyond its values, at both ends."""


@dataclass(frozen=True, slots=True)
class Axis:
    """From ``low`` to ``high``, linear or logarithmic."""

    low: float
    high: float
    is_log: bool
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def axis(values: Iterable[float], *, below: float = 0.0) -> Axis:
    """An axis on which all these positive values can be told apart: logarithmic where they spread widely.

    ``below``: room under the smallest value, where something is to be written there, as a part of the spread.
    """
    known = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
    low, high = min(known), max(known)
    if high / low < LOG_FROM:
        step = _step(high * 1.08)
        top = step * math.ceil(high * 1.08 / step - 1e-9)
        return Axis(0.0, top, False, tuple(step * count for count in range(round(top / step) + 1)))  # noqa: FBT003
    low, high = low / max(ROOM, (high / low) ** below), high * ROOM
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = tuple(tick for tick in _decades(low, high, digits) if low <= tick <= high)
        if len(ticks) <= MOST_TICKS:
            break
    return Axis(low, high, True, ticks[:: math.ceil(len(ticks) / MOST_TICKS)])  # noqa: FBT003


def _decades(low: float, high: float, digits: tuple[int, ...]) -> Iterator[float]:
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for digit in digits:
            yield digit * 10.0**power


def _step(high: float) -> float:
    """A round step of which about five fill the axis."""
    power = 10.0 ** math.floor(math.log10(high / 5))
    return next(power * digit for digit in (1, 2, 5, 10) if high / (power * digit) <= MOST_TICKS - 1 or digit == 10)
