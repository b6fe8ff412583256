"""Spot as a risk: how likely the capacity that is left carries the load, and what interruptions cost.

A spot node is lost in one of three ways, each as often as :class:`SpotFacts` divides its interruptions:

- alone: another node is there at once, the engine is out for a cold start;
- with all nodes of its accelerator in its *zone*: nothing is to be had there until the zone has capacity again;
- with all nodes of its accelerator in its *region*, likewise.

A replica over several nodes dies whole when one of them goes. Accelerators, and regions, run dry independently of each
other. Of pools that run dry with one zone the one with more interruptions is also out whenever the other is: more
replicas anywhere never make a fleet less available. Nodes on demand and reserved ones are never lost unless their pool
says so, and then alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from deepseek_planner.catalog import region_of
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.units import MicroUsd

SECONDS_PER_DAY = 86_400.0
MINUTE_S = 60.0
UNITS = 10**9
"""The needed rate as a whole number, so that equal losses are one state whatever order they are added in."""
MOST_STATES = 4096
"""Distinct losses that are told apart: more are rounded up, so that no question takes long."""
TOLERANCE = 1000
"""Of those units: what rounding may hide, one request in a million."""
RESERVED_DIVISOR = 1000
"""A reserved dollar weighs a thousandth in a choice: it is paid anyway, but of two reserved fleets the smaller wins."""


@dataclass(frozen=True, slots=True)
class SpotFacts:
    """How interruptions come.

    From 33 public traces of 2022 and 2023 (skypilot-org/spot-traces, commit 221da1a, and SpotHedge's, commit df02263):
    AWS K80 and V100, Google A100. ``tests/bench/spot_traces.py`` derives them anew and tells how well they predict.
    """

    shared: float = 0.83
    """Of a node's interruptions, the part that comes within five minutes of another one in its zone: where several
    nodes were kept running."""
    regional: float = 0.45
    """Of the time that a zone is dry, the part in which its whole region is: the correlation of its zones."""
    dry_s: float = 6500.0
    """Mean time until a zone that ran dry has capacity again."""


FACTS = SpotFacts()


@dataclass(frozen=True, slots=True)
class Odds:
    """Chances that one replica is out at a random moment, by what it is lost with."""

    kind: tuple[str, str]
    """What runs dry together in a region: accelerator and region."""
    zone: str
    region_dry: float
    zone_dry: float
    alone: float


@dataclass(frozen=True, slots=True)
class Lot:
    """Replicas of one kind on one offering."""

    odds: Odds
    capacity_per_s: float
    """Requests per second that one replica carries as traffic is routed: under even routing the same for all lots."""
    replicas: int


def odds(
    offering: Offering, *, nodes_per_replica: int = 1, engine_start_s: float = 0.0, facts: SpotFacts = FACTS
) -> Odds:
    """The chances of one replica on this offering."""
    per_day = offering.interruptions_per_node_day
    shared = facts.shared if offering.capacity_type is CapacityType.SPOT else 0.0
    cold_s = offering.startup_s + engine_start_s
    return Odds(
        kind=(offering.accelerator, region_of(offering.zone)),
        zone=offering.zone,
        region_dry=_out(per_day * shared * facts.regional, facts.dry_s + cold_s),
        zone_dry=_out(per_day * shared * (1 - facts.regional), facts.dry_s + cold_s),
        alone=_out(per_day * (1 - shared) * nodes_per_replica, cold_s),
    )


def _out(per_day: float, away_s: float) -> float:
    """Part of the time away, of what is lost so often while it is there."""
    away = per_day * away_s / SECONDS_PER_DAY
    return away / (1 + away)


def availability(lots: Iterable[Lot], needed_per_s: float) -> float:
    """Probability at a random moment that the replicas left carry the needed rate: exact for the model."""
    if needed_per_s <= 0:
        return 1.0
    fleet, total = _fleet(lots, needed_per_s)
    slack = total - UNITS + TOLERANCE
    return min(1.0, sum(_losses(fleet, slack).values())) if slack >= 0 else 0.0


def must_survive(odds_by_offer: Mapping[int, Odds], probability: float, *, events: int = 2) -> list[frozenset[int]]:
    """Sets of offers that a fleet must do without: all of a set are out together too often for the asked probability.

    Each is a linear condition that every fleet that holds meets: what is not in the set carries the needed rate. Sets
    of up to so many events at once, the largest only, in a fixed order.
    """
    dry = sorted(_events(odds_by_offer), key=lambda event: (-event[0], sorted(event[1])))
    found: set[frozenset[int]] = set()

    def extend(start: int, chance: float, lost: frozenset[int], left: int) -> None:
        for index in range(start, len(dry)):
            chance_of_one, offers = dry[index]
            if chance * chance_of_one <= 1 - probability + 1e-12:
                return  # those that follow are rarer still
            found.add(lost | offers)
            if left > 1:
                extend(index + 1, chance * chance_of_one, lost | offers, left - 1)

    extend(0, 1.0, frozenset(), events)
    largest_first = sorted(found, key=lambda item: (-len(item), sorted(item)))
    kept: list[frozenset[int]] = []
    for item in largest_first:
        if not any(item <= other for other in kept):
            kept.append(item)
    return kept


def _events(odds_by_offer: Mapping[int, Odds]) -> Iterator[tuple[float, frozenset[int]]]:
    """Every zone and region that can run dry, as its chance and the offers that it takes; nested levels apart.

    A zone is out when it or its region is dry. Events are never combined with each other by mistake: those that share
    a zone or a region come together more often than their product says, so that a set is at most left out.
    """
    groups: dict[tuple[object, ...], list[tuple[float, float, int]]] = {}
    for index, item in odds_by_offer.items():
        groups.setdefault((item.kind,), []).append((item.region_dry, 0.0, index))
        groups.setdefault((item.kind, item.zone), []).append((item.zone_dry, item.region_dry, index))
    for members in groups.values():
        for level in sorted({chance for chance, _, _ in members if chance > 0}):
            lost = [(region_dry, index) for chance, region_dry, index in members if chance >= level]
            yield 1 - (1 - level) * (1 - min(lost)[0]), frozenset(index for _, index in lost)


def lost_minutes(request_s: float) -> int:
    """Begun minutes of a replica's work that an interruption loses, of requests that take so long."""
    return math.ceil(request_s / 2 / MINUTE_S)


def expected_usd_per_hour(
    nominal: MicroUsd,
    offering: Offering,
    *,
    nodes_per_replica: int = 1,
    engine_start_s: float = 0.0,
    request_s: float = 0.0,
) -> MicroUsd:
    """What a replica is worth in a choice: dollars as billed, lost work and restarts; rounded up.

    - Restarts: the node's start and the engine's on the replacement are paid for and serve nothing.
    - Lost work: requests in flight are cut and done again, prompt and tokens; on average half of each is done, so
      that half a request's time of the whole replica is lost. A notice that lets some of them finish is not counted on.
      In begun minutes: nobody knows it better, and seconds of it must not decide between what costs the same.
    - Time in which a zone is dry costs nothing, and carries nothing: :func:`availability` asks for spare instead.
    - Reserved capacity is paid whether it is used or not: next to nothing here, in full in budgets and reports.
    """
    if not offering.interruptions_per_node_day and offering.capacity_type is not CapacityType.RESERVED:
        return nominal
    lost_s = offering.startup_s + engine_start_s + MINUTE_S * lost_minutes(request_s)
    share = offering.interruptions_per_node_day * nodes_per_replica * lost_s / SECONDS_PER_DAY
    exact = nominal * (1 + share)
    if offering.capacity_type is CapacityType.RESERVED:
        exact /= RESERVED_DIVISOR
    return MicroUsd(-int(-exact // 1))


_Fleet = list[tuple[Odds, int, int]]
"""Odds, capacity in UNITS of the needed rate, replicas."""
_Losses = dict[int, float]
"""Capacity lost, in UNITS of the needed rate -> probability."""


def _units(lot: Lot, needed_per_s: float) -> int:
    """Capacity of one replica, in UNITS of the needed rate and never more than it."""
    return min(UNITS, round(lot.capacity_per_s / needed_per_s * UNITS)) if needed_per_s > 0 else UNITS


def _fleet(lots: Iterable[Lot], needed_per_s: float) -> tuple[_Fleet, int]:
    """The lots that are not empty, and their capacity together."""
    fleet = [(lot.odds, _units(lot, needed_per_s), lot.replicas) for lot in lots if lot.replicas > 0]
    return fleet, sum(units * replicas for _, units, replicas in fleet)


def _losses(fleet: _Fleet, most: int) -> _Losses:
    """Everything up to ``most`` that may be lost, and how likely. What is missing from one is likelier to lose more."""
    regions = _by(fleet, lambda item: item.kind)
    return _together((_single(lots[0], most) if len(lots) == 1 else _several(lots, most) for lots in regions), most)


def _several(fleet: _Fleet, most: int) -> _Losses:
    return _mixture(fleet, lambda item: item.region_dry, _of_region, most)


@lru_cache(maxsize=4096)
def _single(lot: tuple[Odds, int, int], most: int) -> _Losses:
    """Of the only lot in its region: all of it, or what is lost of it one by one."""
    item, units, replicas = lot
    there = (1 - item.region_dry) * (1 - item.zone_dry)
    found = {lost: there * chance for lost, chance in _alone(item.alone, units, replicas, most).items()}
    everything = units * replicas
    if there < 1 and everything <= most:
        found[everything] = found.get(everything, 0.0) + 1 - there
    return found


def _of_region(fleet: _Fleet, most: int) -> _Losses:
    zones = _by(fleet, lambda item: item.zone)
    return _together((_mixture(lots, lambda item: item.zone_dry, _of_zone, most) for lots in zones), most)


def _of_zone(fleet: _Fleet, most: int) -> _Losses:
    return _together((_alone(item.alone, units, replicas, most) for item, units, replicas in fleet), most)


def _by(fleet: _Fleet, key: Callable[[Odds], tuple[str, str] | str]) -> list[_Fleet]:
    groups: dict[tuple[str, str] | str, _Fleet] = {}
    for lot in fleet:
        groups.setdefault(key(lot[0]), []).append(lot)
    return [groups[name] for name in sorted(groups, key=str)]


def _mixture(
    fleet: _Fleet, chance_of: Callable[[Odds], float], rest: Callable[[_Fleet, int], _Losses], most: int
) -> _Losses:
    """Nested drought: the deepest takes every lot, a lesser one those that run dry more often than it."""
    chances = [chance_of(item) for item, _, _ in fleet]
    bounds = [0.0, *sorted({chance for chance in chances if chance > 0}), 1.0]
    found: _Losses = {}
    for low, high in pairwise(bounds):
        up = [lot for lot, chance in zip(fleet, chances, strict=True) if chance <= low]
        dry = sum(units * count for (_, units, count), chance in zip(fleet, chances, strict=True) if chance > low)
        if dry > most:
            continue
        for lost, chance in rest(up, most - dry).items():
            found[dry + lost] = found.get(dry + lost, 0.0) + (high - low) * chance
    return found


def _together(parts: Iterable[_Losses], most: int) -> _Losses:
    """Losses of independent parts, added up."""
    total: _Losses = {0: 1.0}
    for part in parts:
        if part == {0: 1.0}:
            continue
        added: _Losses = {}
        for lost, chance in total.items():
            for more, also in part.items():
                if lost + more <= most:
                    added[lost + more] = added.get(lost + more, 0.0) + chance * also
        total = added if len(added) <= MOST_STATES else _coarser(added, most)
    return total


def _coarser(states: _Losses, most: int) -> _Losses:
    """Fewer states, each loss rounded up: a little too careful, never too bold."""
    step = -(-most // (MOST_STATES // 4))
    found: _Losses = {}
    for lost, chance in states.items():
        up = min(most, -(-lost // step) * step)
        found[up] = found.get(up, 0.0) + chance
    return found


@lru_cache(maxsize=4096)
def _alone(chance: float, units: int, replicas: int, most: int) -> _Losses:
    """Of so many replicas each is out with that chance: losses up to ``most``."""
    if chance <= 0 or units == 0:
        return {0: 1.0}
    if chance >= 1:
        return {replicas * units: 1.0} if replicas * units <= most else {}
    found: _Losses = {}
    term = (1 - chance) ** replicas
    for out in range(min(replicas, most // units) + 1):
        found[out * units] = term
        term *= (replicas - out) / (out + 1) * chance / (1 - chance)
    return found
