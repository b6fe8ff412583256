"""From moves to one surge-safe step per deployment, derived from what is observed, so a restart loses nothing.

Create before destroy. What is missing is created first, as far as the budget and the pool's room allow: every
replica that is asked for, starts or drains costs money, so the surge counts against the budget. When all targets
are ready the surplus goes one replica per step, each drained before the next, and emptied groups are deleted.
A replacement starts only where it can end: with room for all new engines beside the old, or, for engines of the
same shape, with room for one more. The last serving replica is never stopped before another serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from deepseek_planner.moves import Move, TargetGroup
from deepseek_planner.plan import DeploymentInput, DeploymentKey, EngineGroup, Shape, Snapshot
from deepseek_planner.room import replicas_that_fit
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


def next_step(snapshot: Snapshot, move: Move) -> Step | None:
    """The one step that brings the fleet closer to the move's end, or what it waits for; None at its end."""
    deployment = next(each for each in snapshot.deployments if each.key == move.key)
    rollout = _Rollout(snapshot, deployment, _goals(snapshot, move), snapshot.fleet.of(move.key))
    return (
        _delete_an_empty_group(rollout)
        or _shed_what_is_over_budget(rollout)
        or _add_what_is_missing(rollout)
        or _exchange_one_replica(rollout)
        or _wait_for_what_is_missing(rollout)
        or _lower_what_is_too_much(rollout)
        or _remove_one_surplus_replica(rollout)
    )


@dataclass(frozen=True, slots=True)
class _Goal:
    """One group as it shall be; without a target it runs already and is only scaled."""

    name: str
    replicas: int
    shape: Shape
    pool: str
    usd_per_replica_hour: MicroUsd
    target: TargetGroup | None


