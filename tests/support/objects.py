"""Builders of Kubernetes objects as an API server would show them; tests name what they are about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

API_VERSION = "serving.deepseek-operator.dev/v1alpha1"
UID = "11111111-2222-3333-4444-555555555555"


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, map by map."""
    result = dict(base)
    for name, value in changes.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def deployment(name: str = "chat", namespace: str = "team-a", **spec: Any) -> dict[str, Any]:
    """A DeepSeekDeployment of the tiny model on CPUs."""
    base = {
        "model": {"name": "deepseek-tiny", "source": {"persistentVolumeClaim": {"name": "tiny", "path": "v3"}}},
        "workload": {
            "requestsPerMinute": {"expected": 60, "peak": 120},
            "inputTokens": {"mean": 100, "p90": 200, "max": 512},
            "outputTokens": {"mean": 30, "p90": 60, "max": 128},
        },
        "objectives": {
            "timeToFirstToken": {"p95": "5s"},
            "timePerOutputToken": {"p95": "500ms"},
            "accuracyClass": "Critical",
            "maxUSDPerHour": "1.00",
        },
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "DeepSeekDeployment",
        "metadata": {"name": name, "namespace": namespace, "uid": UID, "generation": 1, "resourceVersion": "10"},
        "spec": merged(base, spec),
    }


def pool(name: str = "machines", **spec: Any) -> dict[str, Any]:
    """An AcceleratorPool of CPU nodes with four slots each."""
    base = {
        "accelerator": "cpu",
        "gpusPerNode": 4,
        "capacityType": "OnDemand",
        "price": {"usdPerNodeHour": "0.20", "source": "a list", "asOf": "2026-11-01"},
        "startup": "0s",
        "maxNodes": 2,
        "nodeSelector": {"pool": name},
    }
    metadata = {"name": name, "uid": f"pool-{name}", "generation": 1, "resourceVersion": "11"}
    return {"apiVersion": API_VERSION, "kind": "AcceleratorPool", "metadata": metadata, "spec": merged(base, spec)}


def node(name: str = "node-0", **changes: Any) -> dict[str, Any]:
    """A ready node of the pool ``machines``."""
    base = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"node-{name}", "resourceVersion": "12", "labels": {"pool": "machines"}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "4", "memory": "16Gi"},
            "capacity": {"cpu": "4", "memory": "16Gi"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    return merged(base, changes)


def pod_of(group: Mapping[str, Any], name: str, *, ready: bool = True, **changes: Any) -> dict[str, Any]:
    """A pod of an engine group's object, as its controller would make it."""
    template = group["spec"]["template"]
    base = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": group["metadata"]["namespace"],
            "uid": f"pod-{name}",
            "resourceVersion": "20",
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"]["annotations"],
        },
        "spec": {**template["spec"], "nodeName": "node-0"},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True" if ready else "False"},
            ],
        },
    }
    return merged(base, changes)
