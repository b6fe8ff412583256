"""What whole nodes cost beyond what is held of them."""

from __future__ import annotations

from deepseek_planner.idle import left_idle, warning
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Policy
from deepseek_planner.units import micro_usd
from support.planning import CATALOG, demand, deployment, objectives, offering, snapshot

SMALL = "deepseek-r1-distill-qwen-7b"
NODES = offering("l4", "4", gpus_per_node=4, max_nodes=8)


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
    text = warning(idle, micro_usd("7"), micro_usd("9.50"))
    assert text == "accelerators idle on its nodes: 2 of a, 1 of b; $9.50/h are billed if nobody else uses them"
    assert warning(idle, micro_usd("7"), micro_usd("9.49")).endswith("above maxUSDPerHour")
