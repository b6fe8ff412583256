"""``deepseek-operator rules``: write the alert rules and the dashboard, or check that they are up to date."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

CHART = Path("charts/deepseek-operator")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "rules",
        help="write the alert rules and the dashboard",
        description="Write the Prometheus alert rules and the Grafana dashboard that belong to this version.",
        epilog="example: deepseek-operator rules --print --window 30s --for 10s > rules.yaml",
    )
    parser.add_argument("--dir", type=Path, default=CHART / "rules", help=f"folder of the rules ({CHART / 'rules'})")
    parser.add_argument(
        "--dashboards",
        type=Path,
        default=CHART / "dashboards",
        help=f"folder of the dashboard ({CHART / 'dashboards'})",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    parser.add_argument("--print", action="store_true", dest="prints", help="print the rules, write nothing")
    parser.add_argument("--window", type=_seconds, help="average utilization and cost over so long (15m)")
    parser.add_argument("--for", type=_seconds, dest="for_s", help="time before any alert fires (15m; 2m for harm)")
    parser.add_argument("--keep-firing-for", type=_seconds, dest="keep_s", help="time that an alert goes on (5m)")
    parser.add_argument("--runbooks", help="URL or folder that the alerts' runbook_url begins with (docs/runbooks)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write, print or check; 0 when all files are as they should be."""
    from deepseek_operator import alert_rules, dashboard  # noqa: PLC0415 - keeps other commands' start-up short
    from deepseek_operator.api import generated  # noqa: PLC0415
    from deepseek_planner.signals import windows  # noqa: PLC0415

    chosen = windows(window_s=args.window, for_s=args.for_s, keep_firing_s=args.keep_s)
    rules = alert_rules.text(chosen, runbooks=args.runbooks or alert_rules.RUNBOOKS)
    if args.prints:
        print(rules, end="")
        return 0
    folders = {args.dir: {alert_rules.FILE: rules}, args.dashboards: {dashboard.FILE: dashboard.text(chosen)}}
    if args.check:
        stale = [folder / name for folder, files in folders.items() for name in generated.differing(folder, files)]
        for path in stale:
            print(f"{path}: not up to date; run deepseek-operator rules", file=sys.stderr)
        return 1 if stale else 0
    for folder, files in folders.items():
        for name in generated.write(folder, files):
            print(f"wrote {folder / name}")
    return 0


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write it like 30s or 15m")
    return float(match[1]) * _UNITS[match[2]]
