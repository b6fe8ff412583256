"""What was measured, as a page in Markdown with plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

from bench.exactness import Exactness
from bench.melange_compare import Fleet, Row
from bench.melange_setting import PAPER_PRICES, WORKLOADS
from bench.plots import Panel, plot
from bench.scale import LIMIT_GAP_PERCENT, LIMIT_S, Scale
from bench.speed import COLD_LIMIT_S, WARM_LIMIT_S, Speed, Yardstick

SHORT_NAMES = {"l4": "L4", "a10g": "A10G", "a100-80gb": "A100", "h100": "H100"}
TITLES = {"short": "short requests", "long": "long requests", "mixed": "mixed requests"}
PUBLISHED = {
    ("short", 0.12): "15-77",
    ("short", 0.04): "9-68",
    ("long", 0.12): "15-33",
    ("long", 0.04): "2-22",
    ("mixed", 0.12): "13-51",
    ("mixed", 0.04): "4-51",
}
"""Percent that the paper saves against one type of GPU, measured on GPUs with an engine of early 2024."""
PUBLISHED_GPUS = {
    ("short", 0.12): {"l4": 65, "a10g": 39, "a100-80gb": 9, "h100": 8},
    ("long", 0.12): {"a100-80gb": 106, "h100": 55},
    ("mixed", 0.12): {"a100-80gb": 20, "h100": 12},
    ("short", 0.04): {"l4": 135, "a10g": 80, "a100-80gb": 9, "h100": 7},
    ("long", 0.04): {"a100-80gb": 133, "h100": 56},
    ("mixed", 0.04): {"a100-80gb": 24, "h100": 13},
}
"""GPUs of one type alone for 32 requests a second: the paper's tables 3 to 8, engine vLLM 0.2.7."""
CENT_USD = 0.01
"""An hour: floats are compared by it."""

INTRODUCTION = """\
# How fast and how good planning is

Generated on {date} by `make bench OUT=docs/reference`, on {machine}.

Figures are ratios to a bound or a peer measured in the same run where there is one, with the absolute numbers beside
them: those depend on the machine, and on what else runs on it. The yardstick is {turns:.0f} ms of processor for a
million turns of a loop and {sums:.0f} ms for a thousand sums of arrays: where it is half as long, so is what takes time
below. Latencies and capacities are predictions; [how well it predicts](prediction-accuracy.md) is another page. Nothing
here was served on a GPU.

## One plan

DeepSeek-V3 over {offerings} offerings of {accelerators} kinds of accelerator of three clouds, every precision and
shape, several nodes included: {weighed} alternatives, each chosen or refused with a reason.

| what | time | goal | beside | ratio |
|---|---|---|---|---|"""

CLUSTER = """
## A cluster

Random deployments with lengths, rates and targets of their own on random pools of the shipped list's instances
(`tests/support/worlds.py`), planned together. *Alone* is the peer: planning the deployments one by one, each as if
the whole cluster were its own. The goal for the third row is ten seconds and a gap of one percent. *Processor* is the
time of one thread, *clock* what passed while other processes ran on the machine, too. The gap is proven: no plan that
serves as much costs so much less. Who is neither served *whole* nor *gets less* cannot be served by such a cluster
within its own limits. Memory is the process's resident set: before planning, at its peak, and what planning once more
adds for good.

| deployments | nodes | GPUs | processor | clock | alone | ratio | gap | whole | gets less | before | peak | adds |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""

CLUSTERS = """
The goal is one for every cluster of that size, not for the third row's alone. Others, from other seeds; where pools run
short, who gets what is found before what it costs:

| seeds | deployments | nodes | processor: median | worst | goal | gap: median | worst | goal | whole | gets less |
|---|---|---|---|---|---|---|---|---|---|---|"""

EXACT = """
![Time and memory of a plan](benchmarks-scale.svg)

## Against trying everything

Small problems with scarce pools, budgets and shares of spot; every combination of fleets is tried by code that shares
nothing with the search (`tests/support/mixes.py`). Equal: the same service for the same dollars.

| routing | problems | equal | somebody gets less | largest difference | largest gap claimed | search | trial |
|---|---|---|---|---|---|---|---|"""

MELANGE = """
## Beside Melange

The setting of *Melange: Cost Efficient Large Language Model Serving by Exploiting GPU Heterogeneity* (arXiv
2404.14527): Llama-2-7b on L4, A10G, A100-80GB and H100, one GPU per replica, short (chat), long (summaries of papers)
and mixed requests, a target for the mean time per output token, 1 to 32 requests a second. Prices, mean lengths, ranges
of lengths by number and the target are the paper's. How lengths spread around their means is not published in numbers
and was chosen here: log-normal, with a deviation of the logarithm of 1.2 and 0.9 (short: prompt, answer) and 0.8 and
0.5 (long). No model of the catalogue has Llama-2-7b's large cache (512 KiB a token), so its architecture is part of
the benchmark.

