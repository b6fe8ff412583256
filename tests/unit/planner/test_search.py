from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from deepseek_planner.demand import AccuracyClass, Measured
from deepseek_planner.digest import canonical_json
from deepseek_planner.explain import alternatives, summary
from deepseek_planner.hardware import CapacityType, InterNode
from deepseek_planner.plan import DeploymentPlan, RejectionReason
from deepseek_planner.search import plan, weigh_alone
from deepseek_planner.snapshot import Constraints, DeploymentKey, EngineGroup, Fleet, Policy, Routing
from deepseek_planner.units import MicroUsd, format_usd, format_usd_allowed, format_usd_needed, micro_usd
from deepseek_planner.verdicts import SHORT
from support.planning import CATALOG, demand, deployment, lengths, objectives, offering, planned, snapshot
from support.worlds import small_world

SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND
H200 = offering("h200", "63.296")
H200_SPOT = offering("h200", "20.7848", "h200-spot", capacity_type=SPOT, interruptions_per_node_day=0.05, startup_s=240)
SMALL = "deepseek-r1-distill-qwen-7b"


def reasons(result: DeploymentPlan) -> set[RejectionReason]:
    return {item.reason for item in result.rejections}


def test_the_cheapest_pool_that_serves_is_chosen_and_the_others_are_alternatives() -> None:
    result = planned(deployment(objectives=objectives(per_hour="400")), H200, H200_SPOT)

    assert [item.pool for item in result.placements] == ["h200-spot"]
    assert result.usd_per_hour == sum(item.usd_per_hour for item in result.placements)
    dearer = [item for item in result.alternatives if item.usd_per_hour > result.usd_per_hour]
    assert [item.capacity_type for item in dearer] == [ON_DEMAND]


def test_for_the_same_dollars_a_measured_loss_in_quality_comes_before_an_unmeasured_one() -> None:
    asked = deployment(objectives=objectives(ttft_s=2.0, tpot_s=0.06, per_hour="150"), demand=demand(120, 300))
    asked = replace(asked, objectives=replace(asked.objectives, accuracy_class=AccuracyClass.ECONOMY))
    result = planned(asked, H200_SPOT)

    assert {item.shape.precision for item in result.placements} == {"int4"}
    assert [(item.name, item.usd_per_hour) for item in alternatives(result)] == [
        ("3 x h200-fp4-tp4", result.usd_per_hour)
    ]


def test_dollars_per_token_are_fleet_dollars_over_expected_tokens() -> None:
    asked = deployment()
    result = planned(asked, H200_SPOT)
    tokens_per_hour = 240 * 60 * (asked.demand.input_tokens.mean_tokens + asked.demand.output_tokens.mean_tokens)

    assert result.usd_per_million_tokens == pytest.approx(result.usd_per_hour / tokens_per_hour * 1e6, abs=1)


def test_half_a_node_costs_half_a_node() -> None:
    result = planned(deployment(SMALL), offering("h100", "23.6"))

    shape = result.placements[0].shape
    assert result.placements[0].usd_per_replica_hour == micro_usd("23.6") * shape.accelerators // 8


def test_declared_demand_is_sized_for_its_peak_until_the_window_is_measured() -> None:
    asked = deployment(
        SMALL, demand=demand(60, 6000), objectives=objectives(ttft_s=2.0, accuracy="Critical", per_hour="900")
    )
    pools = offering("l40s", "30.1312", max_nodes=64)
    partly = replace(asked, measured=Measured(900, 500, 30, 40, None, None, 0, None, None, None, None))
    quiet = replace(asked, measured=Measured(900, 900, 30, 40, None, None, 0, None, None, None, None))

    declared, still, measured = (planned(item, pools) for item in (asked, partly, quiet))

    assert declared.demand_source == still.demand_source == "declared"
    assert declared.planned_requests_per_min == 6000
    assert measured.demand_source == "measured"
    assert measured.placements[0].replicas < declared.placements[0].replicas
    assert measured.placements[0].engine == declared.placements[0].engine


