"""An ask as the search sees it: offers worth a look in one order for all, and the ways in which it can be served."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from deepseek_planner.allocation import Ask, Offer
from deepseek_planner.hardware import CapacityType
from deepseek_planner.mix.packing import Rows, Uses
from deepseek_planner.plan import Routing

PARTS = (0.25, 0.5, 0.75, 1.0)
"""Parts of the asked rate that may be served where not all of it can be: a grid, so that fairness is a count."""

FULL = len(PARTS)
"""Level of service that is asked for; the level above has headroom beside."""
CONTENT = FULL + 1

TOLERANCE = 1e-9
"""Or a rate that is exactly what n replicas serve would ask for one more by its last binary digit."""


@dataclass(frozen=True, slots=True)
class Item:
    """An offer, and what a replica of it takes of the pools' rows."""

    index: int
    """In the ask's offers."""
    offer: Offer
    uses: Uses
    loads: tuple[float, ...]
    """By class, never lighter in all than the whole mix is by ``capacity_per_s``."""
    weight: float
    """Serving capacity that counts towards the share of spot."""
    most: int
    """Replicas that the pool alone has room for."""
    is_spot: bool

    @property
    def order(self) -> tuple[object, ...]:
        """Total order of offers: by their rank and names, and by all that they are, so that only twins are equal."""
        offer = self.offer
        names = offer.rank, offer.option, offer.pool, offer.capacity_type
        dollars = offer.expected_usd_per_hour, offer.usd_per_hour
        return *names, *dollars, offer.accelerators, offer.nodes, offer.capacity_per_s, offer.loads, self.index


class Mode(NamedTuple):
    """One way to be served: so many replicas of some offers, or (``need`` 0) any mix that the classes' loads allow.

    A fleet of fewer replicas than ``need`` does not do; one of ``need`` does, whichever of ``allowed`` it is made of.
    """

    allowed: tuple[int, ...]
    need: int
    entrants: tuple[int, ...]
    """Of those allowed, the ones that no mode of fewer replicas allows: a fleet without them belongs there."""
    floors: tuple[int, ...] = ()
    """Replicas that must be there at least, by item; empty: none."""
    rates: tuple[float, ...] = ()
    """Of the classes, per second, where their loads decide."""


class Seeker(NamedTuple):
    """An ask, ready to be searched."""

    ask: Ask
    number: int
    """Among all asks, by key."""
    items: tuple[Item, ...]
    """In their total order."""
    modes: tuple[tuple[Mode, ...], ...]
    """By level of service, from 1; the first entry is empty."""

    @property
    def levels(self) -> range:
        return range(1, len(self.modes))


def seeker(ask: Ask, number: int, rows: Rows) -> Seeker:
    """Without offers that have no room, or that another one of the same pool beats in everything."""
    found = [item for index, offer in enumerate(ask.offers) if (item := _item(ask, index, offer, rows)) is not None]
    items = tuple(sorted(_undominated(ask, found), key=lambda item: item.order))
    modes: list[tuple[Mode, ...]] = [()]
    modes += [_modes(ask, items, part) for part in PARTS]
    if ask.spare_per_s > ask.requests_per_s:
        modes.append(_modes(ask, items, ask.spare_per_s / ask.requests_per_s) + _kept(ask, items, modes[FULL]))
    return Seeker(ask, number, items, tuple(modes))


