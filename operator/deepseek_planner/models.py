"""A model as architecture facts: enough to count parameters, FLOPs and bytes per token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    index_heads: int = 0
    """Heads of the indexer that picks ``index_top_k`` entries in the layers of the smallest ratio."""
    index_dim: int = 0

    @property
    def entry_bytes(self) -> float:
        """One cache entry: fp8 with a scale per 64 values, the rotary part in bf16."""
        plain = self.head_dim - self.rope_dim
        return plain * 1.0 + plain / 64 + self.rope_dim * 2.0


INDEX_ENTRY_BYTES = 132.0
"""Indexer cache per token and layer: 128 fp8 values and one scale (vLLM blog on V3.2-Exp, 2025-09-29)."""

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
class Quality:
    """What a precision costs in quality as somebody measured it; ``loss`` is ``Unmeasured`` where nobody did."""

    loss: str
    source: str

    @property
    def is_measured(self) -> bool:
        """Whether somebody is named who measured it."""
        return bool(self.source)


UNMEASURED = Quality(loss="Unmeasured", source="")
NATIVE = Quality(loss="none, the checkpoint's own precision", source="")


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
    repositories: Mapping[Precision, str] = field(default_factory=dict)
    """Hub repository of the checkpoint in each precision; converted at load: the one it is made from."""
    quality: Mapping[Precision, Quality] = field(default_factory=dict)
    elsewhere: Mapping[Precision, str] = field(default_factory=dict)
    """Checkpoints in other precisions that exist and are not planned with: which, and why not."""
    fp8_cache: Quality | None = None
    """What keeping the KV cache in fp8 costs; None where nobody measured it: then it stays in 16 bits."""

    def repository_in(self, precision: Precision) -> str:
        """Where the weights for ``precision`` are; empty for a model that no hub holds."""
        return self.repositories.get(precision, self.repository)

    def quality_in(self, precision: Precision) -> Quality:
        """Measured loss against the native precision, which loses nothing."""
        if precision is self.native_precision:
            return NATIVE
        return self.quality.get(precision, UNMEASURED)

    @property
    def is_sparse(self) -> bool:
        """Whether attention reads only the entries that an indexer picks."""
        return self.attention.index_top_k > 0 if not isinstance(self.attention, GroupedAttention) else False

    @property
    def attention_parameters(self) -> float:
        """Attention weights of one layer, on average over the layers."""
        return _attention_parameters(self)

    @property
    def dense_layers(self) -> int:
        return self.layers if self.experts is None else self.experts.first_dense_layers

    @property
    def expert_parameters(self) -> float:
        """Weights of one routed or shared expert."""
        return 0.0 if self.experts is None else 3.0 * self.hidden * self.experts.intermediate

    @property
    def dense_parameters(self) -> float:
        """Feed-forward weights of one dense layer."""
        return 3.0 * self.hidden * self.dense_intermediate

    @property
    def vocabulary_parameters(self) -> float:
        """Weights of the embedding, and as many again of the head."""
        return float(self.vocabulary) * self.hidden

    @property
    def counted_parameters(self) -> float:
        """Parameters as the architecture gives them, to check ``total_parameters`` with (no MTP layers)."""
        experts = self.experts
        total = self.layers * self.attention_parameters + 2 * self.vocabulary_parameters
        total += self.dense_layers * self.dense_parameters
        if experts is not None:
            total += (self.layers - self.dense_layers) * (experts.routed + experts.shared) * self.expert_parameters
        return total

    @property
    def kv_bytes_per_token(self) -> float:
        """Cache bytes of one more token over all layers, unsharded, in a 16-bit cache (V4: its own format)."""
        attention = self.attention
        if isinstance(attention, LatentAttention):
            index = INDEX_ENTRY_BYTES if attention.index_top_k else 0.0
            return self.layers * ((attention.kv_lora_rank + attention.rope_dim) * 2.0 + index)
        if isinstance(attention, GroupedAttention):
            return self.layers * attention.kv_heads * attention.head_dim * 4.0
        smallest = min((ratio for ratio, _ in attention.layers_by_ratio if ratio), default=0)
        total = 0.0
        for ratio, layers in attention.layers_by_ratio:
            if ratio:
                entry = attention.entry_bytes + (INDEX_ENTRY_BYTES if ratio == smallest else 0.0)
                total += layers * entry / ratio
        return total

    @property
    def kv_bytes_per_sequence(self) -> float:
        """Cache bytes that a sequence takes whatever its length: V4's sliding windows."""
        attention = self.attention
        if not isinstance(attention, CompressedAttention):
            return 0.0
        return float(self.layers * attention.sliding_window) * attention.entry_bytes


def _attention_parameters(model: ModelSpec) -> float:
    attention, hidden, heads = model.attention, model.hidden, model.heads
    if isinstance(attention, GroupedAttention):
        return float(hidden * attention.head_dim * 2 * (heads + attention.kv_heads))
    if isinstance(attention, LatentAttention):
        query = heads * (attention.nope_dim + attention.rope_dim)
        rank = attention.q_lora_rank
        total = hidden * query if rank is None else rank * (hidden + query)
        total += hidden * (attention.kv_lora_rank + attention.rope_dim)
        total += attention.kv_lora_rank * heads * (attention.nope_dim + attention.v_dim)
        total += heads * attention.v_dim * hidden
        if attention.index_top_k:
            total += (rank or hidden) * attention.index_heads * attention.index_dim
            total += hidden * (attention.index_dim + attention.index_heads)
        return float(total)
    query = heads * attention.head_dim
    total = attention.q_lora_rank * (hidden + query) + hidden * attention.head_dim
    total += query * attention.o_lora_rank + attention.o_groups * attention.o_lora_rank * hidden
    return float(total)
