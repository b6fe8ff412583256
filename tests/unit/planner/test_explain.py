from __future__ import annotations

import json
from dataclasses import replace

from deepseek_operator.api.status import PlanStatus
from deepseek_planner.explain import (
    MOST_ALTERNATIVES,
    MOST_LOST_TO,
    MOST_REJECTIONS,
    MOST_WARNINGS,
    STAGES,
    alternatives,
    duration,
    duration_asked,
    nearest,
    plan_document,
    summary,
    variant,
)
from deepseek_planner.hardware import CapacityType
from deepseek_planner.plan import Rejection, RejectionReason, Shortage
from deepseek_planner.snapshot import DeploymentKey
from deepseek_planner.units import micro_usd
from support.planning import demand, deployment, objectives, offering, planned

POOLS = (
    offering("t4", "7.824"),
    offering("a100-80gb", "27.4471"),
    offering("h100", "55.04"),
    offering("h100", "18.6838", "h100-spot", capacity_type=CapacityType.SPOT),
    offering("h200", "20.7848", "h200-spot", capacity_type=CapacityType.SPOT),
)


def test_the_document_is_what_the_status_declares() -> None:
    for asked in (deployment(), deployment(objectives=objectives(per_hour="1"))):
        document = plan_document(planned(asked, *POOLS))

        PlanStatus.model_validate(document)
        assert len(document["alternatives"]) <= MOST_ALTERNATIVES
        assert len(document["rejections"]) <= MOST_REJECTIONS
        assert all(len(item["message"]) <= 256 for item in document["rejections"])


def test_dollars_are_decimal_strings_and_times_are_durations() -> None:
    result = planned(deployment(), *POOLS)
    document = plan_document(result)

    assert document["placements"][0]["usdPerHour"].replace(".", "").isdigit()
    assert document["predicted"]["timePerOutputToken"]["p95"].endswith("ms")
    assert sum(item["sharePercent"] for item in document["placements"]) == 100
    assert document["digest"] == result.digest


def test_one_line_per_accelerator_that_cannot_serve() -> None:
    result = planned(deployment(), *POOLS)
    lines = {item.accelerator: item for item in summary(result)}
    told = set(lines) | {item.shape.accelerator for item in result.placements}
    told |= {item.accelerator for item in alternatives(result)}

    assert told == {"t4", "a100-80gb", "h100", "h200"}
    assert lines["t4"].name == "t4-*"


def test_an_infeasible_document_says_what_would_do() -> None:
    document = plan_document(planned(deployment(objectives=objectives(per_hour="1")), *POOLS))

    assert document["placements"] == []
    assert "$/h >= " in document["smallestChange"]
    assert "usdPerHour" not in document


def test_durations_are_go_style() -> None:
    assert [duration(value) for value in (0.0042, 0.0999, 0.62, 1.0, 1.417, 12.5, 1800.0)] == [
        "4.2ms",
        "100ms",
        "620ms",
        "1s",
        "1.42s",
        "12.5s",
        "1800s",
    ]
    assert [duration_asked(value) for value in (0.0015, 0.0405, 1.0, 1.425)] == ["1.5ms", "40.5ms", "1s", "1.425s"]


def test_what_a_mixed_fleet_risks_and_lacks_is_in_the_document() -> None:
    result = planned(deployment(), *POOLS)
    first = replace(result.placements[0], capacity_type=CapacityType.SPOT)
    variant = replace(first, model="deepseek-r1-distill-qwen-32b", input_tokens=(1200, 16384))
    told = replace(
        result,
        placements=(first, variant),
        shortage=Shortage(60, "h200-spot", tuple(DeploymentKey("team-b", f"docs{n}") for n in range(9))),
        availability_percent=99.9999,
        expected_usd_per_hour=micro_usd("43.10"),
        warnings=("w" * 400,) * 9,
    )
    document = plan_document(told)

    PlanStatus.model_validate(document)
    assert document["shortage"]["servedPercent"] == 60
    assert len(document["shortage"]["lostTo"]) == MOST_LOST_TO
    assert document["availabilityPercent"] == "99.99"
    assert document["expectedUSDPerHour"] == "43.10"
    assert len(document["warnings"]) == MOST_WARNINGS
    assert document["placements"][1]["model"] == "deepseek-r1-distill-qwen-32b"
    assert document["placements"][1]["inputTokens"] == {"above": 1200, "upTo": 16384}
    assert "model" not in document["placements"][0]
    assert document["placements"][1]["name"] == f"deepseek-r1-distill-qwen-32b/{document['placements'][0]['name']}"
    assert len(json.dumps(document)) <= 8192


