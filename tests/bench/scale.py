"""One plan of a whole cluster, each size in a process of its own, so that its memory is its own.

    python tests/bench/scale.py DEPLOYMENTS NODES [SEED]

prints what it took as JSON. The peer is planning deployments alone, one after the other, each as if the whole cluster
were its own: what planning them together takes beyond that is the price of sharing.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEED = 1
SEEDS = range(1, 9)
"""Clusters of the size that has a goal: some are short of what is asked for, and these take longest."""
ALONE = 20
"""Deployments that are planned alone, to know what one takes."""
MOST_AGAIN = 100
"""Deployments that are planned again, to know what stays in memory."""
MIB = 1024.0**2
GOAL_SIZE, LIMIT_S, LIMIT_GAP_PERCENT = (1000, 1000), 10.0, 1.0
"""What a plan of so many deployments on so many nodes may take and leave unproven, whatever the seed; other sizes are
only shown."""
SIZES = ((10, 1000), (100, 1000), (1000, 1000), (1000, 100), (1000, 10))


@dataclass(frozen=True, slots=True)
class Scale:
    """One size of cluster."""

    seed: int
    deployments: int
    nodes: int
    accelerators: int
    pools: int
    wall_s: float
    cpu_s: float
    alone_s: float
    """Seconds of processor that planning every deployment alone takes, extrapolated from a sample."""
    gap_percent: float
    served: int
    """Deployments that get all that they asked for."""
    short: int
    """Deployments that get less."""
    start_mib: float
    """Resident before planning: the interpreter, the modules, the catalogue and the cluster."""
    peak_mib: float
    kept_mib: float | None
    """Resident after planning a third time, over what it was after the second: what planning again and again adds."""


def measure(deployments: int, nodes: int, seed: int = SEED) -> Scale:
    """A cluster of that size, in a new process."""
    command = [sys.executable, str(Path(__file__)), str(deployments), str(nodes), str(seed)]
    path = ":".join(str(ROOT / folder) for folder in ("operator", "runtime", "tests"))
    done = subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": path})
    return Scale(**json.loads(done.stdout))


def here(deployments: int, nodes: int, seed: int = SEED) -> Scale:
    """A cluster of that size, in this process."""
    from deepseek_operator import collector
    from deepseek_planner.search import plan
    from deepseek_planner.snapshot import Policy
    from support.planning import CATALOG
    from support.worlds import world

    snapshot = world(seed, CATALOG, deployments=deployments, nodes=nodes)
    gc.collect()
    start_mib, wall, cpu = _resident_mib(), time.perf_counter(), time.process_time()
    with collector.paused():  # as the loop plans
        found = plan(snapshot, CATALOG, Policy())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    plans = list(found.deployments.values())
    kept = None
    if deployments <= MOST_AGAIN:
        for _ in range(2):
            before = _resident_mib()
            with collector.paused():
                found = plan(snapshot, CATALOG, Policy())
            kept = _resident_mib() - before
    sample = snapshot.deployments[:: max(1, deployments // ALONE)]
    alone = time.process_time()
    for item in sample:
        with collector.paused():
            plan(replace(snapshot, deployments=(item,)), CATALOG, Policy())
    alone = (time.process_time() - alone) * deployments / len(sample)
    return Scale(
        seed=seed,
        deployments=deployments,
        nodes=nodes,
        accelerators=sum(item.max_nodes * item.gpus_per_node for item in snapshot.offerings),
        pools=len(snapshot.offerings),
        wall_s=wall,
        cpu_s=cpu,
        alone_s=alone,
        gap_percent=max(item.gap_percent for item in plans),
        served=sum(item.is_feasible and item.shortage is None for item in plans),
        short=sum(item.shortage is not None for item in plans),
        start_mib=start_mib,
        peak_mib=peak_mib,
        kept_mib=kept,
    )


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MIB


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(here(*map(int, sys.argv[1:])))))
