"""The spec of a DeepSeekDeployment."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import Field, StrictInt

from deepseek_operator.api import engine_rules
from deepseek_operator.api.base import (
    AcceleratorName,
    DurationOrZero,
    Flag,
    Label,
    LongText,
    Percent,
    Resource,
)
from deepseek_operator.api.model import ModelRef
from deepseek_operator.api.rules import GROUP, Rule, quoted
from deepseek_operator.api.scheduling import Labels, NodeSelector, Tolerations
from deepseek_operator.api.workload import Objectives, Workload
from deepseek_planner.hardware import CapacityType
from deepseek_planner.snapshot import RebalancingMode

Names = Annotated[tuple[AcceleratorName, ...], MaxLen(32)]


class AcceleratorRules(Resource):
    """Which accelerators may serve."""

    allow: Names = Field(default=(), description="Only these; empty: all. Names or aliases, such as h100 or a100-80gb.")
    deny: Names = Field(default=(), description="Never these.")

    set_keys: ClassVar[tuple[str, ...]] = ("allow", "deny")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.allow.exists(name, name in self.deny)",
            holds=lambda it: not set(it.allow) & set(it.deny),
            message="an accelerator is both allowed and denied",
            remedy="take it out of allow or out of deny",
            field="deny",
        ),
    )


class PlacementRules(Resource):
    """Where replicas may run."""

    accelerators: AcceleratorRules = Field(
        default=AcceleratorRules.model_construct(), description="Which accelerators may serve."
    )
    capacity_types: Annotated[tuple[CapacityType, ...], MaxLen(3)] = Field(
        default=tuple(CapacityType), description="Which kinds of capacity may serve."
    )
    max_spot_percent: Percent = Field(default=100, description="Most of the serving capacity at peak that may be Spot.")
    zones: Annotated[tuple[Label, ...], MaxLen(32)] = Field(default=(), description="Zones that may serve; empty: all.")
    node_selector: NodeSelector = Field(
        default_factory=dict, description="Labels that a node must carry; pools whose nodes lack one are refused."
    )
    tolerations: Tolerations = Field(default=(), description="Tolerations added to those of the pool.")

    set_keys: ClassVar[tuple[str, ...]] = ("capacity_types", "zones")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="size(self.capacityTypes) > 0",
            holds=lambda it: len(it.capacity_types) > 0,
            message="no kind of capacity may serve",
            remedy="name at least one of Spot, OnDemand and Reserved, or leave capacityTypes out for all",
            field="capacityTypes",
        ),
        Rule(
            cel="size(self.capacityTypes) == 0 || self.capacityTypes.exists(kind, kind != 'Spot') "
            "|| self.maxSpotPercent == 100",
            holds=lambda it: set(it.capacity_types) != {CapacityType.SPOT} or it.max_spot_percent == 100,
            message="only Spot may serve, but maxSpotPercent is below 100",
            remedy="set maxSpotPercent to 100, or add OnDemand or Reserved to capacityTypes",
            field="maxSpotPercent",
        ),
    )


class Scaling(Resource):
    """How many replicas, over all placements together."""

    min_replicas: Annotated[StrictInt, Ge(1), Le(1000)] = Field(default=1, description="Never fewer.")
    max_replicas: Annotated[StrictInt, Ge(1), Le(1000)] = Field(default=12, description="Never more.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.minReplicas <= self.maxReplicas",
            holds=lambda it: it.min_replicas <= it.max_replicas,
            message="minReplicas is above maxReplicas",
            remedy="lower minReplicas or raise maxReplicas",
            field="minReplicas",
        ),
    )


class RebalancingRules(Resource):
    """When what runs may be moved."""

    mode: RebalancingMode = Field(
        default=RebalancingMode.AUTO, description="Auto moves; Recommend only says what it would do; Off does neither."
    )
    min_savings_percent: Percent = Field(default=10, description="A move that only saves money must save so much.")
    cooldown: DurationOrZero = Field(default="10m", description="Time between two moves that only save money.")


RESERVED_PREFIXES = (f"{GROUP}/", "app.kubernetes.io/")


def not_reserved(field_json: str) -> Rule:
    """The rule that labels or annotations leave the operator's own alone."""
    python = field_json
    claims = " && ".join(f"!key.startsWith({quoted(prefix)})" for prefix in RESERVED_PREFIXES)
    return Rule(
        cel=f"self.{field_json}.all(key, {claims})",
        holds=lambda pod: not any(key.startswith(RESERVED_PREFIXES) for key in getattr(pod, python)),
        message=f"{' and '.join(RESERVED_PREFIXES)} are the operator's own prefixes",
        remedy="use a prefix of your own",
        field=field_json,
    )


