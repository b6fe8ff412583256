"""World -> frozen Snapshot: the only place where time and the cluster enter a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from deepseek_operator.api.convert import deployment_input
from deepseek_operator.fleet import fleet
from deepseek_operator.pools import offerings
from deepseek_operator.render import PodRequest, pod_request
from deepseek_operator.render.names import key_of
from deepseek_operator.settings import Settings
from deepseek_operator.world import Kind, Object, World
from deepseek_planner.catalog import Catalog
from deepseek_planner.errors import InputError, Problem
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey, Setback, Snapshot


@dataclass(frozen=True, slots=True)
class Resource:
    """One DeepSeekDeployment as observed: the object, what it asks of its pods, and what cannot be read of it."""

    object: Object
    request: PodRequest
    problems: tuple[Problem, ...] = ()

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as last written."""
        return self.object.get("status") or {}


@dataclass(frozen=True, slots=True)
class Observation:
    """A snapshot to plan from, and beside it what only the shell needs."""

    snapshot: Snapshot
    resources: Mapping[DeploymentKey, Resource]
    """All of them but those being deleted; the unreadable ones are not in the snapshot."""


async def snapshot(world: World, *, catalog: Catalog, settings: Settings, now: datetime) -> Observation:
    """Everything that a plan depends on, as one value. One unreadable resource hides no other."""
    resources: dict[DeploymentKey, Resource] = {}
    inputs: list[DeploymentInput] = []
    for item in world.objects(Kind.DEPLOYMENT):
        if item["metadata"].get("deletionTimestamp"):
            continue
        key = key_of(item)
        try:
            read = deployment_input(item, catalog=catalog, in_cluster=not settings.local_paths)
            inputs.append(_with_history(read, item))
            resources[key] = Resource(item, pod_request(item))
        except InputError as error:
            resources[key] = Resource(item, PodRequest(), error.problems)
    nodes, pods = world.objects(Kind.NODE), world.objects(Kind.POD)
    available = offerings(world.objects(Kind.POOL), nodes, pods, catalog=catalog, now=now)
    measured = await world.measured(inputs, now=now)
    return Observation(
        snapshot=Snapshot(
            now=now,
            deployments=tuple(replace(item, measured=measured.get(item.key)) for item in inputs),
            offerings=available,
            fleet=fleet(_groups(world), pods, world.objects(Kind.CONFIG_MAP), available),
            multi_node=world.multi_node,
        ),
        resources=resources,
    )


def _with_history(item: DeploymentInput, resource: Object) -> DeploymentInput:
    """What the status remembers for us, so that a restart of the operator forgets nothing."""
    status = resource.get("status") or {}
    last = status.get("lastMove") or {}
    return replace(
        item,
        planned_generation=status.get("fleetGeneration"),
        last_move_at=_time(last["at"]) if last.get("at") else None,
        last_move_groups={group["name"]: int(group["replicas"]) for group in last.get("groups") or ()},
        grew_at=_time(last["grewAt"]) if last.get("grewAt") else None,
        setbacks=tuple(
            Setback(found["group"], found["shape"], found["pool"], _time(found["at"]), found.get("message", ""))
            for found in status.get("setbacks") or ()
        ),
    )


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _groups(world: World) -> Sequence[Object]:
    return (*world.objects(Kind.ENGINE_GROUP), *world.objects(Kind.MULTI_NODE_GROUP))
