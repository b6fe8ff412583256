"""The plan as a value: what should run, what it costs, and why every alternative was refused."""

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
        parts = [self.accelerator, str(self.precision), f"tp{self.tensor_parallel}"]
        parts += [f"pp{self.pipeline_parallel}"] if self.pipeline_parallel > 1 else []
        parts += [f"dp{self.data_parallel}"] if self.data_parallel > 1 else []
        parts += [f"ep{self.expert_parallel}"] if self.expert_parallel > 1 else []
        return "-".join(parts)


@dataclass(frozen=True, slots=True)
class EngineParameters:
    """Engine settings the plan owns. They follow from what was declared, never from what was measured,
    so that a change in load alone restarts nothing.
    """

    max_model_len_tokens: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_bytes: int
    """Per accelerator."""
    prefix_caching: bool
    data_type: str
    """Compute type handed to the engine: ``bfloat16`` or ``float16``."""


class Confidence(StrEnum):
    """How much stands behind a prediction, best first."""

    CALIBRATED = "Calibrated"
    SAME_MODEL_OTHER_ACCELERATOR = "SameModelOtherAccelerator"
    OTHER_MODEL = "OtherModel"
    ROOFLINE_ONLY = "RooflineOnly"
    UNVERIFIED = "Unverified"


@dataclass(frozen=True, slots=True)
class Prediction:
    """Service of one placement or of a whole fleet at the demand it is planned for.

    Latencies are at the objective's percentile, before the margin; the planner sizes with
    ``margin_percent`` on top. ``capacity_tokens_per_s`` counts input and output tokens that the
    fleet can serve within its objectives.
    """

    time_to_first_token_s: float
    time_per_output_token_s: float
    utilization_percent: float
    capacity_tokens_per_s: float
    capacity_requests_per_min: float
    confidence: Confidence
    margin_percent: int
    bottleneck: str
    time_to_first_token_percentile: int = 95
    time_per_output_token_percentile: int = 95


@dataclass(frozen=True, slots=True)
class Placement:
    """Replicas of one shape on one offering, and their share of the traffic."""

    shape: Shape
    pool: str
    capacity_type: CapacityType
    replicas: int
    share_percent: int
    usd_per_replica_hour: MicroUsd
    engine: EngineParameters

    @property
    def usd_per_hour(self) -> MicroUsd:
        return MicroUsd(self.replicas * self.usd_per_replica_hour)


class RejectionReason(StrEnum):
    """Why an alternative was refused. Names are API: status, Events and docs show them."""

    NOT_ALLOWED = "NotAllowed"
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"
    PRICE_UNKNOWN = "PriceUnknown"
    UNAVAILABLE = "Unavailable"
    PRECISION_ILLEGAL = "PrecisionIllegal"
    PRECISION_NOT_ALLOWED = "PrecisionNotAllowed"
    NO_CHECKPOINT = "NoCheckpoint"
    SHAPE_ILLEGAL = "ShapeIllegal"
    MULTI_NODE_UNAVAILABLE = "MultiNodeUnavailable"
    CONTEXT_TOO_LONG = "ContextTooLong"
    DOES_NOT_FIT = "DoesNotFit"
    NOT_ENOUGH_NODES = "NotEnoughNodes"
    TOO_MANY_REPLICAS = "TooManyReplicas"
    TTFT_TOO_HIGH = "TimeToFirstTokenTooHigh"
    TPOT_TOO_HIGH = "TimePerOutputTokenTooHigh"
    OVER_BUDGET = "OverBudget"
    OVER_COST_PER_TOKEN = "OverCostPerToken"
    SPOT_SHARE = "SpotShareTooHigh"


@dataclass(frozen=True, slots=True)
class Rejection:
    """One alternative refused: the first binding reason, with the number that stood against which limit."""

    name: str
    reason: RejectionReason
    message: str
    """At most 256 characters, with the numbers and, where there is one, the remedy."""
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    accelerator: str = ""
    usd_per_hour: MicroUsd | None = None
    """What the alternative would cost, at least: one replica on the cheapest pool unless the message says how many."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A placement that would also have worked, and what it would have cost."""

    name: str
    capacity_type: CapacityType
    usd_per_hour: MicroUsd
    usd_per_million_tokens: MicroUsd
    accelerator: str = ""


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """Plan of one deployment. No placements means nothing feasible: ``smallest_change`` says what would be."""

    key: DeploymentKey
    model: str
    placements: tuple[Placement, ...]
    usd_per_hour: MicroUsd
    usd_per_million_tokens: MicroUsd
    prediction: Prediction | None
    demand_source: str
    """``declared`` or ``measured``."""
    planned_requests_per_min: float
    alternatives: tuple[Alternative, ...]
    rejections: tuple[Rejection, ...]
    smallest_change: str = ""
    digest: str = ""

    @property
    def is_feasible(self) -> bool:
        return bool(self.placements)


@dataclass(frozen=True, slots=True)
class Plan:
    """Plans of all deployments of the snapshot, by key."""

    deployments: Mapping[DeploymentKey, DeploymentPlan]


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

    def of(self, key: DeploymentKey) -> tuple[EngineGroup, ...]:
        return tuple(group for group in self.groups if group.key == key)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the world that a plan is made from. Same snapshot, same plan, byte for byte."""

    now: datetime
    deployments: tuple[DeploymentInput, ...]
    offerings: tuple[Offering, ...]
    fleet: Fleet = Fleet()
    multi_node: bool = False
    """Whether groups of pods over several nodes can be made (LeaderWorkerSet is served)."""


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
