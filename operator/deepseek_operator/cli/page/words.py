"""Numbers and requests in words, rounded as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from deepseek_operator.cli.screens import CAPACITY, latency, latency_asked, limit
from deepseek_planner.demand import LatencyTarget, LengthDistribution
from deepseek_planner.explain import percent
from deepseek_planner.hardware import CapacityType
from deepseek_planner.plan import Placement, Rejection, RejectionReason
from deepseek_planner.slowest import rounded_up
from deepseek_planner.snapshot import DeploymentInput
from deepseek_planner.units import MICRO_PER_USD, MicroUsd, format_usd

GB = 1e9


def dollars(amount: MicroUsd) -> str:
    """``$41.57``, ``$1,234.50``, ``$0.0850``."""
    whole, point, cents = format_usd(amount).partition(".")
    return f"${int(whole):,}{point}{cents}"


def usd(amount: float) -> str:
    """Dollars on an axis: ``$0.5``, ``$20``, ``$1,000``."""
    return f"${amount:,.0f}" if amount >= 10 else f"${amount:g}"


def compared(amount: MicroUsd, base: MicroUsd) -> str:
    """``+35 %``, ``the same``; empty without a base."""
    if amount == base:
        return "the same"
    return f"{100 * (amount / base - 1):+.0f} %" if base else ""


def capacity(kind: CapacityType | None) -> str:
    """``spot``, ``on-demand``, ``reserved``; empty where there is none."""
    return CAPACITY[str(kind)] if kind else ""


def prompts(placement: Placement) -> str:
    """Which prompts go there; empty where all do."""
    if placement.input_tokens is None:
        return ""
    above, up_to = placement.input_tokens
    return f"above {above:,} up to {up_to:,} tokens" if above else f"up to {up_to:,} tokens"


def request(asked: DeploymentInput) -> Iterator[str]:
    """What was asked for, in sentences."""
    demand, objectives = asked.demand, asked.objectives
    prefix = f"; the first {demand.shared_prefix_tokens:,} tokens are shared" if demand.shared_prefix_tokens else ""
    yield (
        f"{demand.expected_requests_per_min:,.0f} requests a minute are expected and "
        f"{demand.peak_requests_per_min:,.0f} at the peak, with prompts of {_lengths(demand.input_tokens)}{prefix}, "
        f"and answers of {_lengths(demand.output_tokens)}."
    )
    targets = [
        f"{what} within {latency_asked(target.limit_s)} for {target.percentile} % of the requests"
        for what, target in (
            ("the first token", objectives.time_to_first_token),
            ("each further token", objectives.time_per_output_token),
        )
        if isinstance(target, LatencyTarget)
    ]
    yield f"Wanted: {' and '.join(targets)}." if targets else "No latency target is set."
    money = f"${limit(objectives.max_usd_per_hour)} an hour"
    if objectives.max_usd_per_million_tokens is not None:
        money += f" and ${limit(objectives.max_usd_per_million_tokens)} per million tokens"
    yield f"Accuracy class {objectives.accuracy_class}; at most {money}."


def _lengths(distribution: LengthDistribution) -> str:
    return f"{distribution.mean_tokens:,.0f} tokens on average (at most {distribution.max_tokens:,})"


LIMITS = {
    RejectionReason.OVER_BUDGET: "objectives.maxUSDPerHour",
    RejectionReason.OVER_COST_PER_TOKEN: "objectives.maxUSDPerMillionTokens",
    RejectionReason.TTFT_TOO_HIGH: "objectives.timeToFirstToken",
    RejectionReason.TPOT_TOO_HIGH: "objectives.timePerOutputToken",
    RejectionReason.TOO_MANY_REPLICAS: "scaling.maxReplicas",
    RejectionReason.CLUSTER_BUDGET: "the cluster's limit",
    RejectionReason.NOT_ENOUGH_NODES: "room for replicas",
    RejectionReason.DOES_NOT_FIT: "memory of each accelerator for it",
    RejectionReason.CONTEXT_TOO_LONG: "a model that takes",
}
"""What the number that would have passed is a number of."""


def would_pass(rejection: Rejection) -> str:
    """The number that would have passed, and of what; empty where no number would."""
    value, name = rejection.value, LIMITS.get(rejection.reason)
    if rejection.reason is RejectionReason.SPOT_RISK and value is not None:
        return f"objectives.availabilityPercent ≤ {percent(value)}"
    if value is None or name is None or not math.isfinite(value):
        return ""
    return f"{name} ≥ {_amount(value, rejection.unit)}"


def _amount(value: float, unit: str) -> str:
    match unit:
        case "USD/h":
            return f"{dollars(MicroUsd(math.ceil(value * 100) * MICRO_PER_USD // 100))}/h"
        case "USD/M":
            return f"{dollars(MicroUsd(math.ceil(value * 100) * MICRO_PER_USD // 100))}/M"
        case "s":
            return latency(rounded_up(value))
        case "bytes":
            return f"{value / GB:,.1f} GB"
    return f"{math.ceil(value - 1e-9):,} {unit}".strip()
