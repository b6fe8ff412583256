"""From plan to moves: what differs between the fleet and the plan, and which differences are worth acting on.

Three kinds of difference, three bars:

- The spec, a lost pool, the budget or a missing fleet demand the move: it waits for nothing.
- More capacity is needed: at once, when measurements ask for it.
- The plan costs less: only where :mod:`deepseek_planner.worth` finds the savings worth the disruption.

Soon after a move nothing is taken away: where more capacity is needed then, what is missing is added beside what runs,
and what is too much by then goes later, for savings. A move goes on without bars while the plan names the same groups;
where the plan changed on the way, the rest is judged anew. What is only taken away, because it never served, because
others come first, or because no plan is feasible in the budget, is decided in :mod:`deepseek_planner.retreats`.

``verdicts`` keeps the moves that wait together with what they wait for; ``moves`` are those that wait for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from deepseek_planner.difference import Difference, Situation, TargetGroup, Wanted, as_running, difference
from deepseek_planner.forecast import DECLARED, covered
from deepseek_planner.move import KeptGroup, Move, MoveReason, Verdict, at_least, dollars, named
from deepseek_planner.plan import Plan
from deepseek_planner.retreats import given_up, gives_way, shrunk_to_minimum
from deepseek_planner.room import replicas_that_fit
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey, Policy, RebalancingMode, Snapshot
from deepseek_planner.units import MicroUsd
from deepseek_planner.worth import (
    Hold,
    Waiting,
    held_for_capacity,
    held_for_savings,
    held_for_setback,
    objective_missed,
)

__all__ = [
    "Hold",
    "KeptGroup",
    "Move",
    "MoveReason",
    "TargetGroup",
    "Targets",
    "Verdict",
    "Waiting",
    "as_running",
    "moves",
    "verdicts",
]


SAME_DOLLARS = 0.002
"""Part of the fleet's dollars by which a plan may differ and still cost the same: expected dollars are estimates."""


Targets = Mapping[DeploymentKey, tuple[TargetGroup, ...]]


def moves(
    snapshot: Snapshot, plan: Plan, targets: Targets, *, policy: Policy, settled_s: Mapping[DeploymentKey, float]
) -> tuple[Move, ...]:
    """Moves to make now, at most one per deployment, ordered by key. None is the usual answer.

    ``settled_s`` says for how long each plan has had the same placements and replicas. The generation of a
    deployment counts as planned (``planned_generation``) once its plan is feasible and no move is left for it.
    """
    found = verdicts(snapshot, plan, targets, policy=policy, settled_s=settled_s)
    return tuple(verdict.move for verdict in found if verdict.waiting is None)


def verdicts(
    snapshot: Snapshot,
    plan: Plan,
    targets: Targets,
    *,
    policy: Policy,
    settled_s: Mapping[DeploymentKey, float],
    wanted: Mapping[DeploymentKey, Wanted] | None = None,
) -> tuple[Verdict, ...]:
    """Like :func:`moves`, with those that wait and what they wait for.

    ``wanted`` says which engines others wait for: :mod:`deepseek_planner.claims` finds them.
    """
    found = []
    unplanned = _unplanned_usd_per_hour(snapshot, plan)
    for deployment in sorted(snapshot.deployments, key=lambda each: each.key):
        if deployment.paused:
            continue
        key = deployment.key
        situation = Situation(
            snapshot=snapshot,
            deployment=deployment,
            fleet=snapshot.fleet.of(key),
            plan=plan.deployments.get(key),
            targets=targets.get(key, ()),
            policy=policy,
            settled_s=settled_s.get(key, 0.0),
            wanted=(wanted or {}).get(key),
            unplanned_usd_per_hour=unplanned,
        )
        verdict = given_up(situation) or _own_or_others(situation)
        if verdict is not None:
            found.append(verdict)
    return tuple(found)


def _unplanned_usd_per_hour(snapshot: Snapshot, plan: Plan) -> int:
    """Of engines that stay whatever is planned, and so come off the cluster's limit before anything is."""
    paused = {deployment.key for deployment in snapshot.deployments if deployment.paused}
    planned = {key for key, found in plan.deployments.items() if found.is_feasible or found.shortage is not None}
    groups = (group for group in snapshot.fleet.groups if group.key in paused or group.key not in planned)
    return sum(group.usd_per_hour for group in groups)


