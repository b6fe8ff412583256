"""Dollars: of a replica, and per million tokens.

A replica is charged the fraction of its nodes' accelerators that it holds: the rest of a node is for others. Where
nobody takes it, it is on the bill all the same: :mod:`idle` says how much that is.
"""

from __future__ import annotations

from deepseek_planner.hardware import Offering
from deepseek_planner.snapshot import Shape
from deepseek_planner.units import MicroUsd

TOKENS_PER_UNIT = 1_000_000


def usd_per_replica_hour(offering: Offering, shape: Shape) -> MicroUsd:
    """What one replica holds of its nodes, rounded up; the offering's price must be known."""
    return usd_per_accelerators_hour(offering, shape.accelerators)


def usd_per_accelerators_hour(offering: Offering, accelerators: int) -> MicroUsd:
    """What so many accelerators of the offering cost, rounded up; its price must be known."""
    assert offering.price is not None
    return MicroUsd(-(-offering.price.usd_per_node_hour * accelerators // offering.gpus_per_node))


def usd_per_million_tokens(usd_per_hour: MicroUsd, requests_per_min: float, tokens_per_request: float) -> MicroUsd:
    """Fleet dollars per hour over input and output tokens per hour, times a million; rounded up."""
    tokens_per_hour = requests_per_min * 60 * tokens_per_request
    if tokens_per_hour <= 0:
        return MicroUsd(0)
    exact = usd_per_hour * TOKENS_PER_UNIT / tokens_per_hour
    return MicroUsd(-int(-exact // 1))
