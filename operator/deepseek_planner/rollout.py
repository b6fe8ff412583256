"""From moves to one surge-safe step per deployment, derived from what is observed, so a restart loses nothing.

Create before destroy. What is missing is created first, as far as the budgets and the pool's room allow: every
replica that is asked for, starts or drains costs money, so the surge counts against the deployment's budget and the
cluster's. When all targets are ready what is too much goes one replica per step, each drained before the next, and
emptied groups are deleted. A replacement starts only where it can end: with room for all new engines beside the old,
or, for engines of the same shape, with room for one more, or none where the measured load lets an old one stop first.
Spot replicas go before those that cannot be taken back. The last serving replica is never stopped before another
serves, unless others come first for its room: what starts elsewhere is waited for then, but not for ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from deepseek_planner.difference import TargetGroup, is_over_limit
from deepseek_planner.hardware import CapacityType
from deepseek_planner.move import Move, MoveReason
from deepseek_planner.progress import Goal, Progress, progress, serving, spend_of
from deepseek_planner.snapshot import DeploymentKey, EngineGroup, Policy, Snapshot
from deepseek_planner.units import MicroUsd, format_usd


class StepKind(StrEnum):
    """What a step does to one group of engines."""

    CREATE = "Create"
    SCALE = "Scale"
    DELETE = "Delete"
    WAIT = "Wait"


@dataclass(frozen=True, slots=True)
class Step:
    """One change to one group, or the reason why nothing may change yet (``WAIT``)."""

    key: DeploymentKey
    kind: StepKind
    group: str
    """Name of the group's object; empty for a wait that concerns none."""
    replicas: int
    """Desired replicas after the step."""
    reason: str
    """CamelCase: ``Progressing``, ``SurgeOverBudget``, ``WaitingForReady``, ``Draining``, …"""
    message: str
    target: TargetGroup | None = None
    """What to create, for ``CREATE``."""


PROGRESSING = "Progressing"
SURGE_OVER_BUDGET = "SurgeOverBudget"
NO_ROOM_IN_POOL = "NoRoomInPool"
WAITING_FOR_READY = "WaitingForReady"
DRAINING = "Draining"
OVER_BUDGET = "OverBudget"

AS_SHIPPED = Policy()


def next_step(snapshot: Snapshot, move: Move, policy: Policy = AS_SHIPPED) -> Step | None:
    """The one step that brings the fleet closer to the move's end, or what it waits for; None at its end."""
    rollout = progress(snapshot, move, policy)
    gives_up = move.reason is MoveReason.DID_NOT_START
    return (
        _delete_an_empty_group(rollout)
        or (_drop_what_never_served(rollout) if gives_up else None)
        or _shed_what_is_over_budget(rollout)
        or _add_what_is_missing(rollout)
        or _make_way(rollout)
        or _exchange_one_replica(rollout)
        or _wait_for_what_is_missing(rollout)
        or _lower_what_is_too_much(rollout)
        or _remove_one_surplus_replica(rollout)
    )


def _is_empty(group: EngineGroup) -> bool:
    return group.desired + group.ready + group.starting + group.draining == 0


def _delete_an_empty_group(rollout: Progress) -> Step | None:
    for group in rollout.surplus:
        if _is_empty(group):
            return _step(rollout, StepKind.DELETE, group.name, 0, f"{group.name} is empty")
    return None


