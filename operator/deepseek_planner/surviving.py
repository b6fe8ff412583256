"""What interruptions leave of a fleet that is routed by length, and how often it carries every class of requests.

Not every replica takes every class, so capacities cannot just be added up. Work is counted in what the best option
takes for a request; a replica does at least as much of it as of the class that it is worst at. What the longest prompts
need must be left among the replicas that take them, what the next ones need among those that take these as well, and so
on: then all of it can be shared out. Those conditions hold together at least as often as if they were independent,
since more of any replicas is worse for none of them. The answer is never too bold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_planner import risk


@dataclass(frozen=True, slots=True)
class Lot:
    """Replicas of one option on one offering."""

    odds: risk.Odds
    replicas: int
    whole_per_s: float
    """Requests per second of the whole mix that one replica carries; 0: it must not be given all of it."""
    loads: tuple[float, ...]
    """By class, shortest prompts first: the share of a replica that one request per second takes."""


def weights(loads: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Work of a request of each class: what the best of all options takes for it."""
    return tuple(min(each) for each in zip(*(item for item in loads if item), strict=True))


def availability(lots: Sequence[Lot], rates_per_s: Sequence[float], work: Sequence[float]) -> float:
    """Probability at a random moment, at least, that the replicas left carry these rates of the classes.

    More replicas never lower it, as long as ``work`` stays what it is. A fleet of which nothing is ever lost is
    available: the search has shared out its classes.
    """
    lots = [lot for lot in lots if lot.replicas]
    if not any(lot.odds.region_dry or lot.odds.zone_dry or lot.odds.alone for lot in lots):
        return 1.0
    whole = [risk.Lot(lot.odds, lot.whole_per_s, lot.replicas) for lot in lots if lot.whole_per_s > 0]
    together = risk.availability(whole, sum(rates_per_s)) if whole else 0.0
    return max(together, _by_class(lots, rates_per_s, work))


def _by_class(lots: Sequence[Lot], rates_per_s: Sequence[float], work: Sequence[float]) -> float:
    reaches = [_reach(lot) for lot in lots]
    borders = sorted({0, *(reach for reach in reaches if reach < len(work))})
    chance = 1.0
    for border in borders:
        needed = sum(rate * each for rate, each in zip(rates_per_s[border:], work[border:], strict=True) if rate > 0)
        able = [
            risk.Lot(
                lot.odds, min(each / load for each, load in zip(work, lot.loads[:reach], strict=False)), lot.replicas
            )
            for lot, reach in zip(lots, reaches, strict=True)
            if reach > border
        ]
        if not math.isfinite(needed) or (needed > 0 and not able):
            return 0.0
        chance *= risk.availability(able, needed)
    return chance


def _reach(lot: Lot) -> int:
    """Classes that it takes, from the shortest prompts on."""
    return next((number for number, load in enumerate(lot.loads) if math.isinf(load)), len(lot.loads))
