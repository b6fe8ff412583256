"""One deployment: what runs, what the plan wants, and what differs between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from deepseek_planner import risk
from deepseek_planner.forecast import covered
from deepseek_planner.hardware import Offering
from deepseek_planner.plan import DeploymentPlan, Placement
from deepseek_planner.setbacks import setbacks
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey, EngineGroup, Policy, Setback, Snapshot
from deepseek_planner.underway import end_of_move
from deepseek_planner.units import MicroUsd


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """A placement of the plan together with the engines' identity, which the renderer derives from
    everything that would need a restart (model source, shape, engine settings; never price or version).
    """

    key: DeploymentKey
    name: str
    launch_hash: str
    placement: Placement


@dataclass(frozen=True, slots=True)
class Wanted:
    """Engines beyond the plan whose room or dollars others wait for."""

    goes: Mapping[str, int]
    """Replicas by name of group."""
    by: tuple[DeploymentKey, ...] = ()
    """Deployments of higher priority that wait for it."""
    is_over_limit: bool = False
    """Whether some must go because the cluster costs more than it may."""
    for_s: float = 0.0
    """Seconds for which something has been wanted."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One deployment in its snapshot, with its plan and the plan's targets."""

    snapshot: Snapshot
    deployment: DeploymentInput
    fleet: tuple[EngineGroup, ...]
    plan: DeploymentPlan | None
    targets: tuple[TargetGroup, ...]
    policy: Policy
    settled_s: float
    """For how long the plan has had the same placements and replicas."""
    wanted: Wanted | None = None
    """What others want of it; None: nothing."""
    unplanned_usd_per_hour: int = 0
    """Of all engines in the cluster that no plan has a say in: of paused deployments, and of those that nothing serves.
    """

    @property
    def is_feasible(self) -> bool:
        return self.plan is not None and self.plan.is_feasible and bool(self.targets)

    @property
    def is_edited(self) -> bool:
        """Whether the spec changed since the fleet last matched a plan."""
        return _is_edited(self.deployment)

    @property
    def is_measured(self) -> bool:
        return covered(self.deployment.measured) is not None

    @property
    def is_serving(self) -> bool:
        return any(group.ready for group in self.fleet)

    @property
    def desired(self) -> int:
        return sum(group.desired for group in self.fleet)

    @property
    def usd_per_hour(self) -> MicroUsd:
        return MicroUsd(sum(group.usd_per_hour for group in self.fleet))

    @property
    def expected_usd_per_hour(self) -> MicroUsd:
        """With what interruptions lose, and without what is paid for anyway."""
        return MicroUsd(sum(group.desired * self.expected(group.usd_per_replica_hour, group) for group in self.fleet))

    def expected(self, nominal: MicroUsd | None, what: EngineGroup | Placement) -> int:
        """Micro-dollars per hour that one replica is worth in a choice: the same for what runs and what is planned."""
        offering = self.offering(what.pool)
        if nominal is None or offering is None:
            return nominal or 0
        return risk.expected_usd_per_hour(
            nominal,
            offering,
            nodes_per_replica=what.shape.nodes_per_replica,
            engine_start_s=self.policy.engine_start_s,
        )

    def offering(self, pool: str) -> Offering | None:
        return next((each for each in self.snapshot.offerings if each.pool == pool), None)

    @property
    def is_over_budget(self) -> bool:
        """Over the deployment's own."""
        return self.usd_per_hour > self.deployment.objectives.max_usd_per_hour

    @property
    def is_outranked(self) -> bool:
        """Whether others leave nothing of what it could have alone."""
        return self.plan is not None and not self.plan.is_feasible and self.plan.shortage is not None

    @property
    def is_cooling_down(self) -> bool:
        """Whether the last move is too young for engines to be taken away again."""
        last = self.deployment.last_move_at
        return last is not None and (self.snapshot.now - last).total_seconds() < self.deployment.rebalancing.cooldown_s

    @property
    def setbacks(self) -> tuple[Setback, ...]:
        return setbacks(self.snapshot, self.deployment, self.policy)


