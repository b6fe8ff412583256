"""Steps of fleets with several shapes: within both budgets, one for one where it must be, cover kept."""

from __future__ import annotations

from dataclasses import replace

from deepseek_planner.hardware import CapacityType
from deepseek_planner.moves import KeptGroup, Move, MoveReason
from deepseek_planner.rollout import StepKind, next_step
from deepseek_planner.simulation import all_steps
from deepseek_planner.snapshot import Fleet, Policy
from deepseek_planner.units import MicroUsd, micro_usd
from support.fleets import KEY, group, offering, snapshot, target

SPOT = CapacityType.SPOT


def move(*targets, keeps=(), least_serving=None, reason=MoveReason.SPEC_CHANGED, yields=()):
    nothing = MicroUsd(0)
    more = {"message": "", "keeps": keeps, "least_serving": least_serving, "yields": yields}
    return Move(KEY, targets, reason, required=True, saves_usd_per_hour=nothing, **more)


def told(steps):
    return [
        f"{step.kind} {step.group} {step.replicas}"
        if step.kind is not StepKind.WAIT
        else f"Wait {step.group} {step.reason}"
        for step in steps
    ]


def full(pool="h100", gpus=2):
    return offering(pool, max_nodes=1, free_gpus_by_node=(gpus,), gpus_per_node=gpus)


def test_a_full_pool_is_renewed_one_by_one_where_the_load_lets_an_old_one_stop_first():
    steps = all_steps(snapshot(group(2), offerings=(full(),)), move(target(2, version="b"), least_serving=1))
    assert told(steps) == [
        "Scale chat-h100-a 1",
        "Wait chat-h100-b Draining",
        "Create chat-h100-b 1",
        "Wait chat-h100-b WaitingForReady",
        "Scale chat-h100-a 0",
        "Wait chat-h100-b Draining",
        "Delete chat-h100-a 0",
        "Scale chat-h100-b 2",
    ]


def test_the_last_that_the_load_needs_does_not_stop_first():
    for least in (None, 2):
        steps = all_steps(snapshot(group(2), offerings=(full(),)), move(target(2, version="b"), least_serving=least))
        assert told(steps) == ["Wait chat-h100-b NoRoomInPool"]
    alone = all_steps(snapshot(group(1), offerings=(full(gpus=1),)), move(target(1, version="b"), least_serving=1))
    assert told(alone) == ["Wait chat-h100-b NoRoomInPool"]


def test_one_is_exchanged_after_the_other_where_none_may_be_added():
    starting = group(1, version="b", ready=0, starting=1)
    seen = snapshot(group(2), starting, offerings=(full(gpus=3),))
    step = next_step(seen, move(target(3, version="b"), least_serving=1))
    assert (step.kind, step.reason) == (StepKind.WAIT, "WaitingForReady")


def test_replicas_move_between_pools_one_by_one_within_the_budget():
    spot = replace(
        target(2, "t4", "4"), placement=replace(target(2, "t4", "4").placement, shape=target(1).placement.shape)
    )
    steps = all_steps(snapshot(group(3), budget="34"), move(target(1), spot))
    assert told(steps) == [
        "Create chat-t4-a 1",
        "Wait chat-t4-a WaitingForReady",
        "Scale chat-h100-a 2",
        "Wait chat-t4-a Draining",
        "Scale chat-t4-a 2",
        "Wait chat-t4-a WaitingForReady",
        "Scale chat-h100-a 1",
    ]


def test_shares_that_shift_between_shapes_wait_for_money_before_anything_is_started():
    step = next_step(snapshot(group(3), group(2, "t4", "2"), budget="36"), move(target(1), target(5, "t4", "2")))
    assert (step.kind, step.reason) == (StepKind.WAIT, "SurgeOverBudget")
    assert "3 more t4-fp8-tp1 make $40.00/h" in step.message


