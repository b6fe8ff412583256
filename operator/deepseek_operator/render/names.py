"""Names, labels and annotations of everything the operator makes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepseek_operator.world import Object
from deepseek_planner.hardware import CapacityType
from deepseek_planner.models import Precision
from deepseek_planner.snapshot import DeploymentKey, Shape

PREFIX = "serving.deepseek-operator.dev/"
API_VERSION = f"{PREFIX}v1alpha1"

DEPLOYMENT_LABEL = f"{PREFIX}deployment"
GROUP_LABEL = f"{PREFIX}group"
ROLE_LABEL = f"{PREFIX}role"
PLACEMENT_ANNOTATION = f"{PREFIX}placement"
TEMPLATE_HASH_ANNOTATION = f"{PREFIX}template-hash"
MANIFEST_HASH_ANNOTATION = f"{PREFIX}manifest-hash"

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "deepseek-operator"

SERVER = "server"
"""Role of pods that answer requests: the only pod of a replica, or the leader of several."""
WORKER = "worker"

_NAME_LIMIT = 63
_MULTI_NODE_NAME_LIMIT = 45
"""LeaderWorkerSet appends indexes and a revision to what must stay a label."""


def labels(deployment: str, component: str) -> dict[str, str]:
    """Labels of every child. ``app.kubernetes.io/instance`` is left out: Argo CD tracks objects by it."""
    return {
        "app.kubernetes.io/name": "deepseek",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "deepseek-operator",
        MANAGED_BY_LABEL: MANAGED_BY,
        DEPLOYMENT_LABEL: deployment,
    }


def group_name(deployment: str, shape: Shape, launch_hash: str) -> str:
    """Name of a group of engines: ``chat-h200-fp8-tp8-9c1e0a``, cut before the hash where it is too long."""
    limit = _NAME_LIMIT if shape.nodes_per_replica == 1 else _MULTI_NODE_NAME_LIMIT
    head = f"{deployment}-{shape.name}"[: limit - 7].rstrip("-.")
    return f"{head}-{launch_hash[:6]}"


def owner(resource: Object) -> dict[str, Any]:
    """Owner reference that makes a child go with its resource. It blocks nobody's delete."""
    return {
        "apiVersion": resource["apiVersion"],
        "kind": resource["kind"],
        "name": resource["metadata"]["name"],
        "uid": resource["metadata"]["uid"],
        "controller": True,
    }


def key_of(resource: Object) -> DeploymentKey:
    """Key of a DeepSeekDeployment object."""
    return DeploymentKey(resource["metadata"].get("namespace", ""), resource["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Placed:
    """What a group was made for, as its annotation says."""

    shape: Shape
    pool: str
    capacity_type: CapacityType
    launch_hash: str
    model: str = ""
    """The variant that it serves; empty: the deployment's own model."""


def write_placement(placed: Placed) -> str:
    """The annotation from which a group is read back."""
    shape = placed.shape
    document = {
        "accelerator": shape.accelerator,
        "precision": str(shape.precision),
        "tensorParallel": shape.tensor_parallel,
        "pipelineParallel": shape.pipeline_parallel,
        "dataParallel": shape.data_parallel,
        "expertParallel": shape.expert_parallel,
        "nodesPerReplica": shape.nodes_per_replica,
        "pool": placed.pool,
        "capacityType": str(placed.capacity_type),
        "launchHash": placed.launch_hash,
    }
    if placed.model:
        document["model"] = placed.model
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def read_placement(annotations: Mapping[str, str]) -> Placed | None:
    """What a group was made for; None where the annotation is absent or not ours."""
    try:
        document = json.loads(annotations[PLACEMENT_ANNOTATION])
        shape = Shape(
            accelerator=str(document["accelerator"]),
            precision=Precision(document["precision"]),
            tensor_parallel=int(document["tensorParallel"]),
            pipeline_parallel=int(document["pipelineParallel"]),
            data_parallel=int(document["dataParallel"]),
            expert_parallel=int(document["expertParallel"]),
            nodes_per_replica=int(document["nodesPerReplica"]),
        )
        return Placed(
            shape=shape,
            pool=str(document["pool"]),
            capacity_type=CapacityType(document["capacityType"]),
            launch_hash=str(document["launchHash"]),
            model=str(document.get("model", "")),
        )
    except (KeyError, ValueError, TypeError):
        return None
