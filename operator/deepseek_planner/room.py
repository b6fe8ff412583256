"""How much room a pool has left: nodes that exist, nodes that may be asked for, minus what runs."""

from __future__ import annotations

from deepseek_planner.hardware import Offering
from deepseek_planner.snapshot import Shape, Snapshot


def replicas_that_fit(snapshot: Snapshot, pool: str, shape: Shape) -> int:
    """Further replicas of ``shape`` that ``pool`` has room for beside every engine of ours that holds some.

    Which node an engine sits on is the scheduler's business; engines of other sizes are counted as if they were
    packed tightly. What does not fit after all waits as a pending pod and harms nothing.
    """
    offering = next((each for each in snapshot.offerings if each.pool == pool), None)
    if offering is None or offering.unavailable_reason:
        return 0
    held = sum(group.paid_replicas * group.shape.accelerators for group in snapshot.fleet.groups if group.pool == pool)
    return max(0, most_replicas(offering, shape) - -(-held // shape.accelerators))


def most_replicas(offering: Offering, shape: Shape) -> int:
    """Replicas of ``shape`` that the pool holds when nothing of ours runs on it."""
    per_node = shape.accelerators // shape.nodes_per_replica
    free = offering.free_gpus_by_node
    to_come = max(0, offering.max_nodes - len(free))
    parts = sum(gpus // per_node for gpus in free) + to_come * (offering.gpus_per_node // per_node)
    return parts // shape.nodes_per_replica
