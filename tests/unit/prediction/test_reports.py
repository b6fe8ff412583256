"""What publishers report of their runs: which are kept, as what, and why the others are left out."""

from __future__ import annotations

import csv

import pytest

from deepseek_operator.calibrate import reports
from deepseek_operator.calibrate.runs import Models

COLUMNS = (
    *("id", "model", "engine", "engine_version", "gpu", "gpus_total", "precision", "tp", "pp", "dp", "ep"),
    *("isl", "osl", "concurrency_or_rate", "metric", "value", "unit", "source", "note"),
)
REPORT = {
    "model": "Qwen2-7B-Instruct",
    "engine": "vLLM",
    "engine_version": "0.10.1.1",
    "gpu": "A100-80GB",
    "gpus_total": "1",
    "precision": "bf16",
    "tp": "1",
    "isl": "1024",
    "osl": "512",
    "concurrency_or_rate": "10 prompts at once",
    "source": "someone/benchmarks@1234 table",
}
METRICS = {"tpot_mean": "13.5", "ttft_mean": "480", "output_throughput": "720"}


def write(tmp_path, *found):
    path = tmp_path / "reports.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for number, (cells, metrics) in enumerate(found):
            for metric, value in (METRICS | metrics).items():
                if value:
                    writer.writerow(REPORT | {"id": f"P{number}", "metric": metric, "value": value} | cells)
    return path


def read(tmp_path, **cells):
    metrics = {name: cells.pop(name) for name in METRICS if name in cells}
    return reports.read(write(tmp_path, (cells, metrics)), Models())


def test_a_report_is_a_run_with_its_publisher(tmp_path):
    (run,), left_out = read(tmp_path)
    assert not left_out
    assert (run.publisher, run.engine, run.version) == ("someone/benchmarks", "vllm", "0.10.1.1")
    assert (run.tpot_ms, run.ttft_ms) == (13.5, 480.0)
    assert (run.load.concurrency, run.load.requests_per_slot, run.load.spread) == (10.0, 1.0, 0.0)
    # vLLM's defaults on A100 are those of small accelerators.
    assert (run.harness.token_budget, run.harness.max_sequences) == (2048.0, 256.0)


def test_requests_that_are_kept_going_have_no_burst_of_their_own(tmp_path):
    (run,), _ = read(tmp_path, concurrency_or_rate="10")
    assert run.load.requests_per_slot == 10.0


def test_sharding_that_is_not_said_is_over_the_whole_node(tmp_path):
    cells = {"gpus_total": "8", "tp": "", "model": "DeepSeek-R1-0528", "precision": "int4 w4a16 (AWQ)"}
    (run,), _ = read(tmp_path, gpu="H100-SXM-80GB", **cells)
    assert (run.sharding.tensor, run.gpus, run.precision) == (8, 8, "int4")


def test_accelerators_without_peer_access_are_those_in_slots(tmp_path):
    (run,), _ = read(tmp_path, note="custom allreduce disabled: no GPU P2P", gpus_total="2", tp="2")
    assert run.system == "a100_pcie"


def test_prompts_that_may_be_cached_tell_nothing_of_the_first_token(tmp_path):
    (run,), _ = read(tmp_path, note="prefix caching on")
    assert run.ttft_ms != run.ttft_ms
    assert run.is_measured


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"concurrency_or_rate": "1000 prompts, rate inf"}, "how many requests"),
        ({"isl": "ShareGPT"}, "lengths"),
        ({"tpot_mean": ""}, "no time per output token"),
        ({"engine": "LMDeploy"}, "another engine"),
        ({"engine_version": "0.7.3"}, "early 2025"),
        ({"note": "4 nodes, TP4 over the pod network"}, "several nodes"),
        ({"gpus_total": "16"}, "several nodes"),
        ({"note": "balanced recipe"}, "settings that are not said"),
        ({"gpu": "RTX4090-24GB"}, "not known"),
        ({"model": "Nobody's"}, "not known"),
        ({"output_throughput": "400"}, "fewer requests ran at once"),
    ],
)
def test_what_is_left_out_says_why(tmp_path, cells, reason):
    kept, left_out = read(tmp_path, **cells)
    assert not kept
    ((found, count),) = left_out.items()
    assert reason in found
    assert count == 1


def test_a_file_without_the_columns_is_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no column id, model, engine"):
        reports.read(path, Models())
