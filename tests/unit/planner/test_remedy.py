"""What is named as the smallest change passes when it is made, and less of it does not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from deepseek_planner.demand import LatencyTarget
from deepseek_planner.hardware import CapacityType, InterNode, Offering
from deepseek_planner.plan import DeploymentPlan
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Constraints, DeploymentInput, Policy, Routing
from deepseek_planner.units import micro_usd
from support.planning import CATALOG, demand, deployment, lengths, objectives, offering, planned, snapshot

SPOT, RESERVED = CapacityType.SPOT, CapacityType.RESERVED
SMALL = "deepseek-r1-distill-qwen-7b"
EVERY_DAY = offering("h200", "20.7848", "h200-spot", capacity_type=SPOT, interruptions_per_node_day=3.0, startup_s=240)
H200 = offering("h200", "63.296")
RESERVED_FIRST = (
    offering("h200", "60", "reserved", capacity_type=RESERVED),
    offering("h200", "20", "spot", capacity_type=SPOT, interruptions_per_node_day=0.4, startup_s=240),
)


def limit(text: str, name: str) -> str:
    """The number that is named for a limit."""
    found = re.search(rf"{re.escape(name)} [<>]= (.*?)(,| and | together|$)", text)
    assert found, text
    return found[1]


def seconds(text: str, name: str) -> float:
    value, unit = limit(text, name).split()
    return float(value) / (1000 if unit == "ms" else 1)


def with_objectives(asked: DeploymentInput, **changed: object) -> DeploymentInput:
    return replace(asked, objectives=replace(asked.objectives, **changed))  # type: ignore[arg-type]


def is_feasible(asked: DeploymentInput, *offerings: Offering) -> bool:
    return planned(asked, *offerings).is_feasible


@pytest.mark.parametrize("routing", list(Routing))
def test_the_smallest_budget_is_counted_in_billed_dollars(routing: Routing) -> None:
    asked = deployment(demand=demand(120, 300), objectives=objectives(ttft_s=2.0, tpot_s=0.06, per_hour="15"))

    def answer(per_hour: str) -> DeploymentPlan:
        known = with_objectives(asked, max_usd_per_hour=micro_usd(per_hour))
        return plan(snapshot(known, offerings=RESERVED_FIRST), CATALOG, Policy(routing=routing)).deployments[asked.key]

    needed = limit(answer("15").smallest_change, "$/h")
    assert answer(needed).is_feasible  # reserved capacity counts a thousandth in the choice, and in full here
    assert not answer(f"{float(needed) - 0.01:.2f}").is_feasible


def test_the_smallest_limit_per_token_is_counted_in_billed_dollars() -> None:
    asked = deployment(
        demand=demand(120, 300), objectives=objectives(ttft_s=2.0, tpot_s=0.06, per_hour="500", per_million="0.50")
    )

    needed = limit(planned(asked, *RESERVED_FIRST).smallest_change, "$/M")
    assert is_feasible(with_objectives(asked, max_usd_per_million_tokens=micro_usd(needed)), *RESERVED_FIRST)
    less = micro_usd(f"{float(needed) - 0.01:.2f}")
    assert not is_feasible(with_objectives(asked, max_usd_per_million_tokens=less), *RESERVED_FIRST)


def test_the_fewest_replicas_are_not_those_of_the_cheapest_fleet() -> None:
    pool = offering("l4", "6", max_nodes=8)
    asked = deployment(
        SMALL,
        demand=demand(600, 1200),
        objectives=objectives(ttft_s=3.0, tpot_s=0.1, accuracy="Balanced", per_hour="500"),
        constraints=Constraints(max_replicas=2),
    )

    def allowed(count: int) -> bool:
        return is_feasible(replace(asked, constraints=Constraints(max_replicas=count)), pool)

    cheapest = sum(item.replicas for item in planned(replace(asked, constraints=Constraints()), pool).placements)
    needed = int(limit(planned(asked, pool).smallest_change, "maxReplicas"))
    assert needed < cheapest
    assert allowed(needed)
    assert not allowed(needed - 1)


def test_availability_and_dollars_are_named_together_with_their_numbers() -> None:
    asked = deployment(demand=demand(120, 300), objectives=objectives(ttft_s=2.0, tpot_s=0.06, per_hour="10"))
    text = planned(asked, EVERY_DAY).smallest_change

    assert text.startswith("availabilityPercent <= ")
    percent, per_hour = float(limit(text, "availabilityPercent")), micro_usd(limit(text, "$/h"))
    both = with_objectives(asked, availability_percent=percent, max_usd_per_hour=per_hour)
    assert is_feasible(both, EVERY_DAY)
    assert not is_feasible(with_objectives(both, availability_percent=percent + 0.1), EVERY_DAY)
    assert not is_feasible(with_objectives(both, max_usd_per_hour=per_hour - 10_000), EVERY_DAY)


@pytest.mark.parametrize(
    ("ttft_s", "tpot_s", "per_hour"), [(0.01, 0.05, "5"), (0.01, 0.001, "5"), (0.02, 0.0005, "100")]
)
def test_targets_that_would_pass_are_named_with_the_dollars_for_them(
    ttft_s: float, tpot_s: float, per_hour: str
) -> None:
    asked = deployment(demand=demand(120, 500), objectives=objectives(ttft_s=ttft_s, tpot_s=tpot_s, per_hour=per_hour))
    text = planned(asked, H200).smallest_change

    assert "without" not in text
    assert "requestsPerMinute" not in text
    assert text.endswith(" together")
    if "TTFT" in text:
        asked = with_objectives(asked, time_to_first_token=LatencyTarget(95, seconds(text, "TTFT")))
    if "TPOT" in text:
        asked = with_objectives(asked, time_per_output_token=LatencyTarget(95, seconds(text, "TPOT")))
    if "$/h" in text:
        asked = with_objectives(asked, max_usd_per_hour=micro_usd(limit(text, "$/h")))
    assert is_feasible(asked, H200)


def test_a_load_far_above_what_there_is_is_told_what_could_be_served() -> None:
    asked = deployment(demand=demand(100_000, 100_000), objectives=objectives(ttft_s=2.0, per_hour="99999"))
    peak = int(limit(planned(asked, H200).smallest_change, "requestsPerMinute.peak"))

    assert 1 <= peak < 100_000 / 64
    assert is_feasible(replace(asked, demand=demand(peak, peak)), H200)
    assert not is_feasible(replace(asked, demand=demand(peak * 1.05, peak * 1.05)), H200)


def test_nodes_are_counted() -> None:
    asked = deployment(demand=demand(120, 300), objectives=objectives(ttft_s=2.0, tpot_s=0.06, per_hour="5000"))
    none = replace(H200, max_nodes=0, unavailable_reason="no node matches nodeSelector")
    assert planned(asked, none).smallest_change == "2 more nodes in h200"
    assert [is_feasible(asked, replace(H200, max_nodes=count)) for count in (1, 2)] == [False, True]

    busy = replace(asked, demand=demand(4000, 4000))
    few = replace(H200, max_nodes=2)
    text = planned(busy, few).smallest_change
    found = re.search(r"(\d+) more nodes? in h200", text)
    assert found, text
    more = int(found[1])
    assert is_feasible(busy, replace(few, max_nodes=2 + more))
    assert not is_feasible(busy, replace(few, max_nodes=1 + more))


def test_what_shuts_a_pool_is_named() -> None:
    asked = deployment(demand=demand(120, 300), objectives=objectives(ttft_s=2.0, tpot_s=0.06))
    others = replace(H200, allowed_namespaces=("team-z",))
    text = "team-a in allowedNamespaces of h200"
    assert planned(asked, others, offering("t4", "7.8")).smallest_change == text

    unpriced = planned(asked, replace(H200, price=None)).smallest_change
    assert unpriced == "a price of h200 that the budget covers (spec.price.usdPerNodeHour)"

    on_demand = replace(asked, constraints=Constraints(capacity_types=(SPOT,)))
    assert planned(on_demand, H200).smallest_change == "allow OnDemand"


def test_the_longest_prompt_that_fits_is_named() -> None:
    inputs = lengths((3000, 900.0, 0.9), (200_000, 3500.0, 0.1))
    asked = deployment(demand=demand(120, 300, input_tokens=inputs), objectives=objectives(ttft_s=60.0, tpot_s=0.2))
    longest = int(limit(planned(asked, H200).smallest_change, "inputTokens.max"))

    def served(tokens: int) -> bool:
        shorter = lengths((3000, 900.0, 0.9), (tokens, 3500.0, 0.1))
        return is_feasible(replace(asked, demand=demand(120, 300, input_tokens=shorter)), H200)

    assert longest == 163_840 - 2048
    assert served(longest)
    assert not served(longest + 1)


def test_replicas_over_several_nodes_are_named_where_nothing_can_make_them() -> None:
    pool = offering("a100-80gb", "27", inter_node=InterNode.INFINIBAND, max_nodes=8)
    asked = deployment(
        demand=demand(120, 300), objectives=objectives(ttft_s=2.0, tpot_s=0.15, accuracy="Critical", per_hour="1000")
    )

    assert "LeaderWorkerSet (plan: --multi-node)" in planned(asked, pool).smallest_change
    assert planned(asked, pool, multi_node=True).is_feasible


def test_what_no_change_would_help_is_no_change() -> None:
    nothing = planned(deployment())
    assert (nothing.smallest_change, nothing.obstacle.split(";")[0]) == ("", "no pool is offered")

    result = planned(deployment("deepseek-v4-pro"), offering("l4", "13.35"))
    assert not result.smallest_change
    assert result.obstacle.startswith("nothing that is offered can run deepseek-v4-pro")


def test_a_target_of_a_millisecond_is_told_what_would_pass() -> None:
    """However far from it: a hundred times as long is still shorter than a prompt takes."""
    text = planned(deployment(objectives=objectives(ttft_s=0.001, per_hour="400")), H200).smallest_change

    assert is_feasible(deployment(objectives=objectives(ttft_s=seconds(text, "TTFT"), per_hour="400")), H200)
