"""Deployments that share pools and the limit of the cluster: who gets what, and what the others are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepseek_planner.explain import summary
from deepseek_planner.hardware import CapacityType
from deepseek_planner.plan import DeploymentPlan, RejectionReason
from deepseek_planner.search import plan
from deepseek_planner.snapshot import DeploymentKey, EngineGroup, Fleet, Policy
from deepseek_planner.units import MicroUsd, micro_usd
from deepseek_planner.verdicts import SHORT
from support.planning import CATALOG, demand, deployment, objectives, offering, planned, reasons, snapshot

SMALL = "deepseek-r1-distill-qwen-7b"
L4 = (
    offering("l4", "0.3618", "l4-spot", capacity_type=CapacityType.SPOT, gpus_per_node=1, max_nodes=8),
    offering("l4", "0.8048", gpus_per_node=1, max_nodes=8),
)


def running(pool: str, like: DeploymentPlan, replicas: int) -> EngineGroup:
    placed = like.placements[0]
    return EngineGroup(
        key=like.key,
        name="runs",
        launch_hash="0",
        shape=placed.shape,
        pool=pool,
        capacity_type=placed.capacity_type,
        desired=replicas,
        ready=replicas,
        starting=0,
        draining=0,
        usd_per_replica_hour=placed.usd_per_replica_hour,
    )


def under_one_limit(per_hour: str) -> dict[str, DeploymentPlan]:
    """Two deployments of which the second gets what the first leaves of the cluster's dollars."""
    loose = objectives(ttft_s=3.0, tpot_s=0.1, per_hour="8")
    first = deployment(SMALL, "first", objectives=replace(loose, priority=5), demand=demand(60, 200))
    second = deployment(SMALL, "second", objectives=loose, demand=demand(120, 600))
    policy = Policy(max_usd_per_hour=micro_usd(per_hour))
    found = plan(snapshot(first, second, offerings=L4), CATALOG, policy, explains=True).deployments
    return {key.name: item for key, item in found.items()}


def test_deployments_share_pools_by_priority_then_name() -> None:
    one_node = offering("h200", "63.296", max_nodes=1)
    important = objectives(priority=5)
    first, second = (
        deployment(name="a", demand=demand(60, 120)),
        deployment(name="b", demand=demand(60, 120), objectives=important),
    )
    plans = plan(snapshot(first, second, offerings=(one_node,)), CATALOG, Policy()).deployments

    assert plans[second.key].is_feasible
    held = [sum(item.replicas * item.shape.accelerators for item in plans[key].placements) for key in sorted(plans)]
    assert sum(held) <= 8
    assert held[1] == sum(item.replicas * item.shape.accelerators for item in planned(second, one_node).placements)


def test_what_others_hold_is_the_reason_where_nothing_else_is() -> None:
    small, roomy = offering("h100", "23.6", max_nodes=1), offering("h200", "63.296", max_nodes=4)
    big = deployment(name="big", demand=demand(30, 60), objectives=objectives(priority=5, tpot_s=0.1, ttft_s=3.0))
    other = deployment("deepseek-v2-lite", name="other", demand=demand(30, 60))
    plans = plan(snapshot(big, other, offerings=(small, roomy)), CATALOG, Policy()).deployments

    assert {item.shape.accelerator for item in plans[big.key].placements} == {"h100"}
    refused = next(item for item in summary(plans[other.key]) if item.accelerator == "h100")
    assert refused.reason is RejectionReason.NOT_ENOUGH_NODES
    assert "other deployments hold the room" in refused.message


def test_who_gets_nothing_is_told_what_would_serve_and_who_holds_the_room() -> None:
    pool = offering("h200", "63.296", max_nodes=1)
    high = deployment(name="high", demand=demand(60, 120), objectives=objectives(priority=5, accuracy="Critical"))
    low = replace(high, key=DeploymentKey("team-a", "low"), objectives=objectives(accuracy="Critical"))
    got = plan(snapshot(high, low, offerings=(pool,)), CATALOG, Policy()).deployments[low.key]

    assert not got.is_feasible
    (line,) = summary(got)
    assert (line.name, line.reason) == ("h200-fp8-tp8", RejectionReason.NOT_ENOUGH_NODES)
    assert "other deployments hold the room" in line.message


def test_two_deployments_never_hold_more_than_there_is() -> None:
    pool = offering("h100", "23.6", max_nodes=1)
    asked = [deployment(SMALL, name=f"d{index}") for index in range(12)]
    plans = plan(snapshot(*asked, offerings=(pool,)), CATALOG, Policy()).deployments.values()

    held = sum(item.replicas * item.shape.accelerators for result in plans for item in result.placements)
    assert 0 < held <= 8
    assert any(not result.is_feasible for result in plans)


