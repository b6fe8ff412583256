from __future__ import annotations

import pytest

from deepseek_planner.memory import fit, kv_bytes_per_token, shard
from deepseek_planner.models import Precision
from deepseek_planner.snapshot import Shape
from support.planning import CATALOG


def shape(precision: str, tensor: int = 1, pipeline: int = 1, data: int = 1, expert: int = 1) -> Shape:
    return Shape("h100", Precision(precision), tensor, pipeline, data, expert, 1)


@pytest.mark.parametrize(
    ("model", "precision", "gigabytes", "tolerance"),
    [
        ("deepseek-v3", "fp8", 675, 0.02),  # 689 GB of files hold the MTP layer, which is not loaded
        ("deepseek-v3", "fp4", 403, 0.03),  # recipes: vram_min 403 GB
        ("deepseek-v2-lite", "bf16", 31.4, 0.02),
        ("deepseek-v2", "bf16", 472, 0.02),
        ("deepseek-r1-distill-qwen-32b", "bf16", 65.6, 0.02),
        ("deepseek-r1-distill-llama-70b", "bf16", 141.2, 0.02),
        ("deepseek-tiny", "bf16", 0.0753, 0.02),
    ],
)
def test_weights_weigh_what_the_checkpoints_do(model: str, precision: str, gigabytes: float, tolerance: float) -> None:
    assert shard(CATALOG.model(model), shape(precision)).total / 1e9 == pytest.approx(gigabytes, rel=tolerance)


def test_grouped_caches_are_sharded_and_latent_ones_are_not() -> None:
    dense, latent = CATALOG.model("deepseek-r1-distill-qwen-7b"), CATALOG.model("deepseek-v3")

    assert kv_bytes_per_token(dense, shape("bf16")) == 57_344  # a vLLM log: 24.83 GiB = 464,848 tokens
    assert kv_bytes_per_token(dense, shape("bf16", tensor=2)) == 28_672
    assert kv_bytes_per_token(dense, shape("bf16", tensor=8)) == 57_344 / 4  # four heads: repeated beyond four
    assert kv_bytes_per_token(latent, shape("fp8")) == kv_bytes_per_token(latent, shape("fp8", tensor=8)) == 70_272
    assert kv_bytes_per_token(latent, shape("fp8", pipeline=2)) == pytest.approx(70_272 * 31 / 61)


def test_tiny_cache_holds_what_was_measured() -> None:
    tokens = 2**30 / kv_bytes_per_token(CATALOG.model("deepseek-tiny"), shape("bf16"))

    assert tokens == pytest.approx(232_960, rel=0.001)


def test_compressed_attention_keeps_a_fraction_of_the_latent_cache() -> None:
    v4, v32 = CATALOG.model("deepseek-v4-pro"), CATALOG.model("deepseek-v3.2")
    long = 1_000_000

    ratio = (v4.kv_bytes_per_sequence + long * v4.kv_bytes_per_token) / (long * v32.kv_bytes_per_token)
    assert ratio == pytest.approx(0.10, abs=0.04)  # the card says 10 %, of an fp8 cache


def test_data_parallel_ranks_repeat_the_attention_and_spread_the_experts() -> None:
    model = CATALOG.model("deepseek-v3")
    one, tensor, data = (
        shard(model, item) for item in (shape("fp8"), shape("fp8", 8), shape("fp8", 1, data=8, expert=8))
    )

    assert tensor.attention == pytest.approx(one.attention / 8)
    assert data.attention == one.attention
    assert data.routed == pytest.approx(tensor.routed) == pytest.approx(one.routed / 8)
    assert data.total > tensor.total


def test_what_is_left_for_the_cache_shrinks_with_the_batch() -> None:
    model, accelerator = CATALOG.model("deepseek-v3"), CATALOG.accelerator("h200")
    small, large = (
        fit(model, shape("fp8", 8), accelerator, batched_tokens=tokens, sequences=256) for tokens in (512, 8192)
    )

    assert small.cache > large.cache > 0
    assert small.weights == large.weights


def test_v3_in_fp8_does_not_fit_eight_h100_and_does_in_int4() -> None:
    model, accelerator = CATALOG.model("deepseek-v3"), CATALOG.accelerator("h100")

    assert fit(model, shape("fp8", 8), accelerator, batched_tokens=8192, sequences=256).cache < 0
    assert fit(model, shape("int4", 8), accelerator, batched_tokens=8192, sequences=256).cache > 10e9
