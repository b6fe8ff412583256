"""What a ``config.json`` asks for that the shapes of :mod:`architecture` cannot say.

Reading such a model as if it were a plain one would give numbers that look right and are not, so it is refused: with
the field, its value and the remedy. The list holds what published configurations use, and unknown values of fields
that decide a layer's kind; it cannot hold what is not in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

REMEDY = "its step time is not modelled; leave the run out, or measure the model and plan with the measurement"
LAYER_KINDS = frozenset({"full_attention", "sliding_attention", "linear_attention", "attention"})
LATENT_KINDS = frozenset({"full_attention", "deepseek_sparse_attention", "attention"})
NETWORK_KINDS = frozenset({"dense", "sparse"})
INDEXER_KINDS = frozenset({"full", "shared"})
GATED = frozenset({"silu", "swish", "swiglu", "swigluoai", "gelu_pytorch_tanh", "geglu"})
"""Activations of networks with a gate: three matrices. Others have two."""

FIELDS: Mapping[str, str] = {
    # field -> what it stands for
    "hybrid_override_pattern": "state-space layers (Nemotron-H)",
    "layers_block_type": "layers of one part each (Nemotron 3, Zamba)",
    "mamba_num_heads": "state-space layers",
    "mamba_d_state": "state-space layers (Falcon-H1, Granite 4)",
    "ssm_state_size": "state-space layers",
    "ssm_cfg": "state-space layers (Mamba)",
    "attn_layer_period": "state-space layers (Jamba)",
    "rwkv_version": "recurrent layers (RWKV)",
    "block_configs": "layers that differ from each other (Nemotron-NAS)",
    "linear_attn_config": "delta attention (Kimi Linear, Kimi K3)",
    "sparse_attention_config": "block-sparse attention (MiniMax-M3)",
    "hybrid_layer_pattern": "sliding layers with heads of their own (MiMo-V2)",
    "swa_num_key_value_heads": "sliding layers with heads of their own (MiMo-V2)",
    "attention_other_setting": "sliding layers with heads of their own (Step 3.5)",
    "interleave_moe_layer_step": "interleaved expert layers with a shared expert (Llama 4)",
    "intermediate_size_mlp": "interleaved expert layers with a shared expert (Llama 4)",
    "global_head_dim": "global layers with heads of their own (Gemma 4)",
    "num_global_key_value_heads": "global layers with heads of their own (Gemma 4)",
    "enable_moe_block": "experts beside a dense network (Gemma 4)",
    "hidden_size_per_layer_input": "embeddings of every layer (Gemma 3n)",
    "num_kv_shared_layers": "layers that share a KV cache (Gemma 3n)",
    "attention_k_eq_v": "keys used as values (Gemma 4)",
    "routed_expert_hidden_size": "experts in a narrower space (Kimi K3)",
    "moe_latent_size": "experts in a narrower space (Nemotron 3)",
    "zero_expert_num": "experts that do nothing (LongCat)",
    "moe_num_experts": "experts under another name (ERNIE 4.5)",
    "ffn_config": "a network described elsewhere (DBRX)",
    "use_cla": "layers that share a KV cache (Hunyuan)",
    "is_encoder_decoder": "an encoder",
}
ALTERNATING = frozenset({"gemma2", "gemma3", "gemma3_text", "cohere2"})
"""Families whose older configurations leave it to the code which layers slide."""
PER_LAYER = ("layer_types", "mlp_layer_types", "indexer_types", "compress_ratios")


def problems(text: Mapping[str, Any]) -> Iterator[str]:
    """Every reason why the layers of ``text`` (a configuration, or its text part) cannot be told from it."""
    for field, meaning in FIELDS.items():
        if text.get(field):
            yield f"{field} {_short(text[field])} stands for {meaning}"
    for field in PER_LAYER:
        if text.get(field) and not isinstance(text[field], list):
            yield f"{field} {_short(text[field])} is not a list with one entry per layer"
            return
    yield from _kinds(text, "layer_types", LATENT_KINDS if text.get("kv_lora_rank") else LAYER_KINDS)
    yield from _kinds(text, "mlp_layer_types", NETWORK_KINDS)
    yield from _kinds(text, "indexer_types", INDEXER_KINDS)
    for field in (*PER_LAYER, "moe_layer_freq"):
        layers, found = text.get("num_hidden_layers"), text.get(field)
        if isinstance(found, list) and isinstance(layers, int) and len(found) < layers:
            yield f"{field} names {len(found)} layers and num_hidden_layers is {layers}"
    if isinstance(text.get("attn_type_list"), list) and any(kind != 1 for kind in text["attn_type_list"]):
        yield f"attn_type_list {_short(text['attn_type_list'])} stands for lightning attention (MiniMax-01)"
    if text.get("v_head_dim") and not text.get("kv_lora_rank") and text["v_head_dim"] != text.get("head_dim"):
        yield f"v_head_dim {_short(text['v_head_dim'])} differs from head_dim {_short(text.get('head_dim'))}"
    for field in ("hidden_act", "hidden_activation", "mlp_hidden_act"):
        if text.get(field) and text[field] not in GATED:
            yield f"{field} {_short(text[field])} is not a gated activation ({', '.join(sorted(GATED))})"
    if text.get("model_type") in ALTERNATING and not text.get("layer_types"):
        yield f"model_type {_short(text['model_type'])} without layer_types does not say which layers slide"


def _kinds(text: Mapping[str, Any], field: str, known: frozenset[str]) -> Iterator[str]:
    strange = sorted({str(kind) for kind in text.get(field) or ()} - known)
    if strange:
        yield f"{field} has {', '.join(map(repr, strange))}; known are {', '.join(sorted(known))}"


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
