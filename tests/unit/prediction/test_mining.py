"""Curves out of tables: a table made by a known curve gives that curve back."""

from __future__ import annotations

import numpy as np
import pytest

from deepseek_planner.prediction import mining
from deepseek_planner.prediction.curves import curve_set, select
from deepseek_planner.prediction.systems import system

H200 = system("h200_sxm")


def grid(**axes):
    cells = np.meshgrid(*axes.values(), indexing="ij")
    return {name: cell.ravel() for name, cell in zip(axes, cells, strict=True)}


def test_gemm_curve_is_found_again():
    table = grid(m=[1, 8, 64, 512, 2048, 8192], n=[1024, 4096, 8192], k=[2048, 4096, 8192])
    m, n, k = (table[name].astype(float) for name in "mnk")
    compute = 2 * m * n * k / (H200.compute_rate("bf16") * 0.8)
    memory = (n * k + m * k + m * n) * 2 / (H200.bandwidth_bytes_per_s * 0.85)
    table["latency"] = (4e-6 + np.hypot(compute, memory)) * 1e3
    found = mining.gemm(table, H200, "bf16")
    assert found.latency_us == pytest.approx(4.0, rel=0.05)
    assert found.first == pytest.approx(0.8, rel=0.02)
    assert found.second == pytest.approx(0.85, rel=0.02)
    assert found.error_percent < 1.0


def test_host_bound_outliers_hardly_move_a_curve():
    table = grid(num_gpus=[8], message_size=[2**power for power in range(10, 27)])
    size = table["message_size"] * 2.0
    table["latency"] = (5e-6 + 6e-9 * np.sqrt(size) + 3.6e-12 * size) * 1e3
    clean = mining.all_reduce(table, 8)
    table["latency"][3] *= 30
    dirty = mining.all_reduce(table, 8)
    assert clean.error_percent < 1.0
    assert dirty.second == pytest.approx(clean.second, rel=0.1)
    assert dirty.latency_us == pytest.approx(clean.latency_us, rel=0.35)


def test_too_few_rows_are_no_curve():
    with pytest.raises(mining.TooFewPointsError):
        mining.all_reduce(grid(num_gpus=[2], message_size=[1024, 2048], latency=[0.1]), 2)


def test_the_nearest_measurement_wins():
    document = {
        "common": {"vllm": {"gemm:bf16": [1, 0.1, 0.1, 0, 0, 1], "decode": [1, 1, 0.1, 0, 0, 1]}},
        "h200_sxm": {
            "vllm": {"gemm:bf16": [2, 0.2, 0.2, 0, 0, 1]},
            "vllm@0.19": {"gemm:bf16": [3, 0.3, 0.3, 0, 0, 1]},
        },
    }
    assert select(document, system="h200_sxm", engine="vllm@0.19")["gemm:bf16"].compute == 0.3
    assert select(document, system="h200_sxm", engine="sglang")["gemm:bf16"].compute == 0.2
    assert select(document, system="l4", engine="vllm")["gemm:bf16"].compute == 0.1
    assert select(document, system="h200_sxm", engine="vllm")["decode"].memory == 0.1


def test_kernels_that_an_engine_does_not_run_are_not_taken_from_its_tables():
    trtllm, sglang = curve_set("b200_sxm", "trtllm"), curve_set("h200_sxm", "sglang")
    # Quantizing to 4 bits is part of the norm before; the products themselves are as fast.
    assert trtllm["gemm:fp4_static"].latency_s < trtllm["gemm:fp4"].latency_s
    assert trtllm["gemm:fp4_static"].compute == trtllm["gemm:fp4"].compute
    assert trtllm["gemm:fp4_static"].quantize == 0.0 < trtllm["gemm:fp4"].quantize
    # SGLang's prompts are not absorbed on Hopper, whatever its table times.
    assert sglang["mla_prefill"] == curve_set("h200_sxm", "trtllm")["mla_prefill"]


def test_what_modules_take_more_is_added_to_the_attention_of_another_engine():
    alone = grid(num_heads=[16], batch_size=[1, 4], isl=[1], step=[1023, 8191], kv_cache_dtype=["bfloat16", "fp8"])
    alone["latency"] = np.arange(1.0, 9.0)
    table = grid(
        num_heads=[16],
        batch_size=[1, 4],
        isl=[1],
        step=[1024],
        kv_cache_dtype=["bfloat16", "fp8"],
        gemm_type=["bfloat16", "fp8_block"],
    )
    is_plain = table["gemm_type"] == "bfloat16"
    modules = {**table, "latency": np.where(is_plain, 100.0 + table["batch_size"], 7.0)}
    reference = {**table, "latency": np.where(is_plain, 60.0, 9.0)}
    found = mining.beside_modules(alone, modules, reference)
    is_known = alone["step"] == 1023
    assert found["step"].tolist() == [1023] * 4
    assert found["latency"].tolist() == (alone["latency"] + 40.0 + alone["batch_size"])[is_known].tolist()


def test_latent_attention_of_vllm_on_hopper_takes_what_its_modules_take():
    own, other = (curve_set("h200_sxm", engine)["mla_decode"].latency_s for engine in ("vllm", "trtllm"))
    assert 40e-6 < own - other < 60e-6
    assert curve_set("b200_sxm", "vllm")["mla_decode"] == curve_set("b200_sxm", "trtllm")["mla_decode"]
