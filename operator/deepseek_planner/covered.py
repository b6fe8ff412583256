"""Replicas of one option that bear the loss of spot nodes, for least: spread over pools, or beside capacity on demand.

Asked of the mixed-fleet search (:mod:`mix`) with nothing else on offer, so that what a shape would cost alone is what
it would cost in a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from deepseek_planner import mix, risk
from deepseek_planner.allocation import Ask, Offer, PoolRoom, Problem
from deepseek_planner.snapshot import DeploymentKey, Routing
from deepseek_planner.units import MicroUsd

NODES = 300
"""Steps of the search: it is asked for every option on spot, and a fleet of one option is hardly ever further away."""
UNLIMITED = MicroUsd(10**15)
"""What is over a budget is refused with what it costs."""
ALONE = DeploymentKey("", "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What replicas of one option, on any pools, are to do."""

    requests_per_s: float
    replicas: int
    """At least."""
    max_replicas: int
    max_spot_percent: int
    percent: float
    """Of the time, that what losses leave carries the rate."""
    holds: Callable[[Mapping[int, int]], bool]
    """Whether replicas by index of offer do."""


def cheapest(wanted: Wanted, offers: Sequence[tuple[Offer, int]], odds: Mapping[int, risk.Odds]) -> dict[int, int]:
    """Replicas by index of offer, each with room for so many; empty where nothing is found that holds.

    ``odds`` by index of the offers that may be lost.
    """
    ask = Ask(
        key=ALONE,
        requests_per_s=wanted.requests_per_s,
        class_rates_per_s=(),
        offers=tuple(offer for offer, _ in offers),
        routing=Routing.EVEN,
        min_replicas=wanted.replicas,
        max_replicas=wanted.max_replicas,
        max_usd_per_hour=UNLIMITED,
        max_spot_percent=wanted.max_spot_percent,
        priority=0,
        holds=wanted.holds,
        droughts=tuple(risk.must_survive(odds, wanted.percent / 100)),
    )
    rooms = tuple(_room(offer, min(room, wanted.max_replicas)) for offer, room in offers)
    allotment = mix.solve(Problem((ask,), rooms), alone_nodes=NODES).allotments[ALONE]
    return {part.offer: part.replicas for part in allotment.parts}


def _room(offer: Offer, replicas: int) -> PoolRoom:
    """Nodes of just the size that so many replicas take."""
    per_node = offer.accelerators // offer.nodes
    return PoolRoom(offer.pool, per_node, (per_node,) * (replicas * offer.nodes))