def test_measured_demand_is_never_planned_above_the_peak() -> None:
    asked = deployment(SMALL, demand=demand(60, 120))
    busy = replace(asked, measured=Measured(900, 900, 5000, 9000, None, None, 0, None, None, None, None))

    assert planned(busy, offering("h100", "23.6")).planned_requests_per_min == 120


def test_a_quiet_hour_does_not_forbid_the_smallest_fleet_by_its_dollars_per_token() -> None:
    asked = deployment(SMALL, objectives=objectives(per_million="1.00"))
    quiet = replace(asked, measured=Measured(900, 900, 1, 2, None, None, 0, None, None, None, None))
    result = planned(quiet, offering("h100", "23.6"))

    assert result.is_feasible
    assert result.usd_per_million_tokens > micro_usd(1)


def test_spot_is_limited_to_its_share_and_the_rest_goes_on_demand() -> None:
    asked = deployment(
        SMALL,
        demand=demand(3000, 20000),
        constraints=Constraints(max_spot_percent=50),
        objectives=objectives(per_hour="1000"),
    )
    spot = offering("h100", "10", "spot", capacity_type=SPOT)
    result = planned(asked, offering("h100", "23.6", "firm"), spot)

    by_kind = {item.capacity_type: item.replicas for item in result.placements}
    total = sum(by_kind.values())
    assert total >= 2
    assert by_kind[SPOT] == total // 2
    assert sum(item.share_percent for item in result.placements) == 100


def test_spot_alone_is_refused_where_its_share_is_limited() -> None:
    asked = deployment(constraints=Constraints(max_spot_percent=60))
    result = planned(asked, H200_SPOT)

    assert not result.is_feasible
    assert RejectionReason.SPOT_SHARE in reasons(result)
    assert "maxSpotPercent 100" in result.smallest_change


def test_interruptions_make_a_spot_dollar_worth_less() -> None:
    stable = offering("h200", "30.00", "stable")
    shaky = offering("h200", "29.90", "shaky", capacity_type=SPOT, interruptions_per_node_day=10, startup_s=600)

    rich = deployment(objectives=objectives(per_hour="400"))

    assert planned(rich, stable, shaky).placements[0].pool == "stable"
    assert planned(rich, stable, replace(shaky, interruptions_per_node_day=0.0)).placements[0].pool == "shaky"


@pytest.mark.parametrize(
    ("constraints", "reason", "text"),
    [
        (Constraints(deny_accelerators=("h200",)), RejectionReason.NOT_ALLOWED, "placement.accelerators.deny"),
        (Constraints(allow_accelerators=("t4",)), RejectionReason.NOT_ALLOWED, "placement.accelerators.allow"),
        (Constraints(capacity_types=(SPOT,)), RejectionReason.NOT_ALLOWED, "placement.capacityTypes"),
        (Constraints(zones=("us-east-1a",)), RejectionReason.NOT_ALLOWED, "placement.zones"),
        (Constraints(node_selector={"disk": "fast"}), RejectionReason.NOT_ALLOWED, "disk=fast"),
    ],
)
def test_what_the_placement_rules_out_is_refused_by_the_name_of_the_field(
    constraints: Constraints, reason: RejectionReason, text: str
) -> None:
    result = planned(deployment(constraints=constraints), H200)

    assert not result.is_feasible
    assert [(item.name, item.reason) for item in result.rejections] == [("h200", reason)]
    assert text in result.rejections[0].message


@pytest.mark.parametrize(
    ("pool", "reason", "text"),
    [
        (offering("h200", None), RejectionReason.PRICE_UNKNOWN, "spec.price.usdPerNodeHour"),
        (offering("h200", "60", allowed_namespaces=("team-b",)), RejectionReason.NAMESPACE_NOT_ALLOWED, "team-b"),
        (offering("h200", "60", unavailable_reason="all nodes are cordoned"), RejectionReason.UNAVAILABLE, "cordoned"),
    ],
)
def test_pools_that_cannot_be_used_say_why(pool: object, reason: RejectionReason, text: str) -> None:
    result = planned(deployment(), pool)  # type: ignore[arg-type]

    assert [item.reason for item in result.rejections] == [reason]
    assert text in result.rejections[0].message


