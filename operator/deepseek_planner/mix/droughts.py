"""What the loss of spot nodes asks of a fleet at least: a bound for a walk, long before a fleet is judged.

Every fleet that is to bear it does without the offers of each drought (``Ask.droughts``): what is not among them
carries the rate. So replicas outside of each drought must be bought, whatever else is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deepseek_planner.mix.asks import FULL, Mode, Seeker
from deepseek_planner.units import whole

MOST = 48
"""Droughts that are looked at: the largest. Fewer bound less and are as right."""


class Losses(NamedTuple):
    """Of one ask at one level, whatever the prices."""

    lost: tuple[frozenset[int], ...]
    """The largest droughts, as places of the seeker's items."""
    needs: tuple[int, ...]
    """By mode, replicas that must be left of a fleet; 0 where they are not counted."""


def losses(seeker: Seeker, level: int) -> Losses:
    """Nothing is asked of a part of the service."""
    lost = _places(seeker) if level >= FULL else ()
    # A fleet of a mode has one of its entrants, and no replica is taken for more than the weakest carries.
    return Losses(lost, tuple(_least(seeker, mode) for mode in seeker.modes[level]) if lost else ())


class Droughts:
    """Of one ask at one level, under prices."""

    def __init__(self, seeker: Seeker, known: Losses, orders: Sequence[Sequence[int]], prices: Sequence[int]) -> None:
        """``orders``: by mode, the places that may grow."""
        self._orders, self._prices = orders, prices
        self._most = [item.most for item in seeker.items]
        self._lost, self._needs = known
        self._known: dict[tuple[int, int, int, int], int | None] = {}

    def rest(self, number: int, counts: Sequence[int], start: int) -> int | None:
        """What is left to buy of the mode's places from ``start`` on costs at least this; None: it cannot be had."""
        need = self._needs[number] if self._lost else 0
        if not need:
            return 0
        bought = [(place, count) for place, count in enumerate(counts) if count]
        most = 0
        for drought, lost in enumerate(self._lost):
            missing = need
            for place, count in bought:
                if place not in lost:
                    missing -= count
            if missing > 0:
                cost = self._cost(number, drought, start, missing)
                if cost is None:
                    return None
                most = max(most, cost)
        return most

    def _cost(self, number: int, drought: int, start: int, missing: int) -> int | None:
        """Of so many replicas outside of a drought, as if none was bought yet of what has room."""
        key = number, drought, start, missing
        if key not in self._known:
            self._known[key] = self._bought(number, self._lost[drought], start, missing)
        return self._known[key]

    def _bought(self, number: int, lost: frozenset[int], start: int, missing: int) -> int | None:
        total = 0
        for place in self._orders[number][start:]:
            if place not in lost:
                taken = min(missing, self._most[place])
                total += taken * self._prices[place]
                missing -= taken
                if not missing:
                    return total
        return None


def _least(seeker: Seeker, mode: Mode) -> int:
    if not mode.need:
        return 0
    capacities = (seeker.items[place].offer.capacity_per_s for place in mode.entrants)
    return whole(seeker.ask.requests_per_s / max(capacities))


def _places(seeker: Seeker) -> tuple[frozenset[int], ...]:
    """The largest droughts; in a fixed order."""
    places = {item.index: place for place, item in enumerate(seeker.items)}
    found = {frozenset(places[index] for index in lost if index in places) for lost in seeker.ask.droughts}
    kept: list[frozenset[int]] = []
    for lost in sorted(found, key=lambda item: (-len(item), sorted(item))):
        if lost and not any(lost <= other for other in kept):
            kept.append(lost)
    return tuple(kept[:MOST])
