"""Melange's way to choose GPUs, written from its paper (Griggs et al., arXiv 2404.14527, section 5.4).

A workload is a histogram of request sizes, inputs by outputs. Each bucket is cut into slices of equal rate. A slice
loads a GPU by its rate over the highest rate of requests of that size alone that the GPU keeps up with within the
target; the slices on GPUs of one type may load them by no more than their number. The cheapest numbers win.

Slices of one bucket are alike, so they are counted here instead of being told apart: the same optimum, and none of
the symmetry. Slices without requests are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import highspy

SLICE_FACTOR = 8
"""Slices of a bucket, as in the paper."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Requests of about one size."""

    input_tokens: float
    output_tokens: float
    requests_per_s: float


@dataclass(frozen=True, slots=True)
class Gpu:
    """One type of GPU; ``most_per_s``: by bucket, requests per second of that size alone; 0 where it cannot."""

    name: str
    usd_per_hour: float
    most_per_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Allocation:
    """GPUs by type, and by type the rate of each bucket that they serve."""

    gpus: tuple[int, ...]
    rates_per_s: tuple[tuple[float, ...], ...]
    usd_per_hour: float
    gap: float
    """Share of the cost that another allocation could at most save: the solver stops at a number of nodes."""


def allocate(buckets: Sequence[Bucket], gpus: Sequence[Gpu], *, slices: int = SLICE_FACTOR) -> Allocation | None:
    """The cheapest allocation, to its ``gap``; None where some bucket fits no GPU."""
    served = [index for index, bucket in enumerate(buckets) if bucket.requests_per_s > 0]
    model = _solver()
    counts = [model.addIntegral(lb=0, obj=gpu.usd_per_hour) for gpu in gpus]
    parts = {}
    for index in served:
        able = [gpu for gpu in range(len(gpus)) if gpus[gpu].most_per_s[index] > 0]
        if not able:
            return None
        for gpu in able:
            parts[index, gpu] = model.addIntegral(lb=0, ub=slices)
        model.addConstr(sum(parts[index, gpu] for gpu in able) == slices)
    for gpu, count in enumerate(counts):
        loads = {
            index: buckets[index].requests_per_s / slices / gpus[gpu].most_per_s[index]
            for index in served
            if (index, gpu) in parts
        }
        if loads:
            model.addConstr(sum(load * parts[index, gpu] for index, load in loads.items()) <= count)
    model.minimize()
    if not math.isfinite(model.getInfo().mip_gap):
        return None
    found = tuple(round(model.val(count)) for count in counts)
    rates = tuple(
        tuple(
            buckets[index].requests_per_s * round(model.val(parts[index, gpu])) / slices
            if (index, gpu) in parts
            else 0.0
            for index in range(len(buckets))
        )
        for gpu in range(len(gpus))
    )
    cost = sum(count * gpu.usd_per_hour for count, gpu in zip(found, gpus, strict=True))
    return Allocation(found, rates, cost, model.getInfo().mip_gap)


def _solver() -> highspy.Highs:
    model = highspy.Highs()
    model.silent()
    for option, value in (("threads", 1), ("random_seed", 1), ("mip_rel_gap", 1e-4), ("mip_max_nodes", 20_000)):
        model.setOptionValue(option, value)
    return model
