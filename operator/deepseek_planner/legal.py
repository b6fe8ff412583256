"""What of a model may run on an accelerator at all, whatever is asked of it: precisions, shapes, and their memory.

None of it depends on a demand, so it is worked out once and kept: every deployment of the model looks at the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from deepseek_planner.demand import AccuracyClass
from deepseek_planner.engine import most_sequences, step_tokens
from deepseek_planner.hardware import Accelerator, InterNode, IntraNode
from deepseek_planner.memory import Fit, fit
from deepseek_planner.models import ModelSpec, Precision
from deepseek_planner.plan import Rejection
from deepseek_planner.precision import PrecisionChoice, PrecisionRefusal, choices, loss_rank
from deepseek_planner.prediction.compiled import Compiled, Setting, compiled
from deepseek_planner.shapes import ShapeRefusal, shapes
from deepseek_planner.snapshot import Shape

FEW_WEIGHTS = 0.25
"""Part of an accelerator's memory: what deeper pipelines can free of it is an eighth at most."""
MOST_KEPT = 4096
"""Answers that are kept of each kind; beyond it all are forgotten and made anew."""


class Wiring(NamedTuple):
    """What of a pool bears on shapes: two pools of equal wiring have the same options."""

    accelerator: str
    gpus_per_node: int
    intra_node: IntraNode
    inter_node: InterNode


class Permission(NamedTuple):
    """What a deployment lets serve."""

    accuracy_class: AccuracyClass
    own_weights: bool
    own_precision: Precision | None


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """A legal shape laid on an accelerator: how it fills the memory. There is one of each, whoever asks."""

    model: ModelSpec
    accelerator: Accelerator
    choice: PrecisionChoice
    shape: Shape
    intra_node: IntraNode
    inter_node: InterNode
    memory: Fit
    loss_rank: int
    """Order of the precision among the model's by what it may cost."""
    _compiled: dict[str, Compiled] = field(default_factory=dict)

    def compiled(self, kv_cache_dtype: str) -> Compiled:
        """The step model with the cache in that format."""
        known = self._compiled.get(kv_cache_dtype)
        if known is None:
            size = self.shape.accelerators // self.shape.nodes_per_replica
            setting = Setting(self.accelerator, self.shape, self.intra_node, self.inter_node, size, kv_cache_dtype)
            known = self._compiled[kv_cache_dtype] = compiled(self.model, setting)
        return known


@dataclass(frozen=True, slots=True, eq=False)
class Legal:
    """Legal shapes of a model on one wiring, and why the others are not."""

    accelerator: Accelerator
    wiring: Wiring
    choices: tuple[PrecisionChoice, ...]
    shapes: tuple[Laid, ...]
    refusals: tuple[tuple[Rejection, Shape | None], ...]
    """Rejections and the shapes they are about; None where it is about a whole precision."""
    too_large: dict[tuple[Shape, int], Rejection] = field(default_factory=dict)
    """What does not fit, by shape and longest request: filled by those who ask."""
    over_nodes: dict[Precision, tuple[tuple[Shape, Fit], ...]] = field(default_factory=dict)
    """Shapes over several nodes, by precision: filled by :func:`over_nodes`."""


_LEGAL: dict[tuple[object, ...], tuple[ModelSpec, Legal]] = {}
_LAID: dict[tuple[object, ...], Laid] = {}


def legal(
    model: ModelSpec, accelerator: Accelerator, wiring: Wiring, permission: Permission, *, multi_node: bool, prefix: str
) -> Legal:
    """What may run there; ``prefix`` stands before the names of what may not."""
    # Specs hold mappings and have no hash: their identity is the key, and the entry keeps them alive.
    key = (id(model), id(accelerator), wiring, permission, multi_node, prefix)
    known = _LEGAL.get(key)
    if known is None:
        if len(_LEGAL) >= MOST_KEPT:
            _LEGAL.clear()
        found = _legal(model, accelerator, wiring, permission, multi_node=multi_node, prefix=prefix)
        known = _LEGAL[key] = model, found
    return known[1]


