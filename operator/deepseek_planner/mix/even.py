"""Even routing: every replica gets the same share, so an offer's capacity counts by the replicas it takes alone.

A fleet of *n* replicas serves when each of its offers would serve with *n* of its own kind. So for a given *n* offers
that do differ in nothing but dollars and what they take of a pool; of each pool few are worth a look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from deepseek_planner.allocation import Ask
from deepseek_planner.hardware import CapacityType
from deepseek_planner.mix.asks import FULL, Item, Mode, factors
from deepseek_planner.mix.packing import Rows, Seat
from deepseek_planner.units import whole

ENDLESS = 1 << 60


class _Known(NamedTuple):
    """An offer that has room: what comes before another is no dearer, and of equal dollars no larger."""

    expected: int
    nominal: int
    accelerators: int
    nodes: int
    names: tuple[object, ...]
    place: int
    """In the ask's offers."""
    is_spot: bool
    seat: Seat
    needs: tuple[int, ...]
    """Replicas that serve, by level from 1; at 0 those that must be left when others are lost. Of two offers one needs
    no more at any level."""


class _Stay(NamedTuple):
    """Fleets of ``first`` to ``last`` replicas in which an offer is worth a look."""

    known: _Known
    first: int
    last: int


def found(ask: Ask, rows: Rows) -> tuple[tuple[Item, ...], list[tuple[Mode, ...]]]:
    """Items in their total order, and the modes by level from 1."""
    levels: list[list[_Stay]] = [[] for _ in factors(ask)]
    for pool in _by_pool(ask, rows):
        for one, rivals in _rivals(ask, rows, sorted(pool)):
            for level, stays in enumerate(levels, start=1):
                first, last = one.needs[level], ask.max_replicas
                for other in rivals:
                    last = min(last, _end(other, one, ask, level) - 1)
                if first <= last:
                    stays.append(_Stay(one, first, last))
    used = {stay.known.place: stay.known for stays in levels for stay in stays}
    items = tuple(sorted((_item(ask, one) for one in used.values()), key=lambda item: item.order))
    places = {item.index: place for place, item in enumerate(items)}
    return items, [tuple(_modes(stays, places)) for stays in levels]


def _by_pool(ask: Ask, rows: Rows) -> list[list[_Known]]:
    rates = [ask.requests_per_s * factor for factor in factors(ask)]
    least = _least(ask)
    needs: dict[float, tuple[int, ...]] = {}
    pools: dict[str, list[_Known]] = {}
    for place, offer in enumerate(ask.offers):
        seat, capacity = rows.seat(offer), offer.capacity_per_s
        if seat is None or capacity <= 0:
            continue
        need = needs.get(capacity)
        if need is None:
            left = whole(ask.requests_per_s / capacity)
            need = needs[capacity] = left, *[max(least, whole(rate / capacity)) for rate in rates]
        kind = offer.capacity_type
        one = _Known(
            offer.expected_usd_per_hour,
            offer.usd_per_hour,
            offer.accelerators,
            offer.nodes,
            (offer.rank, offer.option, kind, capacity, offer.loads),
            place,
            kind is CapacityType.SPOT,
            seat,
            need,
        )
        pool = pools.get(offer.pool)
        if pool is None:
            pools[offer.pool] = [one]
        else:
            pool.append(one)
    return list(pools.values())


def _least(ask: Ask) -> int:
    return max(1, ask.min_replicas)


def _rivals(ask: Ask, rows: Rows, pool: Sequence[_Known]) -> Iterator[tuple[_Known, list[_Known]]]:
    """Offers of one pool, and those before each that can stand in for it in fleets that they serve with.

    Without offers that another one can always stand in for. What runs may always go on.
    """
    kept: list[_Known] = []
    bears_losses = ask.holds is not None
    for one in pool:
        rivals: list[_Known] = []
        for other in kept:
            # What costs no more takes no more of anything, nor is it lost more often, as a replica over more nodes is.
            if (
                other.nominal <= one.nominal
                and other.accelerators <= one.accelerators
                and other.is_spot == one.is_spot
                and (other.nodes <= one.nodes or not bears_losses)
                and (other.seat is one.seat or rows.takes_no_more(other.seat, one.seat))
            ):
                rivals.append(other)
                if other.needs <= one.needs:
                    break
        if one.place in ask.running:
            kept.append(one)
            yield one, []
        elif not rivals or rivals[-1].needs > one.needs:
            kept.append(one)
            yield one, rivals


def _end(rival: _Known, one: _Known, ask: Ask, level: int) -> int:
    """Replicas from which on the rival stands in for the other: it must serve, and leave as much when some are lost.

    Losses are judged at the asked rate, without headroom, and a fleet leaves what its weakest offer carries. A fleet
    without headroom that is larger than is asked for anyway has one that is as weak as its number says.
    """
    need = rival.needs[level]
    if level < FULL or ask.holds is None or rival.needs[0] <= one.needs[0]:
        return need
    return max(need, _least(ask) + 1) if level == FULL else ENDLESS


def _item(ask: Ask, one: _Known) -> Item:
    offer, most = ask.offers[one.place], min(one.seat.most, ask.max_replicas)
    return Item(one.place, offer, one.seat.uses, (), offer.capacity_per_s, most, one.is_spot)


def _modes(stays: Sequence[_Stay], places: dict[int, int]) -> Iterator[Mode]:
    """By number of replicas: of so many each gets the same share, which only some offers can carry."""
    ordered = sorted((places[stay.known.place], stay.first, stay.last) for stay in stays)
    for need in sorted({first for _, first, _ in ordered}):
        allowed = tuple([place for place, first, last in ordered if first <= need <= last])
        yield Mode(allowed, need, tuple([place for place, first, _ in ordered if first == need]))
