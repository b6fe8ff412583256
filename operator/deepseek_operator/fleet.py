"""Engine groups and pods as observed -> Fleet: what of ours runs, read from the cluster alone."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from deepseek_operator.render.groups import PRICE_KEY
from deepseek_operator.render.names import (
    DEPLOYMENT_LABEL,
    GROUP_LABEL,
    ROLE_LABEL,
    WORKER,
    read_placement,
)
from deepseek_operator.world import Object
from deepseek_planner.cost import usd_per_replica_hour
from deepseek_planner.hardware import Offering
from deepseek_planner.snapshot import DeploymentKey, EngineGroup, Fleet, Shape
from deepseek_planner.units import MicroUsd, micro_usd

_Name = tuple[str, str]
_FINISHED = ("Succeeded", "Failed")
_WAITING_IS_NORMAL = ("ContainerCreating", "PodInitializing")


def fleet(
    groups: Iterable[Object], pods: Iterable[Object], config_maps: Iterable[Object], offerings: Sequence[Offering]
) -> Fleet:
    """Every group of ours, also one whose object is gone while its pods still drain: they still cost money."""
    pods_of = _pods_by_group(pods)
    last_price = {_name(item): _price(item) for item in config_maps}
    found = {_name(item): item for item in groups if GROUP_LABEL in _labels(item)}
    result = []
    for name in sorted(found.keys() | pods_of.keys()):
        observed = _group(name, found.get(name), pods_of.get(name, ()), offerings, last_price.get(name))
        if observed:
            result.append(observed)
    return Fleet(tuple(result))


def _group(
    name: _Name,
    item: Object | None,
    pods: Sequence[Object],
    offerings: Sequence[Offering],
    last_price: MicroUsd | None,
) -> EngineGroup | None:
    source = item or pods[0]
    placed = read_placement(source["metadata"].get("annotations") or {})
    if placed is None:
        return None
    is_wanted = item is not None and not item["metadata"].get("deletionTimestamp")
    leaving = [pod for pod in pods if _is_leaving(pod) or not is_wanted]
    staying = [pod for pod in pods if pod not in leaving]
    ready = [pod for pod in staying if is_ready(pod)]
    return EngineGroup(
        key=DeploymentKey(name[0], _labels(source)[DEPLOYMENT_LABEL]),
        name=name[1],
        launch_hash=placed.launch_hash,
        shape=placed.shape,
        pool=placed.pool,
        capacity_type=placed.capacity_type,
        model=placed.model,
        desired=int((item or {}).get("spec", {}).get("replicas", 1)) if is_wanted else 0,
        ready=len(ready),
        starting=len(staying) - len(ready),
        draining=len(leaving),
        usd_per_replica_hour=_current_price(placed.shape, placed.pool, offerings) or last_price,
        unscheduled=sum(1 for pod in staying if not pod["spec"].get("nodeName")),
        starts=_starts(pods),
        unready_since=_unready_since(staying, ready, item) if is_wanted else None,
        failure=failure(staying, item) if len(ready) < len(staying) or not staying else "",
    )


def _starts(pods: Iterable[Object]) -> tuple[datetime, ...]:
    created = (_time(pod["metadata"].get("creationTimestamp")) for pod in pods)
    return tuple(sorted(at for at in created if at is not None))


def _unready_since(staying: Sequence[Object], ready: Sequence[Object], group: Object | None) -> datetime | None:
    """Since when the longest-waiting engine is not ready; a group without any pod waits since it was made."""
    waiting = [pod for pod in staying if pod not in ready]
    # Until the kubelet has the pod, nothing says that it is not ready but its age.
    times = [
        _time(_condition(pod, "Ready").get("lastTransitionTime") or pod["metadata"].get("creationTimestamp"))
        for pod in waiting
    ]
    times += [] if staying else [_time((group or {}).get("metadata", {}).get("creationTimestamp"))]
    return min((at for at in times if at is not None), default=None)


def _time(text: str | None) -> datetime | None:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) if text else None


def is_ready(pod: Object) -> bool:
    """Whether the kubelet calls the pod ready."""
    return _condition(pod, "Ready").get("status") == "True"


def failure(pods: Iterable[Object], group: Object | None) -> str:
    """Why engines do not become ready, as ``Reason: message``; empty while they may just be starting."""
    for pod in pods:
        if not is_ready(pod) and (text := _pod_failure(pod)):
            return text
    refused = _condition(group or {}, "ReplicaFailure")
    return f"{refused['reason']}: {refused['message']}" if refused.get("status") == "True" else ""


def _pod_failure(pod: Object) -> str:
    status = pod.get("status") or {}
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', '')}".rstrip(": ")
    for container in status.get("containerStatuses") or ():
        # What the engine itself said beats what the kubelet makes of it (CrashLoopBackOff says nothing).
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            ended = state.get("terminated")
            if ended and ended.get("exitCode", 0) != 0:
                return _termination(ended)
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in _WAITING_IS_NORMAL:
            return f"{waiting.get('reason', 'Waiting')}: {waiting.get('message', '')}".rstrip(": ")
    return ""


def _termination(ended: Mapping[str, Any]) -> str:
    """The runtime leaves ``{"reason", "message"}``; anything else is the tail of a log."""
    text = (ended.get("message") or "").strip()
    try:
        document = json.loads(text)
        return f"{document['reason']}: {document['message']}"
    except (ValueError, KeyError, TypeError):
        last = text.splitlines()[-1] if text else f"exit code {ended.get('exitCode')}"
        return f"{ended.get('reason') or 'EngineFailed'}: {last}"


def _pods_by_group(pods: Iterable[Object]) -> Mapping[_Name, list[Object]]:
    """Pods that stand for a replica, by group: all but the workers of a replica over several nodes."""
    found: dict[_Name, list[Object]] = defaultdict(list)
    for pod in pods:
        labels = _labels(pod)
        is_ours = GROUP_LABEL in labels and DEPLOYMENT_LABEL in labels and labels.get(ROLE_LABEL) != WORKER
        if is_ours and (pod.get("status") or {}).get("phase") not in _FINISHED:
            found[pod["metadata"].get("namespace", ""), labels[GROUP_LABEL]].append(pod)
    return found


def _current_price(shape: Shape, pool: str, offerings: Sequence[Offering]) -> MicroUsd | None:
    found = next((offering for offering in offerings if offering.pool == pool), None)
    return usd_per_replica_hour(found, shape) if found and found.price else None


def _price(config_map: Object) -> MicroUsd | None:
    try:
        return micro_usd(json.loads(config_map["data"][PRICE_KEY])["usdPerReplicaHour"])
    except (KeyError, ValueError, TypeError):
        return None


def _is_leaving(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _condition(item: Object, kind: str) -> Mapping[str, Any]:
    conditions = (item.get("status") or {}).get("conditions") or ()
    return next((found for found in conditions if found.get("type") == kind), {})


def _labels(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def _name(item: Object) -> _Name:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
