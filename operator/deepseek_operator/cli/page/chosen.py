"""What was asked for and what was chosen: words, the price, the service, and the replicas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deepseek_operator.cli.page.gauge import gauge
from deepseek_operator.cli.page.markup import Child, Markup, tag
from deepseek_operator.cli.page.report import Report
from deepseek_operator.cli.page.tables import Column, Row, table
from deepseek_operator.cli.page.words import capacity, compared, dollars, prompts, request
from deepseek_operator.cli.screens import latency, latency_asked, limit, spaced
from deepseek_planner.explain import percent, shortage, uses_spot
from deepseek_planner.plan import Placement


def chosen(report: Report) -> Iterator[Markup]:
    """The top of a deployment's part of the page."""
    asked, planned = report.asked, report.planned
    yield tag("h2", str(asked.key.name), " ", tag("small", f"{asked.model} for {asked.key.namespace}"))
    yield tag("p", " ".join(request(asked)))
    yield from _notes(report)
    if not planned.is_feasible:
        yield from _warnings(report)
        return
    yield tag(
        "p",
        tag("b", dollars(planned.usd_per_hour)),
        tag("span", "an hour"),
        tag("b", dollars(planned.usd_per_million_tokens)),
        tag("span", "per million tokens"),
        class_="price",
    )
    yield tag("p", _next_best(report), class_="soft")
    yield from _warnings(report)
    yield tag("dl", [_tile(tile) for tile in _tiles(report)], class_="tiles")
    yield from _placements(report)


def _notes(report: Report) -> Iterator[Markup]:
    planned = report.planned
    if not planned.is_feasible:
        change = planned.smallest_change
        text = f"It would be feasible with: {change}." if change else planned.obstacle
        yield tag("p", tag("strong", "No plan is feasible. "), text, class_="note bad")
    if planned.shortage is not None:
        text = f"{shortage(planned.shortage, report.priorities)}."
        text += (
            f" All of it with: {planned.smallest_change}." if planned.is_feasible and planned.smallest_change else ""
        )
        yield tag("p", tag("strong", "Short: "), text, class_="note bad")


def _warnings(report: Report) -> list[Markup]:
    return [tag("p", tag("strong", "Beware: "), f"{warning}.", class_="note") for warning in report.planned.warnings]


def _next_best(report: Report) -> str:
    planned = report.planned
    if not planned.alternatives:
        return "No other kind of accelerator, or of capacity, would serve this."
    best = planned.alternatives[0]
    text = f"Next best: {best.name}, {capacity(best.capacity_type)}, for {dollars(best.usd_per_hour)} an hour"
    # What serves less than was asked is no measure for what serves all of it.
    more = "" if planned.shortage else compared(best.usd_per_hour, planned.usd_per_hour)
    return f"{text} ({more})." if more else f"{text}."


@dataclass(frozen=True, slots=True)
class Tile:
    """A number that matters, what it is compared with, and how much of that it takes."""

    name: str
    value: str
    detail: str
    used: float | None = None
    margin: float = 0.0


def _tile(tile: Tile) -> Markup:
    picture = None if tile.used is None else gauge(tile.used, tile.margin)
    return tag("div", tag("dt", tile.name), tag("dd", tile.value, picture, tag("small", tile.detail)))


def _tiles(report: Report) -> Iterator[Tile]:
    asked, planned = report.asked, report.planned
    prediction, objectives = planned.prediction, asked.objectives
    assert prediction is not None
    for name, percentile, seconds, target in (
        (
            "First token",
            prediction.time_to_first_token_percentile,
            prediction.time_to_first_token_s,
            objectives.time_to_first_token,
        ),
        (
            "Each further token",
            prediction.time_per_output_token_percentile,
            prediction.time_per_output_token_s,
            objectives.time_per_output_token,
        ),
    ):
        used = seconds / target.limit_s if target else None
        detail = f"target {latency_asked(target.limit_s)}" if target else "no target"
        yield Tile(
            f"{name}, p{percentile}", latency(seconds), detail, used, (used or 0.0) * prediction.margin_percent / 100
        )
    yield Tile(
        "Margin", f"{prediction.margin_percent} %", f"kept off the targets: {spaced(str(prediction.confidence))}"
    )
    rate = f"of {prediction.capacity_requests_per_min:,.0f} requests a minute within the targets"
    yield Tile("Planned load", f"{prediction.utilization_percent:.0f} %", rate, prediction.utilization_percent / 100)
    spent = planned.usd_per_hour / max(1, objectives.max_usd_per_hour)
    yield Tile("Budget", f"{100 * spent:.0f} %", f"of ${limit(objectives.max_usd_per_hour)} an hour", spent)
    if not uses_spot(planned):
        return
    if planned.availability_percent is not None:
        detail = f"of moments carry the planned load; {objectives.availability_percent:g} % asked"
        yield Tile("Availability", f"{percent(planned.availability_percent)} %", detail)
    if planned.expected_usd_per_hour is not None:
        detail = "lost work and restarts of spot nodes included"
        yield Tile("With interruptions", f"{dollars(planned.expected_usd_per_hour)}/h", detail)


def _placements(report: Report) -> Iterator[Markup]:
    planned = report.planned
    has_prompts = any(item.input_tokens for item in planned.placements)
    has_models = any(item.model for item in planned.placements)
    columns = [
        Column("Share"),
        Column("Replicas"),
        *([Column("Model")] if has_models else []),
        *([Column("Prompts")] if has_prompts else []),
        Column("Pool"),
        Column("$/h", is_number=True),
        Column("TTFT", is_number=True),
        Column("TPOT", is_number=True),
        Column("Loses in quality"),
    ]

    def cells(item: Placement) -> Iterator[Child]:
        yield f"{item.share_percent} %", gauge(item.share_percent / 100)
        yield tag("code", f"{item.replicas} x {item.shape.name}")
        if has_models:
            yield item.model or report.asked.model
        if has_prompts:
            yield prompts(item)
        yield f"{item.pool} ({capacity(item.capacity_type)})"
        yield dollars(item.usd_per_hour)
        own = item.prediction or planned.prediction
        yield latency(own.time_to_first_token_s) if own else ""
        yield latency(own.time_per_output_token_s) if own else ""
        yield report.quality(item)

    rows = [Row(tuple(cells(item))) for item in planned.placements]
    yield table(columns, rows, caption="What should run")
    assert planned.prediction is not None
    yield tag("p", f"A token's time: {planned.prediction.bottleneck}.", class_="soft")