class LocalReference(Resource):
    """An object of the same namespace, by name."""

    name: Annotated[str, MinLen(1), MaxLen(253)] = Field(description="Name of the object.")


class PodRules(Resource):
    """What engine pods carry beside what the plan needs."""

    annotations: Annotated[dict[Annotated[str, MinLen(1), MaxLen(317)], Annotated[str, MaxLen(1024)]], MaxLen(32)] = (
        Field(default_factory=dict, description="Annotations of engine pods.")
    )
    labels: Labels = Field(default_factory=dict, description="Labels of engine pods.")
    image_pull_secrets: Annotated[tuple[LocalReference, ...], MaxLen(8)] = Field(
        default=(), description="Secrets with which the engine's image is pulled."
    )
    priority_class_name: Annotated[str, MaxLen(253)] = Field(default="", description="PriorityClass of engine pods.")
    runtime_class_name: Annotated[str, MaxLen(253)] = Field(default="", description="RuntimeClass of engine pods.")

    map_keys: ClassVar[dict[str, tuple[str, ...]]] = {"image_pull_secrets": ("name",)}
    rules: ClassVar[tuple[Rule, ...]] = (not_reserved("annotations"), not_reserved("labels"))


class EnvironmentVariable(Resource):
    """One environment variable of the engine. Never a secret: it is stored in a ConfigMap."""

    name: Annotated[str, MinLen(1), MaxLen(128), engine_rules.VARIABLE_NAME, engine_rules.VARIABLE_NOT_OWNED] = Field(
        description="Name of the variable."
    )
    value: LongText = Field(default="", description="Its value.")


class EngineRules(Resource):
    """The one way to say how: arguments and environment handed to vLLM as they are."""

    extra_args: Annotated[
        tuple[Annotated[str, MinLen(1), MaxLen(512)], ...],
        MaxLen(32),
        engine_rules.ARGUMENT_FORM,
        engine_rules.ARGUMENT_NOT_OWNED,
    ] = Field(
        default=(),
        description="Arguments of vLLM, each as --flag or --flag=value; flags that the plan owns are refused.",
    )
    env: Annotated[tuple[EnvironmentVariable, ...], MaxLen(32)] = Field(
        default=(), description="Environment of vLLM. Not for secrets."
    )

    map_keys: ClassVar[dict[str, tuple[str, ...]]] = {"env": ("name",)}


class DeepSeekDeploymentSpec(Resource):
    """What is wanted: a model, a load, objectives and a budget."""

    model: ModelRef = Field(description="What is served.")
    workload: Workload = Field(description="The load to be served.")
    objectives: Objectives = Field(
        default=Objectives.model_construct(), description="How well, and for how much. maxUSDPerHour is required."
    )
    placement: PlacementRules = Field(default=PlacementRules.model_construct(), description="Where replicas may run.")
    scaling: Scaling = Field(default=Scaling.model_construct(), description="How many replicas.")
    rebalancing: RebalancingRules = Field(
        default=RebalancingRules.model_construct(), description="When what runs may be moved."
    )
    pod: PodRules = Field(default=PodRules.model_construct(), description="What engine pods carry.")
    engine: EngineRules = Field(
        default=EngineRules.model_construct(), description="Arguments and environment handed to vLLM as they are."
    )
    paused: Flag = Field(default=False, description="Change nothing, keep serving.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.objectives.maxUSDPerHour)",
            holds=lambda spec: spec.objectives.max_usd_per_hour is not None,
            message="there is no budget",
            remedy='set maxUSDPerHour to the most dollars per hour this may cost, such as "60"',
            field="objectives.maxUSDPerHour",
        ),
    )