def test_labels_of_a_pool_satisfy_a_node_selector() -> None:
    asked = deployment(constraints=Constraints(node_selector={"disk": "fast"}), objectives=objectives(per_hour="400"))

    assert planned(asked, replace(H200, labels={"disk": "fast"})).is_feasible


def test_t4_cannot_hold_v3_and_the_reason_has_the_kernel_in_it() -> None:
    result = planned(deployment(), offering("t4", "7.824", max_nodes=64))

    assert not result.is_feasible
    assert reasons(result) <= {RejectionReason.PRECISION_ILLEGAL, RejectionReason.NO_CHECKPOINT}
    assert any("sm80; this is sm75" in item.message for item in result.rejections)


def test_v3_in_fp8_does_not_fit_one_h100_node_and_the_remedy_is_named() -> None:
    result = planned(deployment(objectives=objectives(accuracy="Balanced")), offering("h100", "55.04"))

    refusal = next(item for item in result.rejections if item.name == "h100-fp8-tp8")
    assert refusal.reason is RejectionReason.DOES_NOT_FIT
    assert "16 GPUs on 2 nodes with LeaderWorkerSet would fit" in refusal.message
    assert refusal.value is not None
    assert refusal.limit is not None
    assert refusal.value > refusal.limit
    assert refusal.usd_per_hour == micro_usd("55.04")


def test_only_accelerators_that_are_looked_at_are_said_to_fit() -> None:
    tiny = planned(deployment(objectives=objectives(accuracy="Critical")), offering("l4", "13.35"))
    refusal = next(item for item in tiny.rejections if item.reason is RejectionReason.DOES_NOT_FIT)
    assert "GPUs would fit" not in refusal.message  # 64 of them would: replicas of 32 are the largest
    assert "no sharding that is looked at holds it" in refusal.message

    half = planned(deployment("deepseek-v2-lite", objectives=objectives(accuracy="Critical")), offering("l4", "13.35"))
    assert "; 2 GPUs" in next(item.message for item in half.rejections if item.reason is RejectionReason.DOES_NOT_FIT)


def test_two_nodes_hold_it_where_groups_of_pods_can_be_made() -> None:
    asked = deployment(
        demand=demand(30, 60), objectives=objectives(accuracy="Balanced", ttft_s=None, tpot_s=None, per_hour="400")
    )
    pool = offering("h100", "55.04", inter_node=InterNode.EFA)

    without, with_groups = planned(asked, pool), planned(asked, pool, multi_node=True)

    assert not without.is_feasible
    assert RejectionReason.MULTI_NODE_UNAVAILABLE in reasons(without)
    assert with_groups.placements[0].shape.nodes_per_replica == 2
    assert with_groups.placements[0].usd_per_replica_hour == 2 * micro_usd("55.04")


def test_a_context_beyond_the_model_is_refused_with_the_field_to_lower() -> None:
    result = planned(deployment("deepseek-tiny"), offering("cpu", "0.10", gpus_per_node=2))

    refusal = next(item for item in result.rejections if item.name == "cpu-bf16-tp1")
    assert refusal.reason is RejectionReason.CONTEXT_TOO_LONG
    assert "18432 tokens > 4096" in refusal.message
    assert "inputTokens.max" in refusal.message


def test_too_few_nodes_are_refused_with_what_the_fleet_would_cost() -> None:
    asked = deployment(SMALL, demand=demand(3000, 60000), objectives=objectives(per_hour="10000"))
    result = planned(asked, offering("a100-80gb", "27.45", max_nodes=1))

    refusal = next(item for item in result.rejections if item.reason is RejectionReason.NOT_ENOUGH_NODES)
    assert "would cost $" in refusal.message
    assert refusal.usd_per_hour is not None


def test_free_accelerators_of_a_node_bound_a_replica() -> None:
    crowded = offering("h200", "63.296", max_nodes=1, free_gpus_by_node=(4,))
    result = planned(deployment(objectives=objectives(accuracy="Critical")), crowded)

    assert not result.is_feasible
    assert RejectionReason.NOT_ENOUGH_NODES in reasons(result)


