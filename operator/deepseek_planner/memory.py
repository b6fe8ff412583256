"""Does it fit? Weights, KV cache and workspace per accelerator -> what is left for the cache."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from deepseek_planner.hardware import Accelerator
from deepseek_planner.models import CompressedAttention, GroupedAttention, ModelSpec, Precision
from deepseek_planner.snapshot import Shape

GB = 1e9

USABLE_SHARE = 0.92
"""vLLM 0.32's default for gpu-memory-utilization."""

GPU_WORKSPACE_BYTES = 2.0e9
"""CUDA context, NCCL buffers and CUDA graphs."""

CPU_WORKSPACE_BYTES = 1.2e9
"""A vLLM CPU engine's own memory: 1.2 to 1.4 GB with a small model, measured 2026-11-21 on vLLM 0.32."""

CACHE_UNIT_BYTES = 1 << 27
"""KV cache sizes are multiples of 128 MiB."""

WEIGHT_BYTES: dict[Precision, float] = {
    Precision.BF16: 2.0,
    Precision.FP16: 2.0,
    Precision.FP8: 1.0 + 4 / (128 * 128),
    Precision.INT8: 1.0,
    Precision.INT4: 0.5 + 2.5 / 128,
    Precision.FP4: 0.5 + 1 / 16,
}
"""Bytes per weight with scales: fp8 blocks of 128 x 128, int4 groups of 128 with scale and zero point, fp4 of 16."""

MX_FP4_BYTES = 0.5 + 1 / 32
"""V4's own fp4: one scale per 32 weights."""


class WeightFormats(NamedTuple):
    """Bytes per weight of each part of a model in a precision. Embedding and head stay in 16 bits."""

    attention: float
    dense: float
    shared: float
    routed: float
    vocabulary: float = 2.0


def weight_formats(model: ModelSpec, precision: Precision) -> WeightFormats:
    """How checkpoints of a precision store the parts: fp4 of V4 is its experts only, of V3 all but attention."""
    width = WEIGHT_BYTES[precision]
    if precision is not Precision.FP4:
        return WeightFormats(width, width, width, width)
    if isinstance(model.attention, CompressedAttention):
        fp8 = WEIGHT_BYTES[Precision.FP8]
        return WeightFormats(attention=fp8, dense=fp8, shared=fp8, routed=MX_FP4_BYTES)
    return WeightFormats(attention=WEIGHT_BYTES[Precision.BF16], dense=width, shared=width, routed=width)


class Shard(NamedTuple):
    """Weights of the fullest rank, in bytes, by part."""

    attention: float
    dense: float
    shared: float
    routed: float
    vocabulary: float

    @property
    def total(self) -> float:
        return self.attention + self.dense + self.shared + self.routed + self.vocabulary


def shard(model: ModelSpec, shape: Shape) -> Shard:
    """What one accelerator holds: TP splits heads and widths, PP layers, EP experts; DP repeats the attention."""
    formats = weight_formats(model, shape.precision)
    tensor, pipeline = shape.tensor_parallel, shape.pipeline_parallel
    stage = math.ceil(model.layers / pipeline) / model.layers
    experts = model.experts
    expert_layers = model.layers - model.dense_layers
    dense = model.dense_layers * model.dense_parameters * formats.dense / tensor
    shared = routed = 0.0
    if experts is not None:
        shared = expert_layers * experts.shared * model.expert_parameters * formats.shared / tensor
        ways = tensor * shape.data_parallel
        per_rank = (
            math.ceil(experts.routed / shape.expert_parallel) if shape.expert_parallel > 1 else experts.routed / ways
        )
        routed = expert_layers * per_rank * model.expert_parameters * formats.routed
    ends = 2.0 if pipeline == 1 else 1.0
    return Shard(
        attention=model.layers * model.attention_parameters * formats.attention / tensor * stage,
        dense=dense * stage,
        shared=shared * stage,
        routed=routed * stage,
        vocabulary=ends * model.vocabulary_parameters * formats.vocabulary / tensor,
    )


def kv_bytes_per_token(model: ModelSpec, shape: Shape) -> float:
    """Cache bytes per token on one rank. Latent and single-head caches are repeated on every tensor rank."""
    stage = math.ceil(model.layers / shape.pipeline_parallel) / model.layers
    if isinstance(model.attention, GroupedAttention):
        heads = max(1.0, model.attention.kv_heads / shape.tensor_parallel)
        return model.kv_bytes_per_token * stage * heads / model.attention.kv_heads
    return model.kv_bytes_per_token * stage


@dataclass(frozen=True, slots=True)
class Fit:
    """How a shape fills an accelerator, in bytes. ``cache`` is what is left for the KV cache, maybe negative."""

    usable: float
    weights: float
    workspace: float
    cache: float
    cache_per_token: float
    cache_per_sequence: float

    @property
    def cache_budget_bytes(self) -> int:
        """The cache in whole units."""
        return max(0, int(self.cache // CACHE_UNIT_BYTES) * CACHE_UNIT_BYTES)

    def tokens(self, cache_bytes: float) -> float:
        """Tokens of cache on one rank."""
        return cache_bytes / self.cache_per_token

    def sequence_bytes(self, tokens: float) -> float:
        """Cache of one sequence of that length on one rank."""
        return self.cache_per_sequence + tokens * self.cache_per_token


def activation_bytes(model: ModelSpec, shape: Shape, tokens: float) -> float:
    """What the tokens of one step take on one rank while they pass the widest layer."""
    widest = max(model.dense_intermediate / shape.tensor_parallel, 2.0 * model.hidden)
    if model.experts is not None:
        widest = max(widest, float(model.experts.top_k * model.hidden))
    return tokens * (4.0 * model.hidden + 2.0 * widest) * 2.0


def fit(model: ModelSpec, shape: Shape, accelerator: Accelerator, *, batched_tokens: int, sequences: int) -> Fit:
    """Memory of one rank. Activations grow with the tokens of a step, logits with the sequences."""
    usable = accelerator.memory_bytes * USABLE_SHARE
    weights = shard(model, shape).total
    activations = activation_bytes(model, shape, batched_tokens)
    logits = sequences * model.vocabulary * 4.0
    base = CPU_WORKSPACE_BYTES if accelerator.compute_capability is None else GPU_WORKSPACE_BYTES
    workspace = base + activations + logits
    stage = math.ceil(model.layers / shape.pipeline_parallel) / model.layers
    return Fit(
        usable=usable,
        weights=weights,
        workspace=workspace,
        cache=usable - weights - workspace,
        cache_per_token=kv_bytes_per_token(model, shape),
        cache_per_sequence=model.kv_bytes_per_sequence * stage,
    )
