"""``deepseek-operator predict``: latency and throughput of runs, from a file of runs. No cluster, no GPU."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from deepseek_operator.calibrate.runs import Models

DONE, BAD_INPUT = 0, 2
SHOWN = 10
"""Rows that a reason names; the rest is counted."""
COLUMNS = ("ttft_ms", "tpot_ms", "tok_s_gpu", "confidence", "group", "margin_percent", "bottleneck")


EXAMPLES = """\
examples:
  deepseek-operator predict --runs runs.csv --out predictions.csv
  deepseek-operator predict --runs - --config me/Small-1B=config.json < runs.csv

a file of one run:
  model,system,backend,precision,isl,osl,concurrency,tp,gpus
  deepseek-ai/DeepSeek-V3,h200_sxm,vllm,fp8,1024,1024,32,8,8

exit codes:
  0  every row is predicted
  2  a row could not be predicted: its added columns are empty and the reason is on stderr, the other rows are
     predicted; or the input could not be read at all: nothing is written
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "predict",
        help="predict latency and throughput of runs",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"""\
Predict every run of a CSV file. Nothing is run: no cluster and no GPU is needed.

needed columns:   model, system, isl, osl (tokens in and out)
optional columns: backend (vllm), measured_engine_version (vLLM: the planned one), precision (the model's own),
                  concurrency, tp, attn_dp, moe_ep, gpus (tp x attn_dp), length_spread (0.2; 0: all alike),
                  cached_share, requests_per_slot (10; 1: all at once), id
An id is that of a published run: what its publisher's scripts set beside the columns is then taken from it.
All columns are kept, and added: {", ".join(COLUMNS[:3])} (central, per accelerator),
{", ".join(COLUMNS[3:])}.""",
        epilog=EXAMPLES,
    )
    parser.add_argument("--runs", required=True, type=Path, help="CSV file of runs; - for stdin")
    parser.add_argument("--out", type=Path, default=Path("-"), help="CSV file to write (default: stdout)")
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="MODEL=PATH",
        help="a model that is not known, by its Hugging Face config.json; may be given several times",
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
        columns += [column for column in COLUMNS if column not in columns]
        problems: dict[str, list[int]] = {}
        for row in found:
            if reason := _predict(row, models):
                problems.setdefault(reason, []).append(row.line)
        if str(args.out) == "-":
            _write(sys.stdout, columns, found)
        else:
            with args.out.open("w", encoding="utf-8", newline="") as stream:
                _write(stream, columns, found)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    for line in _report(problems):
        print(line, file=sys.stderr)
    return BAD_INPUT if problems else DONE


def _report(problems: dict[str, list[int]]) -> Iterator[str]:
    """A line per reason, with the lines of the file that it holds for."""
    for reason, numbers in problems.items():
        where = ", ".join(map(str, numbers[:SHOWN])) + (f" and {len(numbers) - SHOWN} more" * (len(numbers) > SHOWN))
        yield f"row{'s' * (len(numbers) > 1)} {where}: {reason}"


def _predict(row: dict[str, str], models: Models) -> str:
    """Fill in one row; the reason why it cannot be predicted, or nothing."""
    from deepseek_operator.calibrate import runs  # noqa: PLC0415
    from deepseek_planner.prediction.predictor import predict  # noqa: PLC0415

    try:
        found = predict(runs.parse(row, models))
    except ValueError as error:
        row.update(dict.fromkeys(COLUMNS, ""))
        return str(error)
    row["ttft_ms"] = f"{found.ttft_ms:.3f}"
    row["tpot_ms"] = f"{found.tpot_ms:.3f}"
    row["tok_s_gpu"] = f"{found.tok_s_gpu:.3f}"
    row["confidence"], row["group"] = str(found.confidence), found.group
    row["margin_percent"], row["bottleneck"] = str(found.margin_percent), found.bottleneck
    return ""


def _write(stream: TextIO, columns: Sequence[str], rows: Sequence[dict[str, str]]) -> None:
    writer = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
