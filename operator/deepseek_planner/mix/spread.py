"""Classes of requests spread over replicas of several kinds: whether a mix carries them, and how it shares them out.

A mix of ``n`` replicas carries the rates ``r`` when shares ``x`` exist with ``sum_c r_c x_co l_co <= n_o`` for every
offer ``o``. By duality it does if and only if for every price vector ``p >= 0``::

    sum_o p_o n_o  >=  sum_c r_c min_o p_o l_co

Each price vector is a *cut*: true of every mix that serves, so it bounds from below what is still to be bought. Cuts
come from the linear program of a mix that does not serve, and are kept for the next search under other prices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from deepseek_planner.mix import highs, pairs
from deepseek_planner.mix.asks import TOLERANCE, Mode, Seeker

INFINITE = math.inf
SLIVER = 0.1
"""Of a class: so little of it evens loads out by little, and makes the engine that gets it one for longer prompts."""


class _Cut(NamedTuple):
    prices: tuple[float, ...]
    """By item; infinite where nothing of the item may be counted: then it alone satisfies the cut."""
    least: float


class Spread:
    """What is known of one seeker's mixes."""

    def __init__(self, seeker: Seeker) -> None:
        self._loads = [item.loads for item in seeker.items]
        self._cuts: dict[tuple[float, ...], list[_Cut]] = {}
        self._priced: dict[tuple[tuple[float, ...], tuple[int, ...]], _Cut] = {}
        self._served: dict[tuple[tuple[float, ...], tuple[int, ...]], bool] = {}

    def rest(self, mode: Mode, counts: Sequence[int], order: Sequence[int], prices: Sequence[int]) -> int | None:
        """At least so much is still to be bought of ``order`` until the mix serves; None: never."""
        most = 0.0
        for cut in (self._at(mode, prices), *self._known(mode)):
            missing = cut.least - sum(cut.prices[place] * count for place, count in enumerate(counts) if count)
            if missing <= TOLERANCE * cut.least:
                continue
            best = max(
                (cut.prices[place] / prices[place] if prices[place] else INFINITE for place in order), default=0.0
            )
            if best <= 0:
                return None
            most = max(most, missing / best)
        # Rounded down by more than floating point can be wrong by.
        return int(most * (1 - 1e-9))

    def _at(self, mode: Mode, prices: Sequence[int]) -> _Cut:
        """What serving costs at least where parts of replicas could be bought: the prices themselves are a cut."""
        key = mode.rates, tuple(prices)
        if key not in self._priced:
            # Only the latest: each search has prices of its own.
            worth = {place: float(prices[place]) for place in mode.allowed}
            least = sum(rate * self._value(worth, number) for number, rate in enumerate(mode.rates) if rate > 0)
            weights = tuple(worth.get(place, 0.0) for place in range(len(self._loads)))
            self._priced = {key: _Cut(weights, least if math.isfinite(least) else 0.0)}
        return self._priced[key]

    def is_affordable(self, mode: Mode, prices: Sequence[int], most: int) -> bool:
        """Whether parts of replicas that serve can be bought for so much."""
        return self._at(mode, prices).least <= most

    def _known(self, mode: Mode) -> list[_Cut]:
        if mode.rates not in self._cuts:
            self._cuts[mode.rates] = list(self._first_cuts(mode))
        return self._cuts[mode.rates]

    def _first_cuts(self, mode: Mode) -> list[_Cut]:
        """Of each class alone: all of its requests must go somewhere."""
        cuts = []
        for number, rate in enumerate(mode.rates):
            if rate > 0:
                weights = tuple(_ratio(1.0, loads[number]) if loads else 0.0 for loads in self._loads)
                cuts.append(_Cut(weights, rate))
        return cuts

    def serves(self, mode: Mode, counts: tuple[int, ...]) -> bool:
        """Whether the mix carries the rates."""
        for cut in self._known(mode):
            if sum(cut.prices[place] * count for place, count in enumerate(counts) if count) < cut.least * (
                1 - TOLERANCE
            ):
                return False
        key = mode.rates, counts
        if key not in self._served:
            fraction, cut_prices, _ = self._balance(mode, counts)
            self._served[key] = fraction <= 1 + TOLERANCE
            if not self._served[key]:
                self._learn(mode, cut_prices)
        return self._served[key]

    def shares(self, mode: Mode, counts: tuple[int, ...]) -> dict[int, tuple[float, ...]]:
        """By item used: the part of each class that goes there, so that the fullest replica is as empty as can be, but
        for slivers of classes: these go where the rest of their class goes, if that has room.
        """
        shares = {place: list(parts) for place, parts in self._balance(mode, counts)[2].items()}
        for place, parts in shares.items():
            for number, part in enumerate(parts):
                if 0 < part <= SLIVER < max(parts):
                    self._move(mode, counts, shares, place, number)
        return {place: tuple(parts) for place, parts in shares.items()}

    def _move(self, mode: Mode, counts: Sequence[int], shares: dict[int, list[float]], place: int, number: int) -> None:
        """What the item gets of a class to whichever of those with more of it is the emptiest then."""
        sliver = shares[place][number]
        full, best = min(
            (
                (
                    self._filled(mode, counts, other, [*parts[:number], parts[number] + sliver, *parts[number + 1 :]]),
                    other,
                )
                for other, parts in shares.items()
                if parts[number] > SLIVER
            ),
            default=(INFINITE, place),
        )
        if full <= 1:
            shares[best][number] += sliver
            shares[place][number] = 0.0

    def _filled(self, mode: Mode, counts: Sequence[int], place: int, parts: Sequence[float]) -> float:
        """How full the item's replicas are with these parts of the classes."""
        taken = zip(mode.rates, parts, self._loads[place], strict=True)
        return sum(rate * part * load for rate, part, load in taken if part > 0) / counts[place]

    def _learn(self, mode: Mode, prices: dict[int, float]) -> None:
        """A cut from the prices of what is used; the rest is priced so high that it would not be taken."""
        classes = [number for number, rate in enumerate(mode.rates) if rate > 0]
        values = {number: self._value(prices, number) for number in classes}
        if any(math.isinf(value) for value in values.values()):
            return  # a class has no place at all: its own cut says so
        full = tuple(
            prices[place]
            if place in prices
            else max((_ratio(values[number], loads[number]) for number in classes), default=0.0)
            if loads
            else 0.0
            for place, loads in enumerate(self._loads)
        )
        least = sum(mode.rates[number] * values[number] for number in classes)
        if least > 0:
            self._known(mode).append(_Cut(full, least))

    def _value(self, prices: dict[int, float], number: int) -> float:
        """What a request of the class costs where it is cheapest."""
        open_ = [
            price * self._loads[place][number]
            for place, price in prices.items()
            if _is_open(self._loads[place][number])
        ]
        return min(open_, default=INFINITE)

    def _balance(
        self, mode: Mode, counts: tuple[int, ...]
    ) -> tuple[float, dict[int, float], dict[int, tuple[float, ...]]]:
        """How full the fullest kind is at best, the prices that prove it, and the shares that reach it."""
        used = [place for place, count in enumerate(counts) if count]
        classes = [number for number, rate in enumerate(mode.rates) if rate > 0]
        if any(not any(_is_open(self._loads[place][number]) for place in used) for number in classes):
            return INFINITE, {}, {}
        if not classes:
            return 0.0, {}, {place: tuple(1.0 if place == used[0] else 0.0 for _ in mode.rates) for place in used}
        if len(used) == 2:
            return self._pair(mode, counts, used[0], used[1])
        program, columns = self._program(mode, counts, used, classes)
        answer = highs.solve(program)
        assert answer is not None, "spreading classes over what serves them has a solution"
        prices = {place: max(0.0, -answer.duals[row]) / counts[place] for row, place in enumerate(used)}
        shares = {place: [0.0] * len(mode.rates) for place in used}
        for column, (place, number) in enumerate(columns, start=1):
            shares[place][number] = max(0.0, answer.values[column])
        for number in set(range(len(mode.rates))) - set(classes):
            shares[used[0]][number] = 1.0  # nobody sends these: they have to go somewhere all the same
        return answer.values[0], prices, {place: tuple(parts) for place, parts in shares.items()}

    def _pair(
        self, mode: Mode, counts: tuple[int, ...], one: int, other: int
    ) -> tuple[float, dict[int, float], dict[int, tuple[float, ...]]]:
        loads = self._loads[one], self._loads[other]
        fraction, worth, parts = pairs.balance(mode.rates, loads, (counts[one], counts[other]))
        prices = {one: worth[0], other: worth[1]}
        return fraction, prices, {one: parts, other: tuple(1.0 - part for part in parts)}

    def _program(
        self, mode: Mode, counts: tuple[int, ...], used: list[int], classes: list[int]
    ) -> tuple[highs.Program, list[tuple[int, int]]]:
        """Minimise how full the fullest is, over shares of classes."""
        columns = [(place, number) for place in used for number in classes if _is_open(self._loads[place][number])]
        program = highs.Program([1.0] + [0.0] * len(columns), [INFINITE] + [1.0] * len(columns))
        for place in used:
            entries = [
                (index, mode.rates[number] * self._loads[place][number] / counts[place])
                for index, (other, number) in enumerate(columns, start=1)
                if other == place
            ]
            program.row([(0, -1.0), *entries], -INFINITE, 0.0)
        for number in classes:
            program.row(
                [(index, 1.0) for index, (_, other) in enumerate(columns, start=1) if other == number], 1.0, 1.0
            )
        return program, columns


def _is_open(load: float) -> bool:
    return math.isfinite(load)


def _ratio(value: float, load: float) -> float:
    if load > 0:
        return value / load
    return INFINITE if value > 0 else 0.0