def test_replicas_stay_within_their_limits() -> None:
    asked = deployment(SMALL, demand=demand(10, 20), constraints=Constraints(min_replicas=3))
    assert planned(asked, offering("h100", "23.6")).placements[0].replicas == 3

    busy = deployment(
        SMALL,
        demand=demand(3000, 60000),
        constraints=Constraints(max_replicas=1),
        objectives=objectives(per_hour="10000"),
    )
    result = planned(busy, offering("h100", "23.6", max_nodes=64))
    assert RejectionReason.TOO_MANY_REPLICAS in reasons(result)
    assert "maxReplicas >= " in result.smallest_change


def test_over_budget_names_the_smallest_budget_and_that_budget_passes() -> None:
    asked = deployment(objectives=objectives(per_hour="5"))
    result = planned(asked, H200_SPOT)

    assert not result.is_feasible
    needed = result.smallest_change.split("$/h >= ")[1].split(",")[0]
    passes = planned(
        replace(asked, objectives=replace(asked.objectives, max_usd_per_hour=micro_usd(needed))), H200_SPOT
    )
    assert passes.is_feasible
    less = micro_usd(needed) - 20_000
    assert not planned(
        replace(asked, objectives=replace(asked.objectives, max_usd_per_hour=less)), H200_SPOT
    ).is_feasible


def test_the_number_of_a_refusal_passes() -> None:
    pool = replace(H200_SPOT, price=offering("h200", "20.60").price)

    def refused(per_million: str) -> str:
        found = planned(deployment(objectives=objectives(per_million=per_million)), pool).rejections
        reason = RejectionReason.OVER_COST_PER_TOKEN
        return next((item.message for item in found if (item.name, item.reason) == ("h200-fp8-tp8", reason)), "")

    assert refused("3.81").endswith("$3.82/M tokens > $3.81/M")  # 3.8148
    assert not refused("3.82")


def test_what_is_over_a_limit_is_never_written_as_equal_to_it() -> None:
    amount, limit = micro_usd("3.334"), micro_usd("3.333")

    assert format_usd(amount) == format_usd(limit)
    assert format_usd_needed(amount) == "3.34"
    assert format_usd_allowed(limit) == "3.33"


@pytest.mark.parametrize(("per_hour", "begins"), [("5", "at least 1 x h200-"), ("100", "2 x h200-")])
def test_the_fewest_replicas_are_priced_as_the_least_that_it_costs(per_hour: str, begins: str) -> None:
    """Two of a shape are two of it alone; one may stand beside another shape."""
    few, limits = demand(5, 10), Constraints(min_replicas=2)
    result = planned(deployment(demand=few, objectives=objectives(per_hour=per_hour), constraints=limits), H200)

    messages = [item.message for item in result.rejections if item.reason is RejectionReason.OVER_BUDGET]
    assert any(message.startswith(begins) for message in messages)


def test_an_impossible_ttft_names_the_smallest_one_that_passes() -> None:
    asked = deployment(objectives=objectives(ttft_s=0.05))
    result = planned(asked, H200_SPOT)

    assert not result.is_feasible
    assert "even when idle" in next(
        item.message for item in result.rejections if item.reason is RejectionReason.TTFT_TOO_HIGH
    )
    text = result.smallest_change.split("TTFT >= ")[1].split(",")[0]
    seconds = float(text.split()[0]) / (1000 if text.endswith("ms") else 1)
    assert planned(deployment(objectives=objectives(ttft_s=seconds)), H200_SPOT).is_feasible
    assert not planned(deployment(objectives=objectives(ttft_s=seconds * 0.85)), H200_SPOT).is_feasible


def test_a_model_that_nothing_holds_is_told_so() -> None:
    result = planned(deployment("deepseek-v4-pro"), offering("l4", "13.35"))

    assert not result.is_feasible
    assert not result.smallest_change
    assert "can run deepseek-v4-pro" in result.obstacle


def test_no_pools_at_all_is_an_infeasible_plan_and_no_crash() -> None:
    result = planned(deployment())

    assert not result.is_feasible
    assert result.obstacle
    assert result.digest


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


