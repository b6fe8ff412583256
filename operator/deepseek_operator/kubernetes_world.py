"""The world as a Kubernetes cluster shows it: objects from the cache, measurements from Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from deepseek_operator.cache import ObjectCache
from deepseek_operator.world import Kind, Object
from deepseek_planner.demand import Measured
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey


class Measurements(Protocol):
    """Where load and service are measured."""

    async def measured(
        self, deployments: Sequence[DeploymentInput], *, now: datetime
    ) -> Mapping[DeploymentKey, Measured]: ...


class KubernetesWorld:
    """``measurements`` None: nothing is measured, so nothing is ever scaled down on load."""

    def __init__(self, cache: ObjectCache, measurements: Measurements | None, *, multi_node: bool) -> None:
        self._cache = cache
        self._measurements = measurements
        self._multi_node = multi_node

    @property
    def multi_node(self) -> bool:
        return self._multi_node

    def objects(self, kind: Kind) -> Sequence[Object]:
        return self._cache.objects(kind)

    async def measured(
        self, deployments: Sequence[DeploymentInput], *, now: datetime
    ) -> Mapping[DeploymentKey, Measured]:
        if self._measurements is None or not deployments:
            return {}
        return await self._measurements.measured(deployments, now=now)
