"""The whole problem in the order and words of the search: what every step of it looks things up in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from deepseek_planner.allocation import Problem
from deepseek_planner.mix.asks import CONTENT, FULL, Seeker
from deepseek_planner.mix.lattice import Column, Facts, Walk, column, dollars, facts, plain_prices
from deepseek_planner.mix.packing import Rows
from deepseek_planner.mix.probe import probe
from deepseek_planner.mix.seekers import seeker
from deepseek_planner.mix.spread import Spread


class Best(NamedTuple):
    """The best fleet of one ask when it is alone in the world."""

    column: Column
    bound: int
    """Expected dollars that no such fleet costs less than."""


class World:
    """Asks by key, rows of the pools, what is known of mixes, and the level at which each ask is content."""

    def __init__(self, problem: Problem) -> None:
        asks = sorted(problem.asks, key=lambda ask: ask.key)
        self.rows = Rows(problem.rooms, (offer for ask in asks for offer in ask.offers))
        self.seekers: tuple[Seeker, ...] = tuple(seeker(ask, number, self.rows) for number, ask in enumerate(asks))
        self.budget = problem.max_usd_per_hour
        self.spreads = tuple(Spread(item) for item in self.seekers)
        self._facts: dict[tuple[int, int], Facts] = {}
        self.tops = [0] * len(asks)
        """By ask: the level that it reaches alone; 0 where none serves it whole."""

    def alone(self, item: Seeker, *, most_nodes: int) -> Best | None:
        """With headroom where that can be had at all, else without; None where nothing serves it whole."""
        for level in range(len(item.modes) - 1, FULL - 1, -1):
            found = self.cheapest(item, level, most_nodes=most_nodes)
            if found is not None:
                self.tops[item.number] = level
                return found
        return None

    def cheapest(self, item: Seeker, level: int, *, most_nodes: int) -> Best | None:
        """At one level, at plain prices."""
        prices = plain_prices(item)
        walk = self.walk(item, level, prices, most_nodes=most_nodes)
        for _, counts in walk:
            found = column(item, level, counts)
            return Best(found, found.expected if walk.is_complete else min(found.expected, dollars(walk.bound)))
        if walk.is_complete:
            return None
        tried = probe(item, level, self.rows, prices)
        return None if tried is None else Best(column(item, level, tried), dollars(walk.bound))

    def walk(
        self, item: Seeker, level: int, prices: Sequence[int], *, most_nodes: int, limit: int | None = None
    ) -> Walk:
        """Fleets of an ask under prices, cheapest first, up to a limit."""
        key = item.number, level
        if key not in self._facts:
            self._facts[key] = facts(item, level)
        spread = self.spreads[item.number]
        return Walk(item, level, prices, self.rows, spread, known=self._facts[key], most_nodes=most_nodes, limit=limit)

    def rank(self, number: int, level: int) -> int:
        """The level of an ask's service; what it gets at best alone counts as all that it can want."""
        return CONTENT if level >= self.tops[number] else level

    def fits(self, columns: Iterable[Column]) -> bool:
        """Whether the pools and the cluster's budget hold them all."""
        used: dict[int, int] = {}
        billed = 0
        for item in columns:
            billed += item.nominal
            for row, amount in item.uses:
                used[row] = used.get(row, 0) + amount
        return self.rows.fits(used) and (self.budget is None or billed <= self.budget)
