"""What would make an infeasible request feasible: the smallest change of each single limit, found by asking again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from deepseek_planner.demand import AccuracyClass, LatencyTarget
from deepseek_planner.hardware import CapacityType
from deepseek_planner.plan import Constraints, DeploymentInput, Rejection, RejectionReason
from deepseek_planner.slowest import milliseconds, rounded_up
from deepseek_planner.units import MicroUsd, format_usd

Cost = tuple[MicroUsd, MicroUsd, int]
"""Dollars per hour, dollars per million tokens and replicas of the best fleet."""

Ask = Callable[[DeploymentInput], Cost | None]

UNLIMITED = MicroUsd(10**15)
CENT = 10_000

MOST = 3
"""Changes that are named: more is a list to read, not an answer."""

HALVINGS = 6

ANY_NUMBER = 10**6

LEAST_AVAILABILITY = 50
"""Percent: less may not be asked for."""


def smallest_change(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> str:
    """Changes each of which alone would do, or else what it takes together; never empty."""
    single = [text for change in SINGLE_CHANGES for text in change(deployment, rejections, ask)]
    return ", or ".join(single[:MOST]) if single else _together(deployment, rejections, ask)


def _reasons(rejections: Sequence[Rejection]) -> set[RejectionReason]:
    return {rejection.reason for rejection in rejections}


def _budget(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> Iterator[str]:
    if RejectionReason.OVER_BUDGET in _reasons(rejections):
        found = ask(_with(deployment, max_usd_per_hour=UNLIMITED))
        if found is not None:
            yield f"$/h >= {_dollars(found[0])}"


def _per_token(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> Iterator[str]:
    if RejectionReason.OVER_COST_PER_TOKEN in _reasons(rejections):
        found = ask(_with(deployment, max_usd_per_million_tokens=None))
        if found is not None:
            yield f"$/M >= {_dollars(found[1])}"


def _availability(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> Iterator[str]:
    """The chance, in tenths of a percent, with which what spot leaves carries the load."""
    asked = deployment.objectives.availability_percent
    reached = [item.value for item in rejections if item.reason is RejectionReason.SPOT_RISK and item.value is not None]

    def passes(tenths: int) -> bool:
        return ask(_with(deployment, availability_percent=tenths / 10)) is not None

    low, high = LEAST_AVAILABILITY * 10, math.ceil(asked * 10)
    first = math.floor(max(reached, default=0) * 10)
    if low <= first < high and passes(first):
        yield f"availabilityPercent <= {first / 10:g}"
    elif reached and low < high and passes(low):
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if passes(middle) else (low, middle)
        yield f"availabilityPercent <= {low / 10:g}"


def _first_token(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> Iterator[str]:
    target = deployment.objectives.time_to_first_token
    if target is None:
        return

    def passes(seconds: float) -> bool:
        limit = LatencyTarget(target.percentile, seconds)
        return ask(_with(deployment, time_to_first_token=limit)) is not None

    seconds = _smallest(target.limit_s, _nearest(rejections, RejectionReason.TTFT_TOO_HIGH), passes)
    if seconds is not None:
        yield f"TTFT >= {milliseconds(seconds)}"


def _per_output_token(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> Iterator[str]:
    target = deployment.objectives.time_per_output_token
    if target is None:
        return

    def passes(seconds: float) -> bool:
        limit = LatencyTarget(target.percentile, seconds)
        return ask(_with(deployment, time_per_output_token=limit)) is not None

    seconds = _smallest(target.limit_s, _nearest(rejections, RejectionReason.TPOT_TOO_HIGH), passes)
    if seconds is not None:
        yield f"TPOT >= {milliseconds(seconds)}"


def _replicas(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> Iterator[str]:
    if RejectionReason.TOO_MANY_REPLICAS in _reasons(rejections):
        found = ask(replace(deployment, constraints=replace(deployment.constraints, max_replicas=ANY_NUMBER)))
        if found is not None:
            yield f"maxReplicas >= {found[2]}"


def _placement(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> Iterator[str]:
    """Fields of ``placement`` whose lifting alone would do."""
    limits, every = deployment.constraints, tuple(CapacityType)
    with_spot = (*limits.capacity_types, CapacityType.SPOT)
    changes = (
        ("maxSpotPercent 100", replace(limits, max_spot_percent=100)),
        ("allow Spot", replace(limits, capacity_types=with_spot, max_spot_percent=100)),
        ("allow every capacity type", replace(limits, capacity_types=every)),
        ("lift placement.accelerators", replace(limits, allow_accelerators=(), deny_accelerators=())),
        ("lift placement.zones", replace(limits, zones=())),
        ("lift placement.nodeSelector", replace(limits, node_selector={})),
    )
    if not _reasons(rejections) & {RejectionReason.NOT_ALLOWED, RejectionReason.SPOT_SHARE}:
        return
    for text, changed in changes:
        is_change = changed != limits and not (text == "allow Spot" and CapacityType.SPOT in limits.capacity_types)
        if is_change and ask(replace(deployment, constraints=changed)) is not None:
            yield text


def _accuracy(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> Iterator[str]:
    if RejectionReason.PRECISION_NOT_ALLOWED not in _reasons(rejections):
        return
    order = list(AccuracyClass)
    for looser in order[order.index(deployment.objectives.accuracy_class) + 1 :]:
        if ask(_with(deployment, accuracy_class=looser)) is not None:
            yield f"accuracyClass {looser}"
            return


def _load(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> Iterator[str]:
    """The load that could be served instead, where there are too few nodes for all of it."""
    if RejectionReason.NOT_ENOUGH_NODES not in _reasons(rejections):
        return
    demand, low, high = deployment.demand, 0.0, 1.0

    def passes(share: float) -> bool:
        peak = demand.peak_requests_per_min * share
        expected = min(demand.expected_requests_per_min, peak)
        less = replace(demand, peak_requests_per_min=peak, expected_requests_per_min=expected)
        return ask(replace(deployment, demand=less)) is not None

    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    peak = math.floor(demand.peak_requests_per_min * low)
    if peak >= 1:
        yield f"requestsPerMinute.peak <= {peak}"


SINGLE_CHANGES = (
    _availability,
    _first_token,
    _per_output_token,
    _budget,
    _per_token,
    _replicas,
    _placement,
    _accuracy,
    _load,
)


def _with(deployment: DeploymentInput, **objectives: Any) -> DeploymentInput:
    return replace(deployment, objectives=replace(deployment.objectives, **objectives))


def _nearest(rejections: Sequence[Rejection], reason: RejectionReason) -> float | None:
    """The smallest value that stood against a limit: no lower limit can pass for this reason alone."""
    return min((item.value for item in rejections if item.reason is reason and item.value is not None), default=None)


def _smallest(limit: float, nearest: float | None, passes: Callable[[float], bool]) -> float | None:
    """The smallest limit, to two digits, that passes; None when even a hundredfold does not."""
    low, high = limit, limit * 100
    if nearest is not None and math.isfinite(nearest):
        first = rounded_up(max(limit, nearest))
        if passes(first):
            return first
        low = max(low, first)
    if low >= high or not passes(high):
        return None
    while low * 2 < high and not passes(low * 2):
        low *= 2
    high = min(high, low * 2)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if passes(middle):
            high = middle
        else:
            low = middle
    return rounded_up(high)


def _together(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> str:
    """No single change is enough: money and latency together, or what stands in the way besides."""
    rich = _with(deployment, max_usd_per_hour=UNLIMITED, max_usd_per_million_tokens=None)
    for change in (_first_token, _per_output_token):
        for text in change(rich, (), ask):
            return f"{text} and a higher $/h together"
    free = _with(rich, time_to_first_token=None, time_per_output_token=None)
    found = ask(free)
    if found is not None:
        return f"$/h >= {_dollars(found[0])} without targets for TTFT and TPOT"
    open_ = replace(free, constraints=Constraints(min_replicas=0, max_replicas=ANY_NUMBER))
    if ask(_with(open_, accuracy_class=AccuracyClass.ECONOMY)) is not None:
        return "no single change is enough; without targets, budget, placement and replica limits it would fit"
    if not any(item.accelerator for item in rejections):
        return "no pool is offered; declare an AcceleratorPool or add nodes with accelerators"
    return "no offered accelerator holds and serves this at this load; offer larger or more nodes, or a smaller model"


def _dollars(amount: MicroUsd) -> str:
    """Up to the next cent: a limit that surely passes."""
    return format_usd(MicroUsd(math.ceil(amount / CENT) * CENT)) if amount >= CENT else format_usd(amount)
