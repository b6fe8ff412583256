"""Parameter counts of every known model against what its publisher states."""

from __future__ import annotations

import re

import pytest

from deepseek_planner.prediction.architecture import Grouped, Latent, Linear, architecture
from deepseek_planner.prediction.known import canonical, is_confirmed, known_architecture, known_models

PUBLISHED = {  # billions: total, active where it is published
    "deepseek-ai/DeepSeek-V3": (671.0, 37.0),
    "deepseek-ai/DeepSeek-V3.2": (671.0, 37.0),
    "deepseek-ai/DeepSeek-V4-Flash": (284.0, 13.0),
    "deepseek-ai/DeepSeek-V4-Pro": (1600.0, 49.0),
    "deepseek-ai/DeepSeek-V2": (236.0, 21.0),
    "deepseek-ai/DeepSeek-V2-Lite": (15.7, 2.4),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": (7.6, None),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": (14.8, None),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": (32.8, None),
    "meta-llama/Llama-3.1-8B": (8.03, None),
    "meta-llama/Llama-3.1-70B": (70.6, None),
    "meta-llama/Llama-3.1-405B": (405.9, None),
    "meta-llama/Llama-2-7b": (6.74, None),
    "meta-llama/Llama-2-70b": (69.0, None),
    "mistralai/Mistral-7B-v0.3": (7.25, None),
    "Qwen/Qwen2.5-72B": (72.7, None),
    "Qwen/Qwen3-8B": (8.2, None),
    "Qwen/Qwen3-14B": (14.8, None),
    "Qwen/Qwen3-32B": (32.8, None),
    "Qwen/Qwen3-30B-A3B": (30.5, 3.3),
    "Qwen/Qwen3-235B-A22B": (235.0, 22.0),
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": (480.0, 35.0),
    "Qwen/Qwen3.5-397B-A17B": (397.0, 17.0),
    "MiniMaxAI/MiniMax-M2.5": (229.0, 10.0),
    "moonshotai/Kimi-K2.5": (1026.0, 32.0),
    "moonshotai/Kimi-K2-Instruct": (1026.0, 32.0),
    "openai/gpt-oss-120b": (116.8, 5.1),
    "openai/gpt-oss-20b": (20.9, 3.6),
    "zai-org/GLM-4.5-Air": (106.0, 12.0),
    "zai-org/GLM-5": (744.0, 40.0),
}


def test_every_known_model_is_checked():
    assert set(PUBLISHED) == set(known_models())


@pytest.mark.parametrize("model", PUBLISHED)
def test_total_is_the_published_one(model):
    total, _ = PUBLISHED[model]
    assert known_architecture(model).parameters / 1e9 == pytest.approx(total, rel=0.02)


@pytest.mark.parametrize("model", [model for model, (_, active) in PUBLISHED.items() if active])
def test_active_is_near_the_published_one(model):
    # Publishers differ in whether they count embeddings and shared experts.
    _, active = PUBLISHED[model]
    assert known_architecture(model).active_parameters / 1e9 == pytest.approx(active, rel=0.18)


def test_cache_per_token_is_the_logged_one():
    # A log of vLLM: 24.83 GiB = 464,848 tokens for Qwen2-7B on one rank, half of it per rank on two.
    qwen = known_architecture("Qwen/Qwen2-7B-Instruct")
    assert qwen.kv_bytes_per_token(1, 2.0) == 57_344
    assert qwen.kv_bytes_per_token(2, 2.0) == 28_672


def test_latent_cache_is_whole_on_every_rank():
    v3 = known_architecture("deepseek-ai/DeepSeek-V3")
    assert v3.kv_bytes_per_token(1, 2.0) == v3.kv_bytes_per_token(8, 2.0) == 61 * 576 * 2


def test_hybrid_model_keeps_a_state_instead_of_most_of_the_cache():
    qwen = known_architecture("Qwen/Qwen3.5-397B-A17B")
    kinds = {type(group.attention): group.count for group in qwen.groups}
    assert kinds == {Linear: 45, Grouped: 15}
    assert qwen.state_bytes(1, 2.0) == 45 * 64 * 128 * 128 * 4


def test_windowed_layers_hold_their_window():
    oss = known_architecture("openai/gpt-oss-120b")
    assert sorted((group.attention.window, group.count) for group in oss.groups) == [(0, 18), (128, 18)]
    assert oss.state_bytes(1, 2.0) == 18 * 2 * 8 * 64 * 128 * 2


def test_aliases_lead_to_the_canonical_model():
    assert canonical("DeepSeek-R1/V3") == canonical("nvidia/DeepSeek-V3.1-NVFP4") == "deepseek-ai/DeepSeek-V3"
    assert isinstance(known_architecture("moonshotai/Kimi-K2.5").groups[0].attention, Latent)


def test_unknown_model_names_the_remedy():
    with pytest.raises(ValueError, match=r"config\.json"):
        canonical("nobody/Nothing-1B")


