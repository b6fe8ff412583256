"""What one can rent: accelerators, how they are wired, and offerings with a price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from deepseek_planner.models import Precision
from deepseek_planner.units import MicroUsd


class CapacityType(StrEnum):
    """How an offering is paid for, and whether it can be taken back."""

    SPOT = "Spot"
    ON_DEMAND = "OnDemand"
    RESERVED = "Reserved"


class IntraNode(StrEnum):
    """Wires between the accelerators of one node."""

    NVLINK = "NVLink"
    PCIE_P2P = "PCIeP2P"
    PCIE = "PCIe"


class InterNode(StrEnum):
    """Wires between nodes."""

    INFINIBAND = "InfiniBand"
    EFA = "EFA"
    ETHERNET = "Ethernet"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One accelerator's data-sheet facts. Rates are dense (no sparsity) and per accelerator.

    ``cpu`` is an accelerator too: one of it is one virtual CPU core.
    """

    name: str
    aliases: tuple[str, ...]
    compute_capability: tuple[int, int] | None
    memory_bytes: float
    bandwidth_bytes_per_s: float
    flops_per_s: Mapping[Precision, float]
    """Precisions the arithmetic units compute in; weight-only formats are not listed."""
    intra_node: IntraNode
    link_bytes_per_s: float
    """Per direction, between two accelerators of a node."""
    source: str


class PriceGiver(StrEnum):
    """Who said a price. Of several prices the pool's own counts, then that of the price file."""

    POOL = "pool"
    FILE = "price file"
    LIST = "shipped list"


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per node and hour, where they come from and how old they are."""

    usd_per_node_hour: MicroUsd
    source: str
    as_of: date
    giver: PriceGiver = PriceGiver.LIST


@dataclass(frozen=True, slots=True)
class Offering:
    """Nodes of one kind that can be had: a pool, declared or discovered."""

    pool: str
    accelerator: str
    gpus_per_node: int
    capacity_type: CapacityType
    price: Price | None
    """None: unknown. The planner leaves such an offering alone and says so."""
    max_nodes: int
    """Nodes that exist or may be asked for."""
    free_gpus_by_node: tuple[int, ...]
    """Per existing node, accelerators that no foreign pod holds, descending. Ours count as free."""
    intra_node: IntraNode
    inter_node: InterNode
    zone: str = ""
    interruptions_per_node_day: float = 0.0
    startup_s: float = 0.0
    allowed_namespaces: tuple[str, ...] = ()
    """Empty: all."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that all its nodes carry, or will: a deployment's own node selector must be among them."""
    tolerations: tuple[Mapping[str, str], ...] = ()
    weights_cache: Mapping[str, object] = field(default_factory=dict)
    unavailable_reason: str = ""
    """Why nothing may be placed here now; empty when it may."""
