"""Steps: create before destroy, within budget and room, derived from what is observed alone."""

from __future__ import annotations

from dataclasses import replace

from deepseek_planner.moves import KeptGroup, Move, MoveReason
from deepseek_planner.rollout import StepKind, next_step
from deepseek_planner.room import replicas_that_fit
from deepseek_planner.simulation import all_steps, applied, settled
from deepseek_planner.snapshot import Fleet
from deepseek_planner.units import MicroUsd
from support.fleets import KEY, deployment, group, offering, plan, snapshot, target


def move(*targets, keeps=()):
    return Move(
        KEY, targets, MoveReason.SPEC_CHANGED, required=True, saves_usd_per_hour=MicroUsd(0), message="", keeps=keeps
    )


def told(steps):
    """Steps as short lines: ``Create chat-h100-a 2``, and the reason of a wait."""
    return [
        f"{step.kind} {step.group} {step.replicas}"
        if step.kind is not StepKind.WAIT
        else f"Wait {step.group} {step.reason}"
        for step in steps
    ]


def test_a_first_placement_is_one_step():
    assert told(all_steps(snapshot(), move(target(3)))) == ["Create chat-h100-a 3"]


def test_the_end_of_a_move_is_no_step():
    assert next_step(snapshot(group(2)), move(target(2))) is None
    assert next_step(snapshot(group(2, ready=1, starting=1)), move(target(2))) is None


def test_more_replicas_are_one_step():
    assert told(all_steps(snapshot(group(1)), move(target(3)))) == ["Scale chat-h100-a 3"]


def test_fewer_replicas_are_one_step():
    assert told(all_steps(snapshot(group(3)), move(target(1)))) == ["Scale chat-h100-a 1"]


def test_a_replacement_creates_waits_and_removes_one_by_one():
    steps = all_steps(snapshot(group(2)), move(target(3, "t4", "2")))
    assert told(steps) == [
        "Create chat-t4-a 3",
        "Wait chat-t4-a WaitingForReady",
        "Scale chat-h100-a 1",
        "Wait chat-h100-a Draining",
        "Scale chat-h100-a 0",
        "Wait chat-h100-a Draining",
        "Delete chat-h100-a 0",
    ]


def test_new_engines_of_the_same_shape_are_exchanged_one_by_one_within_the_budget():
    steps = all_steps(snapshot(group(2), budget="30"), move(target(2, version="b")))
    assert told(steps) == [
        "Create chat-h100-b 1",
        "Wait chat-h100-b WaitingForReady",
        "Scale chat-h100-a 1",
        "Wait chat-h100-b Draining",
        "Scale chat-h100-b 2",
        "Wait chat-h100-b WaitingForReady",
        "Scale chat-h100-a 0",
        "Wait chat-h100-a Draining",
        "Delete chat-h100-a 0",
    ]


def test_growth_of_the_same_shape_begins_with_what_fits_beside_and_exchanges_then():
    """Two of six serve more at once; the four that run need not be joined by three before one may go."""
    steps = all_steps(snapshot(group(4), budget="70"), move(target(6, version="b")))
    assert told(steps)[:4] == [
        "Create chat-h100-b 3",
        "Wait chat-h100-b WaitingForReady",
        "Scale chat-h100-a 3",
        "Wait chat-h100-b Draining",
    ]
    assert told(steps)[-1] == "Delete chat-h100-a 0"
    few = next_step(snapshot(group(4), budget="60"), move(target(6, version="b")))
    assert (few.kind, few.replicas) == (StepKind.CREATE, 2)


def test_new_engines_on_two_pools_are_exchanged_one_by_one_too():
    wanted = (
        target(1, version="b"),
        replace(target(1, "h200", "10"), placement=replace(target(1).placement, pool="h200")),
    )
    steps = all_steps(snapshot(group(2), budget="30"), move(*wanted))
    assert told(steps)[-1] == "Delete chat-h100-a 0"
    assert [line for line in told(steps) if line.startswith("Create")] == [
        "Create chat-h100-b 1",
        "Create chat-h200-a 1",
    ]


def test_a_surge_over_budget_waits_and_says_what_would_do():
    step = next_step(snapshot(group(2), budget="35"), move(target(2, "t4", "9")))
    assert (step.kind, step.reason) == (StepKind.WAIT, "SurgeOverBudget")
    assert step.message == (
        "$20.00/h run and 2 more t4-fp8-tp1 make $38.00/h, over maxUSDPerHour 35.00: "
        "raise it to 38.00 until the move is over"
    )


def test_growth_is_as_far_as_the_budget_allows():
    seen = snapshot(group(1), group(1, "t4", "10", desired=0, ready=0, draining=1), budget="30")
    assert told([next_step(seen, move(target(3)))]) == ["Scale chat-h100-a 2"]


