"""Predictions of everything that can be asked: finite, possible, ordered, and never far from what is usual."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from math import isfinite
from statistics import median

import pytest

from deepseek_planner.prediction.bounds import least_tpot_s
from deepseek_planner.prediction.known import known_architecture, known_models
from deepseek_planner.prediction.predictor import Predicted, predict
from deepseek_planner.prediction.runs import Run, parse
from deepseek_planner.prediction.systems import system

SYSTEMS = (
    *("h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200"),
    *("a100_sxm", "a100_pcie", "l40s", "l4", "a10g", "t4", "v100"),
)
ENGINES = ("vllm", "sglang", "trtllm")
PRECISIONS = {"vllm": ("bf16", "fp8", "fp4", "int8", "int4"), "sglang": ("bf16", "fp4"), "trtllm": ("bf16", "fp8")}
LOADS = ((128, 128, 256, 0), (1024, 1024, 1, 0.2), (1024, 1024, 64, 0.2), (8192, 1024, 32, 0.2))
"""Prompt, answer, concurrency, spread of lengths."""
FAR, FAR_WITHOUT_LINKS = 5.0, 8.0
"""Times the usual of a model and a load over accelerators. The second: eight L40S, whose all-reduce was measured a
hundred times slower than over NVLink."""


def asked(name: str, **cells: object) -> Run:
    row = {"model": name, "system": "h100_sxm", "isl": 1024, "osl": 1024, "concurrency": 16, "tp": 8}
    row |= {"precision": "bf16", "backend": "vllm", "length_spread": 0.2} | cells
    row["gpus"] = row["tp"]
    return parse({key: str(value) for key, value in row.items()}, known_architecture(name), name)


def everywhere(name: str, engine: str) -> Iterator[tuple[tuple[object, ...], str, Run, Predicted]]:
    """(group, accelerator, run, prediction) over accelerators, precisions, sharding, lengths and spread."""
    for where, precision, tp, (isl, osl, load, spread) in product(SYSTEMS, PRECISIONS[engine], (1, 8), LOADS):
        run = asked(
            name,
            system=where,
            precision=precision,
            backend=engine,
            tp=tp,
            isl=isl,
            osl=osl,
            concurrency=load,
            length_spread=spread,
        )
        yield (precision, tp, isl, load, spread), where, run, predict(run)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", known_models())
def test_nothing_is_impossible_or_absurd(name, engine):
    found: dict[tuple[object, ...], list[tuple[str, float, float]]] = {}
    for group, where, run, made in everywhere(name, engine):
        at = f"{name} on {where} with {engine}, {group}"
        assert all(isfinite(value) and value > 0 for value in (made.tpot_ms, made.ttft_ms, made.tok_s_gpu)), at
        assert made.tpot_ms >= least_tpot_s(run) * 1e3 * (1 - 1e-9), at
        assert made.tok_s_gpu <= run.load.concurrency / made.tpot_ms * 1e3 / run.gpus * 1.3, at
        if made.is_cache_bound:
            # All of the closed loop may wait, but not longer than it takes to serve it one by one.
            assert made.ttft_ms <= run.load.concurrency * (1e5 + 2 * run.load.output_tokens * made.tpot_ms), at
            continue
        found.setdefault(group, []).append((where, made.tpot_ms, made.ttft_ms))
    for group, rows in found.items():
        for what, at in (("TPOT", 1), ("TTFT", 2)):
            for where, far in outliers(rows, at):
                pytest.fail(f"{what} of {name} on {where} with {engine}, {group}: {far:.1f} times the usual")


def outliers(rows: list[tuple[str, float, float]], at: int) -> Iterator[tuple[str, float]]:
    """Accelerators whose time is far above the usual, whether or not their peaks and links are divided out."""
    views = [[row[at] for row in rows]]
    for peak in ("bandwidth_bytes_per_s", "link_bytes_per_s"):
        views.append([row[at] * getattr(system(row[0]), peak) for row in rows])
    views.append([row[at] * system(row[0]).flops_per_s["bf16"] for row in rows])
    for index, (where, *_) in enumerate(rows):
        far = min(view[index] / median(view) for view in views)
        if far > (FAR_WITHOUT_LINKS if where == "l40s" else FAR):
            yield where, far


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("where", SYSTEMS)
@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B", "openai/gpt-oss-120b", "deepseek-ai/DeepSeek-V3"])
def test_more_of_anything_is_never_faster(name, where, engine):
    base = {"system": where, "backend": engine}

    def times(key: str, values: tuple[int, ...], what: str) -> list[float]:
        return [getattr(predict(asked(name, **base | {key: value})), what) for value in values]

    # SGLang looks for requests less often from 16 on: steps of prompts are fewer and fuller then.
    rising = (times("concurrency", (1, 2, 4, 8, 12), "tpot_ms"), times("concurrency", (16, 32, 64, 128), "tpot_ms"))
    for row in (*rising, times("isl", (512, 1024, 2048, 4096, 8192, 16384), "ttft_ms")):
        assert all(after >= before * 0.98 for before, after in pairwise(row)), row
    served = times("concurrency", (1, 4, 8), "tok_s_gpu")
    assert served == sorted(served)


DENSE = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen3-8B", "Qwen/Qwen3-32B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
MEASURED = ("h100_sxm", "h200_sxm", "b200_sxm", "a100_sxm")
FEW, TIMES_BOUND, OVERHEAD_MS = (1, 4), 3.0, 6.0
"""So few requests at once are bound by reading the weights, and by what an engine does beside."""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", DENSE)
def test_a_few_requests_of_a_dense_model_take_little_more_than_reading_its_weights(name, engine):
    for where, precision, concurrency in product(MEASURED, ("bf16", "fp8", "int8", "int4"), FEW):
        run = asked(name, system=where, backend=engine, precision=precision, concurrency=concurrency, tp=1)
        most = TIMES_BOUND * least_tpot_s(run) * 1e3 + OVERHEAD_MS
        assert predict(run).tpot_ms <= most, f"{name} on {where} with {engine} in {precision}, {concurrency} at once"


@pytest.mark.parametrize("where", MEASURED)
@pytest.mark.parametrize("name", ["Qwen/Qwen3-32B", "deepseek-ai/DeepSeek-V3", "Qwen/Qwen3-235B-A22B"])
def test_integers_of_8_bits_are_as_quick_as_floats_where_both_are_computed_in(name, where):
    if system(where).computes_in("fp8"):
        for concurrency in (1, 32, 128):
            floats, integers = (
                predict(asked(name, system=where, precision=precision, concurrency=concurrency)).tpot_ms
                for precision in ("fp8", "int8")
            )
            assert integers == pytest.approx(floats, rel=0.25)


@pytest.mark.parametrize("where", SYSTEMS)
@pytest.mark.parametrize("name", DENSE)
def test_smaller_weights_are_quicker_where_only_they_are_read(name, where):
    made = [
        predict(asked(name, system=where, precision=precision, concurrency=1, tp=1)).tpot_ms
        for precision in ("bf16", "fp8", "int4")
    ]
    assert made == sorted(made, reverse=True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["Qwen/Qwen3-32B", "deepseek-ai/DeepSeek-V3"])
def test_a_token_more_changes_little(name, engine):
    """Of rows that name no published run: no length is special."""
    for length in (1024, 8192):
        for what in ("tpot_ms", "ttft_ms"):
            below, at, above = (
                getattr(predict(asked(name, backend=engine, isl=isl, length_spread="")), what)
                for isl in (length - 1, length, length + 1)
            )
            assert below == pytest.approx(at, rel=0.05)
            assert above == pytest.approx(at, rel=0.05)
