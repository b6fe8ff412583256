"""Which fleet the search chooses for one deployment, and what it says of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deepseek_planner.demand import AccuracyClass, Measured
from deepseek_planner.digest import canonical_json
from deepseek_planner.explain import alternatives
from deepseek_planner.hardware import CapacityType
from deepseek_planner.plan import DeploymentPlan, RejectionReason
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Constraints, Policy, Routing
from deepseek_planner.units import micro_usd
from support.planning import CATALOG, demand, deployment, lengths, objectives, offering, planned, reasons, snapshot
from support.worlds import small_world

SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND
H200 = offering("h200", "63.296")
H200_SPOT = offering("h200", "20.7848", "h200-spot", capacity_type=SPOT, interruptions_per_node_day=0.05, startup_s=240)
SMALL = "deepseek-r1-distill-qwen-7b"


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


def test_interruptions_make_a_spot_dollar_worth_less() -> None:
    stable = offering("h200", "30.00", "stable")
    shaky = offering("h200", "29.90", "shaky", capacity_type=SPOT, interruptions_per_node_day=10, startup_s=600)

    rich = deployment(objectives=objectives(per_hour="400"))

    assert planned(rich, stable, shaky).placements[0].pool == "stable"
    assert planned(rich, stable, replace(shaky, interruptions_per_node_day=0.0)).placements[0].pool == "shaky"


def test_labels_of_a_pool_satisfy_a_node_selector() -> None:
    asked = deployment(constraints=Constraints(node_selector={"disk": "fast"}), objectives=objectives(per_hour="400"))

    assert planned(asked, replace(H200, labels={"disk": "fast"})).is_feasible


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
