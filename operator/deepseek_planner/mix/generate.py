"""Column generation: fleets worth considering, found under the prices at which asks compete, and a proven bound.

Each round the linear program over the fleets known so far prices pools, budget and service; under these every ask
names its cheapest fleet. What the asks pay at least, less what the pools are worth, is a bound from below on every
plan (Lagrange), whatever fleets are known; where no ask can do better it meets the linear program's value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from deepseek_planner.mix.lattice import Column
from deepseek_planner.mix.master import Want, is_wanted
from deepseek_planner.mix.pricing import Desk, Duals
from deepseek_planner.mix.proofs import Offered
from deepseek_planner.mix.relaxation import Relaxation
from deepseek_planner.mix.world import World
from deepseek_planner.units import MICRO_PER_USD

MOST_ROUNDS = 80
CLOSE = 1e-5
WHOLE = 1e-6
SMOOTHING = 0.5
"""How far prices stay where the best bound was: they swing less, and fewer rounds do."""
NEAR = 0.1
"""Share of the value that the best bound misses at most where its prices are worth staying at."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is minimised: expected dollars, or, at 0 of them, less what is served."""

    expected: float
    reward: Callable[[int, int], float] = lambda _number, _level: 0.0
    """Of an ask served at a level."""
    close: float = CLOSE
    """Share of the value that the bound may miss when the rounds end."""
    penalty: float | None = None
    """Dollars for each of those wanted that is not served; None: as many are known to be served."""
    most: int | None = None
    """Where only the whole part of the value tells: how many are rewarded at most."""

    def value(self, item: Column) -> float:
        """Dollars of a column."""
        return self.expected * item.expected / MICRO_PER_USD - self.reward(item.seeker, item.level)

    def is_most(self, value: float) -> bool:
        """Whether no value can be better."""
        return self.most is not None and count(value) >= self.most

    def is_close(self, value: float, bound: float) -> bool:
        """Whether more rounds would tell nothing."""
        if self.most is not None and count(value) == count(bound):
            return True
        return value - bound <= self.close * max(1.0, abs(value))


def count(value: float) -> int:
    """Whole ones that a value rewards."""
    return math.floor(-value + WHOLE)


@dataclass(frozen=True, slots=True)
class Generated:
    """Columns that any good plan can be made of, the linear program's value, and the bound."""

    columns: tuple[Column, ...]
    value: float
    bound: float
    missing: float
    """How many of those wanted are not served, in parts of fleets."""
    amounts: tuple[float, ...]
    """Of each column, in the linear program."""
    losses: tuple[float, ...]
    """Dollars by which each column is worse than its ask's best, at the linear program's prices."""

    def doubtful(self, most: int, of_each: int | None = None) -> list[Column]:
        """The columns of so many asks whose choice is closest, and of the others the one that is taken.

        ``of_each``: so many columns of an ask, the closest, beside those that are taken and the closest of each level.
        """
        known: dict[int, list[int]] = {}
        taken: dict[int, float] = {}
        for place, (item, amount) in enumerate(zip(self.columns, self.amounts, strict=True)):
            known.setdefault(item.seeker, []).append(place)
            taken[item.seeker] = max(taken.get(item.seeker, 0.0), amount)
        doubt: dict[int, tuple[float, int]] = {}
        for number, places in known.items():
            if WHOLE < taken[number] < 1 - WHOLE:
                doubt[number] = -1.0, number
            else:  # the loss of choosing something else: another fleet, or any where it has none
                others = sorted([self.losses[place] for place in places])[1 if taken[number] > WHOLE else 0 :]
                doubt[number] = min(others, default=float("inf")), number
        split = sum(1 for loss, _ in doubt.values() if loss < 0)
        free = sorted(doubt, key=lambda number: doubt[number])[: max(most, split)]
        kept = {place for number in free for place in self._closest(known[number], of_each)}
        return [
            item
            for place, (item, amount) in enumerate(zip(self.columns, self.amounts, strict=True))
            if place in kept or amount > 1 - WHOLE
        ]

    def _closest(self, places: Sequence[int], most: int | None) -> Sequence[int]:
        """Of one ask's columns."""
        if most is None or len(places) <= most:
            return places
        in_order = sorted(places, key=lambda place: (self.losses[place], place))
        levels: set[int] = set()
        kept = []
        for rank, place in enumerate(in_order):
            level = self.columns[place].level
            if rank < most or level not in levels or self.amounts[place] > WHOLE:
                kept.append(place)
            levels.add(level)
        return kept