Melange's formulation was written anew from the paper (`tests/bench/melange.py`): buckets of prompt by answer, eight
slices each, a slice's load is its rate over the highest rate of its size alone, whole GPUs. Its table of highest rates
comes from the same predictions, with the same margins, as this planner's own loads. Melange may send requests to GPUs
by the length of their answers, which no router knows beforehand; *by prompt* is the same formulation without that
knowledge. This planner routes by prompt.

Both plans are then checked by the same predictions: each type of GPU is planned again for the mix of requests that it
is given. Where its number does not keep the target, the plan **misses**, and what it would have to cost is beside it.
One type alone, and the mix behind a router that does not look at lengths (*even*), are planned by this planner.

In the mixed requests long prompts have longer answers. Melange's buckets hold both lengths; this planner and the check
are told what a resource can state of them: prompts by range, and the mean answer to those of each (`outputMean`).
"""

GPUS = """
How many GPUs of one type alone are enough, here and (in brackets) in the paper, which measured an engine of early
2024. Newer engines serve several times as much per GPU; what counts here is how the types compare.
"""

LAST = """
Not verified: that an engine serves as predicted (no GPU here); L4 and A10G have no measured runs behind their
predictions, so their margin is wide, and at 40 ms this model refuses what the paper used: reading Llama-2-7b's 13.5 GB
once takes an L4 45 ms at its data sheet's bandwidth.
"""


@dataclass(frozen=True, slots=True)
class Found:
    """All results."""

    machine: str
    yardstick: Yardstick
    as_of: date
    speed: Speed
    scales: Sequence[Scale]
    clusters: Sequence[Scale]
    """Of the size that has a goal, each from a seed of its own."""
    exactness: Sequence[Exactness]
    melange: Mapping[str, Sequence[Row]]
    """By list of prices: ``paper`` and ``shipped``."""


def missed(found: Found) -> list[str]:
    """Goals that are not reached."""
    lines = []
    if not found.speed.is_good:
        lines.append(f"the plan command takes {found.speed.cold.wall_s:.2f} s")
    if found.speed.warm_s > WARM_LIMIT_S:
        lines.append(f"a plan takes {found.speed.warm_s * 1e3:.0f} ms, {WARM_LIMIT_S * 1e3:.0f} wanted")
    for item in found.clusters:
        what = f"{item.deployments} deployments on {item.nodes} nodes, seed {item.seed}"
        if item.cpu_s > LIMIT_S:
            lines.append(f"{what}: {item.cpu_s:.1f} s")
        if item.gap_percent > LIMIT_GAP_PERCENT:
            lines.append(f"{what}: gap {item.gap_percent:.2f} %")
    lines += [f"{item.routing}: {item.problems - item.equal} differ" for item in found.exactness if not item.is_exact]
    for row in (row for rows in found.melange.values() for row in rows if row.ours is not None):
        what = f"{row.workload} requests, {row.rate_per_s:g} a second within {row.target_s * 1e3:.0f} ms"
        if not row.ours.holds:
            lines.append(f"{what}: the plan misses the target")
        if row.even is not None and row.ours.usd_per_hour > row.even + CENT_USD:
            lines.append(f"{what}: by length costs more than evenly")
        for other in (row.melange, row.by_input):
            if other is not None and other.holds and row.ours.usd_per_hour > other.usd_per_hour + CENT_USD:
                lines.append(f"{what}: Melange's formulation holds for less")
    return lines


def page(found: Found) -> str:
    """The page in Markdown."""
    lines = [
        INTRODUCTION.format(
            date=found.as_of.isoformat(),
            machine=found.machine,
            offerings=found.speed.offerings,
            accelerators=found.speed.accelerators,
            weighed=found.speed.weighed,
            turns=1e3 * found.yardstick.turns_s,
            sums=1e3 * found.yardstick.sums_s,
        ),
        *_speed(found.speed),
        CLUSTER,
        *(_scale(item) for item in found.scales),
        CLUSTERS,
        _clusters(found.clusters),
        EXACT,
        *(_exactness(item) for item in found.exactness),
        MELANGE,
        *_summary(found.melange),
        "",
        "![Cost of each fleet, this planner's is 1](benchmarks-melange.svg)",
        GPUS,
        *_gpus(found.melange["paper"]),
        "",
        *_all_rows(found.melange["paper"]),
        LAST.rstrip(),
    ]
    return "\n".join(lines) + "\n"


def plots(found: Found) -> dict[str, str]:
    """Pictures by file name."""
    by_deployments = [item for item in found.scales if item.nodes == max(one.nodes for one in found.scales)]
    time = {"time, s": [(float(item.deployments), item.cpu_s) for item in by_deployments]}
    growth = [(float(item.deployments), max(0.1, item.peak_mib - item.start_mib)) for item in by_deployments]
    scales = [
        Panel("time of a plan", "deployments", "seconds", time),
        Panel("memory of a plan", "deployments", "MiB over what there was", {"memory, MiB": growth}),
    ]
    melange = [
        Panel(
            f"{TITLES[workload]}, {target * 1e3:.0f} ms",
            "requests per second",
            "cost, ours is 1",
            _lines([row for row in found.melange["paper"] if (row.workload, row.target_s) == (workload, target)]),
        )
        for target in dict.fromkeys(row.target_s for row in found.melange["paper"])
        for workload in WORKLOADS
    ]
    return {
        "benchmarks-scale.svg": plot(scales, columns=2, label="Time and memory of a plan by number of deployments"),
        "benchmarks-melange.svg": plot(melange, columns=3, label="Cost of fleets, ours is 1"),
    }


def _lines(rows: Sequence[Row]) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {
        f"only {short}": [_point(row, row.alone[name]) for row in rows if row.alone[name] is not None and row.ours]
        for name, short in SHORT_NAMES.items()
    }
    lines["Melange as planned"] = [_point(row, row.melange.usd_per_hour) for row in rows if row.melange and row.ours]
    lines["Melange so that it holds"] = [
        _point(row, row.melange.needed_usd_per_hour)
        for row in rows
        if row.ours and row.melange and row.melange.needed_usd_per_hour is not None
    ]
    return lines


def _point(row: Row, usd: float | None) -> tuple[float, float]:
    assert usd is not None
    assert row.ours is not None
    return float(row.rate_per_s), usd / row.ours.usd_per_hour


def _speed(found: Speed) -> Iterator[str]:
    ratio = found.cold.cpu_s / found.bound.cpu_s
    yield (
        f"| warm: planning alone | {found.warm_s * 1e3:.0f} ms | {WARM_LIMIT_S * 1e3:.0f} ms "
        f"| writing it as JSON: {found.write_s * 1e3:.0f} ms | {found.warm_s / found.write_s:.1f} |"
    )
    yield (
        f"| cold: the `plan` command | {found.cold.wall_s:.2f} s ({found.cold.cpu_s:.2f} s of processor) "
        f"| {COLD_LIMIT_S} s | a process that imports YAML and pydantic: {found.bound.wall_s:.2f} s "
        f"({found.bound.cpu_s:.2f} s) | {ratio:.1f} of processor |"
    )


def _scale(item: Scale) -> str:
    cells = (
        str(item.deployments),
        str(item.nodes),
        str(item.accelerators),
        f"{item.cpu_s:.2f} s",
        f"{item.wall_s:.2f} s",
        f"{item.alone_s:.2f} s",
        f"{item.cpu_s / item.alone_s:.2f}",
        f"{item.gap_percent:.2f} %",
        str(item.served),
        str(item.short),
        f"{item.start_mib:.0f} MiB",
        f"{item.peak_mib:.0f} MiB",
        "" if item.kept_mib is None else f"{item.kept_mib:.1f} MiB",
    )
    return f"| {' | '.join(cells)} |"


def _clusters(items: Sequence[Scale]) -> str:
    times, gaps = [item.cpu_s for item in items], [item.gap_percent for item in items]
    cells = (
        f"{items[0].seed} to {items[-1].seed}",
        str(items[0].deployments),
        str(items[0].nodes),
        f"{median(times):.2f} s",
        f"{max(times):.2f} s",
        f"{LIMIT_S:.0f} s",
        f"{median(gaps):.2f} %",
        f"{max(gaps):.2f} %",
        f"{LIMIT_GAP_PERCENT:.0f} %",
        _range([item.served for item in items], "{:.0f}"),
        _range([item.short for item in items], "{:.0f}"),
    )
    return f"| {' | '.join(cells)} |"


def _exactness(item: Exactness) -> str:
    return (
        f"| {item.routing} | {item.problems} | {item.equal} | {item.scarce} | {100 * item.largest_difference:.4f} % "
        f"| {100 * item.largest_gap:.4f} % | {item.solver_s * 1e3 / item.problems:.1f} ms each "
        f"| {item.trial_s * 1e3 / item.problems:.1f} ms each |"
    )


def _summary(melange: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Per workload and target: what is saved, and how Melange's plans fare."""
    yield (
        "| prices | requests | target | saved against the best type | the worst type | even routing | the paper saved "
        "| Melange's cost, ours is 1 | so that both hold | by prompt | its plans that hold | ours that hold |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for prices, rows in melange.items():
        for workload, target in dict.fromkeys((row.workload, row.target_s) for row in rows):
            members = [row for row in rows if (row.workload, row.target_s) == (workload, target) and row.ours]
            yield _summary_line(prices, workload, target, members)


def _summary_line(prices: str, workload: str, target_s: float, rows: Sequence[Row]) -> str:
    melange = [row.melange for row in rows]
    cells = (
        prices,
        workload,
        f"{target_s * 1e3:.0f} ms",
        f"{_range([_saved(row, min(_alone(row))) for row in rows], '{:.0f}')} %",
        f"{_range([_saved(row, max(_alone(row))) for row in rows], '{:.0f}')} %",
        f"{_range([_saved(row, row.even) for row in rows if row.even is not None], '{:.0f}')} %",
        PUBLISHED[workload, target_s] + " %" if prices == "paper" else "",
        _range(_ratios(rows, melange)),
        _range(_ratios(rows, melange, needed=True)),
        _range(_ratios(rows, [row.by_input for row in rows], needed=True)),
        _held(melange),
        _held([row.ours for row in rows]),
    )
    return f"| {' | '.join(cells)} |"


def _alone(row: Row) -> list[float]:
    return [usd for usd in row.alone.values() if usd is not None]


def _saved(row: Row, usd: float) -> float:
    """Percent of what another fleet costs. Zero is never shown as negative."""
    assert row.ours is not None
    return round(100 * (1 - row.ours.usd_per_hour / usd), 6) + 0.0


def _ratios(rows: Sequence[Row], fleets: Sequence[Fleet | None], *, needed: bool = False) -> list[float]:
    ratios = []
    for row, fleet in zip(rows, fleets, strict=True):
        if fleet is None or row.ours is None:
            continue
        usd = fleet.needed_usd_per_hour if needed else fleet.usd_per_hour
        ours = row.ours.needed_usd_per_hour if needed else row.ours.usd_per_hour
        if usd is not None and ours is not None:
            ratios.append(usd / ours)
    return ratios


def _held(fleets: Sequence[Fleet | None]) -> str:
    there = [fleet for fleet in fleets if fleet is not None]
    return f"{sum(fleet.holds for fleet in there)} of {len(there)}"


def _range(values: Sequence[float], form: str = "{:.2f}") -> str:
    if not values:
        return "-"
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low}-{high}"


