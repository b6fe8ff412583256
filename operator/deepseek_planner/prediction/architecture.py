"""A model's layers as shapes, read from its Hugging Face ``config.json``.

One vocabulary for every family: a model is a list of :class:`Layers`, each an attention and a feed-forward
network that repeat. Parameter counts follow from it and are checked against published totals in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deepseek_planner.prediction.unsupported import REMEDY, problems


@dataclass(frozen=True, slots=True)
class Grouped:
    """Grouped-query attention; ``window`` > 0 keeps the last so many tokens only (gpt-oss, Gemma)."""

    heads: int
    kv_heads: int
    head_dim: int
    window: int = 0
    gated: bool = False
    """An output gate as wide as the queries (Qwen3.5)."""


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434), with V3.2's sparse indexer when present."""

    heads: int
    q_lora_rank: int
    """0: queries are projected directly."""
    kv_lora_rank: int
    nope_dim: int
    rope_dim: int
    v_dim: int
    index_heads: int = 0
    index_dim: int = 0
    index_top_k: int = 0


@dataclass(frozen=True, slots=True)
class Compressed:
    """DeepSeek-V4's attention: one KV head; one entry per ``ratio`` tokens beside a sliding window (0: window only)."""

    heads: int
    head_dim: int
    rope_dim: int
    q_lora_rank: int
    o_lora_rank: int
    o_groups: int
    window: int
    ratio: int
    index_heads: int
    index_dim: int
    index_top_k: int


