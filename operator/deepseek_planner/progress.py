"""One deployment on its way from its fleet to a move's goals: what is missing, what is too much, what both may cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepseek_planner.difference import TargetGroup
from deepseek_planner.hardware import CapacityType
from deepseek_planner.move import Move
from deepseek_planner.room import replicas_that_fit
from deepseek_planner.setbacks import cold_start_s
from deepseek_planner.snapshot import DeploymentInput, EngineGroup, Policy, Shape, Snapshot
from deepseek_planner.units import MicroUsd


def progress(snapshot: Snapshot, move: Move, policy: Policy) -> Progress:
    """Where the move stands."""
    deployment = next(each for each in snapshot.deployments if each.key == move.key)
    fleet = snapshot.fleet.of(move.key)
    yields = {kept.name: kept.replicas for kept in move.yields}
    return Progress(snapshot, deployment, _goals(snapshot, move), fleet, move.least_serving, policy, yields)


@dataclass(frozen=True, slots=True)
class Goal:
    """One group as it shall be; without a target it runs already and is only scaled."""

    name: str
    replicas: int
    model: str
    shape: Shape
    pool: str
    capacity_type: CapacityType
    usd_per_replica_hour: MicroUsd
    target: TargetGroup | None


@dataclass(frozen=True, slots=True)
class Progress:
    """One deployment on its way: goals, what runs, and what both may cost."""

    snapshot: Snapshot
    deployment: DeploymentInput
    goals: tuple[Goal, ...]
    fleet: tuple[EngineGroup, ...]
    least_serving: int | None
    policy: Policy
    yields: Mapping[str, int]
    """Replicas that are left of groups whose room others wait for."""

    def running(self, goal: Goal) -> EngineGroup | None:
        return next((group for group in self.fleet if group.name == goal.name), None)

    def missing(self, goal: Goal) -> int:
        group = self.running(goal)
        return max(0, goal.replicas - (group.desired if group else 0))

    def excess(self, group: EngineGroup) -> int:
        """Replicas that the group has beyond what it shall have."""
        shall = next((goal.replicas for goal in self.goals if goal.name == group.name), 0)
        return max(0, group.desired - shall)

    def is_ready(self, goal: Goal) -> bool:
        group = self.running(goal)
        return goal.replicas == 0 or (group is not None and serving(group) >= goal.replicas)

    def starts_soon(self, goal: Goal) -> bool:
        """Whether engines of the goal start, and may still be waited for."""
        group = self.running(goal)
        if group is None or not group.starting:
            return False
        offering = next((each for each in self.snapshot.offerings if each.pool == goal.pool), None)
        since = group.unready_since or self.snapshot.now
        patience_s = self.policy.patience * cold_start_s(offering, self.policy)
        return (self.snapshot.now - since).total_seconds() < patience_s

    def ready_share(self, goals: Sequence[Goal]) -> float:
        """Of the engines that were asked for, for these goals, the part that serves; all of none."""
        groups = [group for goal in goals if (group := self.running(goal)) is not None]
        asked = sum(group.desired for group in groups)
        return sum(serving(group) for group in groups) / asked if asked else 1.0

    @property
    def surplus(self) -> tuple[EngineGroup, ...]:
        names = {goal.name for goal in self.goals}
        return tuple(group for group in self.fleet if group.name not in names)

    @property
    def is_exchange(self) -> bool:
        """Whether what goes and what comes are of one model and shape, so that one new replica stands for one old."""
        comes = {(goal.model, goal.shape) for goal in self.goals if not self.is_ready(goal)}
        leaving = [group for group in self.fleet if self.excess(group)] + list(self.surplus)
        return len(comes | {(group.model, group.shape) for group in leaving}) == 1

    @property
    def replicas(self) -> int:
        """What the deployment has when the move is over."""
        return sum(goal.replicas for goal in self.goals)

    @property
    def desired(self) -> int:
        return sum(group.desired for group in self.fleet)

    @property
    def serving(self) -> int:
        return sum(serving(group) for group in self.fleet)

    @property
    def floor(self) -> int:
        """Replicas that serve at least while one is exchanged for another."""
        return self.replicas if self.least_serving is None else min(self.replicas, self.least_serving)

    @property
    def first(self) -> int:
        """Replicas that must start before an old one may stop. Where fewer run than must serve, one is more already."""
        return max(0, min(self.floor, self.desired) + 1 - self.desired)

    def leaves_cover(self, group: EngineGroup, stops: int) -> bool:
        """Whether, without so many serving replicas of the group, as many that cannot be taken back serve as there
        shall be of them beside those that can.
        """
        kinds = {goal.capacity_type for goal in self.goals} | {each.capacity_type for each in self.fleet}
        if not stops or group.capacity_type is CapacityType.SPOT or CapacityType.SPOT not in kinds:
            return True
        covers = sum(serving(each) for each in self.fleet if each.capacity_type is not CapacityType.SPOT)
        shall = sum(goal.replicas for goal in self.goals if goal.capacity_type is not CapacityType.SPOT)
        return covers - stops >= shall

    @property
    def budget(self) -> MicroUsd:
        return self.deployment.objectives.max_usd_per_hour

    @property
    def spend(self) -> int:
        return spend_of(self.fleet)

    @property
    def left(self) -> int:
        """Micro-dollars per hour that may be added: of the deployment's budget, and of the cluster's."""
        left, limit = self.budget - self.spend, self.policy.max_usd_per_hour
        return left if limit is None else min(left, limit - spend_of(self.snapshot.fleet.groups))

    def room(self, goal: Goal) -> int:
        """Further replicas of the goal that its pool has room for."""
        return replicas_that_fit(self.snapshot, goal.pool, goal.shape)

    def affordable(self, goal: Goal) -> int:
        """Further replicas of the goal within the budgets."""
        if goal.usd_per_replica_hour == 0:
            return goal.replicas
        return max(0, self.left // goal.usd_per_replica_hour)


def spend_of(groups: tuple[EngineGroup, ...]) -> int:
    """Micro-dollars per hour of everything that is asked for, starts, serves or drains."""
    return sum(group.paid_replicas * (group.usd_per_replica_hour or 0) for group in groups)


def _goals(snapshot: Snapshot, move: Move) -> tuple[Goal, ...]:
    goals = []
    for target in move.targets:
        placement = target.placement
        price = placement.usd_per_replica_hour
        where = placement.model, placement.shape, placement.pool, placement.capacity_type
        goals.append(Goal(target.name, placement.replicas, *where, price, target))
    groups = {group.name: group for group in snapshot.fleet.of(move.key)}
    for kept in move.keeps:
        group = groups.get(kept.name)
        if group is not None and kept.replicas > 0:
            price = group.usd_per_replica_hour or MicroUsd(0)
            where = group.model, group.shape, group.pool, group.capacity_type
            goals.append(Goal(kept.name, kept.replicas, *where, price, None))
    return tuple(goals)


def serving(group: EngineGroup) -> int:
    """Ready replicas that are not about to go."""
    return min(group.ready, group.desired)
