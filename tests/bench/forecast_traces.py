"""How often the highest minute of the horizon stayed within the planned rate, and how much too much was planned.

    DEEPSEEK_DATA=<folder with request_traces/> PYTHONPATH=operator:runtime:tests \
        python tests/bench/forecast_traces.py [--out docs/reference]

Every minute from the sixteenth on is a moment of planning: the fifteen minutes before it are the window, the minutes
after it the horizon. The planned rate is compared with naive rules on public traces of requests, and on loads made
here with a seed, whose truth is known. The declared peak is put out of reach, since it would hide what a rule misses.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import fmean
from typing import NamedTuple

from bench.run import machine
from deepseek_planner.demand import Measured
from deepseek_planner.forecast import Horizon, highest_minute
from support.fleets import measured

WINDOW = 15
HORIZONS = (1, 6, 11, 16)
"""Minutes: a cycle alone, and after cold starts of five, ten and fifteen minutes."""
QUANTILE = 0.95
SEED = 20261122
TRACES = {
    "Azure 2023, conversation": "azure_llm_2023_conv.csv.gz",
    "Azure 2023, code": "azure_llm_2023_code.csv.gz",
    "Mooncake 2025, conversation": "mooncake_fast25_conversation.csv.gz",
}
FUNCTIONS = "maf_requests_per_min.csv.gz"
"""Not of language models: as its publishers use it, divided by 10,000 and at most 90 a minute."""

Rule = Callable[[Sequence[float], int], float]


class Score(NamedTuple):
    """One rule on one load and horizon."""

    covered: float
    """Share of the horizons whose highest minute was within the plan."""
    planned: float
    """Mean planned rate over the mean highest minute."""


def seen(minutes: Sequence[float]) -> Measured:
    """A full window of these minutes."""
    return measured(fmean(minutes), peak_requests_per_min=max(minutes), minutes=tuple(minutes))


def this_rule(minutes: Sequence[float], ahead: int) -> float:
    """What the planner plans for, without the declared peak and the grid."""
    return max(*minutes, highest_minute(seen(minutes), Horizon(60.0 * ahead, QUANTILE)))


def busiest_and_chance(minutes: Sequence[float], _: int) -> float:
    """The busiest minute of the window, and what chance may add to one minute: what was planned for before."""
    return max(minutes) + 1.645 * math.sqrt(max(minutes))


RULES: dict[str, Rule] = {
    "last minute": lambda minutes, _: minutes[-1],
    "busiest minute of the window": lambda minutes, _: max(minutes),
    "busiest minute + 1.645 √": busiest_and_chance,
    "level, rise and noise (the planner's)": this_rule,
}


def score(minutes: Sequence[float], rule: Rule, ahead: int) -> Score:
    """The rule at every minute that has a window before it and a horizon after it."""
    plans, highest = [], []
    for now in range(WINDOW, len(minutes) - ahead + 1):
        plans.append(rule(minutes[now - WINDOW : now], ahead))
        highest.append(max(minutes[now : now + ahead]))
    within = [plan >= most - 1e-9 for plan, most in zip(plans, highest, strict=True)]
    return Score(fmean(within), sum(plans) / max(1e-9, sum(highest)))


def trace(path: Path) -> list[float]:
    """Requests in each whole minute."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    if "minute" in rows[0]:
        return [min(90.0, float(row["requests"]) / 10_000) for row in rows]
    counts: dict[int, int] = {}
    for row in rows:
        minute = int(float(row["timestamp_s"]) // 60)
        counts[minute] = counts.get(minute, 0) + 1
    return [float(counts.get(minute, 0)) for minute in range(max(counts))]


def poisson(random: Random, mean: float) -> float:
    """A count with this mean, by adding up waiting times."""
    count, waited = 0, random.expovariate(1.0)
    while waited < mean:
        count += 1
        waited += random.expovariate(1.0)
    return float(count)


def made() -> Iterator[tuple[str, list[float]]]:
    """Loads whose truth is known, from a seed."""
    random = Random(SEED)
    yield "made: steady, 200 a minute", [poisson(random, 200) for _ in range(1440)]
    yield "made: steady, 5 a minute", [poisson(random, 5) for _ in range(1440)]
    wave = (400 + 300 * math.sin(2 * math.pi * minute / 1440) for minute in range(2880))
    yield "made: a day's wave, 100 to 700 a minute", [poisson(random, mean) for mean in wave]
    yield "made: up 2 % a minute, from 100", [poisson(random, 100 * 1.02**minute) for minute in range(120)]
    yield (
        "made: 100 and 200 by turns, an hour each",
        [poisson(random, 200 if minute // 60 % 2 else 100) for minute in range(1440)],
    )


def repeats_daily(minutes: Sequence[float]) -> float:
    """Correlation of each minute with the same minute of the day before."""
    before, after = minutes[:-1440], minutes[1440:]
    low, high = fmean(before), fmean(after)
    both = sum((one - low) * (two - high) for one, two in zip(before, after, strict=True))
    spread = math.sqrt(sum((one - low) ** 2 for one in before) * sum((two - high) ** 2 for two in after))
    return both / spread


HEAD = """\
# How well demand is foreseen

Generated on {date} by

    DEEPSEEK_DATA=… PYTHONPATH=operator:tests python tests/bench/forecast_traces.py --out docs/reference

on {machine}.

Each cell: how often the highest minute of the horizon stayed within the planned rate, and the mean planned rate over
the mean highest minute. The planner aims at {quantile}, with no more rate than that takes. Every rule sees the {window}
minutes before; the horizon is a cold start and a cycle. The declared peak, which bounds what is planned in earnest, is
left out here. *The busiest minute + 1.645 √* is what was planned for before there was a forecast.
"""

END = """
## Where it is bad, and what was not checked

- The traces of language models are an hour each: some forty moments, which overlap. In Azure's conversation the load
  doubles within half an hour and falls back. At long horizons such a rise is covered more often than by any rule
  beside it, and less often than asked.
- Where minutes are bursts (Azure's code, and Functions, which are no language models) nothing announces them. There the
  forecast plans more than the busiest minute and hardly covers more for it: the declared peak has to bound both.
- The constants were chosen with these traces in sight. No longer trace of requests to language models with a free
  licence was at hand, so days and weeks are not looked for. The minutes of the Functions repeat after a day with a
  correlation of {daily:.2f}: no season can be built on that.

Sources: Azure LLM inference traces 2023 (CC-BY 4.0; Splitwise, Patel et al., ISCA 2024); Mooncake's conversation trace
of FAST'25 (Apache-2.0); Azure Functions' arrivals as cleaned by SpotHedge, divided by 10,000 and at most 90 a minute.
None of them is part of this project.
"""


def page(loads: Sequence[tuple[str, Sequence[float]]], daily: float) -> str:
    """The reference page."""
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    text = HEAD.format(date=date, machine=machine(), quantile=f"{QUANTILE:.0%}", window=WINDOW)
    head = " | ".join(f"{ahead} min" for ahead in HORIZONS)
    for name, minutes in loads:
        text += f"\n**{name}** ({len(minutes)} minutes)\n\n| rule | {head} |\n{'|---' * (1 + len(HORIZONS))}|\n"
        for label, rule in RULES.items():
            scores = [score(minutes, rule, ahead) for ahead in HORIZONS]
            cells = " | ".join(f"{each.covered:.0%}, {each.planned:.2f}" for each in scores)
            text += f"| {label} | {cells} |\n"
    return text + END.format(daily=daily)


def main() -> int:
    """Read, score, print or write; 0 also where there is nothing to read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DEEPSEEK_DATA"), help="default: $DEEPSEEK_DATA")
    parser.add_argument("--out", type=Path, help="folder for demand-forecast.md; without it the page is printed")
    args = parser.parse_args()
    folder = Path(args.data or "") / "request_traces"
    if not args.data or not folder.is_dir():
        sys.stdout.write("skipped: DEEPSEEK_DATA names no folder with request_traces/ in it\n")
        return 0
    functions = trace(folder / FUNCTIONS)
    loads = [(name, trace(folder / file)) for name, file in TRACES.items()]
    loads += [("Azure Functions (not language models), eight days", functions[: 8 * 1440]), *made()]
    text = page(loads, repeats_daily(functions))
    if args.out:
        (args.out / "demand-forecast.md").write_text(text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