def test_risk_is_left_out_where_nothing_can_be_taken_back() -> None:
    result = planned(deployment(), offering("h200", "63.296"))
    told = replace(result, availability_percent=100.0, expected_usd_per_hour=result.usd_per_hour)

    assert not {"availabilityPercent", "expectedUSDPerHour", "shortage", "warnings"} & set(plan_document(told))


def test_a_gap_is_in_the_document_where_there_is_one() -> None:
    result = planned(deployment(), *POOLS)

    assert "gapPercent" not in plan_document(replace(result, gap_percent=0.0))
    for gap, text in ((0.0413, "0.041"), (1.26, "1.3"), (99.7, "100")):
        document = plan_document(replace(result, gap_percent=gap))
        assert document["gapPercent"] == text
        PlanStatus.model_validate(document)


def test_every_reason_has_its_stage() -> None:
    assert set(STAGES) == set(RejectionReason)


def test_the_nearest_miss_of_each_accelerator_stands_for_it() -> None:
    def miss(name: str, accelerator: str, value: float) -> Rejection:
        return Rejection(name, RejectionReason.TTFT_TOO_HIGH, "", value, 1.0, "s", accelerator)

    found = nearest([miss("a", "t4", 3.0), miss("b", "t4", 1.5), miss("c", "l4", 9.0)])

    assert [item.name for item in found] == ["c", "b"]


MODEST = {"demand": demand(30, 60), "objectives": objectives(ttft_s=3.0, tpot_s=0.1)}


def test_of_a_variant_that_serves_the_model_itself_is_told_about_on_the_same_accelerator() -> None:
    asked = deployment("deepseek-r1", variants=("deepseek-r1-distill-qwen-7b",), **MODEST)
    result = planned(asked, offering("l4", "0.8", gpus_per_node=1, max_nodes=64))

    assert {item.model for item in result.placements} == {"deepseek-r1-distill-qwen-7b"}
    assert summary(result)[0].name.startswith("l4-")


def test_what_serves_the_model_itself_is_told_beside_its_variants() -> None:
    asked = deployment("deepseek-r1", variants=("deepseek-r1-distill-llama-8b",), objectives=objectives(tpot_s=0.06))
    result = planned(asked, *POOLS)

    assert result.placements[0].model == "deepseek-r1-distill-llama-8b"
    assert any(item.accelerator == "h200" and not variant(item.name) for item in alternatives(result))
    told = {(variant(item.name), item.accelerator) for item in result.alternatives}
    told |= {(item.model, item.shape.accelerator) for item in result.placements}
    assert not told & {(variant(item.name), item.accelerator) for item in summary(result)}


def test_why_not_spot_is_answered_where_it_would_be_cheaper() -> None:
    on_demand = offering("h200", "63.296")
    risky = offering(
        "h200", "20.7848", "h200-spot", capacity_type=CapacityType.SPOT, interruptions_per_node_day=9.0, startup_s=240
    )
    dear = replace(risky, price=offering("h200", "99").price)
    asked = deployment(demand=demand(60, 120))

    result = planned(asked, on_demand, risky)
    assert {item.capacity_type for item in result.placements} == {CapacityType.ON_DEMAND}
    (refused,) = [item for item in summary(result) if item.reason is RejectionReason.SPOT_RISK]
    assert refused.accelerator == "h200"
    assert refused.usd_per_hour is not None
    assert refused.usd_per_hour < result.usd_per_hour
    assert " % of the time" in refused.message
    assert "availabilityPercent is 95" in refused.message
    assert not [item for item in summary(planned(asked, on_demand, dear)) if item.accelerator == "h200"]


def test_names_tell_the_variant() -> None:
    assert [variant(name) for name in ("h200-fp8-tp8", "2 x h200-fp8-tp8", "v/l4-fp8-tp1", "2 x v/l4-fp8-tp1")] == [
        "",
        "",
        "v",
        "v",
    ]
