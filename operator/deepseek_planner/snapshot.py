"""What a plan is made from: deployments, what there is to buy, what runs, and the settings that bear on decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from deepseek_planner.demand import Demand, Measured, Objectives
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.models import Precision
from deepseek_planner.units import MicroUsd


@dataclass(frozen=True, slots=True, order=True)
class DeploymentKey:
    """Namespace and name of a DeepSeekDeployment."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """Precision and sharding of one replica on one kind of accelerator.

    ``tensor_parallel * pipeline_parallel * data_parallel`` accelerators make a replica; experts are
    spread over ``expert_parallel`` of them (1: experts are split like everything else).
    """

    accelerator: str
    precision: Precision
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    expert_parallel: int
    nodes_per_replica: int

    @property
    def accelerators(self) -> int:
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel

    @property
    def name(self) -> str:
        """Short name, as in ``h200-fp8-tp8`` or ``h100-fp8-tp8-pp2-ep8``."""
        found = f"{self.accelerator}-{self.precision}-tp{self.tensor_parallel}"
        if self.pipeline_parallel > 1:
            found += f"-pp{self.pipeline_parallel}"
        if self.data_parallel > 1:
            found += f"-dp{self.data_parallel}"
        if self.expert_parallel > 1:
            found += f"-ep{self.expert_parallel}"
        return found


@dataclass(frozen=True, slots=True)
class Constraints:
    """Where replicas may run and how many."""

    allow_accelerators: tuple[str, ...] = ()
    """Canonical names; empty: all."""
    deny_accelerators: tuple[str, ...] = ()
    capacity_types: tuple[CapacityType, ...] = tuple(CapacityType)
    max_spot_percent: int = 100
    zones: tuple[str, ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """Labels that an offering's nodes must carry: see :attr:`Offering.labels`."""
    min_replicas: int = 1
    max_replicas: int = 64


class RebalancingMode(StrEnum):
    """Whether the loop may move what runs."""

    AUTO = "Auto"
    RECOMMEND = "Recommend"
    OFF = "Off"


@dataclass(frozen=True, slots=True)
class Rebalancing:
    """When a move is worth its disruption."""

    mode: RebalancingMode = RebalancingMode.AUTO
    min_savings_percent: int = 10
    cooldown_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Setback:
    """Engines that were given up because none of them became ready."""

    group: str
    shape: str
    """Its name, behind that of a variant."""
    pool: str
    at: datetime
    message: str
    """Why, when known."""


@dataclass(frozen=True, slots=True)
class DeploymentInput:
    """One DeepSeekDeployment as the planner sees it."""

    key: DeploymentKey
    generation: int
    model: str
    demand: Demand
    objectives: Objectives
    constraints: Constraints = Constraints()
    rebalancing: Rebalancing = Rebalancing()
    idle_timeout_s: float = 900.0
    paused: bool = False
    measured: Measured | None = None
    planned_generation: int | None = None
    """Generation that the fleet was last moved for; None before the first plan."""
    last_move_at: datetime | None = None
    own_weights: bool = False
    """Whether the weights are the user's own checkpoint: then no other precision of the catalogue's can serve."""
    own_precision: Precision | None = None
    """Format of the user's own checkpoint; None: the model's native one."""
    variants: tuple[str, ...] = ()
    """Other catalogue models that may serve instead."""
    last_move_groups: Mapping[str, int] = field(default_factory=dict)
    """Names and replicas of the groups that the last move was for; empty: not known."""
    grew_at: datetime | None = None
    """When a move was last made because the load asked for more, whatever moved since; None: never."""
    setbacks: tuple[Setback, ...] = ()
    """What was given up lately, as remembered: :mod:`setbacks` adds what is seen now."""


