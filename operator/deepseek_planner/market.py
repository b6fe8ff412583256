"""What replicas cost a deployment, and where there is room for them: quotes, and fleets made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from deepseek_planner import cost, risk
from deepseek_planner.asked import Request
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.options import Option
from deepseek_planner.snapshot import Policy, Shape, Snapshot
from deepseek_planner.supply import Supply
from deepseek_planner.units import MicroUsd

CROWD = 60
"""Deployments planned together beyond which less is told of what each could have beside its plan: shapes alone are not
spread over pools to bear their losses, as plans are anyway, and shapes larger than is needed are left out.
"""
Replicas = tuple[tuple[int, int], ...]
"""By index of a quote."""
Purchase = tuple[tuple[tuple[Offering, int], ...], MicroUsd, MicroUsd]
"""Replicas by offering, dollars per hour and expected ones."""


@dataclass(frozen=True, slots=True)
class Market:
    """What deployments share: pools that empty as one after the other takes its part, and what runs already."""

    snapshot: Snapshot
    policy: Policy
    supply: Supply
    known_odds: dict[tuple[str, int], risk.Odds] = field(default_factory=dict)
    known_percents: dict[tuple[object, ...], float] = field(default_factory=dict)
    """How often fleets carry a rate: those of equal nodes, as many of which must be left, are lost alike."""

    def odds(self, offering: Offering, shape: Shape) -> risk.Odds:
        """The chances that a replica of the shape is out."""
        key = offering.pool, shape.nodes_per_replica
        if key not in self.known_odds:
            self.known_odds[key] = risk.odds(
                offering, nodes_per_replica=shape.nodes_per_replica, engine_start_s=self.policy.engine_start_s
            )
        return self.known_odds[key]


@dataclass(frozen=True, slots=True)
class Buyer:
    """One deployment that fleets are made for, and the rate to plan for."""

    asked: Request
    requests_per_min: float
    known_covers: dict[tuple[object, ...], Replicas] = field(default_factory=dict)
    """What bears the losses for least, of as many replicas at the same prices."""
    known_quotes: dict[tuple[int, ...], tuple[Quote, ...]] = field(default_factory=dict)
    """On a list of offerings: shapes of one size whose requests take as many minutes cost and take the same."""
    known_types: dict[int, tuple[tuple[Quote, ...], ...]] = field(default_factory=dict)
    """Such quotes by capacity type."""
    known_purchases: dict[tuple[int, int], Purchase | None] = field(default_factory=dict)
    """So many replicas at such quotes; None: they are not to be had."""


class Quote(NamedTuple):
    """One replica of an option on an offering: dollars per hour, and how many there is room for."""

    offering: Offering
    usd_per_hour: MicroUsd
    expected_usd_per_hour: MicroUsd
    room: int


class Fleet(NamedTuple):
    """Replicas of one option over pools: feasible in itself, not yet weighed against budgets."""

    option: Option
    parts: tuple[tuple[Offering, int], ...]
    usd_per_hour: MicroUsd
    expected_usd_per_hour: MicroUsd
    """With what interruptions lose: offers are compared by this."""

    @property
    def replicas(self) -> int:
        return sum(count for _, count in self.parts)

    @property
    def capacity_type(self) -> CapacityType:
        """Of most replicas; the first of equals."""
        return max(self.parts, key=lambda part: part[1])[0].capacity_type

    @property
    def order(self) -> tuple[object, ...]:
        """Total order: cheapest; of equals the smallest, the least lossy, the surest and the roomiest; then by name.

        No tie is left to chance, so equal snapshots have equal plans.
        """
        option = self.option
        return (
            self.expected_usd_per_hour,
            self.usd_per_hour,
            self.replicas * option.shape.accelerators,
            option.loss_rank,
            option.margin_percent,
            -round(option.capacity.rate_per_s * self.replicas, 6),
            option.shape.name,
            tuple((offering.pool, count) for offering, count in self.parts),
        )


def in_order(found: Iterable[Fleet]) -> list[Fleet]:
    """Sorted by :attr:`Fleet.order`, which is worked out where dollars do not decide: it takes a while."""
    ordered: list[Fleet] = []
    for _, equals in groupby(sorted(found, key=_dollars), key=_dollars):
        group = list(equals)
        ordered += sorted(group, key=lambda fleet: fleet.order) if len(group) > 1 else group
    return ordered


def _dollars(fleet: Fleet) -> tuple[int, int]:
    return fleet.expected_usd_per_hour, fleet.usd_per_hour


def quotes(market: Market, buyer: Buyer, option: Option, offerings: list[Offering]) -> tuple[Quote, ...]:
    """A replica of the option on each of the offerings, which must live as long as the buyer; cheapest first."""
    accelerators, nodes = option.shape.accelerators, option.shape.nodes_per_replica
    request_s = seconds_per_request(option)
    key = id(offerings), accelerators, nodes, risk.lost_minutes(request_s)
    known = buyer.known_quotes.get(key)
    if known is None:
        found = []
        for offering in offerings:
            usd = cost.usd_per_accelerators_hour(offering, accelerators)
            expected = risk.expected_usd_per_hour(
                usd,
                offering,
                nodes_per_replica=nodes,
                engine_start_s=market.policy.engine_start_s,
                request_s=request_s,
            )
            found.append(Quote(offering, usd, expected, market.supply.replicas(offering, option.shape)))
        found.sort(key=lambda quote: (quote.expected_usd_per_hour, quote.offering.pool))
        known = buyer.known_quotes[key] = tuple(found)
    return known


def expected_usd_per_hour(market: Market, option: Option, offering: Offering, replicas: int) -> MicroUsd:
    """With what interruptions lose; next to nothing where it is paid anyway."""
    one = risk.expected_usd_per_hour(
        cost.usd_per_replica_hour(offering, option.shape),
        offering,
        nodes_per_replica=option.shape.nodes_per_replica,
        engine_start_s=market.policy.engine_start_s,
        request_s=seconds_per_request(option),
    )
    return MicroUsd(replicas * one)


def seconds_per_request(option: Option) -> float:
    """From its arrival to its last token, at capacity."""
    service = option.capacity
    return service.time_to_first_token_s + option.replica.demand.output_mean * service.time_per_output_token_s
