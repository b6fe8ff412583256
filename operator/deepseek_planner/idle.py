"""Accelerators of a plan's nodes that nobody holds: a bill has them, a plan's dollars do not.

A node is charged by the fraction that is held, because whoever else has work for the rest pays for it. Where nobody
has, the bill is that of whole nodes, and the plan warns how much that is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from deepseek_planner.cost import usd_per_accelerators_hour
from deepseek_planner.hardware import Offering
from deepseek_planner.plan import Placement
from deepseek_planner.snapshot import DeploymentKey
from deepseek_planner.units import MicroUsd, format_usd

Idle = Mapping[str, tuple[int, MicroUsd]]
"""By pool: accelerators that its nodes have beyond what is held, and a fleet's part of their dollars per hour."""


def left_idle(
    fleets: Mapping[DeploymentKey, Sequence[Placement]], offerings: Iterable[Offering]
) -> Mapping[DeploymentKey, Idle]:
    """Accelerators of the fleets' nodes that none of them holds; each fleet's part of the dollars is as what it holds.

    Nodes that others hold a part of come before new ones, and what is left on those is not ours.
    """
    held: dict[str, dict[DeploymentKey, Counter[int]]] = {}
    for key, placements in fleets.items():
        for placement in placements:
            nodes = placement.shape.nodes_per_replica
            sizes = held.setdefault(placement.pool, {}).setdefault(key, Counter())
            sizes[placement.shape.accelerators // nodes] += placement.replicas * nodes
    found: dict[DeploymentKey, dict[str, tuple[int, MicroUsd]]] = {}
    for offering in offerings:
        own = held.get(offering.pool, {})
        idle = idle_on(offering, sum(own.values(), Counter()))
        if not idle or offering.price is None:
            continue
        counts = {key: sum(size * count for size, count in sizes.items()) for key, sizes in own.items()}
        dearer, total = usd_per_accelerators_hour(offering, idle), sum(counts.values())
        for key, count in counts.items():
            found.setdefault(key, {})[offering.pool] = idle, MicroUsd(-(-dearer * count // total))
    return found


def billed_usd_per_hour(idle: Idle, usd_per_hour: MicroUsd) -> MicroUsd:
    """Of a plan of so many dollars per hour, with what its nodes have beyond what is held."""
    return MicroUsd(usd_per_hour + sum(part for _, part in idle.values()))


def warning(idle: Idle, billed: MicroUsd, limit: MicroUsd, instead: str = "") -> str:
    """What to know of a plan whose nodes have more than is held; ``instead``: what would be billed less for."""
    named = ", ".join(f"{count} of {pool}" for pool, (count, _) in sorted(idle.items()))
    over = ", above maxUSDPerHour" if billed > limit else ""
    text = f"accelerators idle on its nodes: {named}; ${format_usd(billed)}/h are billed if nobody else uses them{over}"
    return f"{text}; {instead}" if instead else text


def idle_on(offering: Offering, sizes: Mapping[int, int]) -> int:
    """Accelerators left on new nodes by so many parts of each size: largest first, each where it leaves the least."""
    size_of_node = offering.gpus_per_node
    shared = Counter(free for free in offering.free_gpus_by_node if 0 < free < size_of_node)
    own: Counter[int] = Counter()
    for size in sorted(sizes, reverse=True):
        for _ in range(sizes[size]):
            for nodes in (shared, own):
                room = min((free for free, count in nodes.items() if count and free >= size), default=None)
                if room is not None:
                    break
            else:
                nodes, room = own, size_of_node
                own[room] += 1
            nodes[room] -= 1
            nodes[room - size] += 1
    return sum(free * count for free, count in own.items())
