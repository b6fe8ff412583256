"""Plans by this planner and by Melange's formulation for the same requests, each checked by the same predictions.

Both get the same performance model with the same margins. Melange's table of highest rates is filled by planning one
replica for requests of one size alone. What a type of GPU is given by either plan is then planned again as a service
of its own: if the planned number of replicas keeps the target at that mix, the plan holds; if not, so many more do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from bench.melange import Bucket, Gpu, allocate
from bench.melange_setting import (
    BY_LENGTH,
    EVEN,
    INPUT_ENDS,
    RATES_PER_S,
    TARGETS_S,
    WITH_LLAMA,
    WORKLOADS,
    Size,
    demand,
    deployment,
    offerings,
    snapshot,
)
from deepseek_planner.hardware import Offering
from deepseek_planner.plan import DeploymentPlan, Placement
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Policy
from deepseek_planner.units import MICRO_PER_USD

TINY_PER_S = 1e-6
"""A rate that any replica keeps up with: only its highest rate is asked for."""

FITTINGS = 100
"""Rounds of proportional fitting of what goes where to the shares of the plan."""

Rates = Sequence[tuple[Size, float]]
"""Requests per second of each size."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """GPUs by type, what they cost an hour, and what they would have to be to keep the target."""

    gpus: Mapping[str, int]
    usd_per_hour: float
    needed: Mapping[str, int] | None
    """None: no number of them would do."""
    needed_usd_per_hour: float | None

    @property
    def holds(self) -> bool:
        """Whether every type keeps the target at what it is given."""
        return self.needed is not None and all(self.needed[name] <= count for name, count in self.gpus.items())


@dataclass(frozen=True, slots=True)
class Row:
    """One workload, target and rate; None where nothing is feasible."""

    workload: str
    target_s: float
    rate_per_s: float
    ours: Fleet | None
    even: float | None
    """Dollars per hour of a mix behind a router that does not look at lengths."""
    melange: Fleet | None
    by_input: Fleet | None
    """Melange's formulation where the router knows the prompt alone, as routers do: answers come later."""
    alone: Mapping[str, float | None]
    """Dollars per hour of one type of GPU."""


def compare(prices: Mapping[str, float], *, rates: Sequence[float] = RATES_PER_S) -> list[Row]:
    """All workloads, targets and rates at these prices per GPU and hour."""
    return [_row(workload, target, rate, prices) for workload in WORKLOADS for target in TARGETS_S for rate in rates]


def _row(workload: str, target_s: float, rate_per_s: float, prices: Mapping[str, float]) -> Row:
    asked = [(size, size.share * rate_per_s) for size in WORKLOADS[workload]]
    offered = offerings(prices)
    ours, even = (_planned(asked, target_s, offered, policy) for policy in (BY_LENGTH, EVEN))
    return Row(
        workload=workload,
        target_s=target_s,
        rate_per_s=rate_per_s,
        ours=_checked(_given(ours.placements, asked), _counts(ours.placements), target_s, prices)
        if ours.is_feasible
        else None,
        even=_usd(even),
        melange=_melange(asked, target_s, prices),
        by_input=_melange_by_input(asked, target_s, prices),
        alone={item.pool: _usd(_planned(asked, target_s, [item], EVEN)) for item in offered},
    )


def _planned(
    asked: Rates, target_s: float, offered: Sequence[Offering], policy: Policy, *, replicas: int | None = None
) -> DeploymentPlan:
    wanted = deployment(demand(asked), target_s, replicas=replicas)
    return plan(snapshot(wanted, offered), WITH_LLAMA, policy).deployments[wanted.key]


def _usd(found: DeploymentPlan) -> float | None:
    return found.usd_per_hour / MICRO_PER_USD if found.is_feasible else None