def _gpus(rows: Sequence[Row]) -> Iterator[str]:
    """GPUs of one type alone beside the paper's."""
    most = max(row.rate_per_s for row in rows)
    yield f"| {most:g} requests a second | target | {' | '.join(SHORT_NAMES.values())} |"
    yield "|" + "---|" * (2 + len(SHORT_NAMES))
    for row in rows:
        if row.rate_per_s != most:
            continue
        cells = []
        for name, usd in PAPER_PRICES.items():
            there = PUBLISHED_GPUS[row.workload, row.target_s].get(name)
            here = None if row.alone[name] is None else round((row.alone[name] or 0.0) / usd)
            cells.append(f"{'-' if here is None else here} ({'-' if there is None else there})")
        yield f"| {row.workload} | {row.target_s * 1e3:.0f} ms | {' | '.join(cells)} |"


def _all_rows(rows: Sequence[Row]) -> Iterator[str]:
    yield "Every case at the paper's prices, in dollars per hour:"
    yield ""
    names = " | ".join(f"only {short}" for short in SHORT_NAMES.values())
    yield f"| requests | target | per s | ours | | | even | Melange | | | by prompt | {names} |"
    yield "|" + "---|" * (11 + len(SHORT_NAMES))
    for row in rows:
        alone = " | ".join(_usd(row.alone[name]) for name in PAPER_PRICES)
        yield (
            f"| {row.workload} | {row.target_s * 1e3:.0f} ms | {row.rate_per_s:g} | {_fleet(row.ours)} "
            f"| {_verdict(row.ours)} | {_usd(row.even)} | {_fleet(row.melange)} | {_verdict(row.melange)} "
            f"| {_usd(row.by_input.usd_per_hour if row.by_input else None)}"
            f"{'' if row.by_input is None or row.by_input.holds else ' ' + _verdict(row.by_input)} | {alone} |"
        )


def _fleet(found: Fleet | None) -> str:
    if found is None:
        return "- | -"
    gpus = ", ".join(f"{count} {SHORT_NAMES[name]}" for name, count in found.gpus.items() if count)
    return f"{found.usd_per_hour:.2f} | {gpus}"


def _verdict(found: Fleet | None) -> str:
    if found is None:
        return "-"
    if found.holds:
        return "holds"
    return f"misses; {_usd(found.needed_usd_per_hour)} would hold"


def _usd(amount: float | None) -> str:
    return "-" if amount is None else f"{amount:.2f}"
