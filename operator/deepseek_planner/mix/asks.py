"""An ask as the search sees it: offers worth a look in one order for all, and the ways in which it can be served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from deepseek_planner.allocation import Ask, Offer
from deepseek_planner.hardware import CapacityType
from deepseek_planner.mix.packing import Uses

PARTS = (0.25, 0.5, 0.75, 1.0)
"""Parts of the asked rate that may be served where not all of it can be: a grid, so that fairness is a count."""

FULL = len(PARTS)
"""Level of service that is asked for; the level above has headroom beside."""
CONTENT = FULL + 1

TOLERANCE = 1e-9
"""Or a rate that is exactly what n replicas serve would ask for one more by its last binary digit."""

Order = tuple[object, ...]


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
    def order(self) -> Order:
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
    ending: int = 0
    """The highest level, where it is to end the move under way; 0: there is none."""

    @property
    def levels(self) -> range:
        return range(1, len(self.modes))


def factors(ask: Ask) -> tuple[float, ...]:
    """Of the asked rate, by level of service from 1; the last with headroom, where that is asked for."""
    has_spare = ask.spare_per_s > ask.requests_per_s
    return (*PARTS, ask.spare_per_s / ask.requests_per_s) if has_spare else PARTS


def is_spot(offer: Offer) -> bool:
    """Whether it counts towards the share of spot."""
    return offer.capacity_type is CapacityType.SPOT


def cheapest_first(offer: Offer) -> Order:
    """What comes before another is no dearer, and of equal dollars no larger."""
    return offer.expected_usd_per_hour, offer.usd_per_hour, offer.accelerators, offer.nodes