def _counts(placements: Sequence[Placement]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in placements:
        counts[item.pool] = counts.get(item.pool, 0) + item.replicas
    return counts


@cache
def _most_per_s(size: Size, target_s: float, pool: str) -> float:
    """Requests of that size alone that one GPU keeps up with."""
    found = _planned([(size, TINY_PER_S)], target_s, offerings({pool: 1.0}), EVEN, replicas=1)
    return found.prediction.capacity_requests_per_min / 60 if found.prediction is not None else 0.0


def _melange(asked: Rates, target_s: float, prices: Mapping[str, float]) -> Fleet | None:
    buckets = [Bucket(size.input_tokens, size.output_tokens, rate) for size, rate in asked]
    gpus = [
        Gpu(name, usd, tuple(_most_per_s(size, target_s, name) for size, _ in asked)) for name, usd in prices.items()
    ]
    return _allocated(asked, buckets, gpus, [[pair] for pair in asked], target_s, prices)


def _melange_by_input(asked: Rates, target_s: float, prices: Mapping[str, float]) -> Fleet | None:
    """Buckets of prompts only: a slice is some of the requests of one range of prompts, whatever their answers."""
    ranges = [[pair for pair in asked if pair[0].input_index == index] for index in range(len(INPUT_ENDS))]
    ranges = [members for members in ranges if members]
    totals = [sum(rate for _, rate in members) for members in ranges]
    buckets = [
        Bucket(
            sum(size.input_tokens * rate for size, rate in members) / total,
            sum(size.output_tokens * rate for size, rate in members) / total,
            total,
        )
        for members, total in zip(ranges, totals, strict=True)
    ]
    gpus = [Gpu(name, usd, tuple(_load(members, target_s, name) for members in ranges)) for name, usd in prices.items()]
    return _allocated(asked, buckets, gpus, ranges, target_s, prices)


def _load(members: Rates, target_s: float, pool: str) -> float:
    """Highest rate of a range of prompts: its sizes load a GPU one beside the other."""
    most = [(_most_per_s(size, target_s, pool), rate) for size, rate in members]
    if any(highest <= 0 for highest, _ in most):
        return 0.0
    return sum(rate for _, rate in members) / sum(rate / highest for highest, rate in most)


def _allocated(
    asked: Rates,
    buckets: Sequence[Bucket],
    gpus: Sequence[Gpu],
    members: Sequence[Rates],
    target_s: float,
    prices: Mapping[str, float],
) -> Fleet | None:
    found = allocate(buckets, gpus)
    if found is None:
        return None
    given: dict[str, Rates] = {}
    for gpu, served in zip(gpus, found.rates_per_s, strict=True):
        given[gpu.name] = [
            (size, rate * part / bucket.requests_per_s)
            for bucket, inside, part in zip(buckets, members, served, strict=True)
            for size, rate in inside
            if part > 0
        ]
    counts = {gpu.name: count for gpu, count in zip(gpus, found.gpus, strict=True) if count}
    return _checked(given, counts, target_s, prices)


def _given(placements: Sequence[Placement], asked: Rates) -> dict[str, Rates]:
    """What each pool serves of each size: by the plan's ranges of prompts, and where these overlap by its shares."""
    rates = [[rate if _takes(item, size) else 0.0 for item in placements] for size, rate in asked]
    for _ in range(FITTINGS):
        for column, item in enumerate(placements):
            sent = sum(row[column] for row in rates)
            for row in rates:
                row[column] *= _per_s(item) / sent if sent else 0.0
        for row, (_, rate) in zip(rates, asked, strict=True):
            sent = sum(row)
            for column in range(len(placements)):
                row[column] *= rate / sent if sent else 0.0
    given: dict[str, list[tuple[Size, float]]] = {item.pool: [] for item in placements}
    for column, item in enumerate(placements):
        given[item.pool] += [
            (size, row[column]) for (size, _), row in zip(asked, rates, strict=True) if row[column] > 0
        ]
    return dict(given)


def _per_s(placement: Placement) -> float:
    """Requests that go there: its share to more digits than the plan shows."""
    predicted = placement.prediction
    assert predicted is not None
    return predicted.capacity_requests_per_min / 60 * predicted.utilization_percent / 100


def _takes(placement: Placement, size: Size) -> bool:
    if placement.input_tokens is None:
        return True
    above, up_to = placement.input_tokens
    return above < size.input_tokens <= up_to


def _checked(
    given: Mapping[str, Rates], counts: Mapping[str, int], target_s: float, prices: Mapping[str, float]
) -> Fleet:
    usd = sum(prices[name] * count for name, count in counts.items())
    needed: dict[str, int] | None = {}
    for name, count in counts.items():
        if needed is None or not given[name]:
            continue
        offered = offerings({name: prices[name]})
        if _planned(given[name], target_s, offered, EVEN, replicas=count).is_feasible:
            needed[name] = count
            continue
        more = _planned(given[name], target_s, offered, EVEN)
        if more.is_feasible:
            needed[name] = sum(item.replicas for item in more.placements)
        else:
            needed = None
    total = None if needed is None else sum(prices[name] * count for name, count in needed.items())
    return Fleet(counts, usd, needed, total)
