"""Accelerators still to be had, node by node, while deployments take theirs in turn."""

from __future__ import annotations

from collections.abc import Iterable

from deepseek_planner.hardware import Offering
from deepseek_planner.plan import Shape

MOST_NODES = 512
"""Nodes of one pool that are looked at: no single deployment gets further."""


class Supply:
    """Free accelerators by pool. Nodes that do not exist yet but may be asked for count as empty."""

    def __init__(self, offerings: Iterable[Offering]) -> None:
        self._free: dict[str, list[int]] = {}
        for offering in offerings:
            existing = [min(free, offering.gpus_per_node) for free in offering.free_gpus_by_node]
            more = max(0, min(offering.max_nodes, MOST_NODES) - len(existing))
            self._free[offering.pool] = existing + [offering.gpus_per_node] * more

    def replicas(self, offering: Offering, shape: Shape) -> int:
        """Replicas of the shape that the pool still has room for."""
        free = self._free[offering.pool]
        if shape.nodes_per_replica > 1:
            return sum(1 for count in free if count >= offering.gpus_per_node) // shape.nodes_per_replica
        return sum(count // shape.accelerators for count in free)

    def take(self, offering: Offering, shape: Shape, replicas: int) -> None:
        """Hold accelerators for replicas: on the fullest node that has room, so that whole nodes stay whole."""
        free = self._free[offering.pool]
        per_node = shape.accelerators // shape.nodes_per_replica
        for _ in range(replicas * shape.nodes_per_replica):
            need = offering.gpus_per_node if shape.nodes_per_replica > 1 else per_node
            index = min((i for i, count in enumerate(free) if count >= need), key=lambda i: free[i])
            free[index] -= per_node
