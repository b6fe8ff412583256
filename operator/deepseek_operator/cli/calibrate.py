"""``deepseek-operator calibrate``: fit predictions to measured runs, and cross-validate them."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, date, datetime
from pathlib import Path

DONE, BAD_INPUT = 0, 2
SOURCE = "not stated"
REPORTS = "CSV file of what publishers report of their runs, a line per metric (see calibrate --help)"
EXAMPLES = """\
examples:
  deepseek-operator calibrate fit --runs runs.csv --out operator/deepseek_planner/data
  deepseek-operator calibrate check --runs runs.csv --reports reports.csv --out docs/reference

runs.csv needs the columns model, system, backend, isl, osl, concurrency, measured_ttft_ms and measured_tpot_ms, and
takes those of predict. reports.csv has a line per run and metric and needs id, model, engine, engine_version, gpu,
gpus_total, precision, tp, dp, ep, isl, osl, concurrency_or_rate, metric, value, source and note; runs that say too
little to be predicted are left out.

exit codes:
  0  done
  2  the input cannot be used: every problem is on stderr, nothing is written
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "calibrate",
        help="fit predictions to measured runs, and cross-validate them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Fit predictions to measured runs, and say how good they are. Files come from options alone.",
        epilog=EXAMPLES,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    fit = actions.add_parser(
        "fit",
        help="fit curves to operation tables and corrections to measured runs",
        description="Fit the corrections of each engine to measured runs, and with --tables first the operation "
        "curves to measured tables. Writes curves.json and corrections.json. Deterministic.",
        epilog="example: deepseek-operator calibrate fit --runs runs.csv --out operator/deepseek_planner/data",
    )
    fit.add_argument("--runs", required=True, type=Path, help="CSV file of measured runs (see calibrate --help)")
    fit.add_argument("--reports", type=Path, help=REPORTS)
    fit.add_argument("--source", default=SOURCE, help="what the runs are and who published them, for the record")
    fit.add_argument("--tables", type=Path, help="systems/data of aiconfigurator-core 0.12.0; needs pyarrow")
    fit.add_argument("--out", required=True, type=Path, help="directory to write to")
    fit.set_defaults(run=run_fit)
    check = actions.add_parser(
        "check",
        help="cross-validate: other shapes, accelerators and models",
        description="Fit with a part of the runs left out, predict that part, and write the errors as a page.",
        epilog="example: deepseek-operator calibrate check --runs runs.csv --out docs/reference",
    )
    check.add_argument("--runs", required=True, type=Path, help="CSV file of measured runs (see calibrate --help)")
    check.add_argument("--reports", type=Path, help=REPORTS)
    check.add_argument("--out", type=Path, help="directory for prediction-accuracy.md and .svg (default: a summary)")
    check.add_argument("--source", default=SOURCE, help="what the runs are and who published them, for the page")
    check.add_argument("--as-of", type=date.fromisoformat, metavar="YYYY-MM-DD", help="date of the page (today)")
    check.set_defaults(run=run_check)


def run_fit(args: argparse.Namespace) -> int:
    """Fit and write; returns the exit code."""
    from deepseek_operator.calibrate import fit  # noqa: PLC0415

    try:
        for line in fit.fit(runs=args.runs, reports=args.reports, tables=args.tables, out=args.out, source=args.source):
            print(line)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    return DONE


def run_check(args: argparse.Namespace) -> int:
    """Cross-validate and write; returns the exit code."""
    from deepseek_operator.calibrate import accuracy  # noqa: PLC0415

    as_of = args.as_of or datetime.now(UTC).date()
    try:
        for line in accuracy.check(runs=args.runs, reports=args.reports, out=args.out, source=args.source, as_of=as_of):
            print(line)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    return DONE
