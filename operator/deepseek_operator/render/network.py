"""What stands around the engines of one deployment: Service, PodDisruptionBudget, NetworkPolicy."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from deepseek_operator.render.names import DEPLOYMENT_LABEL, ROLE_LABEL, SERVER, labels, owner
from deepseek_operator.render.request import PodRequest
from deepseek_operator.settings import EngineSettings
from deepseek_operator.world import Kind, Object

PORT = 8000
METRICS_PORT = 8001
_DNS_PORT = 53


def endpoint(resource: Object) -> str:
    """Base URL of the OpenAI API of a deployment, inside the cluster."""
    metadata = resource["metadata"]
    return f"http://{metadata['name']}.{metadata['namespace']}.svc:{PORT}/v1"


def base(resource: Object, request: PodRequest, settings: EngineSettings) -> tuple[dict[str, Any], ...]:
    """Children that a deployment has once, whatever runs behind them."""
    return (service(resource), disruption_budget(resource), network_policy(resource, request, settings))


def service(resource: Object) -> dict[str, Any]:
    """The door to all engines that are ready and answer requests."""
    name = resource["metadata"]["name"]
    return _child(resource, "v1", Kind.SERVICE) | {
        "spec": {
            "type": "ClusterIP",
            "publishNotReadyAddresses": False,
            "selector": {DEPLOYMENT_LABEL: name, ROLE_LABEL: SERVER},
            "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
        }
    }


def disruption_budget(resource: Object) -> dict[str, Any]:
    """One engine at a time may be evicted, and a broken one always: never in the way of a node's drain."""
    return _child(resource, "policy/v1", Kind.DISRUPTION_BUDGET) | {
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": {DEPLOYMENT_LABEL: resource["metadata"]["name"]}},
        }
    }


def network_policy(resource: Object, request: PodRequest, settings: EngineSettings) -> dict[str, Any]:
    """Requests from anywhere, metrics from monitoring; out only to names, weights and each other."""
    ours = {"matchLabels": {DEPLOYMENT_LABEL: resource["metadata"]["name"]}}
    metrics: dict[str, Any] = {"ports": [_tcp(METRICS_PORT)]}
    if settings.monitoring_namespace:
        name = {"kubernetes.io/metadata.name": settings.monitoring_namespace}
        metrics["from"] = [{"namespaceSelector": {"matchLabels": name}}]
    outside = sorted({*settings.weight_ports, *_uri_port(request.source.uri)})
    return _child(resource, "networking.k8s.io/v1", Kind.NETWORK_POLICY) | {
        "spec": {
            "podSelector": ours,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [_tcp(PORT)]}, metrics, {"from": [{"podSelector": ours}]}],
            "egress": [
                {"ports": [{"protocol": "UDP", "port": _DNS_PORT}, _tcp(_DNS_PORT)]},
                {"ports": [_tcp(port) for port in outside]},
                {"to": [{"podSelector": ours}]},
            ],
        }
    }


def _tcp(port: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}


def _uri_port(uri: str) -> tuple[int, ...]:
    try:
        parts = urlsplit(uri)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ()
    return (port,) if port else ()


def _child(resource: Object, api_version: str, kind: Kind) -> dict[str, Any]:
    metadata = resource["metadata"]
    return {
        "apiVersion": api_version,
        "kind": str(kind),
        "metadata": {
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "labels": labels(metadata["name"], "serving"),
            "ownerReferences": [owner(resource)],
        },
    }
