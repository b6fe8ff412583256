"""A higher bound where the linear program serves asks in parts of fleets: in truth each is content, or is not.

What holds for both holds for all plans. So the lowest bound is raised by splitting its plans into those in which one
more ask is content and those in which it is not; the columns that are known, and the solver's last step, serve both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from deepseek_planner.mix.asks import CONTENT
from deepseek_planner.mix.generate import WHOLE, Aim, Generated, Generator
from deepseek_planner.mix.master import Want
from deepseek_planner.mix.world import World

MOST = 8
"""Splits: each halves what is looked at, and one or two are enough where a few asks stand between two pools."""


class _Part(NamedTuple):
    """Of all plans, those that decide so on some asks."""

    bound: float
    decided: tuple[Want, ...]
    generated: Generated


def bound(generator: Generator, wants: Sequence[Want], aim: Aim, known: Generated, enough: float) -> float:
    """Dollars that no plan which serves what is wanted costs less than; no more is looked for than ``enough``."""
    parts = [_Part(known.bound, (), known)]
    for _ in range(MOST):
        lowest = min(parts, key=lambda part: part.bound)
        number = None if lowest.bound >= enough else _divided(generator.world, lowest.generated)
        if number is None:
            break
        parts.remove(lowest)
        content = Want(generator.world.seekers[number].ask.priority, CONTENT, 1, only=number)
        for want in (content, replace(content, count=0, at_most=True)):
            decided = (*lowest.decided, want)
            found = generator.run([*wants, *decided], aim)
            parts.append(_Part(max(lowest.bound, found.bound), decided, found))
    return min(part.bound for part in parts)


def _divided(world: World, generated: Generated) -> int | None:
    """The ask of which the linear program makes about half content."""
    content: dict[int, float] = {}
    for item, amount in zip(generated.columns, generated.amounts, strict=True):
        if world.rank(item.seeker, item.level) == CONTENT:
            content[item.seeker] = content.get(item.seeker, 0.0) + amount
    divided = {number: abs(amount - 0.5) for number, amount in content.items() if WHOLE < amount < 1 - WHOLE}
    return min(divided, key=lambda number: (divided[number], number), default=None)
