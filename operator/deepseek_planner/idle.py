"""Accelerators of a plan's nodes that nobody holds: a bill has them, a plan's dollars do not.

A node is charged by the fraction that is held, because whoever else has work for the rest pays for it. Where nobody
has, the bill is that of whole nodes, and the plan warns how much that is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from deepseek_planner.cost import usd_per_accelerators_hour
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.plan import Placement
from deepseek_planner.snapshot import DeploymentKey, Shape
from deepseek_planner.units import MicroUsd, format_usd

Idle = Mapping[str, tuple[int, MicroUsd]]
"""By pool: accelerators that its nodes have beyond what is held, and a fleet's part of their dollars per hour."""


def left_idle(
    fleets: Mapping[DeploymentKey, Sequence[Placement]], offerings: Iterable[Offering]
) -> Mapping[DeploymentKey, Idle]:
    """Accelerators of the fleets' nodes that none of them holds; each fleet's part of the dollars is as what it holds.

    Nodes that others hold a part of come before new ones, and what is left on those is not ours. What is left on
    reserved nodes is paid for whatever is planned.
    """
    held: dict[str, dict[DeploymentKey, Counter[int]]] = {}
    for key, placements in fleets.items():
        for pool, sizes in parts_held(placements).items():
            held.setdefault(pool, {})[key] = sizes
    found: dict[DeploymentKey, dict[str, tuple[int, MicroUsd]]] = {}
    for offering in offerings:
        own = held.get(offering.pool, {})
        idle = _idle_on(offering, sum(own.values(), Counter()))
        if not idle or not _is_billed(offering):
            continue
        counts = {key: sum(size * count for size, count in sizes.items()) for key, sizes in own.items()}
        dearer, total = usd_per_accelerators_hour(offering, idle), sum(counts.values())
        for key, count in counts.items():
            found.setdefault(key, {})[offering.pool] = idle, MicroUsd(-(-dearer * count // total))
    return found


def parts_of(shape: Shape, replicas: int) -> Counter[int]:
    """Parts of replicas, each on one node, by accelerators."""
    return Counter({shape.accelerators // shape.nodes_per_replica: replicas * shape.nodes_per_replica})


def parts_held(placements: Iterable[Placement]) -> dict[str, Counter[int]]:
    """The same of fleets, by pool."""
    held: dict[str, Counter[int]] = {}
    for item in placements:
        held.setdefault(item.pool, Counter()).update(parts_of(item.shape, item.replicas))
    return held


def idle_usd_per_hour(offering: Offering, sizes: Mapping[int, int]) -> MicroUsd:
    """What so many parts of each size leave idle on new nodes costs, if that is billed for their sake."""
    idle = _idle_on(offering, sizes) if _is_billed(offering) else 0
    return usd_per_accelerators_hour(offering, idle) if idle else MicroUsd(0)


def _is_billed(offering: Offering) -> bool:
    return offering.price is not None and offering.capacity_type is not CapacityType.RESERVED


def billed_usd_per_hour(idle: Idle, usd_per_hour: MicroUsd) -> MicroUsd:
    """Of a plan of so many dollars per hour, with what its nodes have beyond what is held."""
    return MicroUsd(usd_per_hour + sum(part for _, part in idle.values()))


def warning(idle: Idle, billed: MicroUsd, limit: MicroUsd, instead: str = "") -> str:
    """What to know of a plan whose nodes have more than is held; ``instead``: what would be billed less for."""
    named = ", ".join(f"{count} of {pool}" for pool, (count, _) in sorted(idle.items()))
    over = ", above maxUSDPerHour" if billed > limit else ""
    text = f"accelerators idle on its nodes: {named}; ${format_usd(billed)}/h are billed if nobody else uses them{over}"
    return f"{text}; {instead}" if instead else text


def _idle_on(offering: Offering, sizes: Mapping[int, int]) -> int:
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
