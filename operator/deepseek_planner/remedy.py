"""What would make an infeasible request feasible: the smallest change of each single limit, found by asking again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from deepseek_planner.demand import AccuracyClass, LatencyTarget
from deepseek_planner.hardware import CapacityType
from deepseek_planner.options import milliseconds, rounded_up
from deepseek_planner.plan import Constraints, DeploymentInput, Rejection, RejectionReason
from deepseek_planner.units import MicroUsd, format_usd

Cost = tuple[MicroUsd, MicroUsd, int]
"""Dollars per hour, dollars per million tokens and replicas of the best fleet."""

Ask = Callable[[DeploymentInput], Cost | None]

UNLIMITED = MicroUsd(10**15)
CENT = 10_000

MOST = 3
"""Changes that are named: more is a list to read, not an answer."""

HALVINGS = 6


def smallest_change(deployment: DeploymentInput, rejections: Sequence[Rejection], ask: Ask) -> str:
    """Changes each of which alone would do, or else what it takes together; empty when nothing helps."""
    reasons = {rejection.reason for rejection in rejections}
    single = [text for change in SINGLE_CHANGES for text in change(deployment, reasons, ask)]
    if single:
        return ", or ".join(single[:MOST])
    return _together(deployment, ask)


def _budget(deployment: DeploymentInput, reasons: set[RejectionReason], ask: Ask) -> Iterator[str]:
    if RejectionReason.OVER_BUDGET not in reasons:
        return
    objectives = replace(deployment.objectives, max_usd_per_hour=UNLIMITED)
    found = ask(replace(deployment, objectives=objectives))
    if found is not None:
        yield f"$/h >= {_dollars(found[0])}"


def _per_token(deployment: DeploymentInput, reasons: set[RejectionReason], ask: Ask) -> Iterator[str]:
    if RejectionReason.OVER_COST_PER_TOKEN not in reasons:
        return
    objectives = replace(deployment.objectives, max_usd_per_million_tokens=None)
    found = ask(replace(deployment, objectives=objectives))
    if found is not None:
        yield f"$/M >= {_dollars(found[1])}"


def _first_token(deployment: DeploymentInput, reasons: set[RejectionReason], ask: Ask) -> Iterator[str]:
    target = deployment.objectives.time_to_first_token
    del reasons
    if target is None:
        return

    def with_limit(seconds: float) -> DeploymentInput:
        limit = LatencyTarget(target.percentile, seconds)
        return replace(deployment, objectives=replace(deployment.objectives, time_to_first_token=limit))

    seconds = _smallest(target.limit_s, lambda limit: ask(with_limit(limit)) is not None)
    if seconds is not None:
        yield f"TTFT >= {milliseconds(seconds)}"


def _per_output_token(deployment: DeploymentInput, reasons: set[RejectionReason], ask: Ask) -> Iterator[str]:
    target = deployment.objectives.time_per_output_token
    del reasons
    if target is None:
        return

    def with_limit(seconds: float) -> DeploymentInput:
        limit = LatencyTarget(target.percentile, seconds)
        return replace(deployment, objectives=replace(deployment.objectives, time_per_output_token=limit))

    seconds = _smallest(target.limit_s, lambda limit: ask(with_limit(limit)) is not None)
    if seconds is not None:
        yield f"TPOT >= {milliseconds(seconds)}"


def _replicas(deployment: DeploymentInput, reasons: set[RejectionReason], ask: Ask) -> Iterator[str]:
    if RejectionReason.TOO_MANY_REPLICAS not in reasons:
        return
    found = ask(replace(deployment, constraints=replace(deployment.constraints, max_replicas=10**6)))
    if found is not None:
        yield f"maxReplicas >= {found[2]}"


def _placement(deployment: DeploymentInput, reasons: set[RejectionReason], ask: Ask) -> Iterator[str]:
    limits = deployment.constraints
    if CapacityType.SPOT not in limits.capacity_types or limits.max_spot_percent < 100:
        kinds = tuple(CapacityType)
        if ask(replace(deployment, constraints=replace(limits, capacity_types=kinds, max_spot_percent=100))):
            yield "allow Spot" if CapacityType.SPOT not in limits.capacity_types else "maxSpotPercent 100"
    elif (
        set(limits.capacity_types) != set(CapacityType)
        and RejectionReason.NOT_ALLOWED in reasons
        and ask(replace(deployment, constraints=replace(limits, capacity_types=tuple(CapacityType))))
    ):
        yield "allow every capacity type"
    for names, changed in (
        ("placement.accelerators", replace(limits, allow_accelerators=(), deny_accelerators=())),
        ("placement.zones", replace(limits, zones=())),
    ):
        if changed != limits and ask(replace(deployment, constraints=changed)):
            yield f"lift {names}"


def _accuracy(deployment: DeploymentInput, reasons: set[RejectionReason], ask: Ask) -> Iterator[str]:
    if RejectionReason.PRECISION_NOT_ALLOWED not in reasons:
        return
    order = list(AccuracyClass)
    for looser in order[order.index(deployment.objectives.accuracy_class) + 1 :]:
        if ask(replace(deployment, objectives=replace(deployment.objectives, accuracy_class=looser))):
            yield f"accuracyClass {looser}"
            return


SINGLE_CHANGES = (_first_token, _per_output_token, _budget, _per_token, _replicas, _placement, _accuracy)


def _smallest(limit: float, passes: Callable[[float], bool]) -> float | None:
    """The smallest limit, to two digits, that passes; None when even a hundredfold does not."""
    low, high = limit, limit * 100
    if not passes(high):
        return None
    while passes(low * 2) is False and low * 2 < high:
        low *= 2
    high = min(high, low * 2)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if passes(middle):
            high = middle
        else:
            low = middle
    return rounded_up(high)


def _together(deployment: DeploymentInput, ask: Ask) -> str:
    """Without latency targets and with any budget: what the cheapest would cost, or that nothing holds the model."""
    objectives = replace(
        deployment.objectives,
        time_to_first_token=None,
        time_per_output_token=None,
        max_usd_per_hour=UNLIMITED,
        max_usd_per_million_tokens=None,
    )
    found = ask(replace(deployment, objectives=objectives))
    if found is not None:
        return _several(deployment, ask, found)
    free = replace(
        deployment, objectives=replace(objectives, accuracy_class=AccuracyClass.ECONOMY), constraints=Constraints()
    )
    if ask(free) is not None:
        return "no single change is enough; without targets, budget and placement limits it would fit"
    return "no offered accelerator can hold and serve this model; offer larger ones or choose a smaller model"


def _several(deployment: DeploymentInput, ask: Ask, cheapest: Cost) -> str:
    """Money and latency together: with any budget, the smallest latency change that passes, and what it costs."""
    rich = replace(deployment.objectives, max_usd_per_hour=UNLIMITED, max_usd_per_million_tokens=None)
    changed = replace(deployment, objectives=rich)
    for change in (_first_token, _per_output_token):
        for text in change(changed, set(), ask):
            return f"{text} and $/h >= {_dollars(cheapest[0])}"
    return f"TTFT and TPOT both higher; $/h >= {_dollars(cheapest[0])} serves without either target"


def _dollars(amount: MicroUsd) -> str:
    """Up to the next cent: a limit that surely passes."""
    return format_usd(MicroUsd(math.ceil(amount / CENT) * CENT)) if amount >= CENT else format_usd(amount)
