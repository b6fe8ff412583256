"""Fleets of one ask, cheapest first, under any prices: a best-first walk over numbers of replicas.

A fleet is reached one replica at a time, offers in the order of their price, so each in one way only. What is left to
buy is bounded from below by what it costs at least: exactly so where replicas are counted (room of each offer and the
share of spot are nested limits, so buying the cheapest that is allowed is best), and by cuts where classes of lengths
are spread (:mod:`spread`). So the first fleet that keeps every limit is the cheapest of all.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from deepseek_planner.mix.asks import FULL, Mode, Seeker
from deepseek_planner.mix.droughts import Droughts, Losses, losses
from deepseek_planner.mix.packing import Rows
from deepseek_planner.mix.purses import Purse
from deepseek_planner.mix.spread import Spread

Counts = tuple[int, ...]
"""Replicas by item of the seeker."""


class Column(NamedTuple):
    """One fleet of one ask that serves it at one level."""

    seeker: int
    level: int
    counts: Counts
    expected: int
    nominal: int
    accelerators: int
    uses: tuple[tuple[int, int], ...]
    """Index of a row of the pools, and what the fleet takes of it."""


def column(seeker: Seeker, level: int, counts: Counts) -> Column:
    """The fleet with its dollars and what it takes of the pools."""
    bought = [(item, count) for item, count in zip(seeker.items, counts, strict=True) if count]
    used: dict[int, int] = {}
    for item, count in bought:
        for row, amount in item.uses:
            used[row] = used.get(row, 0) + count * amount
    return Column(
        seeker.number,
        level,
        counts,
        sum(count * item.offer.expected_usd_per_hour for item, count in bought),
        sum(count * item.offer.usd_per_hour for item, count in bought),
        sum(count * item.offer.accelerators for item, count in bought),
        tuple(sorted(used.items())),
    )


SHIFT = 50
"""Bits of each lower-ranking part of a price: enough for any sum of it."""


def plain_prices(seeker: Seeker) -> tuple[int, ...]:
    """Expected dollars; of equals nominal ones, then accelerators, then the items' order: one number for all."""
    return prices([item.offer.expected_usd_per_hour for item in seeker.items], ties(seeker))


def prices(dollars: Iterable[int], ties: Iterable[int]) -> tuple[int, ...]:
    """Dollars, and below them what decides between equals."""
    return tuple([(amount << 3 * SHIFT) + tie for amount, tie in zip(dollars, ties, strict=True)])


def ties(seeker: Seeker) -> tuple[int, ...]:
    """By item what decides between equal dollars; no two are equal."""
    offers = (item.offer for item in seeker.items)
    return tuple(
        ((offer.usd_per_hour << SHIFT) + offer.accelerators << SHIFT) + place for place, offer in enumerate(offers)
    )


def dollars(amount: int) -> int:
    """Of a price, or of a sum of them."""
    return amount >> 3 * SHIFT


def highest(amount: int) -> int:
    """The highest price of so many dollars."""
    return (amount + 1 << 3 * SHIFT) - 1


class Facts(NamedTuple):
    """Of one ask at one level, whatever the prices."""

    losses: Losses
    nominal: tuple[int, ...]
    """Of a replica of each item, micro-dollars per hour as billed."""
    least: tuple[int, ...]
    """By mode, the lowest of these."""


def facts(seeker: Seeker, level: int) -> Facts:
    """What every walk of the ask at the level needs."""
    nominal = tuple(item.offer.usd_per_hour for item in seeker.items)
    least = (min((nominal[place] for place in mode.allowed), default=0) for mode in seeker.modes[level])
    return Facts(losses(seeker, level), nominal, tuple(least))


MIX_NODES = 250
"""Steps among mixes by length: each may take a linear program."""

UNSEEN = -1
"""Instead of a first place: limits of what is left to buy were not looked at yet."""

_Node = tuple[int, int, Counts, int, bool, int]
"""At least so dear; the mode; replicas so far; first place in the order of prices that may still grow; whether it must
grow; the price of the replicas: what has yet to be looked at of the fleets that go on from these replicas."""