def _item(ask: Ask, index: int, offer: Offer, rows: Rows) -> Item | None:
    uses = rows.uses(offer)
    if uses is None:
        return None
    most = min((rows.rows[row].room // amount for row, amount in uses), default=0)
    loads = _loads(ask, offer) if ask.routing is Routing.BY_LENGTH else ()
    serves_all, serves_some = offer.capacity_per_s > 0, any(map(math.isfinite, loads))
    if not (serves_all or serves_some):
        return None
    weight = offer.capacity_per_s if serves_all else 1 / min(loads)
    is_spot = offer.capacity_type is CapacityType.SPOT
    return Item(index, offer, uses, loads, weight, min(most, ask.max_replicas), is_spot)


def _loads(ask: Ask, offer: Offer) -> tuple[float, ...]:
    """Raised where they say of the whole mix that a replica carries more of it than it does."""
    if not offer.loads or offer.capacity_per_s <= 0:
        return offer.loads
    whole = ask.requests_per_s / offer.capacity_per_s
    by_class = sum(rate * load for rate, load in zip(ask.class_rates_per_s, offer.loads, strict=True) if rate > 0)
    factor = whole / by_class if 0 < by_class < whole else 1.0
    return tuple(load * factor for load in offer.loads)


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


def _cheapest_first(item: Item) -> tuple[object, ...]:
    offer = item.offer
    return offer.expected_usd_per_hour, offer.usd_per_hour, offer.accelerators, offer.nodes, item.order


def _beats(one: Item, other: Item, ask: Ask) -> bool:
    """Whether ``one``, which comes before ``other`` and costs no more, can stand in for it in every fleet."""
    a, b = one.offer, other.offer
    taken = dict(other.uses)
    if (
        a.usd_per_hour > b.usd_per_hour
        or a.accelerators > b.accelerators
        or a.capacity_per_s < b.capacity_per_s
        or any(amount > taken.get(row, 0) for row, amount in one.uses)
    ):
        return False
    if ask.holds is not None and a.nodes > b.nodes:
        return False  # a replica over more nodes is lost more often
    if ask.routing is Routing.EVEN:
        return True
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
    if ask.routing is Routing.EVEN:
        return _even(items, ask.requests_per_s * factor, least)
    options: dict[int, list[int]] = {}
    for position, item in enumerate(items):
        options.setdefault(item.offer.option, []).append(position)
    modes = []
    for option in sorted(options):
        capacity = min(items[position].offer.capacity_per_s for position in options[option])
        if capacity > 0:
            need = max(least, _whole(ask.requests_per_s * factor / capacity))
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
    taken = dict(other.uses)
    return (
        (a.pool, a.capacity_type) == (b.pool, b.capacity_type)
        and a.usd_per_hour <= b.usd_per_hour
        and a.accelerators <= b.accelerators
        and all(amount <= taken.get(row, 0) for row, amount in one.uses)
        and all(x <= y for x, y in zip(one.loads, other.loads, strict=True))
        # What is left of a mix may be a fleet of this option alone: that is judged by its capacity.
        and a.capacity_per_s > 0
        and not (one.weight > other.weight if one.is_spot else one.weight < other.weight)
        and (ask.holds is None or (a.nodes <= b.nodes and a.capacity_per_s >= b.capacity_per_s))
    )


def _even(items: tuple[Item, ...], rate: float, least: int) -> tuple[Mode, ...]:
    """By number of replicas: of so many each gets the same share, which only some offers can carry."""
    needs = [max(least, _whole(rate / item.offer.capacity_per_s)) for item in items]
    modes = []
    for need in sorted(set(needs)):
        allowed = tuple(position for position, other in enumerate(needs) if other <= need)
        entrants = tuple(position for position in allowed if needs[position] == need)
        modes.append(Mode(allowed, need, entrants))
    return tuple(modes)


def _kept(ask: Ask, items: tuple[Item, ...], modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
    """The same modes for a fleet that keeps all that runs."""
    places = {item.index: position for position, item in enumerate(items)}
    running = {places[index]: count for index, count in ask.running.items() if index in places and count > 0}
    if not running or len(running) < sum(1 for count in ask.running.values() if count > 0):
        return ()
    floors = tuple(running.get(position, 0) for position in range(len(items)))
    return tuple(
        Mode(mode.allowed, mode.need, mode.allowed, floors, mode.rates)
        for mode in modes
        if set(running) <= set(mode.allowed)
    )


def _whole(replicas: float) -> int:
    return math.ceil(replicas - TOLERANCE)