def test_multimodal_configuration_uses_the_text_part():
    text = {
        "num_hidden_layers": 2,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": 100,
    }
    found = architecture({"model_type": "vision", "text_config": text})
    assert found.layers == 2
    assert found.parameters == 2 * 100 * 64 + 64 + 2 * (4 * 64 * 64 + 2 * 64 + 3 * 64 * 128)


def test_missing_key_is_named():
    with pytest.raises(ValueError, match="vocab_size"):
        architecture({"num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128})


PLAIN = {
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "vocab_size": 100,
}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {"kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "q_lora_rank": 48}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "MEM*", "mlp_hidden_act": "relu2"}, "MEM*"),
        ({"layers_block_type": ["mamba", "moe", "attention", "moe"]}, "layers_block_type"),
        ({"block_configs": [{"attention": {"no_op": True}}]}, "block_configs"),
        ({"interleave_moe_layer_step": 2, "intermediate_size_mlp": 256, "attention_chunk_size": 64}, "interleave_moe"),
        ({"hybrid_layer_pattern": [0, 1, 1, 0], "v_head_dim": 8}, "hybrid_layer_pattern"),
        ({"v_head_dim": 8}, "v_head_dim 8 differs from head_dim 16"),
        ({"enable_moe_block": True, "global_head_dim": 512, "top_k_experts": 8}, "global_head_dim 512"),
        ({"attention_k_eq_v": True}, "attention_k_eq_v True"),
        ({"linear_attn_config": {"kda_layers": [1]}}, "linear_attn_config"),
        ({"sparse_attention_config": {"sparse_topk_blocks": 16}}, "sparse_attention_config"),
        ({"attn_type_list": [0, 0, 0, 1]}, "attn_type_list"),
        ({"layer_types": ["full_attention", "conv", "conv", "conv"]}, "layer_types has 'conv'"),
        ({"layer_types": ["full_attention"]}, "names 1 layers and num_hidden_layers is 4"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not a gated activation"),
        ({"model_type": "gemma2", "sliding_window": 32}, "model_type 'gemma2' without layer_types"),
        ({"mlp_layer_types": ["dense", "odd", "dense", "dense"]}, "mlp_layer_types has 'odd'"),
        ({**LATENT, "layer_types": ["sliding_attention"] * 4}, "layer_types has 'sliding_attention'"),
        ({"hidden_size": "wide"}, "hidden_size 'wide' must be a whole number above 0"),
        ({"num_attention_heads": 0}, "num_attention_heads 0 must be"),
        ({"head_dim": "wide"}, "head_dim 'wide' must be"),
        ({"layer_types": "full_attention"}, "layer_types 'full_attention' is not a list"),
        ({"num_experts": -1}, "num_experts -1 must be"),
    ],
)
def test_what_the_shapes_cannot_say_is_refused(facts, words):
    architecture(PLAIN)
    with pytest.raises(ValueError, match=re.escape(words)):
        architecture(PLAIN | facts)
    with pytest.raises(ValueError, match=r"config\.json"):
        architecture({"text_config": PLAIN | facts})


@pytest.mark.parametrize("facts", [{"text_config": "plain"}, {"quantization_config": "fp8"}])
def test_parts_must_be_objects(facts):
    with pytest.raises(ValueError, match="must be an object"):
        architecture(PLAIN | facts)


def test_all_reasons_are_given_with_the_remedy():
    facts = {"hybrid_override_pattern": "MEM*", "ssm_state_size": 128, "hidden_act": "relu2"}
    with pytest.raises(ValueError, match=r"hybrid_override_pattern.*ssm_state_size 128.*relu2.*leave the run out"):
        architecture(PLAIN | facts)


def test_layers_with_experts_are_counted_however_they_are_named():
    by_count = architecture(PLAIN | EXPERTS | {"first_k_dense_replace": 1})
    for other in ({"moe_layer_freq": [0, 1, 1, 1]}, {"mlp_layer_types": ["dense", "sparse", "sparse", "sparse"]}):
        assert architecture(PLAIN | EXPERTS | other).groups == by_count.groups
    assert {group.count for group in architecture(PLAIN | EXPERTS | {"moe_layer_freq": 2}).groups} == {2}


def test_a_shared_indexer_is_not_counted_twice():
    index = LATENT | {"index_n_heads": 4, "index_head_dim": 16, "index_topk": 64}
    every = architecture(PLAIN | index)
    shared = architecture(PLAIN | index | {"indexer_types": ["full", "shared", "shared", "shared"]})
    assert shared.kv_bytes_per_token(1, 2.0) == every.kv_bytes_per_token(1, 2.0) - 3 * (16 + 4)
    assert {group.attention.index_top_k for group in shared.groups} == {64}


def test_names_whose_configuration_was_not_read_are_known_as_such():
    assert is_confirmed("Qwen/Qwen3-235B-A22B")
    assert is_confirmed("Qwen3-8B")
    assert not is_confirmed("Qwen/Qwen3-235B-A22B-Instruct-2507")
    assert not is_confirmed("deepseek-r1-0528-qwen3-8b")
