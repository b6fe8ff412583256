"""The question that the mixed-fleet search answers, as values: who asks for what, what is on offer, and the answer.

Nothing here knows models or shapes: an :class:`Offer` is one way to run one replica, with its dollars, its
accelerators and the load it can carry. :mod:`options` makes offers, :mod:`mix` chooses among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from deepseek_planner.hardware import CapacityType
from deepseek_planner.snapshot import DeploymentKey, Routing
from deepseek_planner.units import MicroUsd

BUDGET = "budget"
"""What is short where it is no pool: the limit of the whole cluster."""


class Offer(NamedTuple):
    """One way to run one replica of a deployment on one pool."""

    option: int
    """Index of the deployment's option; offers of one option on several pools share it."""
    pool: str
    capacity_type: CapacityType
    usd_per_hour: MicroUsd
    """One replica, as billed: budgets count this."""
    expected_usd_per_hour: MicroUsd
    """With lost work and restarts; without what is paid for anyway (reserved). The search minimises this."""
    accelerators: int
    nodes: int
    """Nodes of a replica; above one it takes them whole."""
    capacity_per_s: float
    """Requests per second of the deployment's whole mix that one replica sustains within the objectives."""
    loads: tuple[float, ...] = ()
    """By class of lengths: the share of one replica that one request per second takes; infinite where the
    option must not serve the class. Empty where the routing is even."""
    rank: tuple[int, ...] = ()
    """Order of offers of equal dollars: less lossy first, what nobody measured last, then surer."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What one deployment asks for."""

    key: DeploymentKey
    requests_per_s: float
    class_rates_per_s: tuple[float, ...]
    """By class of lengths; sums to ``requests_per_s``. Empty where the routing is even."""
    offers: tuple[Offer, ...]
    routing: Routing
    min_replicas: int
    max_replicas: int
    max_usd_per_hour: MicroUsd
    """The lower of the hourly budget and what the limit per million tokens allows."""
    max_spot_percent: int
    """Of the serving capacity."""
    priority: int
    holds: Callable[[Mapping[int, int]], bool] | None = None
    """Whether replicas by index of offer keep the service with the asked probability when spot nodes are lost.
    More replicas never make it false. None: always. Asked of fleets for the whole rate only: a part of it is
    served with what can be had. Under even routing what is lost depends on pools and on nodes per replica, more of
    which are never better, and what must be left on how many replicas of the weakest offer carry the rate."""
    droughts: tuple[frozenset[int], ...] = ()
    """Offers, by index, that are lost together too often: in every fleet that ``holds`` the others carry the rate.
    What is searched for is the same without them; it is found sooner, and proven."""
    spare_per_s: float = 0.0
    """Rate with headroom, beside a fleet that serves: what replaces it must serve this. Below ``requests_per_s``:
    no headroom."""
    running: Mapping[int, int] = field(default_factory=dict)
    """Replicas that run, by index of offer: with all of them kept, the rate alone is enough."""
    ends: Mapping[int, int] = field(default_factory=dict)
    """Replicas that a move under way ends with, by index of offer; all of these run. Where they carry the rate alone,
    they come before every other fleet. Empty: no move is under way."""


@dataclass(frozen=True, slots=True)
class PoolRoom:
    """What a pool can hold: free accelerators by node, nodes that may still be asked for among them."""

    pool: str
    gpus_per_node: int
    free_by_node: tuple[int, ...]
    """Descending."""


@dataclass(frozen=True, slots=True)
class Problem:
    """All deployments of a cluster over all pools."""

    asks: tuple[Ask, ...]
    rooms: tuple[PoolRoom, ...]
    max_usd_per_hour: MicroUsd | None = None
    """Of all deployments together."""


@dataclass(frozen=True, slots=True)
class Part:
    """Replicas of one offer and what they serve."""

    offer: int
    """Index in the ask's offers."""
    replicas: int
    shares: tuple[float, ...]
    """By class: the part of its requests that goes here; for even routing one number, the part of all."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """What one deployment gets. ``served`` below one: capacity or the cluster's budget is short."""

    key: DeploymentKey
    parts: tuple[Part, ...]
    usd_per_hour: MicroUsd
    expected_usd_per_hour: MicroUsd
    served: float
    """Part of the asked rate, 0 to 1."""
    has_headroom: bool = False
    """Whether it serves the rate with headroom, where that is asked for."""
    ends_move: bool = False
    """Whether it is what a move under way ends with."""
    short_of: str = ""
    """What it would have needed more of: a pool's name, or ``budget`` for the cluster's limit."""
    lost_to: tuple[DeploymentKey, ...] = ()
    """Deployments of a higher priority that have of what it is short of."""
    shared_with: tuple[DeploymentKey, ...] = ()
    """Deployments of its own priority that do."""
    would_do_first: bool = False
    """Whether it surely would be served whole if it came before all of those."""
    would_do_nodes: tuple[tuple[str, int], ...] = ()
    """By pool: more nodes with which it would be served whole."""
    would_do_usd_per_hour: MicroUsd | None = None
    """The limit of all together with which it would be; None: dollars are not in the way."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The answer, and how far from the best it can be at most."""

    allotments: Mapping[DeploymentKey, Allotment]
    expected_usd_per_hour: MicroUsd
    lower_bound_usd_per_hour: MicroUsd
    """No plan that serves as much costs less: proven."""

    @property
    def gap(self) -> float:
        """Share of the cost that could at most be saved."""
        cost = self.expected_usd_per_hour
        return 0.0 if cost <= 0 else max(0.0, 1.0 - self.lower_bound_usd_per_hour / cost)