def is_over_limit(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether everything of ours that was asked for costs more than the cluster's limit."""
    limit = policy.max_usd_per_hour
    return limit is not None and sum(group.usd_per_hour for group in snapshot.fleet.groups) > limit


@dataclass(frozen=True, slots=True)
class Difference:
    """Fleet against targets, by name: a name stands for shape, pool, capacity type and launch hash."""

    goals: tuple[TargetGroup, ...]
    """The targets, under the names of the groups that are as good as they are."""
    started: bool
    """At least one target runs."""
    grows: bool
    """A target is missing or short of replicas."""
    shrinks: bool
    """A target has replicas too many."""
    surplus: tuple[EngineGroup, ...]
    """Groups in no target."""
    starts: int
    """Engines that would be started."""
    saves: MicroUsd
    """Expected dollars per hour; negative when the plan costs more."""
    is_on_its_way: bool
    """The last move is not over: it goes on, since half of it costs more than either end. What became of a plan
    that changed meanwhile is judged anew."""
    is_outgrown: bool
    """The last move is not over, and the plan costs more than what it would end with: that carries the load no more,
    or it would be the plan."""

    @property
    def is_none(self) -> bool:
        return not (self.grows or self.shrinks or self.surplus)

    @property
    def only_cleans(self) -> bool:
        """What runs is what is wanted: nothing is left but to delete what is empty."""
        return not (self.grows or self.shrinks or any(group.desired for group in self.surplus))

    @property
    def only_grows(self) -> bool:
        return self.grows and not (self.shrinks or self.surplus)


def difference(situation: Situation) -> Difference:
    """What separates the fleet from the plan's targets."""
    goals = as_running(situation.deployment, situation.targets, situation.fleet)
    running = {group.name: group.desired for group in situation.fleet}
    wanted = {goal.name: goal.placement.replicas for goal in goals}
    surplus = tuple(group for group in situation.fleet if group.name not in wanted)
    planned = sum(
        goal.placement.replicas * situation.expected(goal.placement.usd_per_replica_hour, goal.placement)
        for goal in goals
    )
    return Difference(
        goals=goals,
        started=any(name in running for name in wanted),
        grows=any(replicas > running.get(name, 0) for name, replicas in wanted.items()),
        shrinks=any(replicas < running.get(name, 0) for name, replicas in wanted.items()),
        surplus=surplus,
        starts=sum(max(0, replicas - running.get(name, 0)) for name, replicas in wanted.items()),
        saves=MicroUsd(situation.expected_usd_per_hour - planned),
        is_on_its_way=_is_on_its_way(situation.deployment.last_move_groups, wanted, running),
        is_outgrown=_is_outgrown(situation, wanted, planned),
    )


def _is_outgrown(situation: Situation, wanted: Mapping[str, int], planned: int) -> bool:
    end = end_of_move(situation.snapshot, situation.deployment, situation.policy)
    ends = (group for group in situation.fleet if group.name in end)
    usd = sum(end[group.name] * situation.expected(group.usd_per_replica_hour, group) for group in ends)
    return bool(end) and end.keys() != wanted.keys() and planned > usd


def _is_on_its_way(last: Mapping[str, int], wanted: Mapping[str, int], running: Mapping[str, int]) -> bool:
    is_half = bool(wanted.keys() & running.keys()) and bool(running.keys() - wanted.keys())
    if not last:
        return is_half
    return dict(last) == dict(wanted) or (is_half and last.keys() == wanted.keys())


def _is_edited(deployment: DeploymentInput) -> bool:
    # A lost status counts as edited: a restart too many is repaired by time, an edit overlooked is not.
    return deployment.generation != deployment.planned_generation


def as_running(
    deployment: DeploymentInput, targets: tuple[TargetGroup, ...], fleet: tuple[EngineGroup, ...]
) -> tuple[TargetGroup, ...]:
    """Targets under the identity of the groups that run the same placement already.

    Where nobody edited the spec, another launch hash for the same placement comes from a new operator or a new
    catalogue, and neither is worth a restart: the group that runs is the target. After an edit it is not.
    """
    if _is_edited(deployment):
        return targets
    names = {group.name for group in fleet}
    wanted = {target.name for target in targets}
    twins = {
        (group.model, group.shape, group.pool, group.capacity_type): group
        for group in sorted(fleet, key=lambda each: (each.ready, each.name))  # of several, the one that serves most
        if group.name not in wanted
    }
    goals = []
    for target in targets:
        placement = target.placement
        twin = twins.get((placement.model, placement.shape, placement.pool, placement.capacity_type))
        if target.name in names or twin is None:
            goals.append(target)
        else:
            goals.append(replace(target, name=twin.name, launch_hash=twin.launch_hash))
    return tuple(goals)
