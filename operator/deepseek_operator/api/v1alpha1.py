"""The custom resources, version v1alpha1: DeepSeekDeployment and AcceleratorPool.

The CRDs in ``crds/`` are generated from here. A field's docstring is what ``kubectl explain`` shows. The spec
says what is wanted, never how; fields whose behaviour does not exist yet are not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from deepseek_operator.api.base import (
    Resource,
)
from deepseek_operator.api.deployment import DeepSeekDeploymentSpec
from deepseek_operator.api.names import DEPLOYMENT_KIND, DEPLOYMENT_NAME, POOL_KIND, POOL_NAME
from deepseek_operator.api.pool import AcceleratorPoolSpec
from deepseek_operator.api.rules import GROUP, Rule
from deepseek_operator.api.status import DeepSeekDeploymentStatus, PoolStatus


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``."""

    name: str
    path: str
    kind: str = "string"
    priority: int = 0


class Scope(StrEnum):
    """Whether objects of a kind live in namespaces."""

    NAMESPACED = "Namespaced"
    CLUSTER = "Cluster"


@dataclass(frozen=True, slots=True)
class CustomResource:
    """A kind of the API: its names, its types and how ``kubectl get`` shows it."""

    kind: str
    plural: str
    singular: str
    short_name: str
    scope: Scope
    description: str
    spec: type[Resource]
    status: type[Resource]
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]

    @property
    def name(self) -> str:
        """Name of the CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"


def _about_name(rule: Rule) -> Rule:
    return Rule(
        cel=rule.cel.replace("self.", "self.metadata.name.", 1),
        holds=rule.holds,
        message=rule.message,
        remedy=rule.remedy,
    )


DEEPSEEK_DEPLOYMENT = CustomResource(
    kind=DEPLOYMENT_KIND,
    plural="deepseekdeployments",
    singular="deepseekdeployment",
    short_name="dsd",
    scope=Scope.NAMESPACED,
    description="A DeepSeek model to be served: what, how well and for how much. The operator finds out how.",
    spec=DeepSeekDeploymentSpec,
    status=DeepSeekDeploymentStatus,
    columns=(
        Column("Model", ".status.modelName"),
        Column("Plan", ".status.summary"),
        Column("Ready", ".status.readyReplicas", "integer"),
        Column("Replicas", ".status.replicas", "integer"),
        Column("$/H", ".status.plan.usdPerHour"),
        Column("$/MTok", ".status.plan.usdPerMillionTokens"),
        Column("Actual", ".status.actual.usdPerMillionTokens"),
        Column("Status", '.status.conditions[?(@.type=="Ready")].reason'),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    rules=(_about_name(DEPLOYMENT_NAME),),
)
ACCELERATOR_POOL = CustomResource(
    kind=POOL_KIND,
    plural="acceleratorpools",
    singular="acceleratorpool",
    short_name="apool",
    scope=Scope.CLUSTER,
    description="Nodes of one kind that engines may use: accelerators, capacity type, price and limits.",
    spec=AcceleratorPoolSpec,
    status=PoolStatus,
    columns=(
        Column("Accelerator", ".spec.accelerator"),
        Column("GPUs", ".spec.gpusPerNode", "integer"),
        Column("Capacity", ".spec.capacityType"),
        Column("Nodes", ".status.nodes", "integer"),
        Column("Free", ".status.gpusFree", "integer"),
        Column("$/Node-H", ".status.price.usdPerNodeHour"),
        Column("Status", '.status.conditions[?(@.type=="Available")].reason'),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    rules=(_about_name(POOL_NAME),),
)
RESOURCES = (DEEPSEEK_DEPLOYMENT, ACCELERATOR_POOL)
