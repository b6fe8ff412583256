"""A group of engines as objects: its ConfigMap, and a Deployment or, over several nodes, a LeaderWorkerSet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from deepseek_operator.render.launch import Launch
from deepseek_operator.render.names import (
    GROUP_LABEL,
    PLACEMENT_ANNOTATION,
    SERVER,
    TEMPLATE_HASH_ANNOTATION,
    WORKER,
    labels,
    owner,
    write_placement,
)
from deepseek_operator.render.pods import pod_template
from deepseek_operator.settings import EngineSettings
from deepseek_operator.world import Kind, Object
from deepseek_planner.hardware import Offering, Price
from deepseek_planner.units import MicroUsd, usd

LAUNCH_KEY = "launchspec.json"
PRICE_KEY = "price.json"


def kind_of(nodes_per_replica: int) -> Kind:
    """Kind of the object that runs a group."""
    return Kind.ENGINE_GROUP if nodes_per_replica == 1 else Kind.MULTI_NODE_GROUP


def price_document(usd_per_replica_hour: MicroUsd, price: Price | None) -> str:
    """What one replica costs, for the meter in its pods. ``price`` None: as last known, its pool has none now."""
    document = {"usdPerReplicaHour": f"{usd(usd_per_replica_hour):f}"}
    if price is not None:
        document |= {"source": price.source, "asOf": price.as_of.isoformat()}
    return json.dumps(document, separators=(",", ":"))


def config_map(resource: Object, name: str, launch_json: str, price_json: str | None) -> dict[str, Any]:
    """The files of a group's pods. The price is in a key of its own: it may change, the launch spec never does."""
    return {
        "apiVersion": "v1",
        "kind": str(Kind.CONFIG_MAP),
        "metadata": {
            "namespace": resource["metadata"]["namespace"],
            "name": name,
            "labels": labels(resource["metadata"]["name"], "engine") | {GROUP_LABEL: name},
            "ownerReferences": [owner(resource)],
        },
        "data": {LAUNCH_KEY: launch_json} | ({PRICE_KEY: price_json} if price_json else {}),
    }


def engine_group(
    resource: Object,
    launch: Launch,
    replicas: int,
    *,
    offering: Offering,
    settings: EngineSettings,
) -> dict[str, Any]:
    """The object that runs one group of engines."""
    target = launch.target
    shape = target.placement.shape
    server = pod_template(launch, SERVER, offering=offering, settings=settings)
    if shape.nodes_per_replica == 1:
        spec = _deployment_spec(target.name, server)
        api_version = "apps/v1"
    else:
        worker = pod_template(launch, WORKER, offering=offering, settings=settings)
        spec = _leader_worker_spec(shape.nodes_per_replica, server, worker)
        api_version = "leaderworkerset.x-k8s.io/v1"
    note = write_placement(launch.placed)
    return {
        "apiVersion": api_version,
        "kind": str(kind_of(shape.nodes_per_replica)),
        "metadata": {
            "namespace": target.key.namespace,
            "name": target.name,
            "labels": labels(target.key.name, "engine") | {GROUP_LABEL: target.name},
            "annotations": {PLACEMENT_ANNOTATION: note, TEMPLATE_HASH_ANNOTATION: template_hash(spec)},
            "ownerReferences": [owner(resource)],
        },
        "spec": {"replicas": replicas, **spec},
    }


def template_hash(spec: Mapping[str, Any]) -> str:
    """Hash of everything in a group's spec but its replicas: equal means that applying it restarts nothing."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _deployment_spec(name: str, template: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "revisionHistoryLimit": 1,
        # Loading weights may take the better part of an hour; the supervisor reports what is stuck.
        "progressDeadlineSeconds": 7200,
        "selector": {"matchLabels": {GROUP_LABEL: name}},
        # We never change a template: another shape is another group. Should someone else change it,
        # taking no serving engine away before its successor is ready costs the least.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": template,
    }


def _leader_worker_spec(nodes: int, leader: Mapping[str, Any], worker: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "startupPolicy": "LeaderCreated",
        "rolloutStrategy": {
            "type": "RollingUpdate",
            "rollingUpdateConfiguration": {"maxSurge": 1, "maxUnavailable": 0},
        },
        "leaderWorkerTemplate": {
            "size": nodes,
            # One lost pod leaves the others of its replica waiting for it: they start again together.
            "restartPolicy": "RecreateGroupOnPodRestart",
            "leaderTemplate": leader,
            "workerTemplate": worker,
        },
    }
