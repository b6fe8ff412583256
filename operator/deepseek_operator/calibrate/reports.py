"""Reads what publishers report of their runs, a line per run and metric, as rows with the columns of runs.

The file is long: ``id model engine engine_version gpu gpus_total precision tp dp ep isl osl concurrency_or_rate metric
value source note``. Reports are of many kinds, and most say too little. :func:`read` keeps the runs that a prediction
can be held against, one replica on one node under so many requests at once, and counts why it leaves out the others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from deepseek_operator.calibrate import runs as files
from deepseek_planner.prediction import runs

ENGINES = {"vllm": "vllm", "sglang": "sglang", "tensorrt-llm": "trtllm"}
PRECISIONS = {
    "bf16": "bf16",
    "fp16": "fp16",
    "fp8": "fp8",
    "int4 w4a16 (awq)": "int4",
    "fp8 weight-only (w8a16 marlin)": "fp8",
    "mxfp4": "mxfp4",
    "fp4 (nvfp4)": "fp4",
}
AT_ONCE = re.compile(r"(\d+)( prompts at once)?")
"""A number of requests that are kept going, or that are all there is."""
OLDEST = {"vllm": (0, 10), "sglang": (0, 5), "trtllm": (1, 0)}
"""Releases before these are of early 2025 or older: the same runs have become up to twice as fast since."""
BUSY = 0.75
"""Of the requests, at least so many must have run at once: rate times TPOT (Little's law). Fewer mean that a client or
a limit of the engine that the report does not state held the others back.
"""
COLUMNS = (
    *("id", "model", "engine", "engine_version", "gpu", "gpus_total", "precision", "tp", "dp", "ep", "isl", "osl"),
    *("concurrency_or_rate", "metric", "value", "source", "note"),
)


class _LeftOutError(Exception):
    """Why a reported run says nothing about a prediction."""


def read(path: Path, models: files.Models) -> tuple[list[runs.Run], Counter[str]]:
    """Runs of a file of reports that predictions can be held against, and how often the others were left out, and why.

    Raises ValueError when the file has other columns.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        _, lines = files.rows(stream, str(path), COLUMNS)
    reports: dict[str, dict[str, str]] = {}
    for line in lines:
        report = reports.setdefault(line["id"], {**line})
        report[f"metric {line['metric']}"] = line["value"]
    kept, left_out = [], Counter[str]()
    for report in reports.values():
        try:
            kept.append(_run(report, models))
        except _LeftOutError as reason:
            left_out[str(reason)] += 1
    return kept, left_out


def _run(report: Mapping[str, str], models: files.Models) -> runs.Run:
    row = _row(report)
    try:
        found = files.parse(row, models)
    except ValueError as error:
        raise _LeftOutError("the model, the accelerator or the precision is not known") from error
    rate = report.get("metric output_throughput")
    if rate:
        most = min(found.load.concurrency, found.harness.max_sequences)
        if float(rate) * found.tpot_ms / 1e3 < BUSY * most:
            raise _LeftOutError("fewer requests ran at once than were sent")
    return found


def _row(report: Mapping[str, str]) -> dict[str, str]:
    """A report with the names and the units of runs."""
    note, source = report["note"], report["source"]
    engine = ENGINES.get(report["engine"].lower())
    tpot, ttft = _latency(report, "tpot"), _latency(report, "ttft")
    requests = AT_ONCE.fullmatch(report["concurrency_or_rate"])
    if engine is None:
        raise _LeftOutError("another engine")
    if not tpot:
        raise _LeftOutError("no time per output token")
    if requests is None or not (report["isl"].isdigit() and report["osl"].isdigit()):
        raise _LeftOutError("lengths, or how many requests there are at once, are not said")
    if _nodes(report, note):
        raise _LeftOutError("several nodes, or how many is not said")
    if "recipe" in note:
        raise _LeftOutError("settings that are not said, and change with the load")
    release = tuple(int(part) for part in re.findall(r"\d+", report["engine_version"])[:2])
    if release and release < OLDEST[engine]:
        raise _LeftOutError("an engine of early 2025 or before")
    return {
        "id": report["id"],
        "model": report["model"].partition(" (")[0],
        "system": _system(report["gpu"], note),
        "backend": engine,
        "measured_engine_version": report["engine_version"],
        "precision": PRECISIONS.get(report["precision"].lower(), report["precision"]),
        "isl": report["isl"],
        "osl": report["osl"],
        "length_spread": "" if "InferenceX" in source else "0",
        "concurrency": requests[1],
        "requests_per_slot": "1" if requests[2] else "",
        # One node whose sharding is not said is taken to split every layer over all of it.
        "tp": report["tp"] or report["gpus_total"],
        "attn_dp": report["dp"],
        "moe_ep": report["ep"],
        "gpus": report["gpus_total"],
        # Prompts that earlier runs left in a cache are not computed again, and how many is not said.
        "measured_ttft_ms": "" if "prefix caching on" in note else ttft,
        "measured_tpot_ms": tpot,
        "publisher": source.partition("@")[0].partition(" ")[0],
    }


def _latency(report: Mapping[str, str], name: str) -> str:
    """The mean where it is reported, else the median, in milliseconds."""
    return next((report[key] for kind in ("_mean", "_p50", "") if (key := f"metric {name}{kind}") in report), "")


def _nodes(report: Mapping[str, str], note: str) -> bool:
    count = report["gpus_total"]
    return not count.isdigit() or int(count) > 8 or "nodes" in note or "pod network" in note


def _system(gpu: str, note: str) -> str:
    """``A100-80GB`` without peer access is the one that sits in a PCIe slot."""
    name = gpu.strip().lower().replace(" ", "-").replace("-sxm", "")
    return f"{name}-pcie" if "no GPU P2P" in note and not name.endswith("-pcie") else name
