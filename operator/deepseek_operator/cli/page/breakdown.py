"""What the dollars of the plan and of its alternatives pay for, as a picture and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deepseek_operator.cli.page.bars import PARTS, Bar, bars
from deepseek_operator.cli.page.markup import Markup, tag
from deepseek_operator.cli.page.report import Report
from deepseek_operator.cli.page.tables import Column, Row, table
from deepseek_operator.cli.page.words import dollars
from deepseek_planner.candidates import Load
from deepseek_planner.candidates import breakdown as parts_of
from deepseek_planner.units import MicroUsd

MOST_BARS = 8


def breakdown(report: Report) -> Iterator[Markup]:
    """Bars, their key, their words and their table."""
    rows = breakdowns(report)
    if not rows:
        return
    key = tag("ul", [_key(report, part, text) for part, text in PARTS.items()], class_="key")
    yield tag("h3", "What the dollars pay for")
    yield tag("figure", costs(report, rows), key, tag("figcaption", CAPTION))
    yield tag("details", tag("summary", "The same as a table"), _table(rows))


CAPTION = (
    "The plan, and of each kind of accelerator and precision the cheapest shape that would carry the planned load "
    "alone. Prompts and answers: the capacity that the expected load keeps busy. Held for the peak: what the planned "
    "load needs above that. Left over: what whole replicas and cover for interruptions leave. "
    "Lost to interruptions comes on top of the price."
)


def breakdowns(report: Report) -> list[Bar]:
    """The plan's bar, then its alternatives' by price."""
    found = list(_plans(report))
    seen: set[tuple[str, str, str]] = set()
    for item in sorted(report.planned.candidates, key=lambda item: (item.usd_per_hour, item.name)):
        kind = (item.model, item.shape.accelerator, str(item.shape.precision))
        if item.rejection or not item.breakdown or kind in seen:
            continue
        seen.add(kind)
        if not item.is_chosen:
            found.append(Bar(f"{item.replicas} x {item.name}", item.usd_per_hour, item.breakdown, is_chosen=False))
    return found[:MOST_BARS]


def _plans(report: Report) -> Iterator[Bar]:
    planned = report.planned
    if planned.prediction is None:
        return
    demand = report.asked.demand
    load = Load(
        planned_per_min=planned.planned_requests_per_min,
        expected_per_min=min(demand.expected_requests_per_min, planned.planned_requests_per_min),
        input_tokens=demand.input_tokens.mean_tokens,
        output_tokens=demand.output_tokens.mean_tokens,
    )
    expected = planned.expected_usd_per_hour or planned.usd_per_hour
    risk = MicroUsd(max(0, expected - planned.usd_per_hour))
    parts = parts_of(planned.usd_per_hour, risk, planned.prediction, load)
    yield Bar(report.fleet, planned.usd_per_hour, parts, is_chosen=True)


def costs(report: Report, rows: Sequence[Bar]) -> Markup:
    """The stacked bars."""
    return bars(
        rows,
        name=f"{report.name}-costs",
        title="Dollars per hour by what they pay for",
        description="A stacked bar for the plan and for each alternative; the table below holds the same numbers.",
    )


def _key(report: Report, part: str, text: str) -> Markup:
    fill = f"url(#{report.name}-costs-{part})" if part in {"spare", "risk"} else None
    form = tag("rect", class_=f"part {part}", fill=fill, width="28", height="14")
    return tag("li", tag("svg", form, viewBox="0 0 28 14", aria_hidden="true"), text, class_="wide")


def _table(rows: Sequence[Bar]) -> Markup:
    columns = [Column("Alternative"), Column("$/h", is_number=True)]
    columns += [Column(text.capitalize(), is_number=True) for text in PARTS.values()]
    return table(
        columns,
        [
            Row(
                (tag("code", row.name), dollars(row.usd_per_hour), *(dollars(amount) for _, amount in row.parts)),
                "chosen" if row.is_chosen else None,
            )
            for row in rows
        ],
        caption="Dollars per hour by what they pay for",
    )
