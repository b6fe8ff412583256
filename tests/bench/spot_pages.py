"""What traces of spot nodes say, as a page in Markdown with a plot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from bench.plots import Panel, plot
from deepseek_planner.hardware import CapacityType, InterNode, IntraNode, Offering
from deepseek_planner.risk import FACTS, Lot, Odds, availability, odds

if TYPE_CHECKING:
    from bench.spot_traces import Case

NEEDED = 4

HEAD = """\
# Spot: facts and how well the risk is predicted

Generated on {as_of} on {machine}, by

    DEEPSEEK_DATA=… PYTHONPATH=operator:runtime:tests python tests/bench/spot_traces.py --out docs/reference

The traces are public but without a licence, so they are no part of the project: [skypilot-org/spot-traces][1], commit
221da1a of 2024-03-31 (AWS, K80 and V100, 2022 and 2023), and [SpotHedge's][2], commit df02263 of 2025-02-27 (Google,
A100, 32 hours). None is of H100 or newer: for those everything below is an assumption.

[1]: https://github.com/skypilot-org/spot-traces
[2]: https://github.com/MaoZiming/spothedge_ae

## Facts

| what | in the traces | what the planner takes |
|---|---|---|"""

TEST = """
## Prediction against what happened

The rate of each zone is taken from the first half of its trace, everything else is as shipped, and the second half is
judged: the share of the time in which the nodes that were there were as many as needed. Errors are mean absolute
differences over the fleets, in points. The last two columns are about nodes together and not about rates: told how
often a single node was there in the second half, how far off is what the model says of the fleet, and how far off is
what independent nodes would say, which is what a mere discount supposes.

| traces | fleet | fleets | observed | predicted | error | told: error | told: independent |
|---|---|---|---|---|---|---|---|"""

END = """
What the model says of nodes together holds for AWS, from whose traces its shares come, taken together; Google's A100
were lost in part more often than the model has it, which knows single and whole losses only. Rates hold less well: a
zone differs from week to week by more than a model with one rate can say, and the second halves of the traces of
2023-08-27 were far better than the first. What the authors of the traces of 2022, February and late August 2023 and
of Google's recorded is that a node could not be had, which is not always that a running one was taken away.

![How often capacity is short, by replicas](spot.svg)
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What the traces say."""

    shared: float
    per_node_day: float
    dry_s: float
    dry_s_left_out: tuple[float, float]
    """Least and most when any one campaign is left out."""
    same_region: tuple[float, int]
    other_region: tuple[float, int]


def page(found: Found, cases: Sequence[Case], *, machine: str, as_of: date) -> str:
    """All of it."""
    lines = [HEAD.format(as_of=as_of.isoformat(), machine=machine), *_facts(found), TEST]
    lines += [
        f"| {case.campaign} | {case.fleet} | {case.fleets} | {case.observed:.0%} | {case.predicted:.0%} | "
        f"{100 * case.error:.0f} | {100 * case.told_error:.0f} | {100 * case.independent_error:.0f} |"
        for case in cases
    ]
    lines += [
        _overall([case for case in cases if where in case.fleet], where)
        for where in ("one zone,", "one region", "several regions")
    ]
    lines.append(_overall(cases, ""))
    return "\n".join([*lines, END])


def _overall(cases: Sequence[Case], where: str) -> str:
    fleets = sum(case.fleets for case in cases)

    def mean(name: str) -> float:
        return sum(getattr(case, name) * case.fleets for case in cases) / fleets

    return (
        f"| **all** | {where} | {fleets} | {mean('observed'):.0%} | {mean('predicted'):.0%} | "
        f"{100 * mean('error'):.0f} | {100 * mean('told_error'):.0f} | {100 * mean('independent_error'):.0f} |"
    )


def _facts(found: Found) -> Iterator[str]:
    yield (
        "| interruptions of a node that come within five minutes of another one's in its zone "
        f"| {found.shared:.0%} | {FACTS.shared:.0%} |"
    )
    low, high = (seconds / 60 for seconds in found.dry_s_left_out)
    yield (
        f"| mean time until a zone that ran dry has capacity again | {found.dry_s / 60:.0f} min "
        f"({low:.0f} to {high:.0f} with any one campaign left out) | {FACTS.dry_s / 60:.0f} min |"
    )
    same, pairs = found.same_region
    yield f"| correlation of being dry, zones of one region | {same:.2f} ({pairs} pairs) | {FACTS.regional:.2f} |"
    other, pairs = found.other_region
    yield f"| the same, zones of two regions | {other:.2f} ({pairs} pairs) | 0 |"
    yield (
        f"| interruptions of a V100 node, all in AWS' highest band | {found.per_node_day:.1f} a day "
        "| 5.5 a day, lower bands in proportion |"
    )


def picture() -> str:
    """How often capacity is short, by replicas: in one zone, in two zones of its region, in three regions."""
    panels = []
    for band, per_day in (("below 5 %", 0.46), ("5 to 10 %", 1.4)):
        spot = [_replica(zone, per_day) for zone in ("us-east-1a", "us-east-1b", "us-west-2a", "eu-west-1a")]
        ways: dict[str, Sequence[int]] = {
            "one zone": (0,),
            "two zones": (0, 1),
            "three regions": (0, 2, 3),
        }
        lines = {
            name: [(float(n), _short([Lot(spot[i], 1.0, n // len(way)) for i in way])) for n in _counts(len(way))]
            for name, way in ways.items()
        }
        panels.append(
            Panel(f"interrupted {band} a month, {NEEDED} needed", "replicas", "part of the time short", lines)
        )
    return plot(panels, columns=2, label="Part of the time in which capacity is short, by number of replicas")


def _counts(step: int) -> range:
    return range(-(-NEEDED // step) * step, 4 * NEEDED + 1, step)


def _short(lots: Sequence[Lot]) -> float:
    """What logarithmic axes can show of it."""
    return max(1e-5, 1 - availability(lots, NEEDED))


def _replica(zone: str, per_day: float) -> Odds:
    offering = Offering(
        pool=zone,
        accelerator="h100",
        gpus_per_node=8,
        capacity_type=CapacityType.SPOT,
        price=None,
        max_nodes=16,
        free_gpus_by_node=(),
        intra_node=IntraNode.NVLINK,
        inter_node=InterNode.EFA,
        zone=zone,
        interruptions_per_node_day=per_day,
        startup_s=240.0,
    )
    return odds(offering, engine_start_s=300.0)
