"""How long a plan takes, cold and warm, as ratios to a bound measured in the same run.

    python tests/bench/bench_plan.py

Cold: the whole ``plan`` command for DeepSeek-V3 over every offering of the shipped price list, in a new process. The
bound is a process that only imports what any YAML-reading, pydantic-checking command must. Exit code 1 when the
command takes more than half a second and more than four times the processor time of the bound: a busy machine makes
both slow, and only the first of the two numbers.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
RUNS = 10
LIMIT_S = 0.5
LIMIT_RATIO = 4.0
REQUEST = ROOT / "tests" / "golden" / "cases" / "v3-cheapest.yaml"
PLAN = [sys.executable, "-m", "deepseek_operator", "plan", "-f", str(REQUEST)]
BOUND = [sys.executable, "-c", "import argparse, json, pydantic, tomllib, yaml"]


class Cost(NamedTuple):
    """What a process took, in seconds."""

    wall_s: float
    cpu_s: float


def cold(command: list[str]) -> Cost:
    """One run in a new process; raises CalledProcessError when it fails."""
    used, start = children_cpu_s(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment())
    return Cost(time.perf_counter() - start, children_cpu_s() - used)


def children_cpu_s() -> float:
    """Processor seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def environment() -> dict[str, str]:
    """The two distributions on the path, whether or not they are installed."""
    import os

    return os.environ | {"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'runtime'}"}


def warm_s() -> list[float]:
    """Seconds of planning alone, in this process."""
    sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "runtime"), str(ROOT / "tests")]
    from deepseek_planner.plan import Policy
    from deepseek_planner.search import plan
    from support.planning import CATALOG, deployment, snapshot

    world = snapshot(deployment(), offerings=CATALOG.default_offerings())
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        plan(world, CATALOG, Policy())
        times.append(time.perf_counter() - start)
    return times


def main() -> int:
    """Measure alternately, so that both see the same machine; print; 1 when it is too slow."""
    cold(PLAN)  # writes the byte code
    plans, bounds = [], []
    for _ in range(RUNS):
        plans.append(cold(PLAN))
        bounds.append(cold(BOUND))
    wall, bound = (statistics.median(run.wall_s for run in runs) for runs in (plans, bounds))
    ratio = statistics.median(run.cpu_s for run in plans) / statistics.median(run.cpu_s for run in bounds)
    sys.stdout.write(
        f"plan, cold:        {wall:.3f} s (median of {RUNS}; limit {LIMIT_S} s)\n"
        f"bare start:        {bound:.3f} s\n"
        f"processor time:    {ratio:.2f} times a bare start's (limit {LIMIT_RATIO})\n"
        f"planning alone:    {statistics.median(warm_s()):.3f} s for DeepSeek-V3 over the whole price list\n"
    )
    return 1 if wall > LIMIT_S and ratio > LIMIT_RATIO else 0


if __name__ == "__main__":
    sys.exit(main())
