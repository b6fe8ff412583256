"""What a step does to an ideal world: engines start and drain, nothing fails. For tests and what-if screens."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from deepseek_planner.moves import Move
from deepseek_planner.rollout import AS_SHIPPED, Step, StepKind, next_step
from deepseek_planner.snapshot import EngineGroup, Fleet, Policy, Snapshot

MOST_STEPS = 10_000


def all_steps(snapshot: Snapshot, move: Move, policy: Policy = AS_SHIPPED) -> tuple[Step, ...]:
    """Every step of a move to its end, or to the wait that nothing but a person ends."""
    steps: list[Step] = []
    for _ in range(MOST_STEPS):
        step = next_step(snapshot, move, policy)
        if step is None:
            return tuple(steps)
        if not steps or steps[-1] != step:
            steps.append(step)
        after = settled(snapshot) if step.kind is StepKind.WAIT else applied(snapshot, step)
        if after == snapshot:
            return tuple(steps)
        snapshot = after
    raise RuntimeError(f"{move.key}: {MOST_STEPS} steps do not end the move to {[t.name for t in move.targets]}")


def applied(snapshot: Snapshot, step: Step) -> Snapshot:
    """The world right after a step: asked-for engines start, engines too many drain (those that serve last)."""
    if step.kind is StepKind.WAIT:
        return snapshot
    groups = [group for group in snapshot.fleet.groups if (group.key, group.name) != (step.key, step.group)]
    before = next((g for g in snapshot.fleet.of(step.key) if g.name == step.group), None)
    if step.kind is StepKind.CREATE:
        groups.append(_created(step, snapshot.now))
    elif step.kind is StepKind.SCALE and before is not None:
        groups.append(_scaled(before, step.replicas, snapshot.now))
    groups.sort(key=lambda group: (group.key, group.name))
    return replace(snapshot, fleet=Fleet(tuple(groups)))


def settled(snapshot: Snapshot) -> Snapshot:
    """The world after a while: what starts is ready, what drains is gone."""
    groups = (
        replace(g, ready=g.ready + g.starting, starting=0, draining=0, unready_since=None)
        for g in snapshot.fleet.groups
    )
    return replace(snapshot, fleet=Fleet(tuple(groups)))


def _created(step: Step, now: datetime) -> EngineGroup:
    assert step.target is not None
    placement = step.target.placement
    return EngineGroup(
        key=step.key,
        name=step.group,
        launch_hash=step.target.launch_hash,
        shape=placement.shape,
        model=placement.model,
        pool=placement.pool,
        capacity_type=placement.capacity_type,
        desired=step.replicas,
        ready=0,
        starting=step.replicas,
        draining=0,
        usd_per_replica_hour=placement.usd_per_replica_hour,
        starts=(now,) * step.replicas,
        unready_since=now,
    )


def _scaled(group: EngineGroup, replicas: int, now: datetime) -> EngineGroup:
    exists = group.ready + group.starting
    if replicas >= exists:
        more = replicas - exists
        return replace(
            group,
            desired=replicas,
            starting=group.starting + more,
            starts=group.starts + (now,) * more,
            unready_since=group.unready_since or (now if more else None),
        )
    stopped = exists - replicas
    unready = min(group.starting, stopped)
    return replace(
        group,
        desired=replicas,
        starting=group.starting - unready,
        ready=group.ready - (stopped - unready),
        draining=group.draining + stopped - unready,
        starts=group.starts[: max(0, len(group.starts) - stopped)],
    )