class Generator:
    """Rounds of pricing and solving, for one aim after the other; what is known of one serves the next."""

    def __init__(self, world: World, desk: Desk, relaxation: Relaxation) -> None:
        """``relaxation``: with the columns that are known so far."""
        self.world, self._desk, self._master = world, desk, relaxation
        self._wants: tuple[Want, ...] = ()
        self._aim = Aim(1.0)
        self._counted: dict[tuple[int, int], tuple[bool, ...]] = {}
        """By ask and level, for which of the wants it counts."""
        self._best: tuple[Duals, dict[int, float]] | None = None

    def run(self, wants: Sequence[Want], aim: Aim) -> Generated:
        """Until the bound is close, or no ask can do better."""
        self._wants, self._aim, self._best = tuple(wants), aim, None
        self._counted = {pair: tuple(is_wanted(self.world, *pair, want) for want in wants) for pair in self._desk.pairs}
        self._master.aim(wants, aim.value, aim.penalty)
        center: Duals | None = None
        value, best = float("inf"), -float("inf")
        for _ in range(MOST_ROUNDS):
            value, duals = self._master.solve(aim.expected)
            if aim.is_most(value):
                break
            added = 0
            is_near = center is not None and value - best <= NEAR * abs(value)
            for weight in (SMOOTHING, 0.0) if is_near else (0.0,):
                at = duals if center is None else duals.towards(center, weight)
                gains = self._gains(at)
                quotes = self._desk.quotes(at, gains)
                bound, least = self._bound_at(at, gains, quotes)
                if bound > best:
                    best, center = bound, at
                    self._best = at, least
                added = self._master.add(offer.column for _, _, offer in quotes if offer.column is not None)
                if added:
                    break
            if not added or aim.is_close(value, best):
                break
        return Generated(tuple(self._master.columns), value, best, *self._master.primal())

    def near(self, slack: float, most: int) -> list[Column] | None:
        """All columns that a plan within ``slack`` dollars of the bound can be made of; None where they are too many.

        At the prices of the bound a plan costs the bound and what each of its columns costs above its ask's best.
        """
        assert self._best is not None
        duals, least = self._best
        gains = self._gains(duals)
        limits = {pair: MICRO_PER_USD * (least[pair[0]] + slack + gain) for pair, gain in gains.items()}
        return self._desk.below(duals, limits, most)

    def _gains(self, duals: Duals) -> dict[tuple[int, int], float]:
        """What serving an ask at a level is worth."""
        # Few asks and levels differ in what they count for.
        worth = {
            counts: sum(each for each, is_counted in zip(duals.wants, counts, strict=True) if is_counted)
            for counts in set(self._counted.values())
        }
        return {pair: worth[counts] + self._aim.reward(*pair) for pair, counts in self._counted.items()}

    def _bound_at(
        self, duals: Duals, gains: Mapping[tuple[int, int], float], quotes: Sequence[tuple[int, int, Offered]]
    ) -> tuple[float, dict[int, float]]:
        """What the wanted service is worth, less the pools and the budget, plus what each ask can still gain."""
        world = self.world
        total = -sum(float(worth) * row.room for worth, row in zip(duals.rows, world.rows.rows, strict=True))
        total -= 0.0 if world.budget is None else duals.budget * world.budget
        total /= MICRO_PER_USD
        total += sum(worth * want.count for worth, want in zip(duals.wants, self._wants, strict=True))
        least = dict.fromkeys(self._desk.numbers, 0.0)
        for number, level, offer in quotes:
            surplus = offer.bound / MICRO_PER_USD - gains[number, level]
            least[number] = min(least[number], surplus)
        return total + sum(least.values()), least