class Walk:
    """Iterates over ``(price, counts)`` of fleets at a level, cheapest first; supersets of earlier ones are left out.

    It ends above the price ``limit``. After ``most_nodes`` steps, or so many among mixes by length, it gives up on
    them: ``is_complete`` says whether that happened, ``bound`` below which price nothing is missing.
    """

    def __init__(
        self,
        seeker: Seeker,
        level: int,
        prices: Sequence[int],
        rows: Rows,
        spread: Spread,
        *,
        known: Facts,
        most_nodes: int,
        limit: int | None = None,
    ) -> None:
        self._limit = limit
        self._seeker, self._level, self._prices, self._rows, self._spread = seeker, level, prices, rows, spread
        self._modes = seeker.modes[level]
        # No two prices are equal.
        self._orders = [sorted(mode.allowed, key=prices.__getitem__) for mode in self._modes]
        self._droughts = Droughts(seeker, known.losses, self._orders, prices)
        self._purses: dict[int, Purse] = {}
        self._nominal, self._least = known.nominal, known.least
        self._nodes_left, self._mixes_left = most_nodes, min(most_nodes, MIX_NODES)
        self._given_up: int | None = None
        self._heap: list[_Node] = []
        self._emitted: list[Counts] = []
        self.bound = 0

    @property
    def is_complete(self) -> bool:
        return self._given_up is None

    def __iter__(self) -> Iterator[tuple[int, Counts]]:
        for number in range(len(self._modes)):
            self._begin(number)
        while self._heap:
            lowest, number, counts, start, grows, spent = heapq.heappop(self._heap)
            if start == UNSEEN:
                self._push(number, counts, 0, spent)
                continue
            self.bound = lowest if self._given_up is None else min(lowest, self._given_up)
            if self._is_spent(number, grows=grows):
                # What is left costs no less than this.
                self._given_up = self.bound
                if self._nodes_left <= 0:
                    return
            elif grows:
                self._grow(number, counts, start, spent)
            elif self._is_found(number, counts, start, spent):
                self._emitted.append(counts)
                yield lowest, counts

    def _begin(self, number: int) -> None:
        """With what a fleet of the mode has at least. Few modes come into question: most are bounded by dollars alone,
        and looked at when nothing else is cheaper.
        """
        mode, ask = self._modes[number], self._seeker.ask
        counts = mode.floors or (0,) * len(self._seeker.items)
        spent = sum(map(operator.mul, counts, self._prices))
        if mode.need:
            rest = fill(self._seeker, mode.need, counts, self._orders[number], self._prices)
            if rest is not None:
                self._wait(rest, number, counts, UNSEEN, spent, grows=False)
        elif self._spread.is_affordable(mode, self._nominal, ask.max_usd_per_hour):
            self._push(number, counts, 0, spent)

    def _is_spent(self, number: int, *, grows: bool) -> bool:
        """Whether this step is one too many; to go on from replicas is none."""
        self._nodes_left -= not grows
        if not self._modes[number].need:
            self._mixes_left -= not grows
            return self._mixes_left < 0
        return self._nodes_left < 0

    def _is_found(self, number: int, counts: Counts, start: int, spent: int) -> bool:
        """Whether it is a fleet worth having; where more replicas could make it one, these are next."""
        mode = self._modes[number]
        if not self._serves(mode, counts):
            self._defer(number, counts, start, spent)
            return False
        if any(all(a <= b for a, b in zip(other, counts, strict=True)) for other in self._emitted):
            return False
        if not self._is_safe(mode, counts):
            self._defer(number, counts, start, spent)
            return False
        return any(counts[place] for place in mode.entrants)

    def _defer(self, number: int, counts: Counts, start: int, spent: int) -> None:
        """Larger fleets, from this place on, are looked at when the cheapest of them may be the cheapest of all."""
        order, items = self._orders[number], self._seeker.items
        while start < len(order) and counts[order[start]] >= items[order[start]].most:
            start += 1
        if start < len(order):
            rest = self._rest(number, counts, start)
            if rest is not None:
                self._wait(max(rest, self._prices[order[start]]), number, counts, start, spent, grows=True)

    def _grow(self, number: int, counts: Counts, start: int, spent: int) -> None:
        """By one replica of the place; what grows by later ones waits on."""
        place = self._orders[number][start]
        larger = (*counts[:place], counts[place] + 1, *counts[place + 1 :])
        self._push(number, larger, start, spent + self._prices[place])
        self._defer(number, counts, start + 1, spent)

    def _push(self, number: int, counts: Counts, start: int, spent: int) -> None:
        missing = max(0, self._modes[number].need - sum(counts))
        if fits(self._seeker, counts, self._rows, besides=missing * self._least[number]):
            rest = self._rest(number, counts, start)
            if rest is not None:
                self._wait(rest, number, counts, start, spent, grows=False)

    def _wait(self, rest: int, number: int, counts: Counts, start: int, spent: int, *, grows: bool) -> None:
        if self._limit is None or spent + rest <= self._limit:
            heapq.heappush(self._heap, (spent + rest, number, counts, start, grows, spent))

    def _rest(self, number: int, counts: Counts, start: int) -> int | None:
        """What is left to buy costs at least this; None where it cannot be had."""
        mode, order = self._modes[number], self._orders[number]
        if not mode.need:
            return self._spread.rest(mode, counts, order[start:], self._prices)
        rest = fill(self._seeker, mode.need, counts, order[start:], self._prices)
        least = self._droughts.rest(number, counts, start)
        within = self._purse(number).rest(counts, start)
        return None if rest is None or least is None or within is None else max(rest, least, within)

    def _purse(self, number: int) -> Purse:
        if number not in self._purses:
            mode, order = self._modes[number], self._orders[number]
            self._purses[number] = Purse(self._seeker, mode, order, self._prices, self._nominal)
        return self._purses[number]

    def _serves(self, mode: Mode, counts: Counts) -> bool:
        if mode.need:
            return sum(counts) >= mode.need
        options = {item.offer.option for item, count in zip(self._seeker.items, counts, strict=True) if count}
        # One option alone is judged by its capacity, in a mode of its own.
        is_mix = len(options) > 1 and sum(counts) >= self._seeker.ask.min_replicas
        return is_mix and self._spread.serves(mode, counts)

    def _is_safe(self, mode: Mode, counts: Counts) -> bool:
        """Whether spot keeps its share and its losses are bearable: more replicas can make it so."""
        return spot_is_within(self._seeker, counts, by_weight=not mode.need) and holds(
            self._seeker, self._level, counts
        )


