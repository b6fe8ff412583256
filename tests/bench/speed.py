"""How long one plan takes: DeepSeek-V3 over every accelerator, precision and shape of three clouds.

Cold: the whole ``plan`` command in a new process. Its bound is a process that only imports what any command must that
reads YAML and checks it. Warm: planning alone, in this process. Its peer is writing the answer down as JSON.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepseek_operator import collector
from deepseek_planner.digest import canonical_json
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Policy
from support.planning import CATALOG, deployment, snapshot

ROOT = Path(__file__).resolve().parents[2]
COLD_LIMIT_S, WARM_LIMIT_S = 0.5, 0.1
COLD_LIMIT_RATIO = 4.0
"""A busy machine makes the command and its bound slow: only a command that misses both limits is too slow."""
REQUEST = ROOT / "tests" / "golden" / "cases" / "v3-cheapest.yaml"
PLAN = [sys.executable, "-m", "deepseek_operator", "plan", "-f", str(REQUEST)]
BOUND = [sys.executable, "-c", "import argparse, json, pydantic, tomllib, yaml"]


class Yardstick(NamedTuple):
    """What this machine takes for work that never changes, in seconds of processor: the shortest of some runs."""

    turns_s: float
    """A million turns of a loop."""
    sums_s: float
    """A thousand sums of two arrays of the size that planning works on."""


def yardstick(runs: int = 10) -> Yardstick:
    """By which figures of two machines can be compared."""
    array = np.ones((55, 512))

    def turns() -> None:
        total = 0
        for number in range(1_000_000):
            total += number & 7

    def sums() -> None:
        for _ in range(1_000):
            array + array

    return Yardstick(*(min(_timed(work) for _ in range(runs)) for work in (turns, sums)))


def _timed(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


class Cost(NamedTuple):
    """What a process took, in seconds."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians, in seconds."""

    cold: Cost
    bound: Cost
    warm_s: float
    write_s: float
    offerings: int
    accelerators: int
    weighed: int
    """Alternatives that the plan names, chosen and refused."""

    @property
    def is_good(self) -> bool:
        ratio = self.cold.cpu_s / self.bound.cpu_s
        return self.cold.wall_s <= COLD_LIMIT_S or ratio <= COLD_LIMIT_RATIO


def measure(runs: int) -> Speed:
    """Cold runs alternate with their bound, so that both see the same machine."""
    cold(PLAN)  # writes the byte code
    plans, bounds = [], []
    for _ in range(runs):
        plans.append(cold(PLAN))
        bounds.append(cold(BOUND))
    world = snapshot(deployment(), offerings=CATALOG.default_offerings(), multi_node=True)
    plan(world, CATALOG, Policy())  # the first one reads tables
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        with collector.paused():  # as the command plans
            found = plan(world, CATALOG, Policy())
        times.append(time.perf_counter() - start)
    answer = next(iter(found.deployments.values()))
    start = time.perf_counter()
    for _ in range(runs):
        canonical_json(answer)
    return Speed(
        cold=_median(plans),
        bound=_median(bounds),
        warm_s=statistics.median(times),
        write_s=(time.perf_counter() - start) / runs,
        offerings=len(world.offerings),
        accelerators=len({item.accelerator for item in world.offerings}),
        weighed=len(answer.candidates) or len(answer.alternatives) + len(answer.rejections),
    )


def cold(command: list[str]) -> Cost:
    """One run in a new process; raises CalledProcessError when it fails."""
    # Byte code is written, whatever is set here: an installed command has its own.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = f"{ROOT / 'operator'}:{ROOT / 'runtime'}"
    used, start = _children_cpu_s(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment)
    return Cost(time.perf_counter() - start, _children_cpu_s() - used)


def _children_cpu_s() -> float:
    """Processor seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.wall_s for cost in costs), statistics.median(cost.cpu_s for cost in costs))
