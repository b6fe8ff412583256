"""Classes spread over replicas of two kinds, in closed form: most mixes have two, and a linear program takes longer.

In the order of what a class takes of the first kind over what it takes of the second, classes move to the first until
both kinds are equally full. One class at most is split; no other spread leaves the fuller kind emptier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Pair = tuple[float, float]


def balance(
    rates: Sequence[float], loads: tuple[Sequence[float], Sequence[float]], counts: tuple[int, int]
) -> tuple[float, Pair, tuple[float, ...]]:
    """How full the fuller kind is, what a replica of each is worth that proves it, and the first's part of each class.

    Every class is served by one of the two at least.
    """
    first, second = loads
    parts = [0.0] * len(rates)
    full = [0.0, 0.0]
    open_to_both: list[int] = []
    for number, rate in enumerate(rates):
        if rate <= 0:
            parts[number] = 1.0 if math.isfinite(first[number]) else 0.0
        elif not math.isfinite(second[number]):
            parts[number] = 1.0
            full[0] += rate * first[number] / counts[0]
        else:
            full[1] += rate * second[number] / counts[1]
            if math.isfinite(first[number]):
                open_to_both.append(number)
    worth = (1.0, 0.0) if full[0] >= full[1] else (0.0, 1.0)
    for number in sorted(open_to_both, key=lambda number: (_ratio(first[number], second[number]), number)):
        gains, frees = rates[number] * first[number] / counts[0], rates[number] * second[number] / counts[1]
        if full[1] <= full[0]:
            break
        part = min(1.0, (full[1] - full[0]) / (gains + frees)) if gains + frees > 0 else 1.0
        parts[number] = part
        full[0] += part * gains
        full[1] -= part * frees
        if part < 1.0 or full[1] <= full[0]:
            worth = second[number], first[number]
            break
    return max(full), worth, tuple(parts)


def _ratio(first: float, second: float) -> float:
    if second > 0:
        return first / second
    return math.inf
