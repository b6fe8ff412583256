"""Laws of the step model: what cannot be, whatever the coefficients."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_planner.prediction.curves import curve_set
from deepseek_planner.prediction.formats import formats
from deepseek_planner.prediction.known import known_architecture, known_models
from deepseek_planner.prediction.operations import Batch, Sharding, StepModel
from deepseek_planner.prediction.predictor import predict
from deepseek_planner.prediction.runs import parse
from deepseek_planner.prediction.systems import system, systems

SYSTEMS = sorted({one.name for one in systems().values()})
BATCHES = st.builds(
    Batch,
    decodes=st.floats(0, 512),
    context=st.floats(1, 65536),
    prompts=st.floats(0, 8),
    chunk=st.floats(1, 8192),
    history=st.floats(0, 16384),
)


def model(name="deepseek-ai/DeepSeek-V3", where="h200_sxm", precision="fp8", **facts):
    known = replace(system(where), **facts)
    shape = known_architecture(name)
    return StepModel(
        shape, Sharding(tensor=8, expert_tensor=8), formats(shape, precision), known, curve_set(known.curves, "vllm")
    )


def run(name="deepseek-ai/DeepSeek-V3", where="h200_sxm", **cells):
    row = {"model": name, "system": where, "isl": "1024", "osl": "1024", "concurrency": "32", "tp": "8"}
    row |= {"precision": "fp8", "gpus": "8", "backend": "vllm", "length_spread": "0.2"} | cells
    return parse(row, known_architecture(name), name)


@settings(max_examples=60, deadline=None)
@given(batch=BATCHES, name=st.sampled_from(known_models()), where=st.sampled_from(SYSTEMS), faster=st.floats(1, 4))
def test_more_bandwidth_is_never_slower(batch, name, where, faster):
    base = system(where)
    more = model(name, where, bandwidth_bytes_per_s=base.bandwidth_bytes_per_s * faster)
    assert sum(more.step(batch)) <= sum(model(name, where).step(batch)) * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(batch=BATCHES, name=st.sampled_from(known_models()), where=st.sampled_from(SYSTEMS), faster=st.floats(1, 4))
def test_more_arithmetic_is_never_slower(batch, name, where, faster):
    rates = {precision: rate * faster for precision, rate in system(where).flops_per_s.items()}
    more = model(name, where, flops_per_s=rates)
    assert sum(more.step(batch)) <= sum(model(name, where).step(batch)) * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(batch=BATCHES, more=st.floats(1, 3), name=st.sampled_from(known_models()))
def test_more_work_is_never_faster(batch, more, name):
    found = model(name)
    base = sum(found.step(batch))
    for bigger in (
        replace(batch, decodes=batch.decodes * more + 1),
        replace(batch, context=batch.context * more),
        replace(batch, chunk=batch.chunk * more),
    ):
        assert sum(found.step(bigger)) >= base * (1 - 1e-9)


@pytest.mark.parametrize("name", known_models())
@pytest.mark.parametrize("where", ["h100_sxm", "h200_sxm", "b200_sxm", "a100_sxm", "l40s", "l4", "t4", "v100", "gb200"])
def test_every_model_has_a_prediction_everywhere(name, where):
    found = predict(run(name, where, precision="bf16"))
    assert 0 < found.tpot_ms < 1e5
    assert 0 < found.ttft_ms < 1e8
    assert found.tok_s_gpu > 0


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_throughput_grows_with_concurrency_until_the_cache_is_full(engine):
    found = []
    for power in range(2, 10):
        one = predict(run(backend=engine, concurrency=str(2**power)))
        if one.is_cache_bound:
            break
        found.append(one.tok_s_gpu)
    assert len(found) >= 4
    assert found == sorted(found)


def test_narrower_weights_decode_faster_when_memory_bound():
    wide = predict(run("meta-llama/Llama-3.1-70B", "h100_sxm", precision="bf16", concurrency="4"))
    narrow = predict(run("meta-llama/Llama-3.1-70B", "h100_sxm", precision="fp8", concurrency="4"))
    assert narrow.tpot_ms < wide.tpot_ms


def test_without_peer_access_sharding_buys_memory_not_speed():
    alone = predict(run("Qwen/Qwen2.5-7B", "a100_pcie", tp="1", gpus="1", precision="bf16", concurrency="10"))
    split = predict(run("Qwen/Qwen2.5-7B", "a100_pcie", tp="2", gpus="2", precision="bf16", concurrency="10"))
    assert split.tpot_ms > 0.7 * alone.tpot_ms
    assert split.tok_s_gpu < alone.tok_s_gpu


def test_weights_hit_by_a_batch_are_bounded_by_all_experts():
    found = model()
    few, many = found.step(Batch(1, 1000))[1], found.step(Batch(4096, 1000))[1]
    assert few < many
    assert found.step(Batch(8, 1000))[1] < 8.5 * few
