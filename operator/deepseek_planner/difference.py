"""One deployment: what runs, what the plan wants, and what differs between the two."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deepseek_planner.forecast import covered
from deepseek_planner.plan import (
    DeploymentInput,
    DeploymentKey,
    DeploymentPlan,
    EngineGroup,
    Placement,
    Policy,
    Snapshot,
)
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
    def is_over_budget(self) -> bool:
        return self.usd_per_hour > self.deployment.objectives.max_usd_per_hour


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
    saves: MicroUsd

    @property
    def is_none(self) -> bool:
        return not (self.grows or self.shrinks or self.surplus)

    @property
    def only_grows(self) -> bool:
        return self.grows and not (self.shrinks or self.surplus)

    @property
    def is_on_its_way(self) -> bool:
        """Old engines beside new ones. Half a move costs more than either end, so it goes on."""
        return self.started and bool(self.surplus)


def difference(situation: Situation) -> Difference:
    """What separates the fleet from the plan's targets."""
    goals = as_running(situation.deployment, situation.targets, situation.fleet)
    running = {group.name: group for group in situation.fleet}
    wanted = {goal.name: goal.placement.replicas for goal in goals}
    return Difference(
        goals=goals,
        started=any(name in running for name in wanted),
        grows=any(replicas > (running[name].desired if name in running else 0) for name, replicas in wanted.items()),
        shrinks=any(name in running and replicas < running[name].desired for name, replicas in wanted.items()),
        surplus=tuple(group for group in situation.fleet if group.name not in wanted),
        saves=MicroUsd(situation.usd_per_hour - sum(goal.placement.usd_per_hour for goal in goals)),
    )


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
