"""What an ask's own budget asks of a fleet at least: a bound for a walk, where the cheapest fleet is over it.

Prices are not what is billed: what all want is dear at a price and may be cheap on the bill. Whatever a dollar of the
bill is taken to be worth, a fleet within the budget costs at least what it does with its bill added at that worth,
less the whole budget's (Lagrange). The worth at which the bound is highest is where a purchase just within the budget
and one just above it cost the same.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

from deepseek_planner.mix.asks import Mode, Seeker

MOST_STEPS = 12
"""Purchases that are tried for the worth of a dollar: any worth is right, a better one bounds better."""

Purchase = tuple[int, int]
"""Its price and its bill."""


class Purse:
    """Of one mode of replicas that are counted, under prices."""

    def __init__(
        self, seeker: Seeker, mode: Mode, order: Sequence[int], prices: Sequence[int], bills: Sequence[int]
    ) -> None:
        """``order``: the mode's places, by price; ``bills``: of a replica of each item, micro-dollars per hour."""
        self._seeker, self._mode, self._bills = seeker, mode, bills
        worth = self._found(order, prices)
        self.is_enough = worth is not None
        """Whether the mode can be had within the budget at all; False only where it is sure that it cannot."""
        self._worth = worth or 0
        if not self._worth:
            return
        self._prices = [price + self._worth * bill for price, bill in zip(prices, bills, strict=True)]
        ranked = [(self._prices[place], rank, place) for rank, place in enumerate(order)]
        self._order = [(rank, place) for _, rank, place in sorted(ranked)]

    def rest(self, counts: Sequence[int], start: int) -> int | None:
        """What is left to buy of the mode's places from ``start`` on costs at least this; None: it cannot be had."""
        if not self._worth:
            return 0 if self.is_enough else None
        order = [place for rank, place in self._order if rank >= start]
        bought = self._bought(counts, order, self._prices)
        return None if bought is None else max(0, bought[0] - self._worth * self._left(counts))

    def _found(self, order: Sequence[int], prices: Sequence[int]) -> int | None:
        """The worth of a micro-dollar of the bill; 0 where the budget does not bind."""
        nothing = self._mode.floors or (0,) * len(prices)
        budget = self._left(nothing)
        over = self._bought(nothing, order, prices)
        if over is None or over[1] <= budget:
            return 0  # where there is too little room, that ends the walk already
        by_bill = sorted(order, key=lambda place: (self._bills[place], prices[place]))
        within = self._bought(nothing, by_bill, prices)
        assert within is not None, "what can be bought in one order can be in every other"
        if within[1] > budget:
            return None
        worth = 0
        for _ in range(MOST_STEPS):
            worth = max(0, within[0] - over[0]) // (over[1] - within[1])
            priced = [price + worth * bill for price, bill in zip(prices, self._bills, strict=True)]
            found = self._bought(nothing, sorted(order, key=lambda place: (priced[place], place)), prices)
            assert found is not None, "what can be bought in one order can be in every other"
            if found[0] + worth * found[1] >= over[0] + worth * over[1]:
                break
            if found[1] > budget:
                over = found
            else:
                within = found
        return worth

    def _left(self, counts: Sequence[int]) -> int:
        spent: int = sum(map(operator.mul, counts, self._bills))
        return self._seeker.ask.max_usd_per_hour - spent

    def _bought(self, counts: Sequence[int], order: Sequence[int], prices: Sequence[int]) -> Purchase | None:
        """The replicas still missing, each of the first offer that has room and may be spot; as in ``lattice.fill``."""
        items, percent = self._seeker.items, self._seeker.ask.max_spot_percent
        missing = spot_left = self._mode.need - sum(counts)
        if missing <= 0:
            return 0, 0
        if percent < 100:
            spot = sum(count for item, count in zip(items, counts, strict=True) if item.is_spot)
            spot_left = self._mode.need * percent // 100 - spot
        price = bill = 0
        for place in order:
            taken = min(missing, items[place].most - counts[place])
            if items[place].is_spot:
                taken = max(0, min(taken, spot_left))
                spot_left -= taken
            price += taken * prices[place]
            bill += taken * self._bills[place]
            missing -= taken
            if not missing:
                return price, bill
        return None
