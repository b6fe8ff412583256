"""Laws of every move: budget, service, an end, and the same end after a restart at any step."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_planner.hardware import CapacityType
from deepseek_planner.moves import Move, MoveReason
from deepseek_planner.rollout import AS_SHIPPED, StepKind, next_step
from deepseek_planner.simulation import all_steps, applied, settled
from deepseek_planner.snapshot import Fleet, Policy, Snapshot
from deepseek_planner.units import MicroUsd
from support.fleets import KEY, group, shape, snapshot, target

PRICES = {"h100": "10", "h200": "16", "t4": "2"}
BLOCKED = {"SurgeOverBudget", "NoRoomInPool"}

SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND

kinds = st.tuples(st.sampled_from(sorted(PRICES)), st.sampled_from("ab"))
paid = st.sampled_from([SPOT, ON_DEMAND])


@st.composite
def moves(draw, *, within_budget=True, with_scarcity=True):
    """A fleet in any state, anywhere on the way of any move, and the targets of another."""
    running = draw(st.lists(kinds, unique=True, max_size=3))
    groups = [draw(_groups(*kind)) for kind in running]
    wanted = draw(st.lists(kinds, unique=True, min_size=1, max_size=2))
    how = {kind: draw(paid) for kind in sorted({*running, *wanted})}
    alike = draw(st.booleans())  # one shape on all pools: replicas are exchanged one for one
    groups = [_as_paid(each, how[kind], alike) for each, kind in zip(groups, running, strict=True)]
    targets = tuple(target(draw(st.integers(1, 4)), name, PRICES[name], version) for name, version in wanted)
    placements = (_as_paid(each.placement, how[kind], alike) for each, kind in zip(targets, wanted, strict=True))
    targets = tuple(replace(each, placement=placed) for each, placed in zip(targets, placements, strict=True))
    seen = snapshot(*sorted(groups, key=lambda item: item.name), min_replicas=draw(st.integers(1, 3)))
    least = spend(seen) if within_budget else 0
    aim = sum(each.placement.usd_per_hour for each in targets)
    # A plan is within its budget: the targets alone always are.
    budget = max(aim, least) + draw(st.integers(0, 40)) * 1_000_000
    deployment = seen.deployments[0]
    objectives = replace(deployment.objectives, max_usd_per_hour=MicroUsd(budget))
    seen = replace(seen, deployments=(replace(deployment, objectives=objectives),))
    if with_scarcity and draw(st.booleans()):
        free = {each.pool: (draw(st.integers(0, 8)),) for each in seen.offerings}
        scarce = (replace(each, max_nodes=1, free_gpus_by_node=free[each.pool]) for each in seen.offerings)
        seen = replace(seen, offerings=tuple(scarce))
    least = draw(st.none() | st.integers(1, 4))
    move = Move(
        KEY,
        targets,
        MoveReason.SPEC_CHANGED,
        required=True,
        saves_usd_per_hour=MicroUsd(0),
        message="",
        least_serving=least,
    )
    return seen, move


def _as_paid(placed, capacity_type, alike):
    return replace(placed, capacity_type=capacity_type, shape=shape("h100") if alike else placed.shape)


@st.composite
def _groups(draw, accelerator, version):
    desired = draw(st.integers(0, 4))
    ready = draw(st.integers(0, desired))
    more = {"ready": ready, "starting": desired - ready, "draining": draw(st.integers(0, 2))}
    return group(desired, accelerator, PRICES[accelerator], version, **more)


def spend(seen: Snapshot) -> int:
    return sum(each.paid_replicas * each.usd_per_replica_hour for each in seen.fleet.groups)


def serving(seen: Snapshot) -> int:
    return sum(min(each.ready, each.desired) for each in seen.fleet.groups)


def cover(seen: Snapshot) -> int:
    return sum(min(each.ready, each.desired) for each in seen.fleet.groups if each.capacity_type is not SPOT)


def a_while(seen: Snapshot, draw) -> Snapshot:
    """Some of what starts becomes ready, some of what drains is gone."""
    groups = []
    for each in seen.fleet.groups:
        starts, gone = draw(st.integers(0, each.starting)), draw(st.integers(0, each.draining))
        changes = {"ready": each.ready + starts, "starting": each.starting - starts, "draining": each.draining - gone}
        groups.append(replace(each, **changes))
    return replace(seen, fleet=Fleet(tuple(groups)))


def states(seen, move, draw, policy=AS_SHIPPED):
    """The worlds from here to the end, engines being as slow or as fast as hypothesis likes."""
    for _ in range(400):
        yield seen
        step = next_step(seen, move, policy)
        if step is None:
            return
        if step.kind is StepKind.WAIT:
            after = a_while(seen, draw)
            after = settled(seen) if after == seen else after
            if after == seen:
                assert step.reason in BLOCKED, step
                return
        else:
            after = a_while(applied(seen, step), draw)
        seen = after
    raise AssertionError("no end after 400 steps")


@settings(max_examples=120, deadline=None)
@given(moves(), st.data())
def test_the_budget_holds_at_every_step(case, data):
    seen, move = case
    budget = seen.deployments[0].objectives.max_usd_per_hour
    for state in states(seen, move, data.draw):
        assert spend(state) <= budget


@settings(max_examples=120, deadline=None)
@given(moves(), st.data())
def test_service_never_falls_below_the_smaller_end(case, data):
    seen, move = case
    floor = min(serving(seen), sum(each.placement.replicas for each in move.targets))
    if move.least_serving is not None:
        floor = min(floor, move.least_serving)
    shall = sum(each.placement.replicas for each in move.targets if each.placement.capacity_type is not SPOT)
    # An empty group of spot is deleted, and then nothing is spot that the others would be cover for.
    parts = (*(each.placement for each in move.targets), *(each for each in seen.fleet.groups if each.paid_replicas))
    covered = min(cover(seen), shall) if any(each.capacity_type is SPOT for each in parts) else 0
    for state in states(seen, move, data.draw):
        assert serving(state) >= floor
        assert cover(state) >= covered


@settings(max_examples=120, deadline=None)
@given(moves(), st.integers(0, 60), st.data())
def test_the_clusters_limit_holds_at_every_step(case, more, data):
    seen, move = case
    other = group(2, "h200", PRICES["h200"], "z", key=replace(KEY, name="other"))
    seen = replace(seen, fleet=Fleet((*seen.fleet.groups, other)))
    aim = sum(each.placement.usd_per_hour for each in move.targets) + other.usd_per_hour
    policy = Policy(max_usd_per_hour=MicroUsd(max(aim, spend(seen)) + more * 1_000_000))
    for state in states(seen, move, data.draw, policy):
        assert spend(state) <= policy.max_usd_per_hour
        assert other in state.fleet.groups


@settings(max_examples=120, deadline=None)
@given(moves(within_budget=False), st.data())
def test_over_budget_the_spending_only_falls_and_the_last_serving_replica_stays(case, data):
    seen, move = case
    budget = seen.deployments[0].objectives.max_usd_per_hour
    before = None
    for state in states(seen, move, data.draw):
        if before is not None and before > budget:
            assert spend(state) <= before
        before = spend(state)
        assert serving(state) >= min(1, serving(seen))


@settings(max_examples=120, deadline=None)
@given(moves(), st.data())
def test_every_order_of_events_and_every_restart_end_alike(case, data):
    # Or at a wait for money or room: an engine that began to serve meanwhile is not stopped to make it.
    seen, move = case
    straight = seen
    for step in all_steps(seen, move):
        straight = settled(straight) if step.kind is StepKind.WAIT else applied(straight, step)
    *_, last = states(seen, move, data.draw)
    ends = [settled(straight), settled(last)]
    wanted = {each.name: each.placement.replicas for each in move.targets}
    for end in ends:
        if next_step(end, move) is None:
            assert {each.name: each.desired for each in end.fleet.groups} == wanted


@settings(max_examples=120, deadline=None)
@given(moves())
def test_a_step_is_a_function_of_what_is_observed(case):
    seen, move = case
    shuffled = replace(seen, fleet=Fleet(tuple(seen.fleet.groups)))
    assert next_step(seen, move) == next_step(shuffled, move)


@settings(max_examples=120, deadline=None)
@given(moves(with_scarcity=False))
def test_with_money_and_room_every_move_ends_at_its_targets(case):
    seen, move = case
    deployment = seen.deployments[0]
    rich = replace(deployment.objectives, max_usd_per_hour=MicroUsd(10**12))
    seen = replace(seen, deployments=(replace(deployment, objectives=rich),))
    for step in all_steps(seen, move):
        assert step.reason not in BLOCKED, step
        seen = settled(seen) if step.kind is StepKind.WAIT else applied(seen, step)
    wanted = {each.name: each.placement.replicas for each in move.targets}
    assert {each.name: each.desired for each in settled(seen).fleet.groups} == wanted
