"""Plans that bear the loss of spot nodes, as stories."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_planner import mixing
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.plan import DeploymentPlan, RejectionReason
from deepseek_planner.search import weigh_alone
from deepseek_planner.snapshot import Policy
from deepseek_planner.units import micro_usd
from support.planning import CATALOG, demand, deployment, objectives, offering, planned, snapshot

SPOT, RESERVED = CapacityType.SPOT, CapacityType.RESERVED


def spot(zone: str, usd: str = "20", **changed: Any) -> Offering:
    values = {"interruptions_per_node_day": 0.4, "startup_s": 240.0, "max_nodes": 8} | changed
    return offering("h200", usd, f"spot-{zone}", capacity_type=SPOT, zone=zone, **values)


ON_DEMAND = offering("h200", "63", "on-demand", zone="us-east-1a", max_nodes=8)
EAST, WEST, EUROPE = spot("us-east-1a"), spot("us-west-2a"), spot("eu-west-1a")


def of(*offerings: Offering, per_hour: str = "1000", availability: float = 99.0) -> DeploymentPlan:
    asked = replace(objectives(per_hour=per_hour), availability_percent=availability)
    return planned(deployment(objectives=asked, demand=demand(120, 120)), *offerings)


def kinds(plan: DeploymentPlan) -> set[CapacityType]:
    return {item.capacity_type for item in plan.placements}


def test_one_zone_of_spot_is_not_enough_and_the_remedy_says_how_little_would_be() -> None:
    plan = of(EAST)

    assert not plan.is_feasible
    assert plan.smallest_change.startswith("availabilityPercent <= ")
    would_do = float(plan.smallest_change.removeprefix("availabilityPercent <= ").split(",")[0])
    assert 90 < would_do < 99
    assert of(EAST, availability=would_do).is_feasible
    assert not of(EAST, availability=would_do + 0.1).is_feasible


def test_it_is_where_less_is_asked() -> None:
    plan = of(EAST, ON_DEMAND, availability=90.0)

    assert kinds(plan) == {SPOT}
    assert plan.availability_percent is not None
    assert 90 <= plan.availability_percent < 99


def test_regions_bear_what_one_zone_does_not() -> None:
    plan = of(EAST, WEST, EUROPE, ON_DEMAND)

    assert kinds(plan) == {SPOT}
    assert len({item.pool for item in plan.placements}) > 1
    assert plan.availability_percent is not None
    assert plan.availability_percent >= 99
    assert plan.expected_usd_per_hour is not None
    assert plan.expected_usd_per_hour > plan.usd_per_hour


def test_capacity_on_demand_covers_where_spot_alone_never_does() -> None:
    plan = of(EAST, ON_DEMAND)

    assert CapacityType.ON_DEMAND in kinds(plan)
    assert plan.availability_percent is not None
    assert plan.availability_percent >= 99


def test_more_certainty_never_costs_less() -> None:
    pools = (EAST, WEST, EUROPE, ON_DEMAND)
    costs = [of(*pools, availability=percent).usd_per_hour for percent in (50.0, 90.0, 99.0, 99.9, 99.99)]

    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def test_reserved_nodes_come_first_and_are_counted() -> None:
    reserved = offering("h200", "40", "ours", capacity_type=RESERVED, zone="us-east-1a", max_nodes=8)
    plan = of(reserved, EAST, WEST, EUROPE, ON_DEMAND)

    assert kinds(plan) == {RESERVED}
    assert plan.usd_per_hour == sum(item.usd_per_hour for item in plan.placements) > micro_usd("10")
    assert plan.usd_per_million_tokens > 0
    assert not of(reserved, per_hour="1").is_feasible, "budgets count it"


def test_what_is_reserved_for_a_part_is_filled_up_with_what_is_cheapest() -> None:
    one_node = offering("h200", "40", "ours", capacity_type=RESERVED, zone="us-east-1a", max_nodes=1)
    asked = deployment(objectives=objectives(per_hour="1000"), demand=demand(900, 900))
    plan = planned(asked, one_node, ON_DEMAND)

    assert kinds(plan) == {RESERVED, CapacityType.ON_DEMAND}


@pytest.mark.parametrize("availability", [90.0, 99.0, 99.9])
@pytest.mark.parametrize("pools", [(EAST, ON_DEMAND), (EAST, WEST, ON_DEMAND), (EAST, WEST, EUROPE), (EAST, WEST)])
def test_what_must_be_done_without_is_known_early_and_changes_no_plan(
    pools: tuple[Offering, ...], availability: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_droughts = of(*pools, availability=availability)
    monkeypatch.setattr(mixing, "_droughts", lambda *_: ())

    assert of(*pools, availability=availability) == with_droughts


def test_a_shape_alone_is_spread_over_pools_where_that_bears_losses_for_least() -> None:
    pools = (EAST, WEST, EUROPE, ON_DEMAND)
    plan = of(*pools)
    (shape,) = {item.shape for item in plan.placements}
    asked = deployment(
        objectives=replace(objectives(per_hour="1000"), availability_percent=99.0), demand=demand(120, 120)
    )
    weighed, _ = weigh_alone(asked, snapshot(asked, offerings=pools), CATALOG, Policy())

    (alone,) = [item for item in weighed if item.shape == shape]
    assert alone.rejection is None
    assert (alone.usd_per_hour, alone.replicas) == (plan.usd_per_hour, sum(item.replicas for item in plan.placements))


def test_what_all_capacity_types_together_have_room_for_is_not_refused_for_room_on_one() -> None:
    few = spot("us-east-1a", max_nodes=1, interruptions_per_node_day=0.0)
    asked = deployment(objectives=objectives(per_hour="1000"), demand=demand(900, 900))
    plan = planned(asked, few, ON_DEMAND)
    (shape,) = {item.shape.name for item in plan.placements}

    assert kinds(plan) == {SPOT, CapacityType.ON_DEMAND}
    assert shape not in {item.name for item in plan.rejections if item.reason is RejectionReason.NOT_ENOUGH_NODES}
