"""The plan as a value: what should run, what it costs, and why every alternative was refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from deepseek_planner.hardware import CapacityType
from deepseek_planner.snapshot import DeploymentKey, Shape
from deepseek_planner.units import MicroUsd


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
