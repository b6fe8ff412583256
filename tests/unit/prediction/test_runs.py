"""Rows of runs: what is read, what is inferred from who published them, what is refused."""

from __future__ import annotations

import pytest

from deepseek_planner.prediction.corrections import groups
from deepseek_planner.prediction.known import known_architecture
from deepseek_planner.prediction.operations import Sharding
from deepseek_planner.prediction.runs import CURRENT_VLLM, is_inferencex, parse, scheduler
from deepseek_planner.prediction.terms import terms

MODEL = "deepseek-ai/DeepSeek-V3"


ROW = {
    "id": "some_run",
    "model": MODEL,
    "system": "b200_sxm",
    "isl": "1024",
    "osl": "8192",
    "tp": "8.0",
    "concurrency": "16",
}


def run(**cells):
    return parse(ROW | cells, known_architecture(MODEL), MODEL)


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("kimik2_5_b200_vllm_fp4_agg_8192x1024_c4_cfg63", True),
        ("2026_03_25_deepseek_r1_b200_sxm_sglang_fp4_agg_1", True),
        ("", True),
        ("kimi_k2_5_gap_analysis_kimi_k2_5_gap_analysis_b200_sxm_vllm_fp4_agg_1024x1024_c4_3", True),
        ("qwen_qwen3_32b_qwen_qwen3_32b_h100_sxm_vllm_agg_1", False),
        ("nvidia_x_8b_fp8_nvidia_x_8b_fp8_h200_sxm_vllm_agg", False),
    ],
)
def test_harness_by_identifier(identifier, expected):
    assert is_inferencex(identifier, 1024, 8192) is expected


def test_harness_by_lengths():
    assert not is_inferencex("", 4000, 1000)


def test_who_names_no_published_run_gets_no_publishers_settings():
    quirks = {"backend": "sglang", "precision": "fp4", "isl": "1024", "osl": "1024", "concurrency": "32"}
    assert run(**quirks).harness.is_cold
    assert not run(**quirks, id="").harness.is_cold
    drafting = {"backend": "trtllm", "precision": "fp4", "measured_engine_version": "1.2.0rc6.post3"}
    assert run(**drafting).harness.drafted
    assert not run(**drafting, id="").harness.drafted
    spread = {"backend": "trtllm", "concurrency": "256", "isl": "1024", "osl": "1024", "attn_dp": "1"}
    assert run(**spread).sharding.data == 8
    assert run(**spread, id="").sharding.data == 1


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_no_length_is_special_to_who_names_no_published_run(engine):
    around = [run(id="", backend=engine, isl=isl, osl="1024") for isl in ("1023", "1024", "1025")]
    assert len({(one.load.spread, one.harness) for one in around if engine != "trtllm"}) <= 1
    assert len({one.load.spread for one in around}) == 1


def test_a_release_that_is_not_said_is_the_planned_one():
    assert run(id="", backend="").version == CURRENT_VLLM
    assert run(backend="").version == ""
    assert run(id="", backend="sglang").version == ""


def test_equal_lengths_do_not_stay_in_step_under_sglang():
    assert 0 < run(backend="sglang", isl="2000").load.spread < 0.1
    assert groups(run(backend="sglang", isl="2000"))["harness"] == "fixed"


def test_lengths_of_the_harness_are_spread():
    assert run().load.spread == 0.2
    assert run().load.input_tokens == pytest.approx(0.9 * 1024)
    assert run(isl="2000").load.spread == 0.0
    assert run(length_spread="0.5").load.output_tokens == pytest.approx(0.75 * 8192)


def test_sharding_of_attention_and_experts():
    assert run(moe_ep="8").sharding == Sharding(tensor=8, expert_tensor=1, expert_parallel=8)
    assert run(tp="1", attn_dp="8", moe_ep="8").sharding == Sharding(tensor=1, data=8, expert_parallel=8)
    assert run(moe_ep="nan").sharding == Sharding(tensor=8, expert_tensor=8)
    assert run(gpus="").gpus == 8


def test_blackwell_scripts_poll_less_often_under_load():
    busy, idle = run(backend="sglang", concurrency="32"), run(backend="sglang", concurrency="8")
    assert scheduler(busy, 1e9).poll_steps > scheduler(idle, 1e9).poll_steps > 1
    hopper = run(backend="sglang", concurrency="32", system="h200_sxm")
    assert scheduler(hopper, 1e9).poll_steps == 1
    assert not scheduler(busy, 1e9).mixes
    rows = {
        "backend": "sglang",
        "system": "b300_sxm",
        "precision": "fp8",
        "tp": "4",
        "measured_engine_version": "0.5.9",
    }
    other = known_architecture("Qwen/Qwen3.5-397B-A17B")
    old = parse({**ROW, **rows}, other, "Qwen/Qwen3.5-397B-A17B")
    new = parse({**ROW, **rows, "measured_engine_version": "0.5.10.post1"}, other, "Qwen/Qwen3.5-397B-A17B")
    assert (old.harness.poll_steps, new.harness.poll_steps) == (30, 10)


