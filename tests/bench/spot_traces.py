"""What public traces of spot nodes say: the facts that the planner's risk rests on, and how well it predicts.

    DEEPSEEK_DATA=<folder with spot_traces/> PYTHONPATH=operator:runtime:tests python tests/bench/spot_traces.py \
        [--out docs/reference]

The traces are not part of the project (their authors give no licence); without them this says so and ends with 0. They
lie in two tables: ``traces_index.csv``, a row per trace (trace_id source kind cloud zone instance_type gpu
target_instances start_date sample_interval_s samples), and ``availability_changes.csv`` (trace_id t_s available), a
row whenever the number of nodes that are there changes.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from bench import spot_pages
from bench.run import machine
from deepseek_planner.catalog import region_of
from deepseek_planner.hardware import CapacityType, InterNode, IntraNode, Offering
from deepseek_planner.risk import Lot, Odds, availability, odds

HOUR_S = 3600.0
STEP_S = 300
"""Traces are compared at samples so far apart: the coarsest common interval is ten minutes."""
TOGETHER_S = 300
"""Losses of one zone within so long are one event."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Nodes of one type that were there in one zone, over time."""

    name: str
    campaign: str
    kind: str
    zone: str
    instance_type: str
    target: int
    end_s: int
    changes: tuple[tuple[int, int], ...]
    """Seconds, nodes from then on."""

    @property
    def region(self) -> str:
        return region_of(self.zone)

    @property
    def node_hours(self) -> float:
        ends = [*(at for at, _ in self.changes[1:]), self.end_s]
        return sum(count * (end - at) for (at, count), end in zip(self.changes, ends, strict=True)) / HOUR_S

    @property
    def falls(self) -> list[tuple[int, int]]:
        """Every fall: when, and how many nodes."""
        return [(at, before - count) for (_, before), (at, count) in pairwise(self.changes) if count < before]

    @property
    def losses_per_node_day(self) -> float:
        return 24 * sum(count for _, count in self.falls) / self.node_hours if self.node_hours else 0.0

    @property
    def dry_spells_s(self) -> list[int]:
        ends = [*(at for at, _ in self.changes[1:]), self.end_s]
        return [end - at for (at, count), end in zip(self.changes, ends, strict=True) if count == 0]

    def counts(self) -> np.ndarray:
        """Nodes there at every step."""
        times, counts = np.array(self.changes).T
        at = np.arange(0, self.end_s, STEP_S)
        return counts[np.maximum(0, np.searchsorted(times, at, side="right") - 1)]

    def half(self, *, second: bool) -> Trace:
        """The first or the second half, as a trace of its own."""
        middle = self.end_s // 2
        if not second:
            kept = [item for item in self.changes if item[0] < middle]
            return Trace(*self._head(), middle, tuple(kept))
        last = [count for at, count in self.changes if at <= middle][-1]
        kept = [(0, last), *((at - middle, count) for at, count in self.changes if at > middle)]
        return Trace(*self._head(), self.end_s - middle, tuple(kept))

    def _head(self) -> tuple[str, str, str, str, str, int]:
        return self.name, self.campaign, self.kind, self.zone, self.instance_type, self.target


def read(folder: Path) -> list[Trace]:
    """All traces of the folder."""
    changes: dict[str, list[tuple[int, int]]] = {}
    with (folder / "availability_changes.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            changes.setdefault(row["trace_id"], []).append((int(row["t_s"]), int(row["available"])))
    with (folder / "traces_index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Trace(
            name=row["trace_id"],
            campaign=f"{row['source']} {row['start_date'] or 'undated'}",
            kind=row["kind"],
            zone=row["zone"],
            instance_type=row["instance_type"] if row["cloud"] == "aws" else row["gpu"],
            target=int(row["target_instances"]),
            end_s=int(row["sample_interval_s"]) * int(row["samples"]),
            changes=tuple(changes[row["trace_id"]]),
        )
        for row in rows
    ]


def dry_s(traces: Sequence[Trace]) -> float:
    """Mean time until a zone without a node has one again."""
    spells = [spell for trace in traces for spell in trace.dry_spells_s]
    return sum(spells) / len(spells)


def shared(traces: Sequence[Trace]) -> float:
    """Part of the lost nodes that were lost with another one of their zone."""
    lost = together = 0
    for trace in traces:
        for index, (at, count) in enumerate(trace.falls):
            others = sum(n for i, (when, n) in enumerate(trace.falls) if i != index and abs(when - at) <= TOGETHER_S)
            lost += count
            together += count if count - 1 + others else 0
    return together / lost


def correlation(traces: Sequence[Trace], *, same_region: bool) -> tuple[float, int]:
    """Mean correlation of being dry over pairs of zones of one type and one campaign, and the number of pairs."""
    found = []
    for one, other in combinations(traces, 2):
        alike = (one.campaign, one.instance_type, one.target) == (other.campaign, other.instance_type, other.target)
        if not alike or one.zone == other.zone or (one.region == other.region) != same_region:
            continue
        size = min(one.end_s, other.end_s) // STEP_S
        dry = [(trace.counts()[:size] == 0) for trace in (one, other)]
        if all(0 < item.mean() < 1 for item in dry):
            found.append(float(np.corrcoef(*dry)[0, 1]))
    return sum(found) / len(found), len(found)


