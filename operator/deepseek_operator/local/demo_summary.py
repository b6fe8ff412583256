"""The end of the demo: what was planned, what was measured, and whether everything promised happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepseek_operator.cli.screens import latency
from deepseek_operator.local.load import Summary
from deepseek_planner.demand import Measured
from deepseek_planner.plan import DeploymentPlan
from deepseek_planner.units import MicroUsd, format_usd

_WIDTHS = (12, 17, 15, 17, 17)


@dataclass(frozen=True, slots=True)
class Reading:
    """The meter at one moment."""

    measured: Measured
    engines: int


@dataclass(frozen=True, slots=True)
class Course:
    """The whole run: the plan, the meter near the peak, before and after the rebalance, and the requests."""

    plan: DeploymentPlan
    high: Reading
    before: Reading
    after: Reading
    requests: Summary
    tokens: float
    usd: float


def lines(course: Course) -> Iterator[str]:
    """The summary, below 100 columns."""
    yield _row("", "predicted", "near the peak", "low, before", "low, after")
    for name, values in _table(course):
        yield _row(name, *values)
    found = course.requests
    yield ""
    lost = f"{found.non_2xx} non-2xx, {found.unanswered} unanswered, {found.cut} cut streams"
    yield f"  requests   {found.requests}: {found.good} answered whole, {lost}"
    yield f"  metered    {course.tokens:,.0f} tokens for ${course.usd:.6f}, cold starts and idle time included"
    yield f"  rebalance  ${_usd(course.before, 'hour')}/h -> ${_usd(course.after, 'hour')}/h"
    yield f"             ${_usd(course.before, 'million')}/M -> ${_usd(course.after, 'million')}/M at the same low load"


def broken(course: Course) -> list[str]:
    """What the demo promises and this run does not show; empty when it shows all of it."""
    found = course.requests
    claims: Sequence[tuple[bool, str]] = (
        (found.requests > 0 and found.is_clean, f"not every request was answered whole: {'; '.join(found.errors)}"),
        (course.tokens > 0, "no tokens were metered"),
        (course.usd > 0, "no dollars were metered"),
        (course.before.engines == 2 and course.after.engines == 1, "the engines did not go from 2 to 1"),
        (_cheaper(course, "hour"), "dollars per hour did not fall"),
        (_cheaper(course, "million"), "dollars per million tokens did not fall"),
    )
    return [text for holds, text in claims if not holds]


def _table(course: Course) -> Iterator[tuple[str, Sequence[str]]]:
    plan, readings = course.plan, (course.high, course.before, course.after)
    prediction = plan.prediction
    replicas = sum(item.replicas for item in plan.placements)
    yield "engines", (str(replicas), *(str(item.engines) for item in readings))
    rate = f"{plan.planned_requests_per_min:.0f}"
    yield "req/min", (rate, *(f"{item.measured.requests_per_min:.0f}" for item in readings))
    ttft = prediction.time_to_first_token_s if prediction else None
    yield "TTFT p95", (_latency(ttft), *(_latency(item.measured.time_to_first_token_s) for item in readings))
    tpot = prediction.time_per_output_token_s if prediction else None
    yield "TPOT p95", (_latency(tpot), *(_latency(item.measured.time_per_output_token_s) for item in readings))
    yield "$/h", (format_usd(plan.usd_per_hour), *(_usd(item, "hour") for item in readings))
    yield "$/M tokens", (format_usd(plan.usd_per_million_tokens), *(_usd(item, "million") for item in readings))


def _row(*values: str) -> str:
    name, *rest = values
    return f"  {name:<{_WIDTHS[0]}}" + "".join(
        f"{value:>{width}}" for value, width in zip(rest, _WIDTHS[1:], strict=True)
    )


def _amount(reading: Reading, per: str) -> MicroUsd | None:
    measured = reading.measured
    return measured.usd_per_hour if per == "hour" else measured.usd_per_million_tokens


def _usd(reading: Reading, per: str) -> str:
    amount = _amount(reading, per)
    return "-" if amount is None else format_usd(amount)


def _latency(seconds: float | None) -> str:
    return "-" if seconds is None else latency(seconds)


def _cheaper(course: Course, per: str) -> bool:
    before, after = _amount(course.before, per), _amount(course.after, per)
    return before is not None and after is not None and after < before
