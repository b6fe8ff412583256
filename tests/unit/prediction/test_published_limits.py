"""What is read off a publisher's runs is not asked of runs unlike any of them."""

from __future__ import annotations

import pytest

from deepseek_planner.prediction.curves import curve_set
from deepseek_planner.prediction.known import canonical, known_architecture
from deepseek_planner.prediction.predictor import predict
from deepseek_planner.prediction.runs import Run, parse

PUBLISHED = {"id": "some_publisher_some_publisher_1", "isl": "1024", "osl": "1024", "concurrency": "32"}


def run(model: str, system: str = "h200_sxm", backend: str = "trtllm", tp: int = 8, **cells: object) -> Run:
    row = PUBLISHED | {"model": model, "system": system, "backend": backend, "tp": str(tp), "gpus": str(tp)}
    row |= {name: str(value) for name, value in cells.items()}
    return parse(row, known_architecture(model), canonical(model))


@pytest.mark.parametrize("model", ["meta-llama/Llama-3.1-8B", "openai/gpt-oss-120b", "Qwen/Qwen3-235B-A22B"])
def test_short_prompts_do_not_wait_for_a_step_of_their_own_length(model: str) -> None:
    first = [predict(run(model, isl=isl, concurrency=128, tp=2)).ttft_ms for isl in (64, 128, 256, 1024)]

    assert first == sorted(first)


def test_a_few_clients_do_not_wait_for_each_others_answers() -> None:
    first = [
        predict(run("meta-llama/Llama-3.1-8B", tp=1, isl=2000, osl=500, concurrency=c)).ttft_ms for c in (1, 2, 4, 7)
    ]

    assert max(first) < 3 * min(first)


@pytest.mark.parametrize(
    ("model", "system"), [("moonshotai/Kimi-K2.5", "b200_sxm"), ("deepseek-ai/DeepSeek-V3", "h200_sxm")]
)
def test_a_kernel_compiled_for_one_model_on_one_accelerator_is_no_other_ones(model: str, system: str) -> None:
    r1 = run("deepseek-ai/DeepSeek-V3", "b200_sxm", "sglang", precision="fp4", id="b200_r1", concurrency=64)

    assert r1.harness.is_cold
    assert not run(model, system, "sglang", precision="fp4", id="other", concurrency=64).harness.is_cold


@pytest.mark.parametrize("model", ["moonshotai/Kimi-K2.5", "zai-org/GLM-5", "deepseek-ai/DeepSeek-V3.2"])
def test_attention_is_data_parallel_by_script_for_the_model_of_the_script_alone(model: str) -> None:
    cells = {"id": "b200_run", "precision": "fp8", "attn_dp": 1, "concurrency": 128}

    assert run("deepseek-ai/DeepSeek-V3", **cells).sharding.data == 8
    assert run(model, **cells).sharding.data == 1


@pytest.mark.parametrize("model", ["moonshotai/Kimi-K2.5", "zai-org/GLM-5", "deepseek-ai/DeepSeek-V3.2"])
def test_drafts_and_a_slow_kernel_are_of_the_model_that_was_seen_to_have_them(model: str) -> None:
    drafts = {"precision": "fp4", "id": "b200_x", "measured_engine_version": "1.2.0rc6.post3", "concurrency": 8}
    slow = {"precision": "fp8", "id": "b300_x", "measured_engine_version": "0.5.10.post1", "isl": 8192}
    r1 = "deepseek-ai/DeepSeek-V3"

    assert run(r1, "b200_sxm", **drafts).harness.drafted
    assert not run(model, "b200_sxm", **drafts).harness.drafted
    assert run(r1, "b300_sxm", "sglang", **slow).harness.is_slow_prefill
    assert not run(model, "b300_sxm", "sglang", **slow).harness.is_slow_prefill


@pytest.mark.parametrize("version", ["", "nan", "None", "unknown"])
def test_a_version_that_is_not_said_is_not_said_in_any_spelling(version: str) -> None:
    found = run("deepseek-ai/DeepSeek-V3", "b200_sxm", "sglang", precision="fp4", measured_engine_version=version)

    assert found.version == ""


@pytest.mark.parametrize("system", ["a100_sxm", "l40s", "h200_sxm"])
def test_older_accelerators_keep_the_cache_that_newer_ones_do(system: str) -> None:
    assert run("zai-org/GLM-4.5-Air", system, "vllm", 4, precision="fp8", id="x").harness.cache_bytes == 2.0


def test_experts_in_four_bits_are_read_as_fast_by_releases_that_say_their_version_and_those_that_do_not() -> None:
    """The tables of 0.19 time a kernel for them that reads a fifth of what memory gives."""
    old, new = (curve_set("h200_sxm", engine)["experts:int4"] for engine in ("vllm@0.19", "vllm"))
    assert old == new
    h100, h200 = (
        predict(run("openai/gpt-oss-120b", system, "vllm", 1, precision="fp4", concurrency=64)).tpot_ms
        for system in ("h100_sxm", "h200_sxm")
    )
    assert h200 < h100


@pytest.mark.parametrize(("backend", "tp"), [("vllm", 4), ("trtllm", 4), ("trtllm", 8)])
@pytest.mark.parametrize("concurrency", [128, 512, 1024])
def test_no_more_tokens_are_made_than_what_runs_makes(backend: str, tp: int, concurrency: int) -> None:
    asked = run("Qwen/Qwen3-32B", backend=backend, tp=tp, osl=128, concurrency=concurrency)
    found = predict(asked)

    assert found.tok_s_gpu * tp <= 1.2 * found.running / found.tpot_ms * 1e3