@pytest.mark.parametrize("why", ["paused", "unreadable", "infeasible"])
def test_what_stays_as_it_is_keeps_its_accelerators(why: str) -> None:
    pool = offering("h200", "63.296", max_nodes=1)
    light, rich = demand(30, 60), objectives(ttft_s=4.0, accuracy="Critical", per_hour="400")
    stays = deployment("deepseek-v3", "a-stays", demand=light, objectives=rich)
    comes = deployment("deepseek-v3", "b-comes", demand=light, objectives=rich)
    fleet = Fleet((running(pool.pool, planned(stays, pool), 1),))
    known = {
        "paused": (replace(stays, paused=True), comes),
        "unreadable": (comes,),
        "infeasible": (replace(stays, objectives=replace(rich, max_usd_per_hour=micro_usd(1))), comes),
    }[why]
    cluster = snapshot(*known, offerings=(pool,))
    free = plan(cluster, CATALOG, Policy()).deployments[comes.key]
    held = plan(replace(cluster, fleet=fleet), CATALOG, Policy()).deployments[comes.key]

    assert free.is_feasible
    assert not held.is_feasible
    assert RejectionReason.NOT_ENOUGH_NODES in reasons(held)


def test_the_clusters_budget_is_kept_and_who_gets_less_is_told_why() -> None:
    pool = offering("h100", "23.6", max_nodes=8)
    busy = demand(6000, 12000)
    first = deployment(SMALL, "first", demand=busy, objectives=objectives(per_hour="400", priority=5))
    second = deployment(SMALL, "second", demand=busy, objectives=objectives(per_hour="400"))
    free = plan(snapshot(first, second, offerings=(pool,)), CATALOG, Policy()).deployments
    limit = MicroUsd(free[first.key].usd_per_hour * 3 // 2)
    kept = plan(snapshot(first, second, offerings=(pool,)), CATALOG, Policy(max_usd_per_hour=limit)).deployments

    assert sum(item.usd_per_hour for item in free.values()) > limit >= sum(item.usd_per_hour for item in kept.values())
    assert kept[first.key].placements == free[first.key].placements
    short = kept[second.key].shortage
    assert short is not None
    assert (short.short_of, short.lost_to) == ("budget", (first.key,))
    assert 0 <= short.served_percent < 100
    assert RejectionReason.CLUSTER_BUDGET in reasons(kept[second.key])
    change, _, other = kept[second.key].smallest_change.partition(", or ")
    assert other == "a higher priority than team-a/first"
    needed = micro_usd(change.removeprefix("$/h >= ").removesuffix(" for the whole cluster"))
    for amount, is_whole in ((needed, True), (needed - 20_000, False)):
        policy = Policy(max_usd_per_hour=MicroUsd(amount))
        again = plan(snapshot(first, second, offerings=(pool,)), CATALOG, policy).deployments
        assert (again[second.key].shortage is None) is is_whole


def test_who_is_short_of_nodes_is_served_in_part() -> None:
    pool = offering("h100", "23.6", max_nodes=1)
    whole = deployment(SMALL, demand=demand(6000, 12000), objectives=objectives(per_hour="400"))
    gpus = sum(item.replicas * item.shape.accelerators for item in planned(whole, pool).placements)
    assert 4 < gpus <= 8
    first = replace(whole, key=DeploymentKey("team-a", "first"), objectives=objectives(per_hour="400", priority=1))
    result = plan(snapshot(first, whole, offerings=(pool,)), CATALOG, Policy()).deployments

    assert result[first.key].shortage is None
    short = result[whole.key].shortage
    assert short is not None
    assert (short.short_of, short.lost_to) == ("h100", (first.key,))
    assert (short.served_percent > 0) == result[whole.key].is_feasible
    held = sum(item.replicas * item.shape.accelerators for each in result.values() for item in each.placements)
    assert held <= 8


def test_what_the_limit_of_the_cluster_does_not_leave_is_no_alternative() -> None:
    plans = under_one_limit("100")
    alone = plans["first"]
    dearest = max(item.usd_per_hour for item in alone.alternatives)
    just_less = dearest + plans["second"].usd_per_hour - 10_000
    limited = under_one_limit(f"{just_less / 1e6:.6f}")["first"]

    assert limited.placements == alone.placements
    assert dearest not in {item.usd_per_hour for item in limited.alternatives}


def test_who_gets_nothing_of_the_limit_is_told_so_for_every_accelerator_that_would_serve() -> None:
    first = under_one_limit("100")["first"].usd_per_hour
    second = under_one_limit(f"{first / 1e6:.6f}")["second"]

    assert not second.is_feasible
    assert [(item.accelerator, item.reason) for item in summary(second)] == [("l4", RejectionReason.CLUSTER_BUDGET)]


def test_beside_a_plan_for_a_part_of_the_load_what_serves_all_of_it_says_that_it_needs_more() -> None:
    first = under_one_limit("0.90")["first"]
    (chosen,) = [item for item in first.candidates if item.is_chosen]
    others = [item for item in first.candidates if not item.is_chosen and not item.rejection]

    assert first.shortage is not None
    assert chosen.verdict == f"for {first.shortage.served_percent} % of the planned load"
    assert chosen.usd_per_hour == first.usd_per_hour
    assert {item.verdict for item in others} == {SHORT}