def _legal(
    model: ModelSpec, accelerator: Accelerator, wiring: Wiring, permission: Permission, *, multi_node: bool, prefix: str
) -> Legal:
    refused: list[tuple[Rejection, Shape | None]] = []
    weighed = choices(
        model,
        accelerator,
        permission.accuracy_class,
        own_weights=permission.own_weights,
        own_precision=permission.own_precision,
    )
    for choice in weighed:
        if isinstance(choice, PrecisionRefusal):
            name = f"{prefix}{accelerator.name}-{choice.precision}-*"
            refused.append((Rejection(name, choice.reason, choice.message), None))
    permitted = tuple(choice for choice in weighed if isinstance(choice, PrecisionChoice))
    found: list[Laid] = []
    for choice in permitted:
        candidates, illegal = _shapes(model, choice, wiring, multi_node=multi_node)
        refused += [(Rejection(prefix + item.shape.name, item.reason, item.message), item.shape) for item in illegal]
        worthwhile = (shape for shape in candidates if not _is_needlessly_deep(model, accelerator, shape))
        found += [_laid(model, accelerator, choice, shape, wiring) for shape in worthwhile]
    return Legal(accelerator, wiring, permitted, tuple(found), tuple(refused))


def over_nodes(model: ModelSpec, permitted: Legal, precision: Precision) -> tuple[tuple[Shape, Fit], ...]:
    """Shapes over several of these nodes that are legal where LeaderWorkerSet is served, smallest first."""
    known = permitted.over_nodes.get(precision)
    if known is None:
        choice = next(item for item in permitted.choices if item.precision is precision)
        candidates, _ = _shapes(model, choice, permitted.wiring, multi_node=True)
        known = permitted.over_nodes[precision] = tuple(
            (shape, memory_of(model, shape, permitted.accelerator))
            for shape in candidates
            if shape.nodes_per_replica > 1
        )
    return known


def _shapes(
    model: ModelSpec, choice: PrecisionChoice, wiring: Wiring, *, multi_node: bool
) -> tuple[tuple[Shape, ...], tuple[ShapeRefusal, ...]]:
    return shapes(
        model,
        wiring.accelerator,
        choice.precision,
        gpus_per_node=wiring.gpus_per_node,
        intra_node=wiring.intra_node,
        inter_node=wiring.inter_node,
        multi_node=multi_node,
    )


def _is_needlessly_deep(model: ModelSpec, accelerator: Accelerator, shape: Shape) -> bool:
    """Whether half as many stages inside a node leave nearly as much room: twice the replicas of these do as much.

    Per accelerator as many requests then run in steps that take as long; all that stages gain is room for the cache,
    by at most half of what the weights take.
    """
    if shape.pipeline_parallel == 1 or shape.nodes_per_replica > 1:
        return False
    memory = memory_of(model, replace(shape, pipeline_parallel=shape.pipeline_parallel // 2), accelerator)
    return memory.weights <= FEW_WEIGHTS * memory.usable


def _laid(model: ModelSpec, accelerator: Accelerator, choice: PrecisionChoice, shape: Shape, wiring: Wiring) -> Laid:
    # Wires between nodes do not matter to what stays on one: nodes of other sizes offer the same shape again.
    between = wiring.inter_node if shape.nodes_per_replica > 1 else InterNode.ETHERNET
    key = (id(model), id(accelerator), shape, wiring.intra_node, between)
    known = _LAID.get(key)
    if known is None:
        if len(_LAID) >= 4 * MOST_KEPT:
            _LAID.clear()
        known = _LAID[key] = Laid(
            model,
            accelerator,
            choice,
            shape,
            wiring.intra_node,
            between,
            memory_of(model, shape, accelerator),
            loss_rank(model, shape.precision),
        )
    return known


def memory_of(model: ModelSpec, shape: Shape, accelerator: Accelerator) -> Fit:
    """How the shape fills the accelerator, with the usual room for a step's work."""
    return fit(
        model, shape, accelerator, batched_tokens=step_tokens(accelerator), sequences=most_sequences(accelerator)
    )
