"""The two doors to the world: one to look through, one to act through.

Kubernetes (:mod:`deepseek_operator.observe`, :mod:`deepseek_operator.apply`) and the embedded world
(:mod:`deepseek_operator.local`) implement them; everything above is the same code. Objects are plain
Kubernetes objects (dicts) in both, so the embedded world keeps the same resources in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from deepseek_planner.demand import Measured
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey

Object = Mapping[str, Any]
"""A Kubernetes object as JSON: ``apiVersion``, ``kind``, ``metadata``, …"""


class Kind(StrEnum):
    """Kinds that the loop reads. The value is the object's ``kind``."""

    DEPLOYMENT = "DeepSeekDeployment"
    POOL = "AcceleratorPool"
    NODE = "Node"
    POD = "Pod"
    ENGINE_GROUP = "Deployment"
    MULTI_NODE_GROUP = "LeaderWorkerSet"
    CONFIG_MAP = "ConfigMap"
    SERVICE = "Service"
    DISRUPTION_BUDGET = "PodDisruptionBudget"
    NETWORK_POLICY = "NetworkPolicy"


class World(Protocol):
    """What can be seen. Reads come from caches kept by watches and never block."""

    def objects(self, kind: Kind) -> Sequence[Object]:
        """All objects of a kind, sorted by namespace and name; pods are all pods that hold accelerators or are ours."""

    @property
    def multi_node(self) -> bool:
        """Whether LeaderWorkerSets can be made here."""

    async def measured(
        self, deployments: Sequence[DeploymentInput], *, now: datetime
    ) -> Mapping[DeploymentKey, Measured]:
        """Load and service per deployment. A deployment without data is absent: absent is not zero."""


@dataclass(frozen=True, slots=True)
class Event:
    """One Kubernetes Event about an object of ours. ``reason`` comes from :mod:`deepseek_operator.events`."""

    about: Object
    warning: bool
    reason: str
    message: str
    action: str


class Writer(Protocol):
    """What can be done. Every call is idempotent; a call that changes nothing writes nothing."""

    async def apply(self, manifest: Object) -> None:
        """Server-side apply of a child of ours, skipped when the observed object already holds all of it."""

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        """Set the replicas of a group whose template must stay as it is."""

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete a child of ours; one that is gone already is fine."""

    async def write_status(self, about: Object, status: Mapping[str, Any]) -> None:
        """Write the status subresource of one of our resources, skipped when nothing in it changed."""

    async def emit(self, event: Event) -> None:
        """Record an Event."""
