"""A model as architecture facts: enough to count parameters, FLOPs and bytes per token."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Precision(StrEnum):
    """Format of the weights. Compute may be wider: see :mod:`deepseek_planner.precision`."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"
    FP4 = "fp4"


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): one compressed KV vector per token and layer."""

    q_lora_rank: int | None
    kv_lora_rank: int
    nope_dim: int
    rope_dim: int
    v_dim: int
    index_heads: int = 0
    """Heads of the sparse-attention indexer (V3.2); 0 where attention is dense."""
    index_dim: int = 0
    index_top_k: int = 0


@dataclass(frozen=True, slots=True)
class GroupedAttention:
    """Grouped-query attention: ``kv_heads`` keys and values of ``head_dim`` per token and layer."""

    kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class CompressedAttention:
    """V4's attention: one KV head, and most layers keep one entry per ``ratio`` tokens beside a sliding window."""

    head_dim: int
    rope_dim: int
    q_lora_rank: int
    o_lora_rank: int
    o_groups: int
    sliding_window: int
    index_top_k: int
    layers_by_ratio: tuple[tuple[int, int], ...]
    """(compression ratio, layers); ratio 0 means the sliding window only."""


Attention = LatentAttention | GroupedAttention | CompressedAttention


@dataclass(frozen=True, slots=True)
class Experts:
    """Mixture of experts: ``top_k`` of ``routed`` experts serve a token, ``shared`` serve every token."""

    routed: int
    top_k: int
    shared: int
    intermediate: int
    first_dense_layers: int


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Facts of one model. Parameter counts are in parameters, not billions."""

    name: str
    family: str
    repository: str
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    attention: Attention
    experts: Experts | None
    dense_intermediate: int
    native_precision: Precision
    total_parameters: float
    active_parameters: float
    max_context_tokens: int
    mtp_layers: int
    checkpoints: tuple[Precision, ...]
    """Precisions in which a checkpoint exists or the engine can convert at load."""
    source: str
