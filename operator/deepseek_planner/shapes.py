"""Legal shapes: how a model may be sharded over accelerators of nodes, and why not.

Tensor parallelism splits heads and widths and talks after every layer; pipeline parallelism splits layers and
talks seldom; data parallelism repeats the attention and spreads the experts. A shape is checked against heads,
experts, widths and layers, and against the wires between the accelerators it spans.

Two kinds are legal and not looked at, because a shape beside them is never worse: pipelines inside a node whose
accelerators have NVLink, and whole experts per tensor rank where experts can be split as evenly as all else. A third is
left out by :mod:`legal`: pipelines of more stages than weights need.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from deepseek_planner.hardware import InterNode, IntraNode
from deepseek_planner.models import GroupedAttention, ModelSpec, Precision
from deepseek_planner.plan import RejectionReason
from deepseek_planner.snapshot import Shape

GROUP_WIDTH = 128
"""Block-fp8 scales and int4 groups cover 128 weights: a shard's width must be a multiple."""

KERNEL_WIDTH = 16
"""Kernels of the other formats of 8 bits want rows of 16; fp4 blocks of 32 are multiples of it."""

MAX_ACCELERATORS = 32
"""Largest replica looked at."""

MAX_TENSOR_PARALLEL = 16

FAST_WIRES = frozenset({InterNode.INFINIBAND, InterNode.EFA})


class ShapeRefusal(NamedTuple):
    """Why a shape is out."""

    shape: Shape
    reason: RejectionReason
    message: str


def shapes(
    model: ModelSpec,
    accelerator: str,
    precision: Precision,
    *,
    gpus_per_node: int,
    intra_node: IntraNode,
    inter_node: InterNode,
    multi_node: bool,
) -> tuple[tuple[Shape, ...], tuple[ShapeRefusal, ...]]:
    """Legal shapes and refused ones, smallest first; of those that need several nodes where none can, the first."""
    legal: list[Shape] = []
    refused: list[ShapeRefusal] = []
    for shape in _candidates(model, accelerator, precision, gpus_per_node, intra_node):
        refusal = _refusal(model, shape, inter_node=inter_node, multi_node=multi_node)
        if refusal is None:
            legal.append(shape)
            continue
        refused.append(refusal)
        if refusal.reason is RejectionReason.MULTI_NODE_UNAVAILABLE:
            break
    return tuple(legal), tuple(refused)


def _candidates(
    model: ModelSpec, accelerator: str, precision: Precision, gpus_per_node: int, intra_node: IntraNode
) -> Iterator[Shape]:
    if accelerator == "cpu":
        yield Shape(accelerator, precision, 1, 1, 1, 1, 1)
        return
    total = 1
    while total <= MAX_ACCELERATORS:
        fits_node = total <= gpus_per_node
        if fits_node or total % gpus_per_node == 0:
            nodes = 1 if fits_node else total // gpus_per_node
            for tensor, pipeline, data in _splits(total, gpus_per_node, nodes):
                if data > 1 and model.experts is None:
                    continue
                if pipeline > 1 and nodes == 1 and intra_node is IntraNode.NVLINK:
                    continue
                expert = tensor * data if data > 1 or _splits_badly(model, precision, tensor) else 1
                yield Shape(accelerator, precision, tensor, pipeline, data, expert, nodes)
        total *= 2


def _splits(total: int, gpus_per_node: int, nodes: int) -> Iterator[tuple[int, int, int]]:
    """(tensor, pipeline, data) with that product: pipelines of whole nodes, data parallel without a pipeline."""
    tensor = total
    while tensor >= 1:
        rest = total // tensor
        if tensor <= MAX_TENSOR_PARALLEL:
            if rest == 1 or nodes == 1 or tensor == gpus_per_node:
                yield tensor, rest, 1
            if rest > 1 and (nodes == 1 or tensor <= gpus_per_node):
                yield tensor, 1, rest
        tensor //= 2


def _refusal(model: ModelSpec, shape: Shape, *, inter_node: InterNode, multi_node: bool) -> ShapeRefusal | None:
    message = _indivisible(model, shape)
    if message:
        return ShapeRefusal(shape, RejectionReason.SHAPE_ILLEGAL, message)
    if shape.nodes_per_replica == 1:
        return None
    if not multi_node:
        return ShapeRefusal(
            shape,
            RejectionReason.MULTI_NODE_UNAVAILABLE,
            f"spans {shape.nodes_per_replica} nodes; install LeaderWorkerSet to allow it",
        )
    crosses = shape.data_parallel > 1 or shape.pipeline_parallel == 1
    if crosses and inter_node not in FAST_WIRES:
        what = "experts" if shape.data_parallel > 1 else "tensors"
        return ShapeRefusal(
            shape,
            RejectionReason.SHAPE_ILLEGAL,
            f"{what} split over nodes need InfiniBand or EFA; over {inter_node} a token takes 3 times as long",
        )
    return None


def _indivisible(model: ModelSpec, shape: Shape) -> str:
    tensor, experts = shape.tensor_parallel, model.experts
    if model.heads % tensor:
        return f"{model.heads} attention heads do not divide by {tensor}"
    if shape.pipeline_parallel > model.layers:
        return f"{model.layers} layers are fewer than {shape.pipeline_parallel} pipeline stages"
    if isinstance(model.attention, GroupedAttention):
        kv_heads = model.attention.kv_heads
        if kv_heads % tensor and tensor % kv_heads:
            return f"{kv_heads} KV heads neither divide by {tensor} nor it by them"
    if experts is not None and shape.expert_parallel > 1 and experts.routed % shape.expert_parallel:
        return f"{experts.routed} experts do not divide by {shape.expert_parallel}"
    return _bad_width(model, shape)


def _bad_width(model: ModelSpec, shape: Shape) -> str:
    multiple = _multiple(model, shape.precision)
    if model.dense_layers and _is_narrow(model.dense_intermediate, shape.tensor_parallel, multiple):
        return (
            f"a feed-forward shard would be {model.dense_intermediate / shape.tensor_parallel:g} wide, "
            f"not a multiple of {multiple}"
        )
    if shape.expert_parallel == 1 and _splits_badly(model, shape.precision, shape.tensor_parallel):
        assert model.experts is not None
        width = model.experts.intermediate / shape.tensor_parallel
        return f"an expert's shard would be {width:g} wide, not a multiple of {multiple}; expert parallel would do"
    return ""


def _splits_badly(model: ModelSpec, precision: Precision, tensor: int) -> bool:
    """Whether experts cannot be split over tensor ranks: then whole experts go to each."""
    experts = model.experts
    return experts is not None and _is_narrow(experts.intermediate, tensor, _multiple(model, precision))


def _multiple(model: ModelSpec, precision: Precision) -> int:
    if precision in (Precision.BF16, Precision.FP16):
        return 1
    is_block_fp8 = precision is Precision.FP8 and model.native_precision is Precision.FP8
    return GROUP_WIDTH if precision is Precision.INT4 or is_block_fp8 else KERNEL_WIDTH


def _is_narrow(width: int, ways: int, multiple: int) -> bool:
    return ways > 1 and width % (ways * multiple) != 0