@dataclass(frozen=True, slots=True)
class _Rollout:
    """One deployment on its way: goals, what runs, and what both may cost."""

    snapshot: Snapshot
    deployment: DeploymentInput
    goals: tuple[_Goal, ...]
    fleet: tuple[EngineGroup, ...]

    def running(self, goal: _Goal) -> EngineGroup | None:
        return next((group for group in self.fleet if group.name == goal.name), None)

    def missing(self, goal: _Goal) -> int:
        group = self.running(goal)
        return max(0, goal.replicas - (group.desired if group else 0))

    def is_ready(self, goal: _Goal) -> bool:
        group = self.running(goal)
        return goal.replicas == 0 or (group is not None and _serving(group) >= goal.replicas)

    @property
    def surplus(self) -> tuple[EngineGroup, ...]:
        names = {goal.name for goal in self.goals}
        return tuple(group for group in self.fleet if group.name not in names)

    @property
    def replicas(self) -> int:
        """What the deployment has when the move is over."""
        return sum(goal.replicas for goal in self.goals)

    @property
    def desired(self) -> int:
        return sum(group.desired for group in self.fleet)

    @property
    def serving(self) -> int:
        return sum(_serving(group) for group in self.fleet)

    @property
    def budget(self) -> MicroUsd:
        return self.deployment.objectives.max_usd_per_hour

    @property
    def spend(self) -> int:
        """Micro-dollars per hour of everything that is asked for, starts, serves or drains."""
        return sum(group.paid_replicas * (group.usd_per_replica_hour or 0) for group in self.fleet)

    def room(self, goal: _Goal) -> int:
        """Further replicas of the goal that its pool has room for."""
        return replicas_that_fit(self.snapshot, goal.pool, goal.shape)

    def affordable(self, goal: _Goal) -> int:
        """Further replicas of the goal within the budget."""
        if goal.usd_per_replica_hour == 0:
            return goal.replicas
        return max(0, (self.budget - self.spend) // goal.usd_per_replica_hour)


def _goals(snapshot: Snapshot, move: Move) -> tuple[_Goal, ...]:
    goals = []
    for target in move.targets:
        placement = target.placement
        price = placement.usd_per_replica_hour
        goals.append(_Goal(target.name, placement.replicas, placement.shape, placement.pool, price, target))
    groups = {group.name: group for group in snapshot.fleet.of(move.key)}
    for kept in move.keeps:
        group = groups.get(kept.name)
        if group is not None and kept.replicas > 0:
            price = group.usd_per_replica_hour or MicroUsd(0)
            goals.append(_Goal(kept.name, kept.replicas, group.shape, group.pool, price, None))
    return tuple(goals)


def _serving(group: EngineGroup) -> int:
    """Ready replicas that are not about to go."""
    return min(group.ready, group.desired)


def _is_empty(group: EngineGroup) -> bool:
    return group.desired + group.ready + group.starting + group.draining == 0


def _delete_an_empty_group(rollout: _Rollout) -> Step | None:
    for group in rollout.surplus:
        if _is_empty(group):
            return _step(rollout, StepKind.DELETE, group.name, 0, f"{group.name} is empty")
    return None


def _shed_what_is_over_budget(rollout: _Rollout) -> Step | None:
    """The fleet alone costs more than the budget: it shrinks at once, but keeps its minimum of serving replicas."""
    runs = sum(group.usd_per_hour for group in rollout.fleet)
    if runs <= rollout.budget:
        return None
    message = f"${format_usd(MicroUsd(runs))}/h run, the budget is ${format_usd(rollout.budget)}/h"
    floor = max(1, rollout.deployment.constraints.min_replicas)
    goals = {goal.name: goal.replicas for goal in rollout.goals}
    by_price = sorted(rollout.fleet, key=lambda group: (_serving(group) > 0, -(group.usd_per_replica_hour or 0)))
    for group in by_price:
        price = group.usd_per_replica_hour or 0
        # A goal goes to what it shall be; of the surplus goes what the budget asks for, its turn comes later.
        over = (
            group.desired - goals[group.name] if group.name in goals else -(-(runs - rollout.budget) // max(1, price))
        )
        idle = group.desired - _serving(group)  # these are stopped first
        spare = min(over, group.desired, rollout.desired - floor, idle + max(0, rollout.serving - floor))
        if spare > 0 and price > 0:
            return _step(rollout, StepKind.SCALE, group.name, group.desired - spare, message, reason=OVER_BUDGET)
    return None


def _add_what_is_missing(rollout: _Rollout) -> Step | None:
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


def _can_end(rollout: _Rollout) -> bool:
    """Whether what is created now can ever replace what runs; growth beside what stays always can."""
    missing = [goal for goal in rollout.goals if rollout.missing(goal)]
    if not missing or not any(group.desired for group in rollout.surplus):
        return True
    beside = all(_fits(rollout, goal, rollout.missing(goal)) for goal in missing)
    if beside and rollout.spend + _cost(rollout, missing) <= rollout.budget:
        return True
    # One more replica of the same shape than there shall be, and an old one can go.
    more = max(0, rollout.replicas + 1 - rollout.desired)
    return _is_exchange(rollout) and any(_fits(rollout, goal, more) for goal in missing)


def _cost(rollout: _Rollout, goals: list[_Goal]) -> int:
    return sum(rollout.missing(goal) * goal.usd_per_replica_hour for goal in goals)


def _fits(rollout: _Rollout, goal: _Goal, replicas: int) -> bool:
    return replicas == 0 or min(rollout.affordable(goal), rollout.room(goal)) >= replicas


def _is_exchange(rollout: _Rollout) -> bool:
    """Whether old and new engines are of one shape, so that one new replica stands for one old."""
    return len({goal.shape for goal in rollout.goals} | {group.shape for group in rollout.surplus}) == 1


def _drop_what_never_served(rollout: _Rollout) -> Step | None:
    """Engines that nobody wants and that do not serve make room, when room is what lacks."""
    for group in rollout.surplus:
        if group.desired and not group.ready:
            return _step(rollout, StepKind.SCALE, group.name, 0, f"{group.name} serves nothing and takes the room")
    return None


def _exchange_one_replica(rollout: _Rollout) -> Step | None:
    """One old replica for one new of the same shape, while the rest still waits for room."""
    if not any(rollout.missing(goal) for goal in rollout.goals) or not _is_exchange(rollout):
        return None
    if rollout.serving - 1 < rollout.replicas:
        return None
    return _remove_one_surplus_replica(rollout)


def _wait_for_what_is_missing(rollout: _Rollout) -> Step | None:
    for goal in rollout.goals:
        if rollout.missing(goal):
            group = rollout.running(goal)
            starts = group is not None and group.ready < group.desired and _can_end(rollout)
            return _wait_for_ready(rollout, goal) if starts and rollout.surplus else _wait_for_room(rollout, goal)
    behind = [goal for goal in rollout.goals if not rollout.is_ready(goal) and not _is_lowered(rollout, goal)]
    waited_for = rollout.surplus or any(_is_lowered(rollout, goal) for goal in rollout.goals)
    return _wait_for_ready(rollout, behind[0]) if behind and waited_for else None


def _wait_for_ready(rollout: _Rollout, goal: _Goal) -> Step:
    group = rollout.running(goal)
    ready = group.ready if group else 0
    failure = f": {group.failure}" if group and group.failure else ""
    message = f"{goal.name} has {ready} of {goal.replicas} replicas ready{failure}"
    desired = group.desired if group else 0
    return _step(rollout, StepKind.WAIT, goal.name, desired, message, reason=WAITING_FOR_READY)


def _is_lowered(rollout: _Rollout, goal: _Goal) -> bool:
    group = rollout.running(goal)
    return group is not None and group.desired > goal.replicas


def _wait_for_room(rollout: _Rollout, goal: _Goal) -> Step:
    """Why the goal's missing replicas cannot be added, and what would let them."""
    group = rollout.running(goal)
    desired = group.desired if group else 0
    if any(each.draining for each in rollout.fleet):
        message = f"draining replicas hold the room that {goal.name} needs"
        return _step(rollout, StepKind.WAIT, goal.name, desired, message, reason=DRAINING)
    need = _need(rollout, goal)
    peak = rollout.spend + need * goal.usd_per_replica_hour
    if peak > rollout.budget:
        message = (
            f"${format_usd(MicroUsd(rollout.spend))}/h run and {need} more {goal.shape.name} make "
            f"${format_usd(MicroUsd(peak))}/h, over maxUSDPerHour {format_usd(rollout.budget)}: "
            f"raise it to {format_usd(MicroUsd(peak))} until the move is over"
        )
        return _step(rollout, StepKind.WAIT, goal.name, desired, message, reason=SURGE_OVER_BUDGET)
    message = (
        f"pool {goal.pool} has room for {max(0, rollout.room(goal))} more {goal.shape.name}, {need} must start before "
        f"the old may stop: add nodes or raise its maxNodes"
    )
    return _step(rollout, StepKind.WAIT, goal.name, desired, message, reason=NO_ROOM_IN_POOL)


def _need(rollout: _Rollout, goal: _Goal) -> int:
    """Replicas that must start before anything old may stop."""
    if any(group.desired for group in rollout.surplus) and _is_exchange(rollout):
        return max(1, rollout.replicas + 1 - rollout.desired)
    return rollout.missing(goal)


def _lower_what_is_too_much(rollout: _Rollout) -> Step | None:
    lowered = [goal for goal in rollout.goals if _is_lowered(rollout, goal)]
    for goal in lowered:
        group = rollout.running(goal)
        if group is None:
            continue
        stops = max(0, _serving(group) - goal.replicas)
        if stops == 0 or rollout.serving - stops >= rollout.replicas:
            message = f"{group.desired} -> {goal.replicas}"
            return _step(rollout, StepKind.SCALE, goal.name, goal.replicas, message)
    behind = [goal for goal in rollout.goals if not rollout.is_ready(goal)]
    return _wait_for_ready(rollout, behind[0]) if lowered and behind else None


def _remove_one_surplus_replica(rollout: _Rollout) -> Step | None:
    """One replica less of what no target wants, each drained before the next; what serves nothing goes first."""
    if not rollout.surplus:
        return None
    draining = [group for group in rollout.surplus if group.draining or group.ready > group.desired]
    if draining:
        group = draining[0]
        message = f"{group.name} finishes the requests of {max(1, group.draining)} replicas"
        return _step(rollout, StepKind.WAIT, group.name, group.desired, message, reason=DRAINING)
    for group in sorted(rollout.surplus, key=lambda each: (_serving(each) > 0, each.name)):
        if group.desired:
            left = group.desired - 1 if group.ready else 0
            return _step(rollout, StepKind.SCALE, group.name, left, f"{group.desired} -> {left} of a surplus group")
    group = rollout.surplus[0]
    return _step(rollout, StepKind.WAIT, group.name, 0, f"{group.name} stops", reason=DRAINING)


def _step(
    rollout: _Rollout,
    kind: StepKind,
    group: str,
    replicas: int,
    message: str,
    *,
    reason: str = PROGRESSING,
    target: TargetGroup | None = None,
) -> Step:
    return Step(rollout.deployment.key, kind, group, replicas, reason, message, target)
