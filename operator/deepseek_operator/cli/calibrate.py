"""``deepseek-operator calibrate``: fit predictions to measured runs, and cross-validate them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

DONE, BAD_INPUT = 0, 2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser("calibrate", help="fit predictions to measured runs, and cross-validate them")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    fit = actions.add_parser(
        "fit",
        help="fit curves to operation tables and corrections to measured runs",
        description="Fit the corrections of each engine to measured runs, and with --tables first the operation "
        "curves to measured tables. Writes curves.json and corrections.json. Deterministic.",
        epilog="example: deepseek-operator calibrate fit --runs runs.csv --out operator/deepseek_planner/data",
    )
    fit.add_argument("--runs", required=True, type=Path, help="CSV file of measured runs")
    fit.add_argument(
        "--source", default="measured runs", help="what the runs are and who published them, for the record"
    )
    fit.add_argument("--tables", type=Path, help="systems/data of aiconfigurator-core 0.12.0; needs pyarrow")
    fit.add_argument("--out", required=True, type=Path, help="directory to write to")
    fit.set_defaults(run=run_fit)
    check = actions.add_parser(
        "check",
        help="cross-validate: other shapes, accelerators and models",
        description="Fit with a part of the runs left out, predict that part, and write the errors as a page.",
        epilog="example: deepseek-operator calibrate check --runs single_node_runs.csv --out docs/reference",
    )
    check.add_argument("--runs", required=True, type=Path, help="CSV file of measured runs")
    check.add_argument("--out", type=Path, help="directory for prediction-accuracy.md and .svg (default: a summary)")
    check.set_defaults(run=run_check)


def run_fit(args: argparse.Namespace) -> int:
    """Fit and write; returns the exit code."""
    from deepseek_operator.calibrate import fit  # noqa: PLC0415

    try:
        for line in fit.fit(runs=args.runs, tables=args.tables, out=args.out, source=args.source):
            print(line)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    return DONE


def run_check(args: argparse.Namespace) -> int:
    """Cross-validate and write; returns the exit code."""
    from deepseek_operator.calibrate import accuracy  # noqa: PLC0415

    try:
        for line in accuracy.check(runs=args.runs, out=args.out):
            print(line)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    return DONE
