"""All benchmarks of planning: prints tables, and writes them as a page with plots when asked to.

    PYTHONPATH=operator:runtime:tests python tests/bench/run.py [--out docs/reference] [--quick]

Exit code 1 when a plan takes longer than it may, or is further from the best than it may be.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import exactness, melange_compare, pages, scale, speed
from bench.melange_setting import PAPER_PRICES, RATES_PER_S, shipped_prices
from deepseek_planner.snapshot import Routing

GIB = 1024.0**3


def main() -> int:
    options = _options()
    start = time.perf_counter()
    found = pages.Found(
        machine=machine(),
        yardstick=speed.yardstick(),
        as_of=datetime.now(UTC).date(),
        speed=speed.measure(3 if options.quick else 10),
        scales=[scale.measure(*size) for size in (scale.SIZES[:1] if options.quick else scale.SIZES)],
        clusters=[
            scale.measure(*scale.GOAL_SIZE, seed) for seed in (scale.SEEDS[:1] if options.quick else scale.SEEDS)
        ],
        exactness=[exactness.measure(routing, 20 if options.quick else 200) for routing in Routing],
        melange={
            name: melange_compare.compare(prices, rates=RATES_PER_S[::3] if options.quick else RATES_PER_S)
            for name, prices in (("paper", PAPER_PRICES), ("shipped", shipped_prices()))
        },
    )
    page = pages.page(found)
    sys.stdout.write(page)
    sys.stdout.write(f"\n{time.perf_counter() - start:.0f} s in all\n")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "benchmarks.md").write_text(page, encoding="utf-8")
        for name, picture in pages.plots(found).items():
            (options.out / name).write_text(picture, encoding="utf-8")
    missed = pages.missed(found)
    sys.stdout.write("".join(f"MISSED: {line}\n" for line in missed))
    return 1 if missed else 0


def machine() -> str:
    """What it runs on, in words."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in facts.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    libraries = f"numpy {version('numpy')}, HiGHS {version('highspy')}"
    return (
        f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, {memory:.0f} GiB, "
        f"Python {platform.python_version()}, {libraries}; no GPU"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmarks of planning.")
    parser.add_argument("--out", type=Path, help="folder to write benchmarks.md and its plots to")
    parser.add_argument("--quick", action="store_true", help="few runs of each: to see that it works")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
