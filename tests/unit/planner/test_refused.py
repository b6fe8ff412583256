"""What the search refuses, and that what it names instead passes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from deepseek_planner.hardware import CapacityType, InterNode
from deepseek_planner.plan import RejectionReason
from deepseek_planner.search import weigh_alone
from deepseek_planner.snapshot import Constraints, Policy
from deepseek_planner.units import format_usd, format_usd_allowed, format_usd_needed, micro_usd
from support.planning import CATALOG, demand, deployment, lengths, objectives, offering, planned, reasons, snapshot

SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND
H200 = offering("h200", "63.296")
H200_SPOT = offering("h200", "20.7848", "h200-spot", capacity_type=SPOT, interruptions_per_node_day=0.05, startup_s=240)
SMALL = "deepseek-r1-distill-qwen-7b"


def test_spot_alone_is_refused_where_its_share_is_limited() -> None:
    asked = deployment(constraints=Constraints(max_spot_percent=60))
    result = planned(asked, H200_SPOT)

    assert not result.is_feasible
    assert RejectionReason.SPOT_SHARE in reasons(result)
    assert "maxSpotPercent 100" in result.smallest_change


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
