"""How long a plan takes, cold and warm, as ratios to a bound measured in the same run.

    python tests/bench/bench_plan.py

Cold: the whole ``plan`` command for DeepSeek-V3 over every offering of the shipped price list, in a new process. The
bound is a process that only imports what any YAML-reading, pydantic-checking command must. Exit code 1 when the
command takes more than half a second and more than three times the bound: a busy machine is slow at both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNS = 10
LIMIT_S = 0.5
LIMIT_RATIO = 3.0
REQUEST = ROOT / "tests" / "golden" / "cases" / "v3-cheapest.yaml"
PLAN = [sys.executable, "-m", "deepseek_operator", "plan", "-f", str(REQUEST)]
BOUND = [sys.executable, "-c", "import argparse, json, pydantic, tomllib, yaml"]


def cold_s(command: list[str]) -> float:
    """Wall-clock seconds of one run in a new process; raises CalledProcessError when it fails."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment())
    return time.perf_counter() - start


def environment() -> dict[str, str]:
    """The two distributions on the path, whether or not they are installed."""
    import os

    return os.environ | {"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'runtime'}"}


def warm_s() -> list[float]:
    """Seconds of planning alone, in this process."""
    sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "runtime"), str(ROOT / "tests")]
    from support.planning import CATALOG, deployment, snapshot

    from deepseek_planner.plan import Policy
    from deepseek_planner.search import plan

    world = snapshot(deployment(), offerings=CATALOG.default_offerings())
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        plan(world, CATALOG, Policy())
        times.append(time.perf_counter() - start)
    return times


def main() -> int:
    """Measure alternately, so that both see the same machine; print; 1 when it is too slow."""
    cold_s(PLAN)  # writes the byte code
    plans, bounds = [], []
    for _ in range(RUNS):
        plans.append(cold_s(PLAN))
        bounds.append(cold_s(BOUND))
    cold, bound, _warm = statistics.median(plans), statistics.median(bounds), statistics.median(warm_s())
    return 1 if cold > LIMIT_S and cold / bound > LIMIT_RATIO else 0


if __name__ == "__main__":
    sys.exit(main())