def _own_or_others(situation: Situation) -> Verdict | None:
    """What others want goes first, but stops nothing on its way as long as it waits itself."""
    own = _verdict(situation) if situation.is_feasible else shrunk_to_minimum(situation)
    others = gives_way(situation)
    if others is None or (others.waiting is not None and own is not None and own.waiting is None):
        return own
    return others


def _verdict(situation: Situation) -> Verdict | None:
    differs = difference(situation)
    if differs.is_none:
        return None
    shunned = held_for_setback(situation, differs)
    required = _required_reason(situation, differs)
    if required is not None:
        return Verdict(_move(situation, differs, required, required=True), shunned)
    mode = None if differs.only_cleans else _held_by_mode(situation)
    move = _move(situation, differs, _reason(situation, differs), required=False)
    if shunned is not None or differs.is_on_its_way:
        begun = replace(_as_begun(situation, move), required=differs.only_grows or differs.saves < 0)
        return Verdict(begun, mode or shunned)
    is_same = abs(differs.saves) <= SAME_DOLLARS * situation.expected_usd_per_hour
    if is_same and differs.grows and not differs.only_grows and not objective_missed(situation.deployment):
        return None  # the same dollars for another shape: nothing is gained by the disruption
    if differs.only_grows or differs.saves < 0:
        waiting = mode or held_for_capacity(situation, differs)
        beside = _beside(situation, differs, move) if situation.is_cooling_down else None
        return Verdict(replace(beside or move, required=True), waiting)
    return Verdict(move, mode or held_for_savings(situation, differs))


def _as_begun(situation: Situation, move: Move) -> Move:
    """What has begun gets no smaller on the way: engines that just started would stop again. What there is no room or
    money for any more was not begun.
    """
    begun = situation.deployment.last_move_groups
    desired = {group.name: group.desired for group in situation.fleet}
    left = situation.deployment.objectives.max_usd_per_hour - situation.usd_per_hour
    targets = []
    for target in move.targets:
        placement, runs = target.placement, desired.get(target.name, 0)
        more = max(0, begun.get(target.name, 0) - runs)
        room = replicas_that_fit(situation.snapshot, placement.pool, placement.shape) if more else 0
        can_go_on = more <= room and more * placement.usd_per_replica_hour <= left
        targets.append(at_least(target, begun.get(target.name, 0) if can_go_on else runs))
    return replace(move, targets=tuple(targets))


def _beside(situation: Situation, differs: Difference, move: Move) -> Move | None:
    """What is missing beside all that runs; None where the budget does not reach that far."""
    desired = {group.name: group.desired for group in situation.fleet}
    goals = tuple(at_least(goal, desired.get(goal.name, 0)) for goal in differs.goals)
    kept = tuple(KeptGroup(group.name, group.desired) for group in differs.surplus if group.desired)
    runs = sum(group.usd_per_hour for group in differs.surplus)
    total = MicroUsd(runs + sum(goal.placement.usd_per_hour for goal in goals))
    if total > situation.deployment.objectives.max_usd_per_hour:
        return None
    saves = MicroUsd(situation.usd_per_hour - total)
    return replace(
        move,
        targets=goals,
        keeps=kept,
        saves_usd_per_hour=saves,
        message=f"{differs.starts} engines beside what runs, {dollars(saves)}",
    )


def _required_reason(situation: Situation, differs: Difference) -> MoveReason | None:
    """Why the move may not wait, whatever the mode; None when it may."""
    deployment, plan = situation.deployment, situation.plan
    if situation.desired == 0 and differs.grows:
        return _reason_to_place(deployment)
    if situation.is_edited:
        # Fewer replicas on measurements are savings like on any other day; the edit itself asks for fewer when
        # the declared demand or the allowed number of replicas does.
        declared = plan is not None and plan.demand_source == DECLARED
        asks_for_fewer = declared or situation.desired > deployment.constraints.max_replicas
        if differs.grows or differs.surplus or asks_for_fewer:
            return MoveReason.SPEC_CHANGED
    may_rebalance = deployment.rebalancing.mode is RebalancingMode.AUTO or not situation.is_serving
    if may_rebalance and _is_lost(situation, differs):
        return MoveReason.FLEET_LOST
    return MoveReason.OVER_BUDGET if situation.is_over_budget else None


