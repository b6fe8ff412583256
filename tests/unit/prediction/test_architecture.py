"""Parameter counts of every known model against what its publisher states."""

from __future__ import annotations

import pytest

from deepseek_planner.prediction.architecture import Grouped, Latent, Linear, architecture
from deepseek_planner.prediction.known import canonical, known_architecture, known_models

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
    "Qwen/Qwen3-8B": (8.2, None),
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
