"""From plan to moves: what differs between the fleet and the plan, and which differences are worth acting on.

Three kinds of difference, three bars:

- The spec, a lost pool, the budget or a missing fleet demand the move: it waits for nothing.
- More capacity is needed: at once, when measurements ask for it.
- The plan costs less: only where :mod:`deepseek_planner.worth` finds the savings worth the disruption.

Soon after a move nothing is taken away: where more capacity is needed then, what is missing is added beside what runs,
and what is too much by then goes later, for savings. A move goes on without bars while the plan names the same groups;
where the plan changed on the way, the rest is judged anew. Engines that never become ready are given up.

``verdicts`` keeps the moves that wait together with what they wait for; ``moves`` are those that wait for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from deepseek_planner.difference import Difference, Situation, TargetGroup, as_running, difference
from deepseek_planner.forecast import DECLARED, covered
from deepseek_planner.plan import DeploymentInput, DeploymentKey, Plan, Policy, RebalancingMode, Snapshot
from deepseek_planner.units import MicroUsd, format_usd
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


class MoveReason(StrEnum):
    """Why a fleet is moved. Names are API: status, Events and the ``deepseek_moves_total`` metric show them."""

    FIRST_PLACEMENT = "FirstPlacement"
    SPEC_CHANGED = "SpecChanged"
    FLEET_LOST = "FleetLost"
    DEMAND_HIGH = "DemandHigh"
    DEMAND_LOW = "DemandLow"
    OBJECTIVE_MISSED = "ObjectiveMissed"
    COST_PER_TOKEN_HIGH = "CostPerTokenHigh"
    CHEAPER_PLAN = "CheaperPlan"
    OVER_BUDGET = "OverBudget"
    DID_NOT_START = "DidNotStart"


@dataclass(frozen=True, slots=True)
class KeptGroup:
    """A group that runs, in no plan, and stays with so many replicas; its template is left as it is."""

    name: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Move:
    """Bring one deployment's fleet to ``targets``; ``required`` moves wait for no savings and no cooldown."""

    key: DeploymentKey
    targets: tuple[TargetGroup, ...]
    reason: MoveReason
    required: bool
    saves_usd_per_hour: MicroUsd
    """Negative when the move costs more than what runs."""
    message: str
    keeps: tuple[KeptGroup, ...] = ()
    """What stays of the fleet though no target names it."""
    least_serving: int | None = None
    """Replicas that the measured load needs: where there is no room for one more, old ones may stop first down to
    so many. None: not known, none may."""

    @property
    def groups(self) -> Mapping[str, int]:
        """Names and replicas of everything that is left when the move is over."""
        left = {kept.name: kept.replicas for kept in self.keeps if kept.replicas}
        return left | {target.name: target.placement.replicas for target in self.targets}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A move that would bring the fleet to the plan, and what it waits for: None when for nothing."""

    move: Move
    waiting: Waiting | None = None


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
    snapshot: Snapshot, plan: Plan, targets: Targets, *, policy: Policy, settled_s: Mapping[DeploymentKey, float]
) -> tuple[Verdict, ...]:
    """Like :func:`moves`, with those that wait and what they wait for."""
    found = []
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
        )
        verdict = _given_up(situation) or (
            _verdict(situation) if situation.is_feasible else _shrunk_to_minimum(situation)
        )
        if verdict is not None:
            found.append(verdict)
    return tuple(found)


def _verdict(situation: Situation) -> Verdict | None:
    differs = difference(situation)
    if differs.is_none:
        return None
    shunned = held_for_setback(situation, differs)
    required = _required_reason(situation, differs)
    if required is not None:
        return Verdict(_move(situation, differs, required, required=True), shunned)
    move = _move(situation, differs, _reason(situation, differs), required=False)
    if shunned is not None or differs.is_on_its_way:
        return Verdict(_as_begun(situation, move), _held_by_mode(situation) or shunned)
    is_same = abs(differs.saves) <= SAME_DOLLARS * situation.expected_usd_per_hour
    if is_same and differs.grows and not differs.only_grows and not objective_missed(situation.deployment):
        return None  # the same dollars for another shape: nothing is gained by the disruption
    if differs.only_grows or differs.saves < 0:
        waiting = _held_by_mode(situation) or held_for_capacity(situation, differs)
        beside = _beside(situation, differs, move) if situation.is_cooling_down else None
        return Verdict(replace(beside or move, required=True), waiting)
    return Verdict(move, _held_by_mode(situation) or held_for_savings(situation, differs))


def _as_begun(situation: Situation, move: Move) -> Move:
    """What has begun gets no smaller on the way: engines that just started would stop again."""
    begun = situation.deployment.last_move_groups
    return replace(move, targets=tuple(_at_least(target, begun.get(target.name, 0)) for target in move.targets))


def _at_least(target: TargetGroup, replicas: int) -> TargetGroup:
    placement = target.placement
    return replace(target, placement=replace(placement, replicas=max(replicas, placement.replicas)))


def _beside(situation: Situation, differs: Difference, move: Move) -> Move | None:
    """What is missing beside all that runs; None where the budget does not reach that far."""
    desired = {group.name: group.desired for group in situation.fleet}
    goals = tuple(_at_least(goal, desired.get(goal.name, 0)) for goal in differs.goals)
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
        message=f"{differs.starts} engines beside what runs, {_dollars(saves)}",
    )


def _given_up(situation: Situation) -> Verdict | None:
    """Engines of which none became ready go, as long as others serve; those stay as they are."""
    names = {item.group: item.message for item in situation.setbacks}
    failed = [group for group in situation.fleet if group.name in names and not group.ready]
    others = [group for group in situation.fleet if group not in failed]
    if not failed or not any(group.ready for group in others):
        return None
    which = ", ".join(f"{group.name} ({names[group.name]})" for group in failed)
    move = Move(
        key=situation.deployment.key,
        targets=(),
        reason=MoveReason.DID_NOT_START,
        required=True,
        saves_usd_per_hour=MicroUsd(sum(group.usd_per_hour for group in failed)),
        message=f"given up: {which}",
        keeps=tuple(KeptGroup(group.name, group.desired) for group in others),
    )
    return Verdict(move)


def _required_reason(situation: Situation, differs: Difference) -> MoveReason | None:
    """Why the move may not wait, whatever the mode; None when it may."""
    deployment, plan = situation.deployment, situation.plan
    if situation.desired == 0 and differs.grows:
        return MoveReason.FIRST_PLACEMENT if deployment.planned_generation is None else MoveReason.FLEET_LOST
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
    before = _named((group.desired, group.shape.name) for group in situation.fleet)
    after = _named((goal.placement.replicas, goal.placement.shape.name) for goal in differs.goals)
    return Move(
        key=situation.deployment.key,
        targets=differs.goals,
        reason=reason,
        required=required,
        saves_usd_per_hour=differs.saves,
        message=f"{before} -> {after}, {_dollars(differs.saves)}",
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


def _shrunk_to_minimum(situation: Situation) -> Verdict | None:
    """Nothing is feasible: what serves goes on serving, at its minimum when it costs more than the budget."""
    floor = max(1, situation.deployment.constraints.min_replicas)
    if not situation.is_over_budget or situation.desired <= floor:
        return None
    keeps = _cheapest_serving(situation, floor)
    price = {group.name: group.usd_per_replica_hour or 0 for group in situation.fleet}
    budget = situation.deployment.objectives.max_usd_per_hour
    runs = situation.usd_per_hour
    move = Move(
        key=situation.deployment.key,
        targets=(),
        reason=MoveReason.OVER_BUDGET,
        required=True,
        saves_usd_per_hour=MicroUsd(runs - sum(kept.replicas * price[kept.name] for kept in keeps)),
        message=(
            f"${format_usd(runs)}/h runs, the budget is ${format_usd(budget)}/h and no plan is feasible in it: "
            f"down to minReplicas ({floor})"
        ),
        keeps=keeps,
    )
    return Verdict(move)


def _cheapest_serving(situation: Situation, replicas: int) -> tuple[KeptGroup, ...]:
    """So many replicas of the fleet: those that serve before those that do not, the cheap before the dear."""
    by_price = sorted(situation.fleet, key=lambda group: (group.usd_per_replica_hour or 0, group.name))
    stays = dict.fromkeys((group.name for group in by_price), 0)
    for serving in (True, False):
        for group in by_price:
            available = min(group.ready, group.desired) if serving else group.desired
            taken = max(0, min(replicas, available - stays[group.name]))
            stays[group.name] += taken
            replicas -= taken
    return tuple(KeptGroup(name, count) for name, count in stays.items())


def _named(groups: Iterable[tuple[int, str]]) -> str:
    return " + ".join(f"{replicas} x {shape}" for replicas, shape in groups) or "nothing"


def _dollars(saves: MicroUsd) -> str:
    return f"{'saves' if saves >= 0 else 'costs'} ${format_usd(MicroUsd(abs(saves)))}/h"
