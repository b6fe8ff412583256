"""Routing by length: fleets of one option, and mixes of several over which the classes of lengths are spread."""

from __future__ import annotations

import math

from deepseek_planner.allocation import Ask, Offer
from deepseek_planner.hardware import CapacityType
from deepseek_planner.mix.asks import (
    TOLERANCE,
    Item,
    Mode,
    Order,
    cheapest_first,
    factors,
    is_spot,
)
from deepseek_planner.mix.packing import Rows
from deepseek_planner.units import whole


def found(ask: Ask, rows: Rows) -> tuple[tuple[Item, ...], list[tuple[Mode, ...]]]:
    """Items in their total order, and the modes by level from 1."""
    known = [item for index, offer in enumerate(ask.offers) if (item := _item(ask, index, offer, rows)) is not None]
    items = tuple(sorted(_undominated(ask, known), key=lambda item: item.order))
    return items, [_modes(ask, items, factor) for factor in factors(ask)]


def _item(ask: Ask, index: int, offer: Offer, rows: Rows) -> Item | None:
    seat = rows.seat(offer)
    if seat is None:
        return None
    loads = _loads(ask, offer)
    serves_all, serves_some = offer.capacity_per_s > 0, any(map(math.isfinite, loads))
    if not (serves_all or serves_some):
        return None
    weight = offer.capacity_per_s if serves_all else 1 / min(loads)
    return Item(index, offer, seat.uses, loads, weight, min(seat.most, ask.max_replicas), is_spot(offer))


def _loads(ask: Ask, offer: Offer) -> tuple[float, ...]:
    """Raised where they say of the whole mix that a replica carries more of it than it does."""
    if not offer.loads or offer.capacity_per_s <= 0:
        return offer.loads
    at_least = ask.requests_per_s / offer.capacity_per_s
    by_class = sum(rate * load for rate, load in zip(ask.class_rates_per_s, offer.loads, strict=True) if rate > 0)
    factor = at_least / by_class if 0 < by_class < at_least else 1.0
    return tuple(load * factor for load in offer.loads)


def _takes_no_more(one: Item, other: Item) -> bool:
    taken = dict(other.uses)
    return all(amount <= taken.get(row, 0) for row, amount in one.uses)


def _undominated(ask: Ask, items: list[Item]) -> list[Item]:
    by_pool: dict[tuple[str, CapacityType], list[Item]] = {}
    for item in items:
        by_pool.setdefault((item.offer.pool, item.offer.capacity_type), []).append(item)
    kept: list[Item] = []
    for group in by_pool.values():
        best: list[Item] = []
        for item in sorted(group, key=_cheapest_first):
            if item.index in ask.running or not any(_beats(other, item, ask) for other in best):
                best.append(item)
        kept += best
    return kept


def _cheapest_first(item: Item) -> Order:
    return *cheapest_first(item.offer), item.order


def _beats(one: Item, other: Item, ask: Ask) -> bool:
    """Whether ``one``, which comes before ``other`` and costs no more, can stand in for it in every fleet."""
    a, b = one.offer, other.offer
    if (
        a.usd_per_hour > b.usd_per_hour
        or a.accelerators > b.accelerators
        or a.capacity_per_s < b.capacity_per_s
        or not _takes_no_more(one, other)
    ):
        return False
    if ask.holds is not None and a.nodes > b.nodes:
        return False  # a replica over more nodes is lost more often
    if a.option != b.option and (a.capacity_per_s <= 0 or not _is_exact(other, ask)):
        # A mix of both might become a fleet of one option that must not serve alone, or a fleet of one option, judged
        # by its capacity, a mix that is judged by loads which say less of it.
        return False
    # Nor may spot weigh more, or its share grows.
    return len(one.loads) == len(other.loads) and not (
        any(x > y for x, y in zip(one.loads, other.loads, strict=True))
        or (one.weight > other.weight if one.is_spot else one.weight < other.weight)
    )


def _is_exact(item: Item, ask: Ask) -> bool:
    """Whether the classes' loads say as much of the whole mix as the capacity does; without loads they say nothing."""
    if not item.loads:
        return False
    total = sum(rate * load for rate, load in zip(ask.class_rates_per_s, item.loads, strict=True) if rate > 0)
    return total * item.offer.capacity_per_s <= ask.requests_per_s * (1 + TOLERANCE)


def _modes(ask: Ask, items: tuple[Item, ...], factor: float) -> tuple[Mode, ...]:
    least = max(1, ask.min_replicas)
    options: dict[int, list[int]] = {}
    for position, item in enumerate(items):
        options.setdefault(item.offer.option, []).append(position)
    modes = []
    for option in sorted(options):
        capacity = min(items[position].offer.capacity_per_s for position in options[option])
        if capacity > 0:
            need = max(least, whole(ask.requests_per_s * factor / capacity))
            modes.append(Mode(tuple(options[option]), need, tuple(options[option])))
    everything = _mixable(ask, items)
    if len({items[position].offer.option for position in everything}) > 1:
        rates = tuple(rate * factor for rate in ask.class_rates_per_s)
        modes.append(Mode(everything, 0, everything, rates=rates))
    return tuple(modes)


def _mixable(ask: Ask, items: tuple[Item, ...]) -> tuple[int, ...]:
    """Items for mixes by length: without such as another of the same pool carries every class better than."""
    found: list[int] = []
    for position in sorted(range(len(items)), key=lambda place: _cheapest_first(items[place])):
        item = items[position]
        if item.loads and (
            item.index in ask.running or not any(_carries_more(items[other], item, ask) for other in found)
        ):
            found.append(position)
    return tuple(sorted(found))


def _carries_more(one: Item, other: Item, ask: Ask) -> bool:
    """Whether ``one``, which costs no more, can stand in for ``other`` in every mix by length."""
    a, b = one.offer, other.offer
    return (
        (a.pool, a.capacity_type) == (b.pool, b.capacity_type)
        and a.usd_per_hour <= b.usd_per_hour
        and a.accelerators <= b.accelerators
        and _takes_no_more(one, other)
        and all(x <= y for x, y in zip(one.loads, other.loads, strict=True))
        # What is left of a mix may be a fleet of this option alone: that is judged by its capacity.
        and a.capacity_per_s > 0
        and not (one.weight > other.weight if one.is_spot else one.weight < other.weight)
        and (ask.holds is None or (a.nodes <= b.nodes and a.capacity_per_s >= b.capacity_per_s))
    )
