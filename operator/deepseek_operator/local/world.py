"""The two doors of the embedded world: look through :class:`LocalWorld`, act through :class:`LocalWriter`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deepseek_operator.local.measurements import Measurements
from deepseek_operator.local.store import Store, key_of
from deepseek_operator.world import Event, Kind, Object
from deepseek_planner.demand import Measured
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey


@dataclass(frozen=True, slots=True)
class LocalWorld:
    """What can be seen on this machine."""

    store: Store
    measurements: Measurements

    def objects(self, kind: Kind) -> Sequence[Object]:
        return self.store.objects(kind)

    @property
    def multi_node(self) -> bool:
        return False

    async def measured(
        self, deployments: Sequence[DeploymentInput], *, now: datetime
    ) -> Mapping[DeploymentKey, Measured]:
        found = ((item.key, self.measurements.measured(item, now=now)) for item in deployments)
        return {key: measured for key, measured in found if measured is not None}


@dataclass(frozen=True, slots=True)
class LocalWriter:
    """What can be done on this machine: write objects, which the little controllers follow."""

    store: Store

    async def apply(self, manifest: Object) -> None:
        self.store.apply(manifest)

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        # A group that went since it was observed is nothing to scale; the next cycle sees that.
        if self.store.get(kind, namespace, name) is not None:
            self.store.scale(kind, namespace, name, replicas)

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        self.store.delete(kind, namespace, name)

    async def write_status(self, about: Object, status: Mapping[str, Any]) -> None:
        self.store.write_status(*key_of(about), status)

    async def emit(self, event: Event) -> None:
        self.store.emit(event)
