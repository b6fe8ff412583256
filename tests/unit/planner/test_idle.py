"""What whole nodes cost beyond what is held of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.idle import billed_usd_per_hour, left_idle, warning
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Constraints, DeploymentInput, Policy
from deepseek_planner.units import micro_usd
from support.planning import CATALOG, demand, deployment, objectives, offering, snapshot

SMALL = "deepseek-r1-distill-qwen-7b"
NODES = offering("l4", "4", gpus_per_node=4, max_nodes=8)
ANY = Policy()


def plans(*asked, nodes=NODES):
    return plan(snapshot(*asked, offerings=(nodes,)), CATALOG, Policy()).deployments


def small(name="chat", peak=60, per_hour="9"):
    return deployment(
        SMALL, name, demand=demand(peak, peak), objectives=objectives(ttft_s=3.0, tpot_s=0.2, per_hour=per_hour)
    )


def held(planned):
    return sum(item.replicas * item.shape.accelerators for item in planned.placements)


def test_what_a_plan_leaves_idle_is_said_in_dollars_of_whole_nodes() -> None:
    (planned,) = plans(small()).values()
    assert held(planned) == 1
    assert planned.usd_per_hour == micro_usd("1")
    assert planned.warnings[0] == (
        "accelerators idle on its nodes: 3 of l4; $4.00/h are billed if nobody else uses them"
    )


def test_a_budget_that_whole_nodes_exceed_is_named() -> None:
    (planned,) = plans(small(per_hour="3")).values()
    assert planned.is_feasible
    assert planned.warnings[0].endswith("if nobody else uses them, above maxUSDPerHour")


def single(usd: str, **changed: Any) -> Offering:
    return offering("l4", usd, "single", gpus_per_node=1, **changed)


def said(*asked: DeploymentInput, nodes: tuple[Offering, ...], policy: Policy = ANY) -> str:
    found = plan(snapshot(*asked, offerings=nodes), CATALOG, policy).deployments[asked[0].key]
    assert {item.pool for item in found.placements} == {"l4"}
    return found.warnings[0]


def test_what_would_be_billed_less_is_named() -> None:
    assert said(small(), nodes=(NODES, single("1.50"))) == (
        "accelerators idle on its nodes: 3 of l4; $4.00/h are billed if nobody else uses them; "
        "1 x l4-fp8-tp1 on single would then save $2.50/h of it"
    )


def test_of_nodes_that_are_billed_whole_the_cheapest_are_named() -> None:
    """Of the larger ones less would be held, of the smaller ones more is billed."""
    pair = offering("l4", "2.80", "pair", gpus_per_node=2)
    assert said(small(), nodes=(NODES, pair, single("2.90"))).endswith("on pair would then save $1.20/h of it")
    assert said(small(), nodes=(NODES, pair, single("2.70"))).endswith("on single would then save $1.30/h of it")


def test_nothing_is_named_that_is_billed_as_much() -> None:
    assert said(small(), nodes=(NODES, single("4"))).endswith("if nobody else uses them")
    # Less than anybody would see in dollars and cents.
    assert said(small(), nodes=(NODES, single("3.999"))).endswith("if nobody else uses them")


def test_a_node_that_another_stays_on_is_paid_for_whoever_leaves_it() -> None:
    """One of two that share a node would pay for another one, and the bill of both would be no smaller."""
    nodes = NODES, single("1.50")
    assert said(small("one"), small("two"), nodes=nodes).endswith("if nobody else uses them")


def test_room_that_another_is_planned_to_take_costs_the_next_a_new_node() -> None:
    """The two accelerators left on the shared node are one deployment's: to move there saves nothing."""
    partly = replace(NODES, free_gpus_by_node=(1,))
    first, second = small("first"), small("second")
    found = plan(snapshot(first, second, offerings=(partly,)), CATALOG, Policy()).deployments
    assert [one.warnings[0].endswith("if nobody else uses them") for one in found.values()] == [True, True]


def test_what_is_reserved_is_paid_for_whatever_is_planned() -> None:
    paid = replace(NODES, capacity_type=CapacityType.RESERVED)
    (planned,) = plan(snapshot(small(), offerings=(paid, single("1.50"))), CATALOG, Policy()).deployments.values()
    assert {item.pool for item in planned.placements} == {"l4"}
    assert not planned.warnings


def test_nothing_is_named_that_may_not_or_cannot_be_had() -> None:
    full, dear = single("1.50", max_nodes=0), single("1.50")
    assert said(small(), nodes=(NODES, full)).endswith("if nobody else uses them")
    assert "above maxUSDPerHour" in said(small(per_hour="1.20"), nodes=(NODES, dear))
    assert "single" not in said(small(per_hour="1.20"), nodes=(NODES, dear))
    assert "single" not in said(small(), nodes=(NODES, dear), policy=Policy(max_usd_per_hour=micro_usd("1.40")))


def test_what_others_are_planned_to_hold_is_not_named() -> None:
    """The one node that would cost less is another deployment's, which may use no other."""
    pinned = replace(small("pinned"), constraints=Constraints(node_selector={"disk": "fast"}))
    fast = single("1.50", max_nodes=1, labels={"disk": "fast"})
    assert "single" in said(small(), nodes=(NODES, fast))
    assert "single" not in said(small(), pinned, nodes=(NODES, fast))


def test_deployments_share_nodes_and_what_is_left_of_them() -> None:
    found = plans(small("one"), small("two"))
    idle = left_idle({key: planned.placements for key, planned in found.items()}, (NODES,))
    assert [held(planned) for planned in found.values()] == [1, 1]
    assert [pools["l4"] for pools in idle.values()] == [(2, micro_usd("1")), (2, micro_usd("1"))]


def test_what_is_left_on_nodes_that_others_hold_a_part_of_is_not_ours() -> None:
    partly = offering("l4", "4", gpus_per_node=4, max_nodes=8, free_gpus_by_node=(2,))
    (planned,) = plans(small(), nodes=partly).values()
    assert not planned.warnings


def test_full_nodes_are_not_mentioned() -> None:
    assert not left_idle({}, (NODES,))
    (planned,) = plans(small(), nodes=offering("l4", "1", gpus_per_node=1, max_nodes=8)).values()
    assert not planned.warnings


def test_the_sum_of_all_pools_is_compared_with_the_limit() -> None:
    idle = {"a": (2, micro_usd("2")), "b": (1, micro_usd("0.50"))}
    billed = billed_usd_per_hour(idle, micro_usd("7"))
    text = warning(idle, billed, micro_usd("9.50"))
    assert text == "accelerators idle on its nodes: 2 of a, 1 of b; $9.50/h are billed if nobody else uses them"
    assert warning(idle, billed, micro_usd("9.49")).endswith("above maxUSDPerHour")
