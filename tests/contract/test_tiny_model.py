"""The planner's catalogue entry and the checkpoint that the runtime makes are one model."""

from __future__ import annotations

import math

from deepseek_planner import catalog
from deepseek_planner.models import LatentAttention, Precision
from deepseek_runtime import tiny_checkpoint


def test_the_catalogue_describes_the_checkpoint_that_tiny_checkpoint_makes() -> None:
    model = next(model for model in catalog.load().models if model.name == tiny_checkpoint.NAME)
    assert isinstance(model.attention, LatentAttention)
    assert model.experts is not None
    described = {
        "model_type": "deepseek_v3",
        "vocab_size": model.vocabulary,
        "hidden_size": model.hidden,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "q_lora_rank": model.attention.q_lora_rank,
        "kv_lora_rank": model.attention.kv_lora_rank,
        "qk_nope_head_dim": model.attention.nope_dim,
        "qk_rope_head_dim": model.attention.rope_dim,
        "v_head_dim": model.attention.v_dim,
        "intermediate_size": model.dense_intermediate,
        "moe_intermediate_size": model.experts.intermediate,
        "n_routed_experts": model.experts.routed,
        "num_experts_per_tok": model.experts.top_k,
        "n_shared_experts": model.experts.shared,
        "first_k_dense_replace": model.experts.first_dense_layers,
        "max_position_embeddings": model.max_context_tokens,
        "num_nextn_predict_layers": model.mtp_layers,
    }
    assert described == tiny_checkpoint.ARCHITECTURE
    assert model.native_precision is Precision.BF16
    assert math.isclose(model.total_parameters, tiny_checkpoint.PARAMETERS, rel_tol=0.01)
