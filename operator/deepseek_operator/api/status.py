"""What the operator reports: the status of both resources. Everything is optional and bounded, nothing is judged:
a status that the API server refuses would hide the state that it describes.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import Ge, MaxLen, MinLen
from pydantic import Field, StrictInt

from deepseek_operator.api.base import Label, LongText, Resource, Text

Whole = Annotated[StrictInt, Ge(0)]
Short = Annotated[str, MaxLen(32)]


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Resource):
    """One aspect of the state (KEP-1623)."""

    type: Annotated[str, MinLen(1), MaxLen(63)] = Field(description="Which aspect.")
    status: ConditionStatus = Field(description="Whether it holds.")
    observed_generation: Whole | None = Field(default=None, description="Generation of the spec that this is about.")
    last_transition_time: datetime | None = Field(default=None, description="When status last flipped.")
    reason: Annotated[str, MaxLen(63)] = Field(description="Why, as one CamelCase word.")
    message: LongText = Field(default="", description="Why, for people.")


Conditions = Annotated[tuple[Condition, ...], MaxLen(16)]


class Percentiles(Resource):
    """Durations at percentiles of the requests."""

    p50: Short | None = Field(default=None, description="Half of the requests stay within it.")
    p90: Short | None = Field(default=None, description="Nine of ten requests stay within it.")
    p95: Short | None = Field(default=None, description="95 of 100 requests stay within it.")
    p99: Short | None = Field(default=None, description="99 of 100 requests stay within it.")


class PredictedService(Resource):
    """What the plan promises at the demand it was made for."""

    time_to_first_token: Percentiles | None = Field(default=None, description="Before the margin.")
    time_per_output_token: Percentiles | None = Field(default=None, description="Before the margin.")
    utilization_percent: Whole | None = Field(default=None, description="Tokens served of those that could be.")
    confidence: Short | None = Field(default=None, description="How much stands behind the prediction.")
    margin_percent: Whole | None = Field(default=None, description="Added to latencies before they are compared.")


class PromptLengths(Resource):
    """A range of prompt lengths."""

    above: Whole | None = Field(default=None, description="Longer than so many tokens.")
    up_to: Whole | None = Field(default=None, description="At most so many tokens.")


class PlacementStatus(Resource):
    """Replicas of one shape on one pool."""

    name: Label = Field(
        description="Name of the shape, such as h200-fp8-tp8, after the variant that serves, if one does."
    )
    accelerator: Label | None = Field(default=None, description="What it runs on.")
    precision: Short | None = Field(default=None, description="Format of the weights.")
    tensor_parallel: Whole | None = Field(default=None, description="Tensor parallel degree.")
    pipeline_parallel: Whole | None = Field(default=None, description="Pipeline parallel degree.")
    data_parallel: Whole | None = Field(default=None, description="Data parallel degree.")
    expert_parallel: Whole | None = Field(default=None, description="Expert parallel degree.")
    nodes_per_replica: Whole | None = Field(default=None, description="Nodes over which a replica spreads.")
    pool: Annotated[str, MaxLen(253)] = Field(description="Where it runs.")
    capacity_type: Short = Field(description="How it is paid for.")
    replicas: Whole | None = Field(default=None, description="How many.")
    share_percent: Whole | None = Field(default=None, description="Share of the traffic.")
    usd_per_hour: Short | None = Field(default=None, description="Dollars per hour of all its replicas.")
    model: Label | None = Field(default=None, description="The variant that serves here; the own model by default.")
    input_tokens: PromptLengths | None = Field(
        default=None, description="Prompts that are sent here, where requests are routed by length."
    )


class AlternativeStatus(Resource):
    """A placement that would also have worked."""

    name: Annotated[str, MaxLen(128)] = Field(description="Replicas and shape.")
    capacity_type: Short | None = Field(default=None, description="How it is paid for.")
    usd_per_hour: Short | None = Field(default=None, description="Dollars per hour.")
    usd_per_million_tokens: Short | None = Field(default=None, description="Dollars per million tokens.")


class RejectionStatus(Resource):
    """A placement that was refused."""

    name: Annotated[str, MaxLen(128)] = Field(description="Which.")
    reason: Annotated[str, MaxLen(63)] = Field(description="Why, as one CamelCase word.")
    message: Text = Field(default="", description="Why, with the numbers, and what would have passed.")


class ShortageStatus(Resource):
    """Why the deployment gets less than it asked for."""

    served_percent: Whole | None = Field(default=None, description="Of the planned rate.")
    short_of: Annotated[str, MaxLen(253)] | None = Field(
        default=None, description="A pool, or budget for the limit of the whole cluster."
    )
    lost_to: Annotated[tuple[Annotated[str, MaxLen(317)], ...], MaxLen(5)] | None = Field(
        default=None, description="Deployments that come first, by priority."
    )
    shared_with: Annotated[tuple[Annotated[str, MaxLen(317)], ...], MaxLen(5)] | None = Field(
        default=None, description="Deployments of the same priority, which get their part of it too."
    )


class PlanStatus(Resource):
    """What should run, what it costs, and why every alternative was refused."""

    digest: Annotated[str, MaxLen(64)] | None = Field(default=None, description="Same snapshot, same digest.")
    usd_per_hour: Short | None = Field(default=None, description="Dollars per hour.")
    usd_per_million_tokens: Short | None = Field(
        default=None, description="Dollars per million tokens at the expected load."
    )
    expected_usd_per_hour: Short | None = Field(
        default=None, description="Dollars per hour with what interruptions of spot nodes lose."
    )
    availability_percent: Short | None = Field(
        default=None, description="Chance that the planned rate is carried at a random moment, spot losses considered."
    )
    gap_percent: Short | None = Field(
        default=None,
        description="How much cheaper all deployments together could at most be, where that is not proven to be 0.",
    )
    demand_source: Short | None = Field(default=None, description="Whether the load was declared or measured.")
    requests_per_minute: Whole | None = Field(default=None, description="Requests per minute that it was made for.")
    predicted: PredictedService | None = Field(default=None, description="What it promises.")
    placements: Annotated[tuple[PlacementStatus, ...], MaxLen(16)] | None = Field(
        default=None, description="What should run."
    )
    alternatives: Annotated[tuple[AlternativeStatus, ...], MaxLen(5)] | None = Field(
        default=None, description="What would also work."
    )
    rejections: Annotated[tuple[RejectionStatus, ...], MaxLen(10)] | None = Field(
        default=None, description="What was refused, and why."
    )
    shortage: ShortageStatus | None = Field(default=None, description="Why it gets less than it asked for.")
    warnings: Annotated[tuple[Text, ...], MaxLen(5)] | None = Field(
        default=None, description="What to know before trusting the plan."
    )
    smallest_change: LongText | None = Field(
        default=None, description="Where nothing is feasible: what would make it so."
    )
    obstacle: LongText | None = Field(
        default=None, description="Where no change is known that would make it feasible: what stands in the way."
    )

    map_keys: ClassVar[dict[str, tuple[str, ...]]] = {"placements": ("name", "pool", "capacityType")}


class ActualService(Resource):
    """What was measured."""

    window: Short | None = Field(default=None, description="Time over which it was measured.")
    usd_per_hour: Short | None = Field(default=None, description="Dollars per hour.")
    usd_per_million_tokens: Short | None = Field(default=None, description="Dollars per million tokens served.")
    time_to_first_token: Percentiles | None = Field(default=None, description="As measured.")
    time_per_output_token: Percentiles | None = Field(default=None, description="As measured.")


class MovedGroup(Resource):
    """A group of engines that a move is for."""

    name: Label = Field(description="Name of its object.")
    replicas: Whole | None = Field(default=None, description="How many engines it has when the move is over.")


class LastMove(Resource):
    """The last change of what runs."""

    at: datetime | None = Field(default=None, description="When it began.")
    grew_at: datetime | None = Field(
        default=None, description="When load last asked for more, whatever moved since; absent: never."
    )
    from_: Text | None = Field(default=None, alias="from", description="What ran before.")
    to: Text | None = Field(default=None, description="What runs since.")
    reason: Annotated[str, MaxLen(63)] | None = Field(default=None, description="Why.")
    saved_usd_per_hour: Short | None = Field(
        default=None, description="Dollars per hour saved; negative: it costs more."
    )
    groups: Annotated[tuple[MovedGroup, ...], MaxLen(16)] | None = Field(
        default=None, description="What is left when it is over: while the plan names the same, the move goes on."
    )

    map_keys: ClassVar[dict[str, tuple[str, ...]]] = {"groups": ("name",)}


class SetbackStatus(Resource):
    """Engines that were given up because none of them became ready."""

    group: Label = Field(description="Name of their group.")
    shape: Annotated[str, MaxLen(128)] | None = Field(
        default=None, description="Name of the shape, behind that of a variant."
    )
    pool: Annotated[str, MaxLen(253)] | None = Field(default=None, description="Where they were.")
    at: datetime | None = Field(default=None, description="When they were given up.")
    message: Text = Field(default="", description="Why, as far as it is known.")


class DeepSeekDeploymentStatus(Resource):
    """The state of a deployment."""

    observed_generation: Whole | None = Field(default=None, description="Generation of the spec that this is about.")
    conditions: Conditions | None = Field(
        default=None, description="Ready, Reconciling, Stalled, Planned, WithinBudget, ObjectivesMet."
    )
    summary: Annotated[str, MaxLen(64)] | None = Field(default=None, description="The plan in a line.")
    model_name: Label | None = Field(default=None, description="What is served.")
    endpoint: Annotated[str, MaxLen(253)] | None = Field(default=None, description="Where the OpenAI API is.")
    replicas: Whole | None = Field(default=None, description="Replicas that the plan wants.")
    ready_replicas: Whole | None = Field(default=None, description="Replicas that serve.")
    plan: PlanStatus | None = Field(default=None, description="What should run, and why.")
    fleet_generation: Whole | None = Field(
        default=None, description="Generation of the spec that what runs was moved for."
    )
    actual: ActualService | None = Field(default=None, description="What was measured.")
    last_move: LastMove | None = Field(default=None, description="The last change of what runs.")
    setbacks: Annotated[tuple[SetbackStatus, ...], MaxLen(8)] | None = Field(
        default=None, description="Engines that never became ready: for a while nothing is started there again."
    )

    map_keys: ClassVar[dict[str, tuple[str, ...]]] = {"conditions": ("type",), "setbacks": ("group",)}


class PoolPriceStatus(Resource):
    """The price in force."""

    usd_per_node_hour: Short | None = Field(default=None, description="Dollars per node and hour.")
    source: Text | None = Field(default=None, description="Where it comes from.")
    as_of: Short | None = Field(default=None, description="Day on which it held.")


class PoolStatus(Resource):
    """The state of a pool."""

    observed_generation: Whole | None = Field(default=None, description="Generation of the spec that this is about.")
    nodes: Whole | None = Field(default=None, description="Nodes that match and may be used.")
    gpus_free: Whole | None = Field(default=None, description="Accelerators that nobody holds, over all those nodes.")
    price: PoolPriceStatus | None = Field(default=None, description="The price in force; absent: unknown.")
    interruptions_per_node_day: Short | None = Field(default=None, description="How often a node is taken back.")
    startup_p90: Short | None = Field(default=None, description="From asking for a node to a schedulable one.")
    conditions: Conditions | None = Field(default=None, description="Available, PriceFresh.")

    map_keys: ClassVar[dict[str, tuple[str, ...]]] = {"conditions": ("type",)}
