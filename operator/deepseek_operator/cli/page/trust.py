"""What stands behind the numbers: how engines are set and why, where prices come from, how sure predictions are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from deepseek_operator.cli.page.markup import Markup, tag
from deepseek_operator.cli.page.report import Report
from deepseek_operator.cli.page.tables import Column, Row, table
from deepseek_planner.explain import gap
from deepseek_planner.plan import Confidence, EngineReason
from deepseek_planner.prices import is_stale

MEANING = {
    Confidence.CALIBRATED: "fitted to runs of this model on this accelerator",
    Confidence.SAME_MODEL_OTHER_ACCELERATOR: "fitted to runs of this model on other accelerators",
    Confidence.OTHER_MODEL: "fitted to runs of other models",
    Confidence.ROOFLINE_ONLY: "data-sheet facts alone: no measured run stands behind it",
    Confidence.UNVERIFIED: "no measured run stands behind it",
}


def engines(report: Report) -> Iterator[Markup]:
    """The parameters that the plan sets, each with its reason; engines that are set alike together."""
    alike: dict[tuple[str, tuple[EngineReason, ...]], list[str]] = {}
    for item in report.planned.placements:
        if item.engine_reasons:
            name = f"{item.model}/{item.shape.name}" if item.model else item.shape.name
            alike.setdefault((name, item.engine_reasons), []).append(item.pool)
    if not alike:
        return
    yield tag("h3", "How the engines are set, and why")
    columns = [Column("Parameter"), Column("Value", is_number=True), Column("Because", is_wide=True)]
    for (name, reasons), pools in alike.items():
        rows = [Row((tag("code", each.parameter), _grouped(each.value), each.reason)) for each in reasons]
        yield table(columns, rows, caption=f"{name} on {', '.join(pools)}")


def _grouped(value: str) -> str:
    """Large numbers with their thousands apart."""
    return f"{int(value):,}" if value.isdecimal() else value


def trust(report: Report, now: datetime) -> Iterator[Markup]:
    """Confidence, prices with their age, the proven gap and the digest."""
    planned = report.planned
    yield tag("h3", "What stands behind the numbers")
    if planned.prediction is not None:
        prediction = planned.prediction
        yield tag(
            "p",
            f"Predictions: {MEANING[prediction.confidence]}; {prediction.margin_percent} % are added before a latency "
            "is compared with its target.",
        )
    yield tag("p", _sizing(report))
    if planned.is_feasible and planned.gap_percent > 0:
        yield tag(
            "p", f"No plan for all deployments together is more than {gap(planned.gap_percent)} % cheaper: proven."
        )
    yield _prices(report, now)
    yield tag("p", "Digest ", tag("code", planned.digest), class_="soft")


def _sizing(report: Report) -> str:
    planned = report.planned
    return (
        f"Sized for {planned.planned_requests_per_min:,.0f} requests a minute ({planned.demand_source}); "
        f"dollars per token are at {report.asked.demand.expected_requests_per_min:,.0f}."
        if planned.demand_source == "declared"
        else f"Sized for {planned.planned_requests_per_min:,.0f} requests a minute (measured)."
    )


def _prices(report: Report, now: datetime) -> Markup:
    """Pools that the plan uses first, then the others by name; one line per source and date."""
    used = {item.pool for item in report.planned.placements}
    by_source: dict[tuple[str, str, str], list[str]] = {}
    for offering in report.offerings:
        if offering.price is not None:
            price, today = offering.price, now.date()
            old = is_stale(price, today=today, max_age_days=report.max_price_age_days)
            age = f"{max(0, (today - price.as_of).days)} days{', stale' if old else ''}"
            by_source.setdefault((price.source, price.as_of.isoformat(), age), []).append(offering.pool)
    lines = sorted(by_source.items(), key=lambda item: (not used & set(item[1]), item[0]))
    columns = [Column("Prices from"), Column("As of"), Column("Age", is_number=True), Column("Pools", is_number=True)]
    rows = [
        Row((source, as_of, age, f"{len(pools)}{' (used)' if used & set(pools) else ''}"))
        for (source, as_of, age), pools in lines
    ]
    return table(columns, rows)