def _reason_to_place(deployment: DeploymentInput) -> MoveReason:
    if deployment.planned_generation is None:
        return MoveReason.FIRST_PLACEMENT
    gave_way = deployment.last_move_at is not None and not deployment.last_move_groups
    return MoveReason.ROOM_FOUND if gave_way else MoveReason.FLEET_LOST


def _is_lost(situation: Situation, differs: Difference) -> bool:
    """Whether a group that the plan takes engines from cannot live on: its pool is gone, or takes none while some
    miss, as when spot nodes are taken back.
    """
    wanted = {goal.name: goal.placement.replicas for goal in differs.goals}
    for group in situation.fleet:
        if group.desired and wanted.get(group.name, 0) >= group.desired:
            continue
        offering = situation.offering(group.pool)
        if offering is None or (offering.unavailable_reason and group.ready < group.desired):
            return True
    return False


def _reason(situation: Situation, differs: Difference) -> MoveReason:
    """Why a move that may wait is worth considering. A high cost per token is never a reason to grow."""
    if differs.only_grows or differs.saves < 0:
        return MoveReason.OBJECTIVE_MISSED if objective_missed(situation.deployment) else MoveReason.DEMAND_HIGH
    if _cost_per_token_high(situation.deployment):
        return MoveReason.COST_PER_TOKEN_HIGH
    if differs.is_outgrown:
        return MoveReason.DEMAND_HIGH
    return MoveReason.CHEAPER_PLAN if differs.surplus or differs.grows else MoveReason.DEMAND_LOW


def _cost_per_token_high(deployment: DeploymentInput) -> bool:
    measured, limit = covered(deployment.measured), deployment.objectives.max_usd_per_million_tokens
    if measured is None or limit is None or measured.usd_per_million_tokens is None:
        return False
    return measured.usd_per_million_tokens > limit


def _held_by_mode(situation: Situation) -> Waiting | None:
    mode = situation.deployment.rebalancing.mode
    if mode is RebalancingMode.AUTO:
        return None
    return Waiting(Hold.MODE, f"rebalancing.mode is {mode}: set it to Auto to have this move made")


def _move(situation: Situation, differs: Difference, reason: MoveReason, *, required: bool) -> Move:
    before = named((group.desired, group.shape.name) for group in situation.fleet)
    after = named((goal.placement.replicas, goal.placement.shape.name) for goal in differs.goals)
    return Move(
        key=situation.deployment.key,
        targets=differs.goals,
        reason=reason,
        required=required,
        saves_usd_per_hour=differs.saves,
        message=f"{before} -> {after}, {dollars(differs.saves)}",
        least_serving=_least_serving(situation, differs),
    )


def _least_serving(situation: Situation, differs: Difference) -> int | None:
    """Replicas that the busiest minute needs, with headroom, where old and new engines serve alike."""
    measured, plan = covered(situation.deployment.measured), situation.plan
    shapes = {(goal.placement.model, goal.placement.shape) for goal in differs.goals}
    shapes |= {(group.model, group.shape) for group in situation.fleet}
    replicas = sum(goal.placement.replicas for goal in differs.goals)
    if measured is None or plan is None or plan.prediction is None or len(shapes) > 1 or not replicas:
        return None
    if objective_missed(situation.deployment) or plan.prediction.capacity_requests_per_min <= 0:
        return None
    busiest = max(measured.peak_requests_per_min, measured.requests_per_min)
    load = busiest * (1 + situation.policy.headroom_percent / 100)
    needed = math.ceil(load * replicas / plan.prediction.capacity_requests_per_min)
    return max(1, needed, min(situation.deployment.constraints.min_replicas, replicas))
