"""The cheapest fleet of every ask at every level at once, under prices of what asks compete for.

Where replicas are counted, buying the cheapest offer that has room and may be spot is best (:func:`lattice.fill`), and
can be done for all asks side by side. That leaves out what seldom binds: an ask's own budget, room that two of its
offers share, the risk of spot. A fleet that breaks one of these is searched for anew, alone (:class:`lattice.Walk`);
its price here is still a bound from below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepseek_planner.mix.asks import Seeker
from deepseek_planner.mix.lattice import (
    Column,
    Counts,
    column,
    dollars,
    fits,
    highest,
    holds,
    prices,
    spot_is_within,
    ties,
)
from deepseek_planner.mix.proofs import Offered, Proofs
from deepseek_planner.mix.world import World
from deepseek_planner.units import MICRO_PER_USD

UNITS = 1024
"""Of a micro-dollar: duals are no whole numbers, prices of a walk are."""

ROUNDED = 64
"""Of those units: what rounding may add to the price of a fleet."""

WALK_NODES, LIST_NODES = 400, 30_000
"""Steps of a search for the cheapest fleet of one ask at one level, and for all up to a price."""


@dataclass(frozen=True, slots=True)
class Duals:
    """What a unit of each shared thing is worth, in micro-dollars; all but ``expected`` non-negative."""

    expected: float
    """Of an expected dollar: 1 where dollars are minimised, 0 where service is maximised."""
    budget: float
    rows: Any
    """By row of the pools."""
    wants: tuple[float, ...] = ()
    """What serving one more of those wanted is worth, in dollars."""

    def towards(self, other: Duals, weight: float) -> Duals:
        """Between these and the others."""
        keep = 1 - weight
        return Duals(
            self.expected,
            keep * self.budget + weight * other.budget,
            keep * self.rows + weight * other.rows,
            tuple(keep * a + weight * b for a, b in zip(self.wants, other.wants, strict=True)),
        )


class Desk:
    """Prices fleets of all asks."""

    def __init__(self, world: World, numbers: Sequence[int], levels: Sequence[Sequence[int]]) -> None:
        """``levels`` of each of the asks ``numbers``."""
        self._world, self.numbers = world, tuple(numbers)
        seekers = [world.seekers[number] for number in numbers]
        self._starts = dict.fromkeys(numbers, 0)
        start = 0
        for seeker in seekers:
            self._starts[seeker.number] = start
            start += len(seeker.items)
        items = [item for seeker in seekers for item in seeker.items]
        width = max((len(item.uses) for item in items), default=1)
        self._expected = np.array([item.offer.expected_usd_per_hour for item in items], dtype=np.float64)
        self._nominal = np.array([item.offer.usd_per_hour for item in items], dtype=np.float64)
        self._use_rows = np.zeros((len(items), width), dtype=np.int64)
        self._use_amounts = np.zeros((len(items), width))
        for index, item in enumerate(items):
            for place, (row, amount) in enumerate(item.uses):
                self._use_rows[index, place], self._use_amounts[index, place] = row, amount
        self._spot = np.array([item.is_spot for item in items], dtype=bool)
        self._pairs = [(seeker, level) for seeker, wanted in zip(seekers, levels, strict=True) for level in wanted]
        self._mixed = {
            pair
            for pair, (seeker, level) in enumerate(self._pairs)
            if not all(mode.need for mode in seeker.modes[level])
        }
        self._proofs = Proofs()
        self._tables = self._tabled()
        self._known: dict[tuple[int, bytes], Column | None] = {}
        self._ties: dict[int, tuple[int, ...]] = {}
        """By ask, the parts of its items' prices that are no dollars."""

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Asks and levels that are priced."""
        return [(seeker.number, level) for seeker, level in self._pairs]

    def _tabled(self) -> _Tables:
        """Modes in which replicas are counted, side by side."""
        entries = []
        for pair, (seeker, level) in enumerate(self._pairs):
            for mode in seeker.modes[level]:
                if mode.need:
                    entries.append((pair, seeker, mode))
        width = max((len(mode.allowed) for _, _, mode in entries), default=1)
        shape = len(entries), width
        tables = _Tables(
            pair=np.array([pair for pair, _, _ in entries], dtype=np.int64),
            places=np.zeros(shape, dtype=np.int64),
            most=np.zeros(shape, dtype=np.int64),
            floors=np.zeros(shape, dtype=np.int64),
            missing=np.zeros(len(entries), dtype=np.int64),
            spot_left=np.zeros(len(entries), dtype=np.int64),
        )
        rows: list[int] = []
        columns: list[int] = []
        places: list[int] = []
        most: list[int] = []
        for row, (_, seeker, mode) in enumerate(entries):
            start = self._starts[seeker.number]
            rows += [row] * len(mode.allowed)
            columns += range(len(mode.allowed))
            places += [start + place for place in mode.allowed]
            most += [seeker.items[place].most for place in mode.allowed]
            total = mode.need
            if mode.floors:
                total = max(total, sum(mode.floors))
                tables.floors[row, : len(mode.allowed)] = [mode.floors[place] for place in mode.allowed]
            spot = sum(count for place, count in enumerate(mode.floors) if seeker.items[place].is_spot)
            tables.missing[row] = total - sum(mode.floors)
            tables.spot_left[row] = max(0, total * seeker.ask.max_spot_percent // 100 - spot)
        tables.places[rows, columns] = places
        tables.most[rows, columns] = most
        tables.most[:] = np.maximum(0, tables.most - tables.floors)
        return tables

    def quotes(self, duals: Duals, gains: Mapping[tuple[int, int], float]) -> list[tuple[int, int, Offered]]:
        """Ask, level, and the cheapest fleet of it, for every ask and level where it may cost less than it gains.

        ``gains``: what serving an ask at a level is worth, in dollars. Dearer fleets are in no linear program's plan.
        """
        weights, tables = self._weights(duals), self._tables
        costs, counts = tables.filled(weights, self._spot)
        order = np.lexsort((np.arange(len(costs)), costs, tables.pair))
        first = np.unique(tables.pair[order], return_index=True)
        best = {int(pair): int(order[index]) for pair, index in zip(*first, strict=True)}
        costs_of = costs.tolist()
        found = []
        for pair, (seeker, level) in enumerate(self._pairs):
            row = best.get(pair)
            if pair in self._mixed:
                offered = self._searched(seeker, level, 0.0, weights)
            elif row is None or costs_of[row] >= gains[seeker.number, level] * MICRO_PER_USD:
                continue
            elif (bought := self._bought(seeker, level, row, counts[row])) is not None:
                offered = Offered(bought, costs_of[row])
            else:
                offered = self._searched(seeker, level, costs_of[row], weights)
            found.append((seeker.number, level, offered))
        return found

    def _weights(self, duals: Duals) -> Any:
        """What a replica of each item costs, in micro-dollars."""
        own = duals.expected * self._expected + duals.budget * self._nominal
        return own + (duals.rows[self._use_rows] * self._use_amounts).sum(axis=1)

    def below(self, duals: Duals, limits: Mapping[tuple[int, int], float], most: int) -> list[Column] | None:
        """All fleets of asks at levels that cost at most so many micro-dollars; None where they are too many."""
        weights = self._weights(duals)
        found: list[Column] = []
        for seeker, level in self._pairs:
            limit = round(limits[seeker.number, level] * UNITS) + ROUNDED
            if limit < 0:
                continue
            own = self._prices(seeker, weights)
            walk = self._world.walk(seeker, level, own, most_nodes=LIST_NODES, limit=highest(limit))
            for _, counts in walk:
                if len(found) >= most:
                    return None
                found.append(column(seeker, level, counts))
            if not walk.is_complete:
                return None
        return found

    def _prices(self, seeker: Seeker, weights: Any) -> tuple[int, ...]:
        start = self._starts[seeker.number]
        if seeker.number not in self._ties:
            self._ties[seeker.number] = ties(seeker)
        own = weights[start : start + len(seeker.items)].tolist()
        return prices([round(weight * UNITS) for weight in own], self._ties[seeker.number])

    def _bought(self, seeker: Seeker, level: int, row: int, counts: Any) -> Column | None:
        """The fleet of a row of the tables; None where it breaks a limit that these leave out."""
        key = row, counts.tobytes()
        if key not in self._known:
            bought = [0] * len(seeker.items)
            start = self._starts[seeker.number]
            for place, count in zip(self._tables.places[row].tolist(), counts.tolist(), strict=True):
                if count:
                    bought[place - start] += count
            fleet = tuple(bought)
            is_allowed = self._is_allowed(seeker, level, fleet)
            self._known[key] = column(seeker, level, fleet) if is_allowed else None
        return self._known[key]

    def _is_allowed(self, seeker: Seeker, level: int, counts: Counts) -> bool:
        return (
            fits(seeker, counts, self._world.rows)
            and spot_is_within(seeker, counts, by_weight=False)
            and holds(seeker, level, counts)
        )

    def _searched(self, seeker: Seeker, level: int, bound: float, weights: Any) -> Offered:
        start = self._starts[seeker.number]
        own = weights[start : start + len(seeker.items)]

        def search() -> Offered:
            return self._walked(seeker, level, bound, weights)

        return self._proofs.cheapest((seeker.number, level), own, search)

    def _walked(self, seeker: Seeker, level: int, bound: float, weights: Any) -> Offered:
        start = self._starts[seeker.number]
        walk = self._world.walk(seeker, level, self._prices(seeker, weights), most_nodes=WALK_NODES)
        for _, counts in walk:
            found = column(seeker, level, counts)
            cost = sum(float(weights[start + place]) * count for place, count in enumerate(counts))
            return Offered(found, cost if walk.is_complete else min(cost, dollars(walk.bound) / UNITS))
        if walk.is_complete:
            return Offered(None, math.inf)
        return Offered(None, max(bound, dollars(walk.bound) / UNITS))


@dataclass(frozen=True, slots=True)
class _Tables:
    """One row per way to be served: offers that may be bought, padded with such as have no room."""

    pair: Any
    places: Any
    most: Any
    floors: Any
    missing: Any
    spot_left: Any

    def filled(self, weights: Any, spot: Any) -> tuple[Any, Any]:
        """Dollars and replicas of the cheapest purchase of each row; infinite where there is too little room."""
        rows = np.arange(len(self.missing))
        prices = np.where(self.most > 0, weights[self.places], math.inf)
        order = np.argsort(prices, axis=1, kind="stable")
        missing, spot_left = self.missing.copy(), self.spot_left.copy()
        counts = self.floors.copy()
        costs = (weights[self.places] * self.floors).sum(axis=1)
        for step in range(self.places.shape[1]):
            place = order[:, step]
            taken = np.minimum(missing, self.most[rows, place])
            is_spot = spot[self.places[rows, place]]
            taken = np.where(is_spot, np.minimum(taken, spot_left), taken)
            counts[rows, place] += taken
            costs += weights[self.places[rows, place]] * taken
            missing -= taken
            spot_left -= np.where(is_spot, taken, 0)
            if not missing.any():
                break
        costs[missing > 0] = np.inf
        return costs, counts
