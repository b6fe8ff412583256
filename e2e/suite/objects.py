"""Objects of the cluster: everything there is, what of it is ours, and what remains of one when chance is taken out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from suite.cluster import Cluster, CommandFailedError

OURS = re.compile(r"deepseek", re.IGNORECASE)
"""In a name, namespace, label, annotation, owner or field manager. The fake nodes are named without it: what the
cluster says about nodes that came and went stays for an hour and is nobody's to delete."""

CHANCE = {
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "generateName",
    "selfLink",
}
ASSIGNED = {"clusterIP", "clusterIPs", "nodeName", "hostIP", "podIP", "podIPs"}
CHANCE_ANNOTATIONS = ("deployment.kubernetes.io/", "kubectl.kubernetes.io/last-applied-configuration")
VOLUME_OF_TOKEN = re.compile(r"^kube-api-access-")

WATCHED = ("deployments", "configmaps", "services", "poddisruptionbudgets", "networkpolicies", "pods")
"""Types of the children that a DeepSeekDeployment has."""


def everything(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """All objects of all listable types, by ``type/namespace/name``."""
    found: dict[str, dict[str, Any]] = {}
    for kind in cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split():
        try:
            items = cluster.items(kind, "-A")
        except CommandFailedError as error:
            if (
                "NotFound" in error.text
                or "MethodNotAllowed" in error.text
                or "the server could not find" in error.text
            ):
                continue
            raise
        for item in items:
            metadata = item["metadata"]
            found[f"{kind}/{metadata.get('namespace', '')}/{metadata.get('name', '')}"] = item
    return found


def is_ours(item: Mapping[str, Any]) -> bool:
    """Whether anything about the object's identity says that it comes from this project."""
    metadata = item["metadata"]
    words: list[str] = [metadata.get("name", ""), metadata.get("namespace", "")]
    words += [f"{key}={value}" for key, value in (metadata.get("labels") or {}).items()]
    words += list((metadata.get("annotations") or {}).keys())
    words += [owner["kind"] + owner["name"] for owner in metadata.get("ownerReferences") or ()]
    words += [entry.get("manager", "") for entry in metadata.get("managedFields") or ()]
    about = item.get("involvedObject") or item.get("regarding") or {}
    words += [about.get("name", ""), about.get("namespace", ""), about.get("apiVersion", "")]
    return any(OURS.search(word or "") for word in words)


def normalised(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Objects by kind and name without what differs between two equal runs: identities, times, assigned addresses."""
    found: dict[str, Any] = {}
    for item in items:
        name = f"{item['kind']}/{stable_name(item)}"
        count = sum(1 for key in found if key.partition(" ")[0] == name)
        found[f"{name} {count + 1}" if count else name] = plain(item)
    return found


def stable_name(item: Mapping[str, Any]) -> str:
    """The name, without the random part that a ReplicaSet gives its pods."""
    name: str = item["metadata"]["name"]
    generated = item["metadata"].get("generateName")
    return f"{generated}*" if generated else name


def plain(item: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in item["metadata"].items() if key not in CHANCE}
    metadata["name"] = stable_name(item)
    metadata["annotations"] = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if not key.startswith(CHANCE_ANNOTATIONS)
    }
    metadata["ownerReferences"] = [
        {key: value for key, value in owner.items() if key != "uid"} for owner in metadata.get("ownerReferences") or ()
    ]
    body = {key: item[key] for key in ("spec", "data") if key in item}
    if item["kind"] == "DeepSeekDeployment":
        body["status"] = decided(item.get("status") or {})
    text = json.dumps(body, sort_keys=True)
    return {"metadata": metadata, **_without_assigned(json.loads(text))}


def decided(status: Mapping[str, Any]) -> dict[str, Any]:
    """What a status says about decisions, without what it measured and when."""
    return {
        "conditions": sorted([c["type"], c["status"], c["reason"]] for c in status.get("conditions", ())),
        "placements": (status.get("plan") or {}).get("placements"),
        **{key: status.get(key) for key in ("summary", "replicas", "readyReplicas", "modelName", "endpoint")},
    }


def _without_assigned(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_assigned(child)
            for key, child in value.items()
            if key not in ASSIGNED and not (key in {"volumes", "volumeMounts"} and not child)
        }
    if isinstance(value, list):
        return [
            _without_assigned(child)
            for child in value
            if not (isinstance(child, dict) and VOLUME_OF_TOKEN.match(str(child.get("name", ""))))
        ]
    return value


def differences(expected: Mapping[str, Any], found: Mapping[str, Any], where: str = "") -> list[str]:
    """Paths where two trees differ, with both values."""
    lines: list[str] = []
    for key in sorted({*expected, *found}, key=str):
        path = f"{where}.{key}" if where else str(key)
        if key not in expected:
            lines.append(f"{path}: only found: {str(found[key])[:160]}")
        elif key not in found:
            lines.append(f"{path}: only expected: {str(expected[key])[:160]}")
        elif isinstance(expected[key], dict) and isinstance(found[key], dict):
            lines += differences(expected[key], found[key], path)
        elif expected[key] != found[key]:
            lines.append(f"{path}: {str(expected[key])[:160]} -> {str(found[key])[:160]}")
    return lines
