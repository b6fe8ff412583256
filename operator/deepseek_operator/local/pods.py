"""Pods and Deployments as values: what a controller and a kubelet would write. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from deepseek_operator.world import Object

PORTS_ANNOTATION = "local.serving.deepseek-operator.dev/ports"
"""``serving,metrics`` ports of an engine process on the loopback address."""

_SUFFIXES = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True, slots=True)
class EngineState:
    """What is known of the process behind a pod."""

    serving_port: int = 0
    metrics_port: int = 0
    running: bool = False
    ready: bool = False
    restarts: int = 0
    started_at: str = ""
    waiting_reason: str = "ContainerCreating"
    waiting_message: str = ""
    exit_code: int | None = None
    exit_message: str = ""


def quantity(text: str | int | float) -> float:
    """A Kubernetes quantity (``300m``, ``2.5Gi``, ``1``) as a number; raises ValueError for anything else."""
    written = str(text)
    if written.endswith("m"):
        return float(Decimal(written[:-1]) / 1000)
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if written.endswith(suffix):
            return float(Decimal(written[: -len(suffix)]) * _SUFFIXES[suffix])
    return float(written)


def pod_of(group: Object, *, name: str, node: str) -> Object:
    """A new pod of a Deployment, bound to ``node``."""
    template = group["spec"]["template"]
    metadata = template.get("metadata", {})
    owner = {
        "apiVersion": group["apiVersion"],
        "kind": group["kind"],
        "name": group["metadata"]["name"],
        "uid": group["metadata"]["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": group["metadata"]["namespace"],
            "labels": dict(metadata.get("labels", {})),
            "annotations": dict(metadata.get("annotations", {})),
            "ownerReferences": [owner],
        },
        "spec": {**template["spec"], "nodeName": node},
    }


def pods_of(group: Object, pods: Sequence[Object]) -> list[Object]:
    """The pods that a Deployment owns, draining ones included, oldest first."""
    uid = group["metadata"]["uid"]
    mine = [pod for pod in pods if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences", ()))]
    return sorted(mine, key=_age)


def victims(pods: Sequence[Object], *, surplus: int) -> list[Object]:
    """Which pods a scale-down takes: those that do not serve first, then the youngest."""
    return sorted(sorted(pods, key=_age, reverse=True), key=is_ready)[: max(0, surplus)]


def is_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is True."""
    conditions = pod.get("status", {}).get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def is_draining(pod: Object) -> bool:
    """Whether the pod is on its way out."""
    return "deletionTimestamp" in pod["metadata"]


def ports_of(pod: Object) -> tuple[int, int] | None:
    """Serving and metrics port of the pod's process; None before it has one."""
    written = pod["metadata"].get("annotations", {}).get(PORTS_ANNOTATION, "")
    if not written:
        return None
    serving, metrics = written.split(",")
    return int(serving), int(metrics)


def pod_status(pod: Object, state: EngineState, *, now: str) -> Mapping[str, Any]:
    """Status as a kubelet writes it. A condition's transition time moves only when its status does."""
    container = pod["spec"]["containers"][0]["name"]
    ready = state.ready and not is_draining(pod)
    if state.running:
        current: dict[str, Any] = {"running": {"startedAt": state.started_at}}
    else:
        current = {"waiting": {"reason": state.waiting_reason, "message": state.waiting_message}}
    status: dict[str, Any] = {
        "name": container,
        "ready": ready,
        "started": state.running,
        "restartCount": state.restarts,
        "state": current,
    }
    if state.exit_code is not None:
        reason = "Completed" if state.exit_code == 0 else "Error"
        ended = {"exitCode": state.exit_code, "reason": reason, "message": state.exit_message}
        status["lastState"] = {"terminated": ended}
    before = pod.get("status", {}).get("conditions", ())
    conditions = [
        _condition(before, "PodScheduled", holds=True, now=now),
        _condition(before, "Initialized", holds=True, now=now),
        _condition(before, "ContainersReady", holds=ready, now=now),
        _condition(before, "Ready", holds=ready, now=now),
    ]
    phase = "Running" if state.running or state.restarts else "Pending"
    return {"phase": phase, "podIP": "127.0.0.1", "conditions": conditions, "containerStatuses": [status]}


def pending_status(pod: Object, message: str, *, now: str) -> Mapping[str, Any]:
    """Status of a pod that no node can take, as a scheduler writes it."""
    before = pod.get("status", {}).get("conditions", ())
    scheduled = _condition(before, "PodScheduled", holds=False, now=now)
    return {"phase": "Pending", "conditions": [{**scheduled, "reason": "Unschedulable", "message": message}]}


def group_status(group: Object, pods: Sequence[Object], *, now: str) -> Mapping[str, Any]:
    """Status as a Deployment controller writes it; draining pods are not counted, as there."""
    alive = [pod for pod in pods if not is_draining(pod)]
    ready = sum(is_ready(pod) for pod in alive)
    desired = int(group["spec"].get("replicas", 1))
    before = group.get("status", {}).get("conditions", ())
    status: dict[str, Any] = {
        "observedGeneration": group["metadata"]["generation"],
        "replicas": len(alive),
        "updatedReplicas": len(alive),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, desired - ready),
        "conditions": [_condition(before, "Available", holds=ready >= desired, now=now)],
    }
    return {name: value for name, value in status.items() if value != 0}


def memory_request_bytes(pod: Object) -> float:
    """Memory that the pod's containers ask for."""
    asked = (c.get("resources", {}).get("requests", {}).get("memory", 0) for c in pod["spec"]["containers"])
    return sum(quantity(amount) for amount in asked)


def _age(pod: Object) -> tuple[str, str]:
    # Creation times are whole seconds: the name decides between pods of one scale-up.
    return pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]


def _condition(before: Sequence[Mapping[str, Any]], kind: str, *, holds: bool, now: str) -> Mapping[str, Any]:
    status = "True" if holds else "False"
    for condition in before:
        if condition["type"] == kind and condition["status"] == status:
            return {"type": kind, "status": status, "lastTransitionTime": condition["lastTransitionTime"]}
    return {"type": kind, "status": status, "lastTransitionTime": now}