@dataclass(frozen=True, slots=True)
class Linear:
    """Gated delta-rule attention (Qwen3.5, Qwen3-Next): a state of fixed size instead of a KV cache."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int


Attention = Grouped | Latent | Compressed | Linear


@dataclass(frozen=True, slots=True)
class FeedForward:
    """A gated network of ``intermediate`` width, or routed experts beside ``shared`` width that every token uses."""

    intermediate: int = 0
    experts: int = 0
    top_k: int = 0
    expert_intermediate: int = 0
    shared_intermediate: int = 0


@dataclass(frozen=True, slots=True)
class Layers:
    """``count`` layers that are alike."""

    count: int
    attention: Attention
    network: FeedForward


@dataclass(frozen=True)
class Architecture:
    """A model's shapes. ``quantization`` is the checkpoint's: ``bf16``, ``fp8``, ``fp8_block``, ``int4`` or ``fp4``."""

    family: str
    hidden: int
    vocabulary: int
    tied_embeddings: bool
    groups: tuple[Layers, ...]
    max_context_tokens: int
    mtp_layers: int
    quantization: str
    attention_quantized: bool
    """Whether attention projections share the quantization of the rest (not so in most 4-bit checkpoints)."""

    @cached_property
    def layers(self) -> int:
        return sum(group.count for group in self.groups)

    @cached_property
    def is_sparse(self) -> bool:
        return any(group.network.experts for group in self.groups)

    @cached_property
    def attention_kind(self) -> str:
        """``gqa``, ``mla``, ``compressed`` or ``hybrid``: the class that corrections are shared in."""
        kinds = {type(group.attention) for group in self.groups}
        if Linear in kinds:
            return "hybrid"
        if Compressed in kinds:
            return "compressed"
        return "mla" if Latent in kinds else "gqa"

    @cached_property
    def parameters(self) -> float:
        """All parameters, without multi-token-prediction layers."""
        return self._count(active=False)

    @cached_property
    def active_parameters(self) -> float:
        """Parameters that serve one token."""
        return self._count(active=True)

    def _count(self, *, active: bool) -> float:
        embeddings = self.vocabulary * self.hidden * (1 if self.tied_embeddings else 2)
        total = float(embeddings + self.hidden)
        for group in self.groups:
            per_layer = attention_parameters(group.attention, self.hidden) + 2 * self.hidden
            per_layer += network_parameters(group.network, self.hidden, active=active)
            total += group.count * per_layer
        return total

    def kv_bytes_per_token(self, tensor_parallel: int, element_bytes: float) -> float:
        """KV cache of one more token on one rank; layers with a window or a state count in :meth:`state_bytes`."""
        return sum(
            group.count
            * (kv_elements_per_token(group.attention, tensor_parallel) * element_bytes + index_bytes(group.attention))
            for group in self.groups
        )

    def state_bytes(self, tensor_parallel: int, element_bytes: float) -> float:
        """Cache per request that does not grow with its length: sliding windows and linear-attention states."""
        return sum(
            group.count * state_elements(group.attention, tensor_parallel) * element_bytes for group in self.groups
        )


def attention_parameters(attention: Attention, hidden: int) -> float:
    """Weights of one attention layer."""
    match attention:
        case Grouped(heads, kv_heads, head_dim, _, gated):
            queries = heads * head_dim
            return hidden * (queries * (3 if gated else 2) + 2 * kv_heads * head_dim)
        case Latent() as mla:
            query_width = mla.heads * (mla.nope_dim + mla.rope_dim)
            query = (hidden + query_width) * mla.q_lora_rank if mla.q_lora_rank else hidden * query_width
            down = hidden * (mla.kv_lora_rank + mla.rope_dim)
            up = mla.kv_lora_rank * mla.heads * (mla.nope_dim + mla.v_dim)
            index_width = mla.index_heads * mla.index_dim
            index = (mla.q_lora_rank or hidden) * index_width + hidden * (mla.index_dim + mla.index_heads)
            return query + down + up + mla.heads * mla.v_dim * hidden + (index if mla.index_heads else 0)
        case Compressed() as v4:
            width = v4.heads * v4.head_dim
            query = (hidden + width) * v4.q_lora_rank
            output = width * v4.o_lora_rank + v4.o_groups * v4.o_lora_rank * hidden
            # Overlapping compression (ratio 4) keeps two streams; both have keys and gates.
            streams = 0 if v4.ratio == 0 else (2 if v4.ratio <= 4 else 1)
            compressor = 2 * streams * hidden * v4.head_dim
            index = 0
            if v4.ratio and v4.ratio <= 4:
                index = v4.q_lora_rank * v4.index_heads * v4.index_dim + hidden * (4 * v4.index_dim + v4.index_heads)
            return query + hidden * v4.head_dim + output + compressor + index
        case Linear(key_heads, value_heads, key_dim, value_dim, conv_kernel):
            keys, values = key_heads * key_dim, value_heads * value_dim
            return (
                hidden * (2 * keys + 2 * values + 2 * value_heads) + values * hidden + conv_kernel * (2 * keys + values)
            )


def network_parameters(network: FeedForward, hidden: int, *, active: bool) -> float:
    """Weights of one feed-forward layer; with ``active``, only those that one token uses."""
    width = network.intermediate + network.shared_intermediate
    used = network.top_k if active else network.experts
    router = network.experts * hidden
    return 3.0 * hidden * (width + used * network.expert_intermediate) + router


def kv_elements_per_token(attention: Attention, tensor_parallel: int) -> float:
    """Cache elements per token, layer and rank; latent and V4 caches are whole on every rank."""
    match attention:
        case Grouped(_, kv_heads, head_dim, window, _):
            return 0.0 if window else 2.0 * max(kv_heads / tensor_parallel, 1.0) * head_dim
        case Latent() as mla:
            return float(mla.kv_lora_rank + mla.rope_dim)
        case Compressed() as v4:
            if not v4.ratio:
                return 0.0
            return v4.head_dim / v4.ratio
        case Linear():
            return 0.0


def index_bytes(attention: Attention) -> float:
    """Cache bytes per token and layer of a sparse indexer, whatever the cache's format: fp8 values and one scale."""
    match attention:
        case Latent() as mla if mla.index_heads:
            return mla.index_dim + 4.0
        case Compressed() as v4 if 0 < v4.ratio <= 4:
            return (v4.index_dim + 4.0) / v4.ratio
        case _:
            return 0.0


def state_elements(attention: Attention, tensor_parallel: int) -> float:
    """Cache elements per request, layer and rank that do not grow with the request."""
    match attention:
        case Grouped(_, kv_heads, head_dim, window, _):
            return 2.0 * max(kv_heads / tensor_parallel, 1.0) * head_dim * window
        case Compressed() as v4:
            return float(v4.head_dim * v4.window)
        case Linear() as gdn:
            # The state is kept in fp32: two 16-bit elements each.
            return 2.0 * gdn.value_heads / tensor_parallel * gdn.key_dim * gdn.value_dim
        case Latent():
            return 0.0