@dataclass(frozen=True, slots=True)
class Case:
    """Fleets of one kind: how often they had what was needed, and how often that was predicted."""

    campaign: str
    fleet: str
    fleets: int
    observed: float
    predicted: float
    error: float
    """Mean absolute error over the fleets."""
    told_error: float
    """The same, where the model is told how often a node was there: of what it says about nodes together."""
    independent_error: float
    """The same, if nodes were lost independently of one another."""


def backtest(traces: Sequence[Trace]) -> list[Case]:
    """Rates from the first half of each trace, everything else from :data:`risk.FACTS`; judged on the second half."""
    cases = []
    for campaign in sorted({trace.campaign for trace in traces}):
        of = [trace for trace in traces if trace.campaign == campaign and trace.half(second=False).falls]
        many = [trace for trace in of if trace.target > 1]
        for part in (4, 2, 1):
            cases.append(
                _case(campaign, f"one zone, {'all' if part == 1 else f'1/{part}'} of its nodes", many, 1, part)
            )
        for zones in (2, 3):
            for where in ("one region", "several regions"):
                cases.append(_case(campaign, f"{zones} zones of {where}, one zone's worth", of, zones, 1, where))
    return [case for case in cases if case is not None]


def _case(campaign: str, name: str, traces: Sequence[Trace], zones: int, part: int, where: str = "") -> Case | None:
    rows = []
    for fleet in combinations(traces, zones):
        regions = {trace.region for trace in fleet}
        alike = len({(trace.instance_type, trace.target) for trace in fleet}) == 1
        apart = len({trace.zone for trace in fleet}) == zones
        wanted = {"": 1, "one region": 1, "several regions": zones}[where]
        if alike and apart and len(regions) == wanted:
            rows.append(_judged(fleet, max(1, fleet[0].target // part)))
    if not rows:
        return None
    observed, predicted, told, independent = (np.array(column) for column in zip(*rows, strict=True))
    return Case(
        campaign,
        name,
        len(rows),
        float(observed.mean()),
        float(predicted.mean()),
        float(abs(predicted - observed).mean()),
        float(abs(told - observed).mean()),
        float(abs(independent - observed).mean()),
    )


def _judged(fleet: Sequence[Trace], needed: int) -> tuple[float, float, float, float]:
    """Observed; predicted; told how often a node was there; told that, as if nodes were independent."""
    halves = [trace.half(second=True) for trace in fleet]
    late = [trace.counts() for trace in halves]
    size = min(map(len, late))
    observed = float((np.sum([counts[:size] for counts in late], axis=0) >= needed).mean())
    there = [float(counts[:size].mean()) / trace.target for trace, counts in zip(fleet, late, strict=True)]
    rates = [trace.half(second=False).losses_per_node_day for trace in fleet]
    told = [_rate(trace, share) for trace, share in zip(fleet, there, strict=True)]
    alone = [
        Lot(Odds((trace.zone, ""), "", 0.0, 0.0, 1 - share), 1.0, trace.target)
        for trace, share in zip(fleet, there, strict=True)
    ]
    return (
        observed,
        _availability(fleet, rates, needed),
        _availability(fleet, told, needed),
        availability(alone, needed),
    )


def _availability(fleet: Sequence[Trace], rates: Sequence[float], needed: int) -> float:
    lots = [Lot(odds(_offering(trace, rate)), 1.0, trace.target) for trace, rate in zip(fleet, rates, strict=True)]
    return availability(lots, needed)


def _rate(trace: Trace, share: float) -> float:
    """Interruptions per node and day at which the model has a node there for that share of the time."""
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _availability([replace(trace, target=1)], [middle], 1) < share else (middle, high)
    return low


def _offering(trace: Trace, per_day: float) -> Offering:
    return Offering(
        pool=trace.name,
        accelerator=trace.instance_type,
        gpus_per_node=1,
        capacity_type=CapacityType.SPOT,
        price=None,
        max_nodes=trace.target,
        free_gpus_by_node=(),
        intra_node=IntraNode.PCIE,
        inter_node=InterNode.ETHERNET,
        zone=trace.zone,
        interruptions_per_node_day=per_day,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DEEPSEEK_DATA"), help="default: $DEEPSEEK_DATA")
    parser.add_argument("--out", type=Path, help="folder for spot.md and spot.svg")
    options = parser.parse_args()
    folder = None if options.data is None else Path(options.data) / "spot_traces"
    if folder is None or not folder.is_dir():
        sys.stdout.write("skipped: DEEPSEEK_DATA names no folder with spot_traces/ in it\n")
        return 0
    traces = read(folder)
    several = [trace for trace in traces if trace.kind == "preemption" and trace.target > 1]
    preempted = [trace for trace in traces if trace.kind == "preemption"]
    campaigns = sorted({trace.campaign for trace in traces})
    left_out = [dry_s([trace for trace in traces if trace.campaign != campaign]) for campaign in campaigns]
    page = spot_pages.page(
        found=spot_pages.Found(
            shared=shared(several),
            per_node_day=24
            * sum(n for trace in preempted for _, n in trace.falls)
            / sum(trace.node_hours for trace in preempted),
            dry_s=dry_s(traces),
            dry_s_left_out=(min(left_out), max(left_out)),
            same_region=correlation(traces, same_region=True),
            other_region=correlation(traces, same_region=False),
        ),
        cases=backtest(traces),
        machine=machine(),
        as_of=datetime.now(UTC).date(),
    )
    sys.stdout.write(page)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "spot.md").write_text(page, encoding="utf-8")
        (options.out / "spot.svg").write_text(spot_pages.picture(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