def _shed_what_is_over_budget(rollout: Progress) -> Step | None:
    """What runs costs more than it may: it shrinks at once, but keeps its minimum of serving replicas."""
    runs = sum(group.usd_per_hour for group in rollout.fleet)
    over = runs - rollout.budget
    if over <= 0:
        return None
    message = f"${format_usd(MicroUsd(runs))}/h run, the budget is ${format_usd(rollout.budget)}/h"
    floor = max(1, rollout.deployment.constraints.min_replicas)
    goals = {goal.name: goal.replicas for goal in rollout.goals}
    by_price = sorted(rollout.fleet, key=lambda group: (serving(group) > 0, -(group.usd_per_replica_hour or 0)))
    for group in by_price:
        price = group.usd_per_replica_hour or 0
        # A goal goes to what it shall be; of the surplus goes what the budget asks for, its turn comes later.
        much = group.desired - goals[group.name] if group.name in goals else -(-over // max(1, price))
        idle = group.desired - serving(group)  # these are stopped first
        spare = min(much, group.desired, rollout.desired - floor, idle + max(0, rollout.serving - floor))
        if spare > 0 and price > 0:
            return _step(rollout, StepKind.SCALE, group.name, group.desired - spare, message, reason=OVER_BUDGET)
    return None


def _add_what_is_missing(rollout: Progress) -> Step | None:
    if not _can_end(rollout):
        return _drop_what_never_served(rollout)
    for goal in rollout.goals:
        more = min(rollout.missing(goal), rollout.affordable(goal), rollout.room(goal))
        if more == 0:
            continue
        group = rollout.running(goal)
        if group is None:
            return _step(rollout, StepKind.CREATE, goal.name, more, f"{more} of {goal.replicas}", target=goal.target)
        wanted = group.desired + more
        return _step(rollout, StepKind.SCALE, goal.name, wanted, f"{group.desired} -> {wanted} of {goal.replicas}")
    return None


def _make_way(rollout: Progress) -> Step | None:
    """What others wait for goes, in step with what replaces it, or at once where nothing does; each engine drains."""
    goes = [group for group in rollout.fleet if group.desired > rollout.yields.get(group.name, group.desired)]
    is_over = is_over_limit(rollout.snapshot, rollout.policy)
    comes = [] if is_over else [goal for goal in rollout.goals if rollout.starts_soon(goal)]
    awaited = 1 - rollout.ready_share(comes)
    for group in sorted(goes, key=_leaves_first):
        least = rollout.yields[group.name]
        left = least + math.ceil((group.desired - least) * awaited - 1e-9)
        if left < group.desired:
            why, reason = ("the cluster costs too much", OVER_BUDGET) if is_over else ("others come first", PROGRESSING)
            message = f"{group.desired} -> {left}: {why}"
            return _step(rollout, StepKind.SCALE, group.name, left, message, reason=reason)
    return _wait_for_ready(rollout, comes[0]) if goes else None


def _can_end(rollout: Progress) -> bool:
    """Whether what is created now can ever replace what runs; growth beside what stays always can."""
    missing = [goal for goal in rollout.goals if rollout.missing(goal)]
    if rollout.yields:
        return True  # what runs goes in any case
    if not missing or not any(rollout.excess(group) for group in rollout.fleet):
        return True
    beside = all(_fits(rollout, goal, rollout.missing(goal)) for goal in missing)
    if beside and _cost(rollout, missing) <= rollout.left:
        return True
    # One more replica of the same shape than must serve, and an old one can go.
    return rollout.is_exchange and any(_fits(rollout, goal, rollout.first) for goal in missing)


def _cost(rollout: Progress, goals: list[Goal]) -> int:
    return sum(rollout.missing(goal) * goal.usd_per_replica_hour for goal in goals)


def _fits(rollout: Progress, goal: Goal, replicas: int) -> bool:
    return replicas == 0 or min(rollout.affordable(goal), rollout.room(goal)) >= replicas


def _drop_what_never_served(rollout: Progress) -> Step | None:
    """Engines that nobody wants and that do not serve make room, when room is what lacks."""
    for group in rollout.surplus:
        if group.desired and not group.ready:
            return _step(rollout, StepKind.SCALE, group.name, 0, f"{group.name} serves nothing and takes the room")
    return None


def _exchange_one_replica(rollout: Progress) -> Step | None:
    """One old replica for one new of the same shape, while the rest still waits for room."""
    if not any(rollout.missing(goal) for goal in rollout.goals) or not rollout.is_exchange:
        return None
    starts = any(group.starting for group in rollout.fleet if group not in rollout.surplus)
    if rollout.serving - 1 < (rollout.replicas if starts else rollout.floor):
        return None
    leaves = min((group for group in rollout.fleet if rollout.excess(group)), key=_leaves_first, default=None)
    if leaves is None:
        return None
    if not rollout.leaves_cover(leaves, min(1, serving(leaves))):
        return None
    drains = [group for group in rollout.fleet if group.draining or group.ready > group.desired]
    if drains:
        return _wait_for_drain(rollout, drains[0])
    left = leaves.desired - 1 if leaves.ready else leaves.desired - rollout.excess(leaves)
    return _step(rollout, StepKind.SCALE, leaves.name, left, f"{leaves.desired} -> {left}, one for one")


def _leaves_first(group: EngineGroup) -> tuple[object, ...]:
    """What serves nothing, then what may be taken back any time: cover is kept while it can be."""
    return serving(group) > 0, group.capacity_type is not CapacityType.SPOT, group.name


def _wait_for_what_is_missing(rollout: Progress) -> Step | None:
    for goal in rollout.goals:
        if rollout.missing(goal):
            group = rollout.running(goal)
            starts = group is not None and group.ready < group.desired and _can_end(rollout)
            goes = rollout.surplus or any(rollout.excess(each) for each in rollout.fleet)
            return _wait_for_ready(rollout, goal) if starts and goes else _wait_for_room(rollout, goal)
    behind = [goal for goal in rollout.goals if not rollout.is_ready(goal) and not _is_lowered(rollout, goal)]
    waited_for = rollout.surplus or any(_is_lowered(rollout, goal) for goal in rollout.goals)
    return _wait_for_ready(rollout, behind[0]) if behind and waited_for else None


def _wait_for_ready(rollout: Progress, goal: Goal) -> Step:
    group = rollout.running(goal)
    ready = group.ready if group else 0
    failure = f": {group.failure}" if group and group.failure else ""
    message = f"{goal.name} has {ready} of {goal.replicas} replicas ready{failure}"
    desired = group.desired if group else 0
    return _step(rollout, StepKind.WAIT, goal.name, desired, message, reason=WAITING_FOR_READY)


def _is_lowered(rollout: Progress, goal: Goal) -> bool:
    group = rollout.running(goal)
    return group is not None and group.desired > goal.replicas


def _wait_for_room(rollout: Progress, goal: Goal) -> Step:
    """Why the goal's missing replicas cannot be added, and what would let them."""
    group = rollout.running(goal)
    desired = group.desired if group else 0
    if any(each.draining for each in rollout.fleet):
        message = f"draining replicas hold the room that {goal.name} needs"
        return _step(rollout, StepKind.WAIT, goal.name, desired, message, reason=DRAINING)
    need = _need(rollout, goal)
    if need * goal.usd_per_replica_hour > rollout.left:
        message = _too_dear(rollout, goal, need)
        return _step(rollout, StepKind.WAIT, goal.name, desired, message, reason=SURGE_OVER_BUDGET)
    message = (
        f"pool {goal.pool} has room for {max(0, rollout.room(goal))} more {goal.shape.name}, {need} must start before "
        f"the old may stop: add nodes or raise its maxNodes"
    )
    return _step(rollout, StepKind.WAIT, goal.name, desired, message, reason=NO_ROOM_IN_POOL)


def _too_dear(rollout: Progress, goal: Goal, need: int) -> str:
    """Which budget the surge does not fit in, and how much would do."""
    more, limit = need * goal.usd_per_replica_hour, rollout.policy.max_usd_per_hour
    cluster = spend_of(rollout.snapshot.fleet.groups)
    if rollout.spend + more > rollout.budget or limit is None:
        runs, where, most = rollout.spend, "run", f"maxUSDPerHour {format_usd(rollout.budget)}"
    else:
        runs, where, most = cluster, "run in the cluster", f"its limit {format_usd(limit)}"
    peak = format_usd(MicroUsd(runs + more))
    return (
        f"${format_usd(MicroUsd(runs))}/h {where} and {need} more {goal.shape.name} make ${peak}/h, over {most}: "
        f"raise it to {peak} until the move is over"
    )


def _need(rollout: Progress, goal: Goal) -> int:
    """Replicas that must start before anything old may stop."""
    if any(rollout.excess(group) for group in rollout.fleet) and rollout.is_exchange:
        return max(1, rollout.first)
    return rollout.missing(goal)


def _lower_what_is_too_much(rollout: Progress) -> Step | None:
    lowered = [goal for goal in rollout.goals if _is_lowered(rollout, goal)]
    for goal in lowered:
        group = rollout.running(goal)
        if group is None:
            continue
        stops = max(0, serving(group) - goal.replicas)
        if stops == 0 or (rollout.serving - stops >= rollout.replicas and rollout.leaves_cover(group, stops)):
            message = f"{group.desired} -> {goal.replicas}"
            return _step(rollout, StepKind.SCALE, goal.name, goal.replicas, message)
    behind = [goal for goal in rollout.goals if not rollout.is_ready(goal)]
    return _wait_for_ready(rollout, behind[0]) if lowered and behind else None


def _remove_one_surplus_replica(rollout: Progress) -> Step | None:
    """One replica less of what no target wants, each drained before the next; what serves nothing goes first."""
    if not rollout.surplus:
        return None
    draining = [group for group in rollout.surplus if group.draining or group.ready > group.desired]
    if draining:
        return _wait_for_drain(rollout, draining[0])
    for group in sorted(rollout.surplus, key=_leaves_first):
        if group.desired:
            left = group.desired - 1 if group.ready else 0
            return _step(rollout, StepKind.SCALE, group.name, left, f"{group.desired} -> {left} of a surplus group")
    group = rollout.surplus[0]
    return _step(rollout, StepKind.WAIT, group.name, 0, f"{group.name} stops", reason=DRAINING)


def _wait_for_drain(rollout: Progress, group: EngineGroup) -> Step:
    message = f"{group.name} finishes the requests of {max(1, group.draining)} replicas"
    return _step(rollout, StepKind.WAIT, group.name, group.desired, message, reason=DRAINING)


def _step(
    rollout: Progress,
    kind: StepKind,
    group: str,
    replicas: int,
    message: str,
    *,
    reason: str = PROGRESSING,
    target: TargetGroup | None = None,
) -> Step:
    return Step(rollout.deployment.key, kind, group, replicas, reason, message, target)