def architecture(config: Mapping[str, Any]) -> Architecture:
    """Read a Hugging Face configuration; ``text_config`` of a multimodal one.

    Raises ValueError naming field, value and remedy when a needed field is missing or no number, or when a field
    stands for layers that these shapes cannot say.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"config.json holds a {type(config).__name__}; give the model's own config.json, an object")
    for name in (*TEXT_PARTS, "quantization_config"):
        if config.get(name) and not isinstance(config[name], Mapping):
            raise ValueError(f"config.json: {name} {config[name]!r} must be an object")
    text = _text(config)
    found = [*problems(text)]
    if found:
        raise ValueError(f"config.json: {'; '.join(found)}: {REMEDY}")
    layers = _integer(text, "num_hidden_layers")
    kinds: dict[tuple[Attention, FeedForward], int] = {}
    for index in range(layers):
        key = (_attention(text, index), _network(text, index))
        kinds[key] = kinds.get(key, 0) + 1
    quantization, attention_quantized = _quantization(config, text)
    return Architecture(
        family=str(text.get("model_type") or config.get("model_type") or "unknown"),
        hidden=_integer(text, "hidden_size"),
        vocabulary=_integer(text, "vocab_size"),
        tied_embeddings=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
        groups=tuple(Layers(count, attention, network) for (attention, network), count in kinds.items()),
        max_context_tokens=_optional(text, "max_position_embeddings", 0),
        mtp_layers=_optional(text, "num_nextn_predict_layers", 0) or _optional(text, "mtp_num_hidden_layers", 0),
        quantization=quantization,
        attention_quantized=attention_quantized,
    )


TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")
"""Where configurations of models that also see or hear keep what writes; the last holds a ``text_config`` itself."""


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    part = next((config[name] for name in TEXT_PARTS if config.get(name)), None)
    return config if part is None else _text(part)


TOP_KS = ("num_experts_per_tok", "experts_per_token", "moe_topk", "moe_top_k", "num_selected_experts", "top_k_experts")
EXPERT_COUNTS = ("num_experts", "n_routed_experts", "num_local_experts")


def _integer(text: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = text.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value <= 0:
            raise ValueError(f"config.json: {name} {value!r} must be a whole number above 0")
        return int(value)
    raise ValueError(f"config.json has no {' or '.join(names)}; give the model's own config.json")


def _optional(text: Mapping[str, Any], name: str, default: int) -> int:
    """A count that may be absent; zero and null are absent too."""
    return _integer(text, name) if text.get(name) else default


def _attention(text: Mapping[str, Any], index: int) -> Attention:
    heads = _integer(text, "num_attention_heads")
    if text.get("compress_ratios"):
        return _compressed(text, heads, int(text["compress_ratios"][index]))
    if text.get("kv_lora_rank"):
        return Latent(
            heads=heads,
            q_lora_rank=_optional(text, "q_lora_rank", 0),
            kv_lora_rank=_integer(text, "kv_lora_rank"),
            nope_dim=_integer(text, "qk_nope_head_dim"),
            rope_dim=_integer(text, "qk_rope_head_dim"),
            v_dim=_integer(text, "v_head_dim"),
            # Layers whose indexer is shared read the choice of an earlier one.
            index_heads=0 if _at(text, "indexer_types", index) == "shared" else _optional(text, "index_n_heads", 0),
            index_dim=_optional(text, "index_head_dim", 0),
            index_top_k=_optional(text, "index_topk", 0),
        )
    kind = _layer_kind(text, index)
    if kind == "linear_attention":
        return Linear(
            key_heads=_integer(text, "linear_num_key_heads"),
            value_heads=_integer(text, "linear_num_value_heads"),
            key_dim=_integer(text, "linear_key_head_dim"),
            value_dim=_integer(text, "linear_value_head_dim"),
            conv_kernel=_optional(text, "linear_conv_kernel_dim", 4),
        )
    return Grouped(
        heads=heads,
        kv_heads=_optional(text, "num_key_value_heads", heads),
        head_dim=_optional(text, "head_dim", _integer(text, "hidden_size") // heads),
        window=_optional(text, "sliding_window", 0) if kind == "sliding_attention" else 0,
        gated=bool(text.get("attn_output_gate", False)),
    )


def _compressed(text: Mapping[str, Any], heads: int, ratio: int) -> Compressed:
    return Compressed(
        heads=heads,
        head_dim=_integer(text, "head_dim"),
        rope_dim=_integer(text, "qk_rope_head_dim"),
        q_lora_rank=_integer(text, "q_lora_rank"),
        o_lora_rank=_integer(text, "o_lora_rank"),
        o_groups=_integer(text, "o_groups"),
        window=_integer(text, "sliding_window"),
        ratio=ratio,
        index_heads=_integer(text, "index_n_heads"),
        index_dim=_integer(text, "index_head_dim"),
        index_top_k=_integer(text, "index_topk"),
    )


def _layer_kind(text: Mapping[str, Any], index: int) -> str:
    if text.get("layer_types"):
        return str(text["layer_types"][index])
    interval = _optional(text, "full_attention_interval", 0)
    if interval and text.get("linear_num_value_heads"):
        return "full_attention" if (index + 1) % interval == 0 else "linear_attention"
    pattern = text.get("sliding_window_pattern")
    if text.get("sliding_window") and isinstance(pattern, str) and pattern:
        return "sliding_attention" if pattern[index % len(pattern)] == "L" else "full_attention"
    slides = text.get("sliding_window") and text.get("use_sliding_window", True)
    return "sliding_attention" if slides else "full_attention"


def _at(text: Mapping[str, Any], field: str, index: int) -> str:
    """Entry ``index`` of a list with one entry per layer; empty without the list."""
    kinds = text.get(field)
    return str(kinds[index]) if kinds else ""


def _has_experts(frequency: Any, index: int) -> bool:
    """``moe_layer_freq``: every n-th layer has experts, or a flag per layer."""
    if isinstance(frequency, list):
        return bool(frequency[index])
    return index % int(frequency or 1) == 0


def _network(text: Mapping[str, Any], index: int) -> FeedForward:
    experts = next(filter(None, (_optional(text, name, 0) for name in EXPERT_COUNTS)), 0)
    is_dense = (
        not experts
        or index < _optional(text, "first_k_dense_replace", 0)
        or index in (text.get("mlp_only_layers") or ())
        or (index + 1) % _optional(text, "decoder_sparse_step", 1) != 0
        or _at(text, "mlp_layer_types", index) == "dense"
        or not _has_experts(text.get("moe_layer_freq"), index)
    )
    if is_dense:
        return FeedForward(intermediate=_integer(text, "intermediate_size"))
    width = _integer(text, "moe_intermediate_size", "intermediate_size")
    beside = _optional(text, "n_shared_experts", _optional(text, "num_shared_experts", 0))
    shared = _optional(text, "shared_expert_intermediate_size", beside * width)
    return FeedForward(
        experts=experts,
        top_k=_integer(text, *TOP_KS),
        expert_intermediate=width,
        shared_intermediate=shared,
    )


def _quantization(config: Mapping[str, Any], text: Mapping[str, Any]) -> tuple[str, bool]:
    """Format of the checkpoint's matrices, and whether attention is quantized too."""
    facts: Mapping[str, Any] = text.get("quantization_config") or config.get("quantization_config") or {}
    method = str(facts.get("quant_method") or "").lower()
    skipped = [str(name) for name in (facts.get("ignore") or facts.get("modules_to_not_convert") or ())]
    attention = not any("attn" in name for name in skipped)
    text_of = str(dict(facts)).lower()
    if not facts:
        return "bf16", True
    if method == "fp8":
        return ("fp8_block" if facts.get("weight_block_size") else "fp8"), True
    if "mxfp4" in text_of or "nvfp4" in text_of or ("'num_bits': 4" in text_of and "'type': 'float'" in text_of):
        return "fp4", attention
    if method in {"awq", "gptq"} or "'num_bits': 4" in text_of:
        return "int4", attention
    if "'num_bits': 8" in text_of and "'type': 'int'" in text_of:
        return "int8", attention
    return "fp8", attention