def test_of_equal_dollars_the_native_precision_is_taken() -> None:
    result = planned(deployment(SMALL, demand=demand(10, 20)), offering("h100", "23.6"))

    assert str(result.placements[0].shape.precision) == "bf16"


def test_engine_settings_hold_the_longest_request_and_follow_from_declared_values() -> None:
    engine = planned(deployment(), H200_SPOT).placements[0].engine

    assert engine.max_model_len_tokens == 16384 + 2048
    assert engine.max_num_seqs >= 1
    assert engine.data_type == "bfloat16"


def test_cpu_engines_get_small_settings() -> None:
    short = lengths((1200, 500.0, 1.0))
    loose = objectives(ttft_s=None, tpot_s=None)
    asked = deployment(
        "deepseek-tiny", demand=demand(10, 20, input_tokens=short, output_tokens=short), objectives=loose
    )
    engine = planned(asked, offering("cpu", "0.1008", gpus_per_node=2)).placements[0].engine

    assert engine.max_num_seqs == 16
    assert engine.max_num_batched_tokens == engine.max_model_len_tokens == 2400
    assert engine.kv_cache_bytes % 134_217_728 == 0
    assert engine.kv_cache_bytes >= 16 * 2400 * 4608


def test_digest_is_of_the_plan_and_not_of_the_moment() -> None:
    asked = deployment()
    first = plan(snapshot(asked, offerings=(H200, H200_SPOT)), CATALOG, Policy()).deployments[asked.key]
    later = replace(
        snapshot(asked, offerings=(H200_SPOT, H200)), now=snapshot(asked, offerings=()).now.replace(year=2027)
    )
    second = plan(later, CATALOG, Policy()).deployments[asked.key]

    assert second.warnings, "a year later the prices are stale"
    assert first == replace(second, warnings=())
    assert len(first.digest) == 64
    assert "digest" not in json.loads(canonical_json(first))
    assert planned(deployment(objectives=objectives(per_hour="99")), H200, H200_SPOT).digest


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


def test_spot_that_may_all_go_at_once_is_covered_by_nodes_that_stay() -> None:
    """One zone of spot is dry for 3 % of the time: 99 % asks for cover, 90 % does not."""
    shaky = offering("h100", "8", "spot", capacity_type=SPOT, interruptions_per_node_day=0.4, startup_s=240)
    firm = offering("h100", "23.6", "firm")

    def asked(availability: float) -> DeploymentPlan:
        wants = replace(objectives(per_hour="1000"), availability_percent=availability)
        return planned(deployment(SMALL, demand=demand(3000, 20000), objectives=wants), shaky, firm)

    bold, careful = asked(90.0), asked(99.0)

    assert {item.capacity_type for item in bold.placements} == {SPOT}
    assert ON_DEMAND in {item.capacity_type for item in careful.placements}
    for result, percent in ((bold, 90.0), (careful, 99.0)):
        assert result.availability_percent is not None
        assert result.availability_percent >= percent
        assert result.expected_usd_per_hour is not None
        assert result.expected_usd_per_hour >= result.usd_per_hour
    refused = planned(
        deployment(SMALL, objectives=replace(objectives(per_hour="1000"), availability_percent=99.9)), shaky
    )
    assert RejectionReason.SPOT_RISK in reasons(refused)


def test_reserved_capacity_comes_first_and_is_counted_in_full() -> None:
    reserved = offering("h100", "23.6", "ours", capacity_type=CapacityType.RESERVED)
    result = planned(deployment(SMALL), reserved, offering("h100", "10", "theirs"))

    assert {item.pool for item in result.placements} == {"ours"}
    assert result.expected_usd_per_hour == result.usd_per_hour == sum(item.usd_per_hour for item in result.placements)