def fill(seeker: Seeker, need: int, counts: Counts, order: Sequence[int], prices: Sequence[int]) -> int | None:
    """What the replicas still missing cost, each of the cheapest offer that has room and may be spot."""
    missing = need - sum(counts)
    if missing <= 0:
        return 0
    items = seeker.items
    percent = seeker.ask.max_spot_percent
    spot_left = missing
    if percent < 100:
        spot_left = need * percent // 100 - sum(
            count for item, count in zip(items, counts, strict=True) if item.is_spot
        )
    total = 0
    for place in order:
        taken = items[place].most - counts[place]
        taken = min(taken, missing)
        if items[place].is_spot:
            taken = max(0, min(taken, spot_left))
            spot_left -= taken
        total += taken * prices[place]
        missing -= taken
        if not missing:
            return total
    return None


def fits(seeker: Seeker, counts: Counts, rows: Rows, *, besides: int = 0) -> bool:
    """Whether the fleet keeps the limits that more replicas only break: replicas, dollars, room of the pools.

    ``besides``: dollars that are sure to come on top.
    """
    ask, total, dollars = seeker.ask, 0, besides
    used: dict[int, int] = {}
    for item, count in zip(seeker.items, counts, strict=True):
        if count:
            total += count
            dollars += count * item.offer.usd_per_hour
            for row, amount in item.uses:
                used[row] = used.get(row, 0) + count * amount
    return total <= ask.max_replicas and dollars <= ask.max_usd_per_hour and rows.fits(used)


def spot_is_within(seeker: Seeker, counts: Counts, *, by_weight: bool) -> bool:
    """Whether spot is at most its share of the serving capacity."""
    percent = seeker.ask.max_spot_percent
    if percent >= 100:
        return True
    bought = [
        (item, count * (item.weight if by_weight else 1)) for item, count in zip(seeker.items, counts, strict=True)
    ]
    spot = sum(amount for item, amount in bought if item.is_spot)
    return 100 * spot <= percent * sum(amount for _, amount in bought) * (1 + 1e-12)


def holds(seeker: Seeker, level: int, counts: Counts) -> bool:
    """Whether losses of spot nodes are bearable; not asked of a part of the service."""
    ask = seeker.ask
    if ask.holds is None or level < FULL:
        return True
    return ask.holds({item.index: count for item, count in zip(seeker.items, counts, strict=True) if count})
