"""Column generation: fleets worth considering, found under the prices at which asks compete, and a proven bound.

Each round the linear program over the fleets known so far prices pools, budget and service; under these every ask
names its cheapest fleet. What the asks pay at least, less what the pools are worth, is a bound from below on every
plan (Lagrange), whatever fleets are known; where no ask can do better it meets the linear program's value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    def value(self, item: Column) -> float:
        """Dollars of a column."""
        return self.expected * item.expected / MICRO_PER_USD - self.reward(item.seeker, item.level)


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

    def doubtful(self, most: int) -> list[Column]:
        """All columns of so many asks whose choice is closest, and of the others the one that is taken."""
        losses: dict[int, list[float]] = {}
        taken: dict[int, float] = {}
        for item, amount, loss in zip(self.columns, self.amounts, self.losses, strict=True):
            losses.setdefault(item.seeker, []).append(loss)
            taken[item.seeker] = max(taken.get(item.seeker, 0.0), amount)
        doubt: dict[int, tuple[float, int]] = {}
        for number, known in losses.items():
            if WHOLE < taken[number] < 1 - WHOLE:
                doubt[number] = -1.0, number
            else:  # the loss of choosing something else: another fleet, or any where it has none
                others = sorted(known)[1 if taken[number] > WHOLE else 0 :]
                doubt[number] = min(others, default=float("inf")), number
        split = sum(1 for loss, _ in doubt.values() if loss < 0)
        free = set(sorted(doubt, key=lambda number: doubt[number])[: max(most, split)])
        return [
            item
            for item, amount in zip(self.columns, self.amounts, strict=True)
            if item.seeker in free or amount > 1 - WHOLE
        ]


class Generator:
    """Rounds of pricing and solving for one aim."""

    def __init__(self, world: World, desk: Desk, wants: Sequence[Want], aim: Aim, *, penalty: float) -> None:
        self._world, self._wants, self._aim, self._desk = world, tuple(wants), aim, desk
        self._master = Relaxation(world, desk.numbers, wants, penalty)
        self._gains = {
            (number, level): tuple(is_wanted(world, number, level, want) for want in wants)
            for number, level in desk.levels()
        }
        self.bound = -float("inf")
        self.rounds = 0
        self._best: tuple[Duals, dict[int, float]] | None = None

    def run(self, seeds: Sequence[Column]) -> Generated:
        """Until the bound is close, or no ask can do better."""
        self._add(seeds)
        center: Duals | None = None
        value = float("inf")
        while self.rounds < MOST_ROUNDS:
            self.rounds += 1
            value, duals = self._master.solve(self._aim.expected)
            added = 0
            is_near = center is not None and value - self.bound <= NEAR * abs(value)
            for weight in (SMOOTHING, 0.0) if is_near else (0.0,):
                at = duals if center is None else duals.towards(center, weight)
                quotes = self._desk.quotes(at)
                bound, least = self._bound_at(at, quotes)
                if bound > self.bound:
                    self.bound, center = bound, at
                    self._best = at, least
                added = self._add([offer.column for _, _, offer in quotes if offer.column is not None])
                if added:
                    break
            if not added or value - self.bound <= self._aim.close * max(1.0, abs(value)):
                break
        return Generated(tuple(self._master.columns), value, self.bound, *self._master.primal())

    def _add(self, columns: Sequence[Column]) -> int:
        return self._master.add(columns, [self._aim.value(item) for item in columns])

    def near(self, slack: float, most: int) -> list[Column] | None:
        """All columns that a plan within ``slack`` dollars of the bound can be made of; None where they are too many.

        At the prices of the bound a plan costs the bound and what each of its columns costs above its ask's best.
        """
        assert self._best is not None
        duals, least = self._best
        limits = {
            (number, level): MICRO_PER_USD * (least[number] + slack + self._gain(duals, number, level))
            for number, level in self._gains
        }
        return self._desk.below(duals, limits, most)

    def _gain(self, duals: Duals, number: int, level: int) -> float:
        """What serving the ask at the level is worth."""
        wanted = sum(worth for worth, counts in zip(duals.wants, self._gains[number, level], strict=True) if counts)
        return wanted + self._aim.reward(number, level)

    def _bound_at(self, duals: Duals, quotes: Sequence[tuple[int, int, Offered]]) -> tuple[float, dict[int, float]]:
        """What the wanted service is worth, less the pools and the budget, plus what each ask can still gain."""
        world = self._world
        total = -sum(float(worth) * row.room for worth, row in zip(duals.rows, world.rows.rows, strict=True))
        total -= 0.0 if world.budget is None else duals.budget * world.budget
        total /= MICRO_PER_USD
        total += sum(worth * want.count for worth, want in zip(duals.wants, self._wants, strict=True))
        least: dict[int, float] = {}
        for number, level, offer in quotes:
            surplus = offer.bound / MICRO_PER_USD - self._gain(duals, number, level)
            least[number] = min(least.get(number, 0.0), surplus)
        return total + sum(least.values()), least