def test_by_length_each_placement_says_which_prompts_it_gets_and_carries_them() -> None:
    clusters = [small_world(seed, CATALOG) for seed in (1, 10, 11)]
    by_length = [plan(cluster, CATALOG, Policy(routing=Routing.BY_LENGTH)) for cluster in clusters]
    plans = [item for found in by_length for item in found.deployments.values()]
    mixed = [item for item in plans if len({placed.shape for placed in item.placements}) > 1]

    assert mixed
    for result in mixed:
        assert result.prediction is not None
        assert result.prediction.capacity_requests_per_min >= result.planned_requests_per_min * 0.999
        reaches = sorted(item.input_tokens for item in result.placements if item.input_tokens is not None)
        assert len(reaches) == len(result.placements)
        # Together they take prompts of every length.
        assert reaches[0][0] == 0
        assert all(start <= max(end for _, end in reaches[:index]) for index, (start, _) in enumerate(reaches) if index)
        for item in result.placements:
            assert item.prediction is not None
            assert item.prediction.utilization_percent <= 100.1
    even = [item for cluster in clusters for item in plan(cluster, CATALOG, Policy()).deployments.values()]
    assert all(item.input_tokens is None for result in even for item in result.placements)


L4 = (
    offering("l4", "0.3618", "l4-spot", capacity_type=SPOT, gpus_per_node=1, max_nodes=8),
    offering("l4", "0.8048", gpus_per_node=1, max_nodes=8),
)


def under_one_limit(per_hour: str) -> dict[str, DeploymentPlan]:
    """Two deployments of which the second gets what the first leaves of the cluster's dollars."""
    loose = objectives(ttft_s=3.0, tpot_s=0.1, per_hour="8")
    first = deployment(SMALL, "first", objectives=replace(loose, priority=5), demand=demand(60, 200))
    second = deployment(SMALL, "second", objectives=loose, demand=demand(120, 600))
    policy = Policy(max_usd_per_hour=micro_usd(per_hour))
    found = plan(snapshot(first, second, offerings=L4), CATALOG, policy, explains=True).deployments
    return {key.name: item for key, item in found.items()}


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


def test_as_many_replicas_as_must_be_need_not_be_of_one_shape() -> None:
    """Two of the dear shape are over the budget; one of it beside a cheap one that is alone in its pool is not."""
    few, many = offering("l40s", "1.861", gpus_per_node=1, max_nodes=1), offering("h100", "3.99", gpus_per_node=1)
    asked = deployment(
        "deepseek-r1-distill-qwen-14b",
        demand=demand(20, 40),
        objectives=objectives(ttft_s=2.0, tpot_s=0.1, per_hour="7"),
        constraints=Constraints(min_replicas=2),
    )
    found = planned(asked, few, many)

    assert {item.pool: item.replicas for item in found.placements} == {"l40s": 1, "h100": 1}
    assert found.usd_per_hour == micro_usd("5.851")


@pytest.mark.parametrize(
    ("model", "accelerator"), [("deepseek-r1-distill-qwen-14b", "l4"), ("deepseek-r1-distill-llama-70b", "l40s")]
)
@pytest.mark.parametrize("ttft_s", [0.5, 1.0, 2.0])
def test_a_limit_for_first_tokens_that_is_named_is_passed(model: str, accelerator: str, ttft_s: float) -> None:
    """A tight limit has longer steps set, which a loose one has not."""
    prompts = lengths((1200, 500.0, 0.5), (4000, 1400.0, 0.4), (32768, 16000.0, 0.1))

    def refused(limit_s: float) -> dict[str, str]:
        asked = deployment(
            model,
            demand=demand(5, 10, input_tokens=prompts),
            objectives=objectives(ttft_s=limit_s, tpot_s=0.3, per_hour="500"),
        )
        world = snapshot(asked, offerings=(offering(accelerator, "30"),))
        found = weigh_alone(asked, world, CATALOG, Policy())[1]
        return {item.name: item.message for item in found if item.reason is RejectionReason.TTFT_TOO_HIGH}

    named = {name: re.search(r"would pass at ([\d.]+) (ms|s)", text) for name, text in refused(ttft_s).items()}
    assert named
    for name, limit in named.items():
        assert limit is not None
        seconds = float(limit[1]) / (1000 if limit[2] == "ms" else 1)
        assert name not in refused(seconds)
