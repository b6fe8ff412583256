"""The spec of an AcceleratorPool."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import Field, StrictInt

from deepseek_operator.api.base import (
    AcceleratorName,
    Amount,
    DurationOrZero,
    Label,
    Money,
    Resource,
    Text,
)
from deepseek_operator.api.rules import DAY_PATTERN, Rule, matching
from deepseek_operator.api.scheduling import NodeSelector, Tolerations
from deepseek_planner.hardware import CapacityType, InterNode, IntraNode


class Interconnect(Resource):
    """The wires between accelerators."""

    intra_node: IntraNode | None = Field(
        default=None, description="Inside a node; the accelerator's own when left out."
    )
    inter_node: InterNode = Field(default=InterNode.ETHERNET, description="Between nodes.")


class PoolPrice(Resource):
    """What a node costs."""

    usd_per_node_hour: Money = Field(description="Dollars per node and hour.")
    source: Text = Field(default="", description="Where the price comes from, such as a contract.")
    as_of: (
        Annotated[
            str,
            MaxLen(10),
            matching(DAY_PATTERN, "is not a date", "write it like 2026-11-20"),
        ]
        | None
    ) = Field(default=None, description="Day on which the price held; the day the pool was made when left out.")


class WeightsCache(Resource):
    """Where downloaded weights outlive a pod; at most one of the fields, none: they go with the pod."""

    host_path: (
        Annotated[
            str,
            MaxLen(512),
            Rule(
                cel="self.matches('^/[^/]') && !self.split('/').exists(part, part == '..')",
                holds=lambda path: path.startswith("/") and path[1:2] not in {"", "/"} and ".." not in path.split("/"),
                message="is not a directory of its own",
                remedy="write an absolute path without .., such as /var/cache/deepseek",
            ),
        ]
        | None
    ) = Field(default=None, description="A directory of the node.")
    persistent_volume_claim: Annotated[str, MinLen(1), MaxLen(253)] | None = Field(
        default=None, description="A PersistentVolumeClaim of this name in the deployment's namespace."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.hostPath) || !has(self.persistentVolumeClaim)",
            holds=lambda it: it.host_path is None or it.persistent_volume_claim is None,
            message="names two homes for the weights",
            remedy="keep hostPath or persistentVolumeClaim",
        ),
    )


class AcceleratorPoolSpec(Resource):
    """Nodes of one kind: what they carry, how they are paid for, and which they are."""

    accelerator: AcceleratorName = Field(
        description="Name or alias in the catalogue, such as h200 or a100-80gb; cpu too."
    )
    gpus_per_node: Annotated[StrictInt, Ge(1), Le(1024)] = Field(
        description="Accelerators of a node; for cpu the slots, one engine each."
    )
    interconnect: Interconnect = Field(
        default=Interconnect.model_construct(), description="The wires between accelerators."
    )
    capacity_type: CapacityType = Field(default=CapacityType.ON_DEMAND, description="How nodes are paid for.")
    price: PoolPrice | None = Field(
        default=None, description="Overrides the price lists; without any price Auto leaves the pool alone."
    )
    interruptions_per_node_day: Amount | None = Field(
        default=None,
        description="How often a node is taken back, per node and day; as listed for its instance type when left out.",
    )
    startup: DurationOrZero = Field(default="5m", description="From asking for a node to a schedulable one; a prior.")
    max_nodes: Annotated[StrictInt, Ge(0), Le(10_000)] | None = Field(
        default=None, description="Nodes that exist or may be asked for; those that exist when left out."
    )
    zone: Label = Field(default="", description="Zone of the nodes, as in topology.kubernetes.io/zone.")
    allowed_namespaces: Annotated[tuple[Label, ...], MaxLen(64)] = Field(
        default=(), description="Namespaces whose deployments may use the pool; empty: all."
    )
    weights_cache: WeightsCache = Field(
        default=WeightsCache.model_construct(),
        description="Where downloaded weights outlive a pod; none: they go with the pod.",
    )
    node_selector: NodeSelector = Field(
        default_factory=dict, description="Required: labels by which the pool's nodes are told from all others."
    )
    tolerations: Tolerations = Field(default=(), description="Taints of the pool's nodes that engine pods tolerate.")

    set_keys: ClassVar[tuple[str, ...]] = ("allowed_namespaces",)
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="size(self.nodeSelector) > 0",
            holds=lambda it: len(it.node_selector) > 0,
            message="the pool does not say which nodes are its own",
            remedy="set nodeSelector to labels that only its nodes carry, such as karpenter.sh/nodepool",
            field="nodeSelector",
        ),
    )
