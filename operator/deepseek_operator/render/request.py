"""What a resource asks of its pods, read from the object once.

Everything in a :class:`PodRequest` is the user's, so a change in any of it makes other engines. What
the operator's settings add (images, ports, monitoring) is not here, so that an upgrade restarts none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from deepseek_operator.world import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSource:
    """Where the checkpoint is: at most one of ``repository``, ``claim``, ``uri``, ``path``; none: the catalogue's."""

    repository: str = ""
    revision: str = ""
    token_secret: str = ""
    token_key: str = ""
    claim: str = ""
    claim_path: str = ""
    uri: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRequest:
    """The parts of a resource's spec that shape its pods and are not the planner's."""

    source: WeightSource = WeightSource()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    image_pull_secrets: tuple[str, ...] = ()
    priority_class: str = ""
    runtime_class: str = ""
    extra_args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Canonical JSON of what is set; empty when nothing differs from the defaults."""
        changed = {name: value for name, value in asdict(self).items() if value != _DEFAULTS[name]}
        return json.dumps(changed, sort_keys=True, separators=(",", ":")) if changed else ""


_DEFAULTS = asdict(PodRequest())


def pod_request(resource: Object) -> PodRequest:
    """Read a resource that the API's rules let through."""
    spec = resource["spec"]
    pod, engine, placement = (spec.get(name) or {} for name in ("pod", "engine", "placement"))
    source = _source(spec["model"].get("source") or {})
    return PodRequest(
        source=source,
        node_selector=dict(placement.get("nodeSelector") or {}),
        tolerations=tuple(placement.get("tolerations") or ()),
        labels=dict(pod.get("labels") or {}),
        annotations=dict(pod.get("annotations") or {}),
        image_pull_secrets=tuple(item["name"] for item in pod.get("imagePullSecrets") or ()),
        priority_class=pod.get("priorityClassName") or "",
        runtime_class=pod.get("runtimeClassName") or "",
        extra_args=tuple(engine.get("extraArgs") or ()),
        env={item["name"]: str(item.get("value", "")) for item in engine.get("env") or ()},
    )


def _source(raw: Mapping[str, Any]) -> WeightSource:
    if hub := raw.get("huggingFace"):
        secret = hub.get("tokenSecretRef") or {}
        return WeightSource(
            repository=hub.get("repo") or "",
            revision=hub.get("revision") or "",
            token_secret=secret.get("name") or "",
            token_key=secret.get("key") or "token",
        )
    if claim := raw.get("persistentVolumeClaim"):
        return WeightSource(claim=claim["name"], claim_path=(claim.get("path") or "").strip("/"))
    return WeightSource(uri=raw.get("uri") or "", path=raw.get("path") or "")
