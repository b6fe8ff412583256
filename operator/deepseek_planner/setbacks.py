"""Engines that do not become ready: when they are given up, and for how long nothing is started there again.

Nothing waits for ever. A group of which no engine became ready within several cold starts is a setback. It is read
from what is observed, and remembered with the resource, so that a restart forgets none. While it is remembered the
search looks elsewhere, and a move does not go there again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from deepseek_planner.hardware import Offering
from deepseek_planner.snapshot import DeploymentInput, EngineGroup, Policy, Setback, Shape, Snapshot


def setbacks(snapshot: Snapshot, deployment: DeploymentInput, policy: Policy) -> tuple[Setback, ...]:
    """What is given up, by group, oldest first: as remembered, and as seen now."""
    since = snapshot.now - timedelta(seconds=policy.retry_s)
    found = {item.group: item for item in deployment.setbacks if item.at > since}
    for group in snapshot.fleet.of(deployment.key):
        if group.name not in found and _is_given_up(snapshot, group, policy):
            why = group.failure or "no engine became ready"
            found[group.name] = Setback(group.name, named(group.shape, group.model), group.pool, snapshot.now, why)
    return tuple(sorted(found.values(), key=lambda item: (item.at, item.group)))


def shuns(known: Iterable[Setback], shape: Shape, pool: str, model: str = "") -> Setback | None:
    """The setback that speaks against starting engines of this shape on this pool; None where none does.

    A variant's engines that do not start say nothing about the model's own, nor the other way round.
    """
    return next((item for item in known if (item.shape, item.pool) == (named(shape, model), pool)), None)


def named(shape: Shape, model: str) -> str:
    """The shape's name, behind that of a variant."""
    return f"{model}/{shape.name}" if model else shape.name


def cold_start_s(offering: Offering | None, policy: Policy) -> float:
    """Seconds from asking for an engine until it serves, a node to come included."""
    return (offering.startup_s if offering else 0.0) + policy.engine_start_s


def _is_given_up(snapshot: Snapshot, group: EngineGroup, policy: Policy) -> bool:
    if group.unready_since is None or group.ready or not group.desired:
        return False
    offering = next((each for each in snapshot.offerings if each.pool == group.pool), None)
    deadline_s = policy.patience * cold_start_s(offering, policy)
    if not group.failure:
        deadline_s = max(deadline_s, policy.give_up_s)
    return (snapshot.now - group.unready_since).total_seconds() >= deadline_s
