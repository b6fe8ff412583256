"""The engine pod: one container, restricted, with the LaunchSpec and its weights mounted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from deepseek_operator.render.launch import CACHE_PATH, CLAIM_PATH, Launch
from deepseek_operator.render.names import (
    DEPLOYMENT_LABEL,
    GROUP_LABEL,
    PLACEMENT_ANNOTATION,
    ROLE_LABEL,
    labels,
    write_placement,
)
from deepseek_operator.render.request import PodRequest
from deepseek_operator.settings import EngineSettings
from deepseek_planner.hardware import Offering
from deepseek_planner.models import Precision

CONTAINER = "engine"
USER_ID = 65532

_GIB = 1 << 30
_CPU_ENGINE_BYTES = 2 * _GIB
"""Interpreter, torch and vLLM on CPU beside weights and KV cache; 1.4 GB were measured."""
_CPU_LEAST_BYTES = 5 * _GIB // 2
_HOST_BYTES_PER_GPU = 4 * _GIB
_BYTES_PER_PARAMETER: Mapping[Precision, float] = {
    Precision.BF16: 2.0,
    Precision.FP16: 2.0,
    Precision.FP8: 1.0,
    Precision.INT8: 1.0,
    Precision.INT4: 0.5,
    Precision.FP4: 0.5,
}


def pod_template(
    launch: Launch,
    role: str,
    *,
    offering: Offering,
    settings: EngineSettings,
) -> dict[str, Any]:
    """Template of the pods of one group. The user's labels and annotations never replace ours."""
    target, request = launch.target, launch.request
    ours = labels(target.key.name, "engine") | {GROUP_LABEL: target.name, ROLE_LABEL: role}
    note = write_placement(launch.placed)
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": launch.spec.termination_grace_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeSelector": {**offering.node_selector, **request.node_selector},
        "tolerations": _tolerations(offering, request, settings),
        # Zones only: engines that share a node are cheaper than engines that each leave one half empty.
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {DEPLOYMENT_LABEL: target.key.name, ROLE_LABEL: role}},
            }
        ],
        "containers": [_container(launch, settings)],
        "volumes": _volumes(launch, offering),
    }
    if request.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in request.image_pull_secrets]
    if request.priority_class:
        spec["priorityClassName"] = request.priority_class
    if request.runtime_class:
        spec["runtimeClassName"] = request.runtime_class
    metadata = {
        "labels": {**request.labels, **ours},
        "annotations": {**request.annotations, PLACEMENT_ANNOTATION: note},
    }
    return {"metadata": metadata, "spec": spec}


def _container(launch: Launch, settings: EngineSettings) -> dict[str, Any]:
    spec, source = launch.spec, launch.request.source
    mounts: list[dict[str, Any]] = [
        {"name": "launch", "mountPath": "/etc/deepseek", "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own, an emptyDir
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - ditto, in memory
    ]
    if source.claim:
        mounts.append({"name": "weights", "mountPath": CLAIM_PATH, "readOnly": True})
    elif spec.weights.cache_path:
        mounts.append({"name": "cache", "mountPath": CACHE_PATH})
    env: list[dict[str, Any]] = [{"name": "HOME", "value": "/tmp"}]  # noqa: S108 - the root is read-only
    if source.token_secret:
        secret = {"name": source.token_secret, "key": source.token_key}
        env.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": secret}})
    return {
        "name": CONTAINER,
        "image": settings.cpu_image if spec.accelerator == "cpu" else settings.cuda_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["deepseek-runtime"],
        "args": ["serve", "--launchspec", "/etc/deepseek/launchspec.json"],
        "env": env,
        "ports": [
            {"name": "http", "containerPort": spec.port, "protocol": "TCP"},
            {"name": "metrics", "containerPort": spec.metrics_port, "protocol": "TCP"},
        ],
        "resources": resources(launch, settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # The supervisor answers within seconds and knows a long load from a stuck one: the start-up
        # probe waits for it alone, and readiness for the engine.
        "startupProbe": _probe("/livez", spec.metrics_port, period_s=2, failures=90),
        "livenessProbe": _probe("/livez", spec.metrics_port, period_s=10, failures=3),
        "readinessProbe": _probe("/readyz", spec.metrics_port, period_s=2, failures=1),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _probe(path: str, port: int, *, period_s: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period_s,
        "timeoutSeconds": 5 if path == "/livez" else 2,
        "failureThreshold": failures,
    }


def resources(launch: Launch, settings: EngineSettings) -> dict[str, Any]:
    """Requests and limits of one pod of a replica.

    A CPU engine asks for less than the cores it uses, so that the agents of a node fit beside it: the
    pool's slots bound how many there are. Only memory is limited; a CPU limit would throttle decoding.
    """
    shape = launch.target.placement.shape
    if shape.accelerator == "cpu":
        held = launch.model.total_parameters * _BYTES_PER_PARAMETER[shape.precision]
        held += launch.spec.engine.kv_cache_bytes * shape.accelerators
        memory = _mebibytes(max(_CPU_LEAST_BYTES, _CPU_ENGINE_BYTES + held))
        return {
            "requests": {"cpu": f"{300 * shape.accelerators}m", "memory": memory},
            "limits": {"memory": memory},
        }
    gpus = shape.accelerators // shape.nodes_per_replica
    return {
        "requests": {
            "cpu": str(gpus),
            "memory": _mebibytes(_HOST_BYTES_PER_GPU * gpus),
            settings.gpu_resource: str(gpus),
        },
        "limits": {settings.gpu_resource: str(gpus)},
    }


def _mebibytes(amount: float) -> str:
    """A quantity in steps of 256 MiB."""
    step = 256 << 20
    return f"{math.ceil(amount / step) * 256}Mi"


def _tolerations(offering: Offering, request: PodRequest, settings: EngineSettings) -> list[dict[str, Any]]:
    wanted: list[dict[str, Any]] = [dict(item) for item in (*offering.tolerations, *request.tolerations)]
    if offering.accelerator != "cpu":
        wanted.append({"key": settings.gpu_resource, "operator": "Exists", "effect": "NoSchedule"})
    return [item for index, item in enumerate(wanted) if item not in wanted[:index]]


def _volumes(launch: Launch, offering: Offering) -> list[dict[str, Any]]:
    small = offering.accelerator == "cpu"
    volumes: list[dict[str, Any]] = [
        {"name": "launch", "configMap": {"name": launch.target.name}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi" if small else "8Gi"}},
    ]
    if claim := launch.request.source.claim:
        volumes.append({"name": "weights", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
    elif launch.spec.weights.cache_path:
        volumes.append({"name": "cache", **_cache(offering.weights_cache)})
    return volumes


def _cache(cache: Mapping[str, Any]) -> dict[str, Any]:
    """The pool's home for weights: a directory of the node, a claim, or the pod's own disk."""
    if path := cache.get("hostPath"):
        return {"hostPath": {"path": path, "type": "DirectoryOrCreate"}}
    if claim := cache.get("persistentVolumeClaim"):
        return {"persistentVolumeClaim": {"claimName": claim if isinstance(claim, str) else claim["name"]}}
    return {"emptyDir": {}}
