"""``deepseek-operator predict``: latency and throughput of runs, from a file of runs. No cluster, no GPU."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

DONE, BAD_INPUT = 0, 2
COLUMNS = ("ttft_ms", "tpot_ms", "tok_s_gpu", "confidence", "group", "margin_percent", "bottleneck")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "predict",
        help="predict latency and throughput of runs",
        description="Predict time to first token, time per output token and output tokens per second and accelerator "
        "of every run in a CSV file (columns model, system, isl, osl, and as far as known backend, "
        "measured_engine_version, precision, concurrency, tp, attn_dp, moe_ep, gpus). The columns are kept; "
        f"{', '.join(COLUMNS)} are added. Exit code: 0 all predicted, 2 a row could not be.",
        epilog="example: deepseek-operator predict --runs runs.csv --out predictions.csv",
    )
    parser.add_argument("--runs", required=True, type=Path, help="CSV file of runs; - for stdin")
    parser.add_argument("--out", type=Path, default=Path("-"), help="CSV file to write (default: stdout)")
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="MODEL=PATH",
        help="a model that is not known, by its Hugging Face config.json",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict every row; returns the exit code."""
    from deepseek_operator.calibrate import runs  # noqa: PLC0415

    try:
        models = runs.Models(args.config)
        if str(args.runs) == "-":
            columns, found = runs.rows(sys.stdin, "stdin")
        else:
            with args.runs.open(encoding="utf-8", newline="") as stream:
                columns, found = runs.rows(stream, str(args.runs))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    columns += [column for column in COLUMNS if column not in columns]
    problems = [problem for number, row in enumerate(found, start=2) for problem in _predict(number, row, models)]
    if str(args.out) == "-":
        _write(sys.stdout, columns, found)
    else:
        with args.out.open("w", encoding="utf-8", newline="") as stream:
            _write(stream, columns, found)
    for problem in problems:
        print(problem, file=sys.stderr)
    return BAD_INPUT if problems else DONE


def _predict(number: int, row: dict[str, str], models: object) -> list[str]:
    """Fill in one row; the problem, if there is one."""
    from deepseek_operator.calibrate import runs  # noqa: PLC0415
    from deepseek_planner.prediction.predictor import predict  # noqa: PLC0415

    assert isinstance(models, runs.Models)
    try:
        found = predict(runs.parse(row, models))
    except ValueError as error:
        row.update(dict.fromkeys(COLUMNS, ""))
        return [f"row {number}: {error}"]
    row["ttft_ms"] = f"{found.ttft_ms:.3f}"
    row["tpot_ms"] = f"{found.tpot_ms:.3f}"
    row["tok_s_gpu"] = f"{found.tok_s_gpu:.3f}"
    row["confidence"], row["group"] = str(found.confidence), found.group
    row["margin_percent"], row["bottleneck"] = str(found.margin_percent), found.bottleneck
    return []


def _write(stream: object, columns: list[str], rows: list[dict[str, str]]) -> None:
    writer = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")  # type: ignore[arg-type]
    writer.writeheader()
    writer.writerows(rows)
