"""Limits of a request that its author could loosen, each by as little as serves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from deepseek_planner.demand import AccuracyClass, Demand, LatencyTarget, LengthDistribution
from deepseek_planner.hardware import CapacityType
from deepseek_planner.plan import Rejection, RejectionReason
from deepseek_planner.slowest import milliseconds, rounded_up
from deepseek_planner.units import MicroUsd, format_usd_needed, micro_usd
from deepseek_planner.what_if import Ask, Case, Change, Least, Said, most, passes

UNLIMITED = MicroUsd(10**15)
ANY_NUMBER = 10**6

LEAST_AVAILABILITY = 50
"""Percent: less may not be asked for."""

TIMES_SLOWER, LOOSEST_S = 100, 10.0
"""Beyond so many times a target, and so many seconds, nobody would call it one."""

HALVINGS = 6

LEAST_LOAD = 1
"""Requests per minute."""


def _objectives(**changed: Any) -> Callable[[Case], Case]:
    return lambda case: case._replace(
        deployment=replace(case.deployment, objectives=replace(case.deployment.objectives, **changed))
    )


def _constraints(**changed: Any) -> Callable[[Case], Case]:
    return lambda case: case._replace(
        deployment=replace(case.deployment, constraints=replace(case.deployment.constraints, **changed))
    )


def _demand(changed: Callable[[Demand], Demand]) -> Callable[[Case], Case]:
    return lambda case: case._replace(deployment=replace(case.deployment, demand=changed(case.deployment.demand)))


def _said(text: str, applied: Callable[[Case], Case], case: Case, ask: Ask) -> Said | None:
    return Said(text, applied) if passes(applied(case), ask) else None


def _any_dollars(case: Case) -> Case:
    return _objectives(max_usd_per_hour=UNLIMITED)(case)


def _per_hour(case: Case, ask: Ask, _: Sequence[Rejection]) -> Said | None:
    found = ask(_any_dollars(case), Least.DOLLARS)
    if found is None:
        return None
    needed = format_usd_needed(found.usd_per_hour)
    return Said(f"$/h >= {needed}", _objectives(max_usd_per_hour=micro_usd(needed)))


def _any_dollars_per_token(case: Case) -> Case | None:
    is_limited = case.deployment.objectives.max_usd_per_million_tokens is not None
    return _objectives(max_usd_per_million_tokens=None)(case) if is_limited else None


def _per_million(case: Case, ask: Ask, _: Sequence[Rejection]) -> Said | None:
    found = ask(_objectives(max_usd_per_million_tokens=None)(case), Least.DOLLARS)
    if found is None:
        return None
    needed = format_usd_needed(found.usd_per_million_tokens)
    return Said(f"$/M >= {needed}", _objectives(max_usd_per_million_tokens=micro_usd(needed)))


def _any_availability(case: Case) -> Case | None:
    is_higher = case.deployment.objectives.availability_percent > LEAST_AVAILABILITY
    return _objectives(availability_percent=float(LEAST_AVAILABILITY))(case) if is_higher else None


def _availability(case: Case, ask: Ask, rejections: Sequence[Rejection]) -> Said | None:
    """The chance, in tenths of a percent, with which what spot leaves carries the load."""

    def applied(tenths: int) -> Callable[[Case], Case]:
        return _objectives(availability_percent=tenths / 10)

    def serves(tenths: int) -> bool:
        return passes(applied(tenths)(case), ask)

    low, high = LEAST_AVAILABILITY * 10, math.ceil(case.deployment.objectives.availability_percent * 10)
    reached = [item.value for item in rejections if item.reason is RejectionReason.SPOT_RISK and item.value is not None]
    first = math.floor(max(reached, default=0) * 10)
    if not (low <= first < high and serves(first)):
        if not serves(low):
            return None
        first = most(low, high, serves)
    return Said(f"availabilityPercent <= {first / 10:g}", applied(first))


def _latency(name: str, field: str, reason: RejectionReason) -> Change:
    """A target for a latency, in seconds."""

    def applied(case: Case, seconds: float) -> Case:
        target = getattr(case.deployment.objectives, field)
        return _objectives(**{field: LatencyTarget(target.percentile, seconds)})(case)

    def lifted(case: Case) -> Case | None:
        target = getattr(case.deployment.objectives, field)
        return None if target is None else applied(case, _loosest(target.limit_s))

    def smallest(case: Case, ask: Ask, rejections: Sequence[Rejection]) -> Said | None:
        limit_s = getattr(case.deployment.objectives, field).limit_s
        # No lower limit can pass for this reason alone.
        values = [item.value for item in rejections if item.reason is reason and item.value is not None]
        seconds = _shortest(limit_s, min(values, default=None), lambda limit: passes(applied(case, limit), ask))
        if seconds is None:
            return None
        return Said(f"{name} >= {milliseconds(seconds)}", lambda other: applied(other, seconds))

    return Change(lifted, smallest)


def _loosest(limit_s: float) -> float:
    return max(limit_s * TIMES_SLOWER, LOOSEST_S)


def _shortest(limit_s: float, nearest_s: float | None, serves: Callable[[float], bool]) -> float | None:
    """The smallest limit, to two digits, that serves; None when even the loosest does not."""
    low, high = limit_s, _loosest(limit_s)
    if nearest_s is not None and math.isfinite(nearest_s):
        first = rounded_up(max(limit_s, nearest_s))
        if serves(first):
            return first
        low = max(low, first)
    if low >= high or not serves(high):
        return None
    while low * 2 < high and not serves(low * 2):
        low *= 2
    high = min(high, low * 2)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if serves(middle) else (middle, high)
    return rounded_up(high)


def _any_replicas(case: Case) -> Case:
    return _constraints(max_replicas=ANY_NUMBER)(case)


def _most_replicas(case: Case, ask: Ask, _: Sequence[Rejection]) -> Said | None:
    found = ask(_any_replicas(case), Least.REPLICAS)
    if found is None:
        return None
    return Said(f"maxReplicas >= {found.replicas}", _constraints(max_replicas=found.replicas))


def _one_replica(case: Case) -> Case | None:
    return _constraints(min_replicas=1)(case) if case.deployment.constraints.min_replicas > 1 else None


def _fewest_replicas(case: Case, ask: Ask, _: Sequence[Rejection]) -> Said | None:
    def serves(count: int) -> bool:
        return passes(_constraints(min_replicas=count)(case), ask)

    if not serves(1):
        return None
    count = most(1, case.deployment.constraints.min_replicas, serves)
    return Said(f"minReplicas <= {count}", _constraints(min_replicas=count))


def _field(text: str, *reasons: RejectionReason, **unlimited: object) -> Change:
    """A field of the placement, lifted as a whole."""
    applied = _constraints(**unlimited)

    def lifted(case: Case) -> Case | None:
        changed = applied(case)
        return changed if changed != case else None

    return Change(lifted, lambda case, ask, _: _said(text, applied, case, ask), frozenset(reasons))


def _every_capacity_type(case: Case) -> Case | None:
    is_limited = set(case.deployment.constraints.capacity_types) != set(CapacityType)
    return _constraints(capacity_types=tuple(CapacityType))(case) if is_limited else None


def _capacity_types(case: Case, ask: Ask, _: Sequence[Rejection]) -> Said | None:
    allowed = case.deployment.constraints.capacity_types
    more = [(f"allow {kind}", (*allowed, kind)) for kind in CapacityType if kind not in allowed]
    more.append(("allow every capacity type", tuple(CapacityType)))
    tried = (_said(text, _constraints(capacity_types=kinds), case, ask) for text, kinds in more)
    return next((said for said in tried if said is not None), None)


def _economy(case: Case) -> Case | None:
    is_strict = case.deployment.objectives.accuracy_class is not AccuracyClass.ECONOMY
    return _objectives(accuracy_class=AccuracyClass.ECONOMY)(case) if is_strict else None


def _accuracy(case: Case, ask: Ask, _: Sequence[Rejection]) -> Said | None:
    order = list(AccuracyClass)
    looser = order[order.index(case.deployment.objectives.accuracy_class) + 1 :]
    tried = (_said(f"accuracyClass {item}", _objectives(accuracy_class=item), case, ask) for item in looser)
    return next((said for said in tried if said is not None), None)


def _at_load(peak: float) -> Callable[[Case], Case]:
    return _demand(
        lambda demand: replace(
            demand,
            peak_requests_per_min=peak,
            expected_requests_per_min=min(demand.expected_requests_per_min, peak),
        )
    )


def _hardly_any_load(case: Case) -> Case | None:
    return _at_load(LEAST_LOAD)(case) if case.deployment.demand.peak_requests_per_min > LEAST_LOAD else None


def _load(case: Case, ask: Ask, _: Sequence[Rejection]) -> Said | None:
    """The peak that could be served instead, to about a percent."""

    def serves(peak: float) -> bool:
        return passes(_at_load(peak)(case), ask)

    high = case.deployment.demand.peak_requests_per_min
    low = high / 2
    while low >= LEAST_LOAD and not serves(low):
        low, high = low / 2, low
    if low < LEAST_LOAD:
        return None
    for _halving in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if serves(middle) else (low, middle)
    peak = math.floor(low)
    return Said(f"requestsPerMinute.peak <= {peak}", _at_load(peak))


def _up_to(longest: int) -> Callable[[Case], Case]:
    """The longest prompts cut off, the others as they are."""

    def shorter(demand: Demand) -> Demand:
        *others, last = demand.input_tokens.buckets
        cut = replace(last, up_to_tokens=longest, mean_tokens=min(last.mean_tokens, longest))
        return replace(demand, input_tokens=LengthDistribution((*others, cut)))

    return _demand(shorter)


def _shortest_prompt(case: Case) -> int:
    """Tokens that the longest prompts must have: more than those of the bucket before theirs, and than their mean."""
    *others, last = case.deployment.demand.input_tokens.buckets
    return max(math.ceil(last.mean_tokens), others[-1].up_to_tokens + 1 if others else 1)


def _short_prompts(case: Case) -> Case | None:
    shortest = _shortest_prompt(case)
    return _up_to(shortest)(case) if shortest < case.deployment.demand.input_tokens.max_tokens else None


def _longest_prompt(case: Case, ask: Ask, rejections: Sequence[Rejection]) -> Said | None:
    """What the largest context leaves for prompts, or as many tokens of them as fit."""
    demand, shortest = case.deployment.demand, _shortest_prompt(case)

    def serves(longest: int) -> bool:
        return passes(_up_to(longest)(case), ask)

    contexts = [item.limit for item in rejections if item.reason is RejectionReason.CONTEXT_TOO_LONG and item.limit]
    longest = math.floor(max(contexts, default=0)) - demand.output_tokens.max_tokens
    if not (shortest <= longest < demand.input_tokens.max_tokens and serves(longest)):
        if not serves(shortest):
            return None
        longest = most(shortest, demand.input_tokens.max_tokens, serves)
    return Said(f"inputTokens.max <= {longest}", _up_to(longest))


AVAILABILITY = Change(_any_availability, _availability, frozenset({RejectionReason.SPOT_RISK}))
FIRST_TOKEN = _latency("TTFT", "time_to_first_token", RejectionReason.TTFT_TOO_HIGH)
PER_OUTPUT_TOKEN = _latency("TPOT", "time_per_output_token", RejectionReason.TPOT_TOO_HIGH)
PER_HOUR = Change(_any_dollars, _per_hour, frozenset({RejectionReason.OVER_BUDGET}))
PER_MILLION_TOKENS = Change(_any_dollars_per_token, _per_million, frozenset({RejectionReason.OVER_COST_PER_TOKEN}))
MOST_REPLICAS = Change(_any_replicas, _most_replicas, frozenset({RejectionReason.TOO_MANY_REPLICAS}))
FEWEST_REPLICAS = Change(
    _one_replica, _fewest_replicas, frozenset({RejectionReason.OVER_BUDGET, RejectionReason.NOT_ENOUGH_NODES})
)
SPOT_PERCENT = _field("maxSpotPercent 100", RejectionReason.SPOT_SHARE, max_spot_percent=100)
CAPACITY_TYPES = Change(_every_capacity_type, _capacity_types, frozenset({RejectionReason.NOT_ALLOWED}))
ACCELERATORS = _field(
    "lift placement.accelerators", RejectionReason.NOT_ALLOWED, allow_accelerators=(), deny_accelerators=()
)
ZONES = _field("lift placement.zones", RejectionReason.NOT_ALLOWED, zones=())
NODE_SELECTOR = _field("lift placement.nodeSelector", RejectionReason.NOT_ALLOWED, node_selector={})
ACCURACY = Change(_economy, _accuracy, frozenset({RejectionReason.PRECISION_NOT_ALLOWED}))
LOAD = Change(_hardly_any_load, _load, frozenset({RejectionReason.NOT_ENOUGH_NODES, RejectionReason.TOO_MANY_REPLICAS}))
LONGEST_PROMPT = Change(
    _short_prompts, _longest_prompt, frozenset({RejectionReason.CONTEXT_TOO_LONG, RejectionReason.DOES_NOT_FIT})
)