@dataclass(frozen=True, slots=True)
class EngineGroup:
    """Engines of one deployment with one placement and one launch hash, as observed.

    ``desired`` is what was asked for; ``ready + starting`` of them exist, ``draining`` more are
    finishing their requests and still cost money.
    """

    key: DeploymentKey
    name: str
    launch_hash: str
    shape: Shape
    pool: str
    capacity_type: CapacityType
    desired: int
    ready: int
    starting: int
    draining: int
    usd_per_replica_hour: MicroUsd | None
    failure: str = ""
    """Why its engines do not become ready, when known."""
    unscheduled: int = 0
    """Of those starting: without a node, so they hold no accelerators and cost nothing yet."""
    model: str = ""
    """The variant that it serves; empty: the deployment's own model."""
    starts: tuple[datetime, ...] = ()
    """When those of its engines that still exist were started, oldest first."""
    unready_since: datetime | None = None
    """Since when the engine that has been waited for longest is not ready."""

    @property
    def paid_replicas(self) -> int:
        """Replicas that cost money now or as soon as they are scheduled."""
        return max(self.desired, self.ready + self.starting) + self.draining

    @property
    def usd_per_hour(self) -> MicroUsd:
        """Of what was asked for. A pool that is gone has no price any more and costs nothing any more."""
        return MicroUsd(self.desired * (self.usd_per_replica_hour or 0))


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything of ours that runs, by deployment and name."""

    groups: tuple[EngineGroup, ...] = ()
    _by_key: dict[DeploymentKey, tuple[EngineGroup, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        # Looked up several times for each of a thousand deployments.
        found: dict[DeploymentKey, list[EngineGroup]] = {}
        for group in self.groups:
            found.setdefault(group.key, []).append(group)
        self._by_key.update({key: tuple(groups) for key, groups in found.items()})

    def of(self, key: DeploymentKey) -> tuple[EngineGroup, ...]:
        return self._by_key.get(key, ())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the world that a plan is made from. Same snapshot, same plan, byte for byte."""

    now: datetime
    deployments: tuple[DeploymentInput, ...]
    offerings: tuple[Offering, ...]
    fleet: Fleet = Fleet()
    multi_node: bool = False
    """Whether groups of pods over several nodes can be made (LeaderWorkerSet is served)."""


class Routing(StrEnum):
    """How requests reach the replicas of a deployment."""

    EVEN = "Even"
    """Every replica gets the same share, whatever its size: a Kubernetes Service."""
    BY_LENGTH = "ByLength"
    """A router in front sends each class of request lengths to the shapes that the plan names."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the operator that bear on decisions."""

    settle_s: float = 60.0
    """A move must stay the answer for so long before its first step."""
    max_price_age_days: int = 90
    engine_start_s: float = 300.0
    """Prior of an engine's cold start on a node that is there; a pool's ``startup_s`` comes on top."""
    break_even_s: float = 4 * 3600.0
    """A move for savings must have paid for its own disruption within so long."""
    headroom_percent: int = 10
    """What a move for savings leaves above the planned load, so that a load that wobbles moves nothing twice."""
    measures: bool = True
    """Whether load is measured at all. Where it is not, the declared demand is acted on at once."""
    routing: Routing = Routing.EVEN
    max_usd_per_hour: MicroUsd | None = None
    """Of all deployments of the cluster together, the surge of moves included; None: no limit."""
    cycle_s: float = 60.0
    """Longest time between two looks at the world: that late a rise in demand is noticed."""
    demand_percentile: int = 95
    """How surely the planned rate covers the highest minute until more engines could serve."""
    max_moved_engines_per_hour: int = 8
    """Of one deployment, for savings: so many engines at most start within an hour."""
    max_moved_engines_per_hour_in_all: int = 32
    """The same for all deployments together."""
    warm_up_s: float = 120.0
    """For how long a new engine computes prompts that an old one had in its cache."""
    drain_s: float = 60.0
    """For how long an old engine is paid for while it finishes its requests."""
    patience: float = 3.0
    """Cold starts after which engines that did not become ready are given up."""
    give_up_s: float = 3600.0
    """Before that, only engines that say why they do not start are given up: weights may take the better part of it."""
    retry_s: float = 3600.0
    """For how long after that no engine is started there again."""