def test_the_clusters_limit_counts_the_surge_of_all():
    other = replace(group(2), key=replace(KEY, name="other"))
    seen = snapshot(group(2))
    seen = replace(seen, fleet=Fleet((*seen.fleet.groups, other)))
    limited = Policy(max_usd_per_hour=micro_usd("45"))
    assert told([next_step(seen, move(target(2, "t4", "2")), limited)]) == ["Create chat-t4-a 2"]
    step = next_step(seen, move(target(3, "t4", "2")), limited)
    assert (step.kind, step.reason) == (StepKind.WAIT, "SurgeOverBudget")
    assert step.message == (
        "$40.00/h run in the cluster and 3 more t4-fp8-tp1 make $46.00/h, over its limit 45.00: "
        "raise it to 46.00 until the move is over"
    )


def test_over_the_clusters_limit_a_deployment_gives_what_its_plan_can_spare():
    other = replace(group(4), key=replace(KEY, name="other"))
    seen = snapshot(group(3))
    seen = replace(seen, fleet=Fleet((*seen.fleet.groups, other)))
    gives = move(target(2), yields=(KeptGroup("chat-h100-a", 2),))
    step = next_step(seen, gives, Policy(max_usd_per_hour=micro_usd("45")))
    assert told([step]) == ["Scale chat-h100-a 2"]
    assert step.reason == "OverBudget"
    assert step.message == "3 -> 2: the cluster costs too much"


def test_the_last_that_cannot_be_taken_back_is_not_drained_before_another_serves():
    pools = (full("h100", 1), full("h200", 1))
    spot_goal = target(1, "h200", version="b")
    spot_goal = replace(
        spot_goal, placement=replace(spot_goal.placement, capacity_type=SPOT, shape=target(1).placement.shape)
    )
    spot = replace(group(1, "h200", capacity_type=SPOT), shape=target(1).placement.shape)
    wanted = move(spot_goal, target(1, version="b"), least_serving=1)
    steps = told(all_steps(snapshot(group(1), spot, offerings=pools), wanted))
    assert "Create chat-h200-b 1" in steps
    assert steps[-1] == "Wait chat-h100-b NoRoomInPool"
    assert not any(line.startswith("Scale chat-h100-a") for line in steps)


def test_spot_goes_before_what_cannot_be_taken_back():
    cover, spot = group(1), group(1, "h200", "4", capacity_type=SPOT)
    steps = told(all_steps(snapshot(cover, spot), move(target(2, "t4", "2"))))
    assert steps.index("Scale chat-h200-a 0") < steps.index("Scale chat-h100-a 0")


def test_what_was_given_up_goes_though_others_are_not_ready():
    kept = KeptGroup("chat-h100-a", 2)
    seen = snapshot(group(2, ready=1, starting=1), group(1, "t4", "2", ready=0, starting=1))
    steps = all_steps(seen, move(keeps=(kept,), reason=MoveReason.DID_NOT_START))
    assert told(steps)[0] == "Scale chat-t4-a 0"
    assert told(steps)[-1] == "Delete chat-t4-a 0"
    assert not any("chat-h100-a" in line for line in told(steps) if line.startswith(("Scale", "Delete")))


def test_a_kept_groups_cover_is_not_lowered_before_other_cover_serves_beside_spot():
    """Two that stay serve beside one on spot; one of them may go only when another that stays serves."""
    starting = group(2, "t4", "2", ready=0, starting=2)
    spot = group(1, "t4", "2", "b", capacity_type=SPOT)
    seen = snapshot(group(2), starting, spot)
    wanted = move(target(1), target(1, "t4", "2"))
    step = next_step(seen, wanted)
    assert not (step.kind is StepKind.SCALE and step.group == "chat-h100-a")
    ready = replace(starting, ready=2, starting=0)
    assert told(all_steps(snapshot(group(2), ready, spot), wanted))[0] == "Scale chat-h100-a 1"