def test_draining_replicas_cost_money_until_they_are_gone():
    seen = snapshot(group(1, draining=1), budget="20")
    step = next_step(seen, move(target(2)))
    assert (step.kind, step.reason) == (StepKind.WAIT, "Draining")
    assert told([next_step(settled(seen), move(target(2)))]) == ["Scale chat-h100-a 2"]


def test_a_full_pool_is_named():
    full = (offering("h100", max_nodes=1, free_gpus_by_node=(2,), gpus_per_node=2),)
    step = next_step(snapshot(group(2), offerings=full), move(target(2, version="b")))
    assert (step.kind, step.reason) == (StepKind.WAIT, "NoRoomInPool")
    assert "pool h100 has room for 0 more h100-fp8-tp1, 1 must start before the old may stop" in step.message


def test_growth_is_as_far_as_the_pool_has_room():
    full = (offering("h100", max_nodes=1, free_gpus_by_node=(3,), gpus_per_node=8),)
    seen = snapshot(group(1), offerings=full)
    assert told(all_steps(seen, move(target(5)))) == ["Scale chat-h100-a 3", "Wait chat-h100-a NoRoomInPool"]


def test_the_last_serving_replica_stays_until_another_serves():
    starting = group(1, "t4", "2", ready=0, starting=1)
    step = next_step(snapshot(group(1), starting), move(target(1, "t4", "2")))
    assert (step.kind, step.reason) == (StepKind.WAIT, "WaitingForReady")


def test_engines_that_do_not_become_ready_are_quoted():
    failing = group(1, "t4", "2", ready=0, starting=1, failure="weights: no such repository")
    step = next_step(snapshot(group(1), failing), move(target(1, "t4", "2")))
    assert step.message == "chat-t4-a has 0 of 1 replicas ready: weights: no such repository"


def test_engines_nobody_wants_make_room_when_they_serve_nothing():
    dead = group(2, ready=0, starting=2, failure="crash loop")
    steps = all_steps(snapshot(dead, budget="25"), move(target(1, "h200", "20")))
    assert told(steps)[0] == "Scale chat-h100-a 0"
    assert "Create chat-h200-a 1" in told(steps)


def test_over_budget_the_surplus_shrinks_as_far_as_it_must_first():
    steps = all_steps(snapshot(group(3), budget="25"), move(target(1, "t4", "5")))
    assert told(steps)[0] == "Scale chat-h100-a 2"
    assert steps[0].reason == "OverBudget"
    assert told(steps)[-1] == "Delete chat-h100-a 0"


def test_over_budget_without_a_plan_shrinks_to_what_is_kept():
    seen = snapshot(group(3), budget="5")
    steps = all_steps(seen, move(keeps=(KeptGroup("chat-h100-a", 1),)))
    assert told(steps) == ["Scale chat-h100-a 1"]


def test_over_budget_the_last_serving_replica_stays():
    assert next_step(snapshot(group(1), budget="5"), move(keeps=(KeptGroup("chat-h100-a", 1),))) is None


def test_an_emptied_group_is_deleted_even_while_others_start():
    seen = snapshot(group(0), group(1, "t4", "2", ready=0, starting=1))
    assert told([next_step(seen, move(target(1, "t4", "2")))]) == ["Delete chat-h100-a 0"]


def test_room_counts_what_runs_and_nodes_to_come():
    two_nodes = (offering("h100", max_nodes=3, free_gpus_by_node=(8, 3)),)
    shape_of_two = replace(target(1).placement.shape, tensor_parallel=2)
    empty = snapshot(offerings=two_nodes)
    assert replicas_that_fit(empty, "h100", shape_of_two) == 4 + 1 + 4
    assert replicas_that_fit(snapshot(group(3), offerings=two_nodes), "h100", shape_of_two) == 9 - 2
    assert replicas_that_fit(empty, "t4", shape_of_two) == 0
    over_two = replace(shape_of_two, tensor_parallel=8, pipeline_parallel=2, nodes_per_replica=2)
    assert replicas_that_fit(empty, "h100", over_two) == 1
    closed = (offering("h100", unavailable_reason="cordoned"),)
    assert replicas_that_fit(snapshot(offerings=closed), "h100", shape_of_two) == 0


def test_another_deployments_engines_take_room_too():
    full = (offering("h100", max_nodes=1, free_gpus_by_node=(2,), gpus_per_node=2),)
    other = replace(group(1), key=replace(KEY, name="other"))
    seen = replace(snapshot(offerings=full), fleet=Fleet((other,)))
    assert told(all_steps(seen, move(target(2)))) == ["Create chat-h100-a 1", "Wait chat-h100-a NoRoomInPool"]


def test_the_simulated_world_keeps_other_deployments():
    other = replace(group(1), key=replace(KEY, name="other"))
    seen = replace(snapshot(of=deployment()), fleet=Fleet((other,)))
    after = settled(applied(seen, next_step(seen, move(target(2)))))
    assert other in after.fleet.groups
    assert after.fleet.of(KEY)[0].ready == 2
    assert plan(target(2))
