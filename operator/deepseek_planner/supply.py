"""Accelerators still to be had, node by node, while deployments take theirs in turn."""

from __future__ import annotations

from collections.abc import Iterable

from deepseek_planner.allocation import PoolRoom
from deepseek_planner.hardware import Offering
from deepseek_planner.snapshot import Shape

MOST_NODES = 4096
"""Nodes of one pool that are looked at."""


class Supply:
    """Free accelerators by pool. Nodes that do not exist yet but may be asked for count as empty."""

    def __init__(self, offerings: Iterable[Offering]) -> None:
        self._free: dict[str, list[int]] = {}
        self._gpus: dict[str, int] = {}
        self._room: dict[tuple[str, int, int], int] = {}
        for offering in offerings:
            existing = [min(free, offering.gpus_per_node) for free in offering.free_gpus_by_node]
            more = max(0, min(offering.max_nodes, MOST_NODES) - len(existing))
            self._free[offering.pool] = existing + [offering.gpus_per_node] * more
            self._gpus[offering.pool] = offering.gpus_per_node

    def replicas(self, offering: Offering, shape: Shape) -> int:
        """Replicas of the shape that the pool still has room for."""
        key = offering.pool, shape.accelerators, shape.nodes_per_replica
        if key not in self._room:
            free = self._free[offering.pool]
            if shape.nodes_per_replica > 1:
                whole = sum(1 for count in free if count >= offering.gpus_per_node)
                self._room[key] = whole // shape.nodes_per_replica
            else:
                self._room[key] = sum(count // shape.accelerators for count in free)
        return self._room[key]

    def copy(self) -> Supply:
        """The same, to be taken from apart."""
        other = Supply(())
        other._free = {pool: list(free) for pool, free in self._free.items()}
        other._gpus = dict(self._gpus)
        return other

    def rooms(self) -> tuple[PoolRoom, ...]:
        """What is left, as the mixed-fleet search asks for it."""
        return tuple(
            PoolRoom(pool, self._gpus[pool], tuple(sorted(free, reverse=True))) for pool, free in self._free.items()
        )

    def take(self, offering: Offering, shape: Shape, replicas: int) -> None:
        """Hold accelerators for replicas: on the fullest node that has room, so that whole nodes stay whole."""
        free = self._free[offering.pool]
        self._room = {key: room for key, room in self._room.items() if key[0] != offering.pool}
        per_node = shape.accelerators // shape.nodes_per_replica
        for _ in range(replicas * shape.nodes_per_replica):
            need = offering.gpus_per_node if shape.nodes_per_replica > 1 else per_node
            index = min((i for i, count in enumerate(free) if count >= need), key=lambda i: free[i])
            # Several nodes are taken whole: nothing else is placed beside a part of such a replica.
            free[index] -= need
