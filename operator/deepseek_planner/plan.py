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
        found = f"{self.accelerator}-{self.precision}-tp{self.tensor_parallel}"
        if self.pipeline_parallel > 1:
            found += f"-pp{self.pipeline_parallel}"
        if self.data_parallel > 1:
            found += f"-dp{self.data_parallel}"
        if self.expert_parallel > 1:
            found += f"-ep{self.expert_parallel}"
        return found


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
    kv_cache_dtype: str = "auto"
    """Format of the KV cache; ``auto``: the data type, or what the model itself keeps."""
    speculative_tokens: int = 0
    """Tokens that the model's own next-token head drafts per step; 0: none."""


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
    prefill_share: float = 0.0
    """Part of the busy time that goes to prompts, 0 to 1: what divides dollars between input and output tokens."""


@dataclass(frozen=True, slots=True)
class EngineReason:
    """Why an engine parameter has its value: shown, never part of what an engine is started with."""

    parameter: str
    value: str
    reason: str


class Routing(StrEnum):
    """How requests reach the replicas of a deployment."""

    EVEN = "Even"
    """Every replica gets the same share, whatever its size: a Kubernetes Service."""
    BY_LENGTH = "ByLength"
    """A router in front sends each class of request lengths to the shapes that the plan names."""


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
    model: str = ""
    """The variant that serves here; empty: the deployment's own model."""
    engine_reasons: tuple[EngineReason, ...] = ()
    prediction: Prediction | None = None
    """Of these replicas alone, at their share of the traffic."""
    input_tokens: tuple[int, int] | None = None
    """Prompt lengths that are sent here (above, up to) where requests are routed by length."""

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
    SPOT_RISK = "SpotRiskTooHigh"
    CLUSTER_BUDGET = "ClusterBudgetShort"
    DID_NOT_START = "DidNotStart"


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
    """What the alternative would cost, at least: one replica on the cheapest pool unless ``replicas`` says how many."""
    replicas: int = 0
    """Of the fleet that was refused; 0 where it did not come to one."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A placement that would also have worked, and what it would have cost."""

    name: str
    capacity_type: CapacityType
    usd_per_hour: MicroUsd
    usd_per_million_tokens: MicroUsd
    accelerator: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One alternative as it was weighed: a shape on an accelerator, alone serving the whole demand. Of a plan of one
    shape, that shape is shown as it was planned.

    Refused ones carry what is known of them up to the first binding reason.
    """

    name: str
    model: str
    shape: Shape
    pool: str
    """Of most replicas; empty where none has room."""
    capacity_type: CapacityType | None
    replicas: int
    usd_per_hour: MicroUsd
    usd_per_million_tokens: MicroUsd
    usd_per_million_input_tokens: MicroUsd
    usd_per_million_output_tokens: MicroUsd
    breakdown: tuple[tuple[str, MicroUsd], ...]
    """Dollars per hour by what they pay for: ``prefill decode idle spare risk``; they sum to ``usd_per_hour``,
    but for ``risk``, which comes on top (lost work and restarts)."""
    prediction: Prediction | None
    quality_loss: str
    rejection: Rejection | None
    """None: it would serve."""
    is_chosen: bool = False
    """It is the plan: pools, replicas, dollars and service are the plan's."""
    is_part: bool = False
    """The plan has replicas of it beside others: the numbers are those of it alone."""
    pools: tuple[tuple[str, CapacityType | None, int], ...] = ()
    """Replicas by pool, where there are any."""
    verdict: str = ""
    """Why it is not the plan though it would serve alone; of a plan that serves a part of the load, which part. Empty
    where nothing is planned."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a deployment gets less than it asked for."""

    served_percent: int
    """Of the planned rate."""
    short_of: str
    """A pool's name, or ``budget`` for the limit of the whole cluster."""
    lost_to: tuple[DeploymentKey, ...]
    """Deployments of a higher priority, which come first, by priority."""
    shared_with: tuple[DeploymentKey, ...] = ()
    """Deployments of the same priority, which get their part of it too."""


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """Plan of one deployment. No placements means nothing feasible: ``smallest_change`` says what would be, or
    ``obstacle`` what stands in the way where no change is known that would do.
    """

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
    obstacle: str = ""
    digest: str = ""
    candidates: tuple[Candidate, ...] = ()
    """All that was weighed, for the explanation; never part of the digest or of a status."""
    shortage: Shortage | None = None
    expected_usd_per_hour: MicroUsd | None = None
    """With what interruptions of spot nodes lose."""
    availability_percent: float | None = None
    """Chance that the fleet carries the planned rate at a random moment, spot losses considered."""
    gap_percent: float = 0.0
    """How much cheaper the whole cluster's plan could at most be, of its cost: proven."""
    warnings: tuple[str, ...] = ()
    """What to know before trusting the plan: stale prices, unverified predictions."""

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
