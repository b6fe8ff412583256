"""Dollars that a deployment allows, per hour and per million tokens, and the rates that these count."""

from __future__ import annotations

from deepseek_planner import cost
from deepseek_planner.asked import Request
from deepseek_planner.forecast import planned_requests_per_min
from deepseek_planner.plan import Rejection, RejectionReason
from deepseek_planner.snapshot import DeploymentInput, Shape
from deepseek_planner.units import MicroUsd, format_usd_allowed, format_usd_needed


def served_requests_per_min(deployment: DeploymentInput) -> float:
    """The rate that dollars per token are stated at: measured where it is, else as expected."""
    _, source = planned_requests_per_min(deployment.demand, deployment.measured)
    measured = deployment.measured
    if source == "measured" and measured is not None and measured.requests_per_min > 0:
        return measured.requests_per_min
    return deployment.demand.expected_requests_per_min


def limited_requests_per_min(deployment: DeploymentInput) -> float:
    """The rate that the limit of dollars per token counts: it is a promise about the expected demand.

    A quiet hour makes tokens dear and must not forbid the smallest fleet that serves it.
    """
    return max(deployment.demand.expected_requests_per_min, served_requests_per_min(deployment))


def per_million_tokens(asked: Request, hourly: MicroUsd, requests_per_min: float) -> MicroUsd:
    """Of a fleet at a rate of requests of the demand's mean lengths."""
    tokens = asked.demand.input_mean + asked.demand.output_mean
    return cost.usd_per_million_tokens(hourly, requests_per_min, tokens)


def most_usd_per_hour(asked: Request) -> MicroUsd:
    """What both budgets allow: dollars per hour, and per million tokens at the expected demand."""
    objectives = asked.deployment.objectives
    most = objectives.max_usd_per_million_tokens
    if most is None:
        return objectives.max_usd_per_hour
    rate = limited_requests_per_min(asked.deployment)
    tokens_per_hour = rate * 60 * (asked.demand.input_mean + asked.demand.output_mean)
    hourly = MicroUsd(int(most * tokens_per_hour / cost.TOKENS_PER_UNIT) + 1)
    while hourly > 0 and per_million_tokens(asked, hourly, rate) > most:
        hourly = MicroUsd(hourly - 1)
    return min(objectives.max_usd_per_hour, hourly)


def over_budget(
    name: str, shape: Shape, what: str, hourly: MicroUsd, limit: MicroUsd, *, replicas: int = 0
) -> Rejection:
    """The refusal of a shape, by its name or that behind a variant's, that costs more per hour than it may."""
    return Rejection(
        name,
        RejectionReason.OVER_BUDGET,
        f"{what} = ${format_usd_needed(hourly)}/h > ${format_usd_allowed(limit)}/h",
        hourly / 1e6,
        limit / 1e6,
        "USD/h",
        shape.accelerator,
        usd_per_hour=hourly,
        replicas=replicas,
    )