@pytest.mark.parametrize(
    ("cells", "bytes_per_element"),
    [
        ({"precision": "bf16"}, 2.0),
        ({"precision": "fp4", "backend": "vllm"}, 1.0),
        ({"precision": "fp8", "backend": "vllm"}, 1.0),
        ({"precision": "fp8", "backend": "vllm", "system": "h200_sxm"}, 2.0),
        ({"precision": "fp8", "backend": "sglang", "system": "h200_sxm"}, 2.0),
        ({"precision": "fp8", "backend": "trtllm", "system": "h200_sxm"}, 1.0),
    ],
)
def test_narrow_weights_keep_a_narrow_cache_where_the_scripts_say_so(cells, bytes_per_element):
    assert run(**cells).harness.cache_bytes == bytes_per_element


def test_attention_in_data_parallel_is_told_by_the_scripts_where_the_row_is_silent():
    cells = {"backend": "trtllm", "system": "h200_sxm", "precision": "fp8", "attn_dp": "1.0"}
    few, many = run(**cells, concurrency="32"), run(**cells, concurrency="128")
    assert (few.sharding.data, many.sharding.data) == (1, 8)
    assert many.sharding == Sharding(tensor=1, data=8, expert_parallel=8)
    assert many.harness.held_steps > few.harness.held_steps == 0
    assert run(**cells | {"attn_dp": ""}, moe_ep="8", isl="4000", osl="1000").sharding.data == 8
    assert run(**cells | {"backend": "vllm"}, concurrency="128").sharding.data == 1


def test_an_image_that_only_drafting_scripts_name_drafts():
    cells = {"backend": "trtllm", "precision": "fp4"}
    assert run(**cells, measured_engine_version="1.2.0rc6.post3").harness.drafted == 3
    assert run(**cells, measured_engine_version="1.2.0rc6.post2").harness.drafted == 0
    assert run(**cells, measured_engine_version="1.2.0rc6.post3", attn_dp="8", tp="1").harness.drafted == 1


@pytest.mark.parametrize(
    ("cells", "drafted"),
    [
        ({"tp": "8", "isl": "8192", "concurrency": "16"}, 3),
        ({"tp": "8", "isl": "8192", "concurrency": "32"}, 0),
        ({"tp": "4", "isl": "1024", "concurrency": "32"}, 0),
        ({"tp": "1", "attn_dp": "8", "concurrency": "256"}, 1),
        ({"tp": "8", "isl": "4000", "concurrency": "4"}, 0),
    ],
)
def test_an_image_of_scripts_with_and_without_drafts_drafts_where_the_former_go(cells, drafted):
    image = {"backend": "trtllm", "precision": "fp4", "osl": "1024", "measured_engine_version": "1.1.0rc2.post2"}
    assert run(**image, **cells).harness.drafted == drafted


def test_the_sharding_tells_drafting_scripts_of_sglang_apart():
    model = "Qwen/Qwen3.5-397B-A17B"
    cells = {"backend": "sglang", "precision": "fp8", "tp": "4", "measured_engine_version": "0.5.9"}

    def drafted(**other):
        return parse({**ROW, **cells, **other}, known_architecture(model), model).harness.drafted

    assert (drafted(moe_ep="1"), drafted(moe_ep="4"), drafted(tp="8")) == (3, 0, 0)
    assert drafted(measured_engine_version="0.5.10.post1") == 0
    assert drafted(measured_engine_version="0.5.10.post1", system="h200_sxm", tp="8", moe_ep="8") == 3


def test_a_kernel_is_compiled_where_the_first_burst_cuts_a_prompt():
    cells = {"backend": "sglang", "precision": "fp4", "isl": "1024", "measured_engine_version": ""}
    assert run(**cells, concurrency="32").harness.is_cold
    assert not run(**cells, concurrency="16").harness.is_cold
    assert not run(**cells | {"measured_engine_version": "0.5.9"}, concurrency="32").harness.is_cold
    cold, warm = (
        terms(run(**cells | {"concurrency": "32", "measured_engine_version": version})) for version in ("", "1")
    )
    names = [{name for part in one.ttft + one.tpot for name in part[0]} for one in (cold, warm)]
    assert names[0] - names[1] == {"cold_start", "cold_stall"}


def test_dense_models_of_qwen_are_scaled_by_block_under_tensorrt_llm():
    model = "Qwen/Qwen3-32B"
    cells = {"precision": "fp8", "system": "h100_sxm", "tp": "1"}

    def gemm_s(backend):
        found = terms(parse({**ROW, **cells, "backend": backend}, known_architecture(model), model))
        return sum(seconds for names, seconds in found.tpot if names[-1] == "gemm.decode")

    assert parse({**ROW, **cells, "backend": "trtllm"}, known_architecture(model), model).harness.is_block
    assert not parse({**ROW, **cells, "backend": "vllm"}, known_architecture(model), model).harness.is_block
    assert gemm_s("trtllm") > gemm_s("vllm")


@pytest.mark.parametrize(("cells", "words"), [({"isl": "0"}, "isl"), ({"osl": ""}, "osl"), ({"tp": "many"}, "tp")])
def test_what_cannot_be_used_is_named(cells, words):
    with pytest.raises(ValueError, match=words):
        run(**cells)
