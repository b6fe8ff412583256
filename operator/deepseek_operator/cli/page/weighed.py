"""What was weighed: precisions by scenario, every alternative, the refused with the number that would have passed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from deepseek_operator.cli.page.markup import Markup, tag
from deepseek_operator.cli.page.report import Report
from deepseek_operator.cli.page.tables import Column, Row, table
from deepseek_operator.cli.page.words import capacity, dollars, would_pass
from deepseek_operator.cli.screens import latency, spaced
from deepseek_planner import matrix as matrices
from deepseek_planner.explain import STAGES, message, nearest
from deepseek_planner.plan import Candidate, Rejection, RejectionReason
from deepseek_planner.units import MicroUsd

HEAT = 4
"""Steps of shading; each is so many times dearer than the one before."""
HEAT_STEP = 1.5


def matrix(report: Report) -> Iterator[Markup]:
    """Scenario by precision, shaded by price."""
    rows = report.matrix
    if not rows:
        return
    yield tag("h3", "What precision costs")
    yield tag("p", MATRIX, class_="soft")
    cheapest = min((cell.usd_per_hour for row in rows for cell in row.cells if cell.name), default=MicroUsd(1))
    head = tag("tr", tag("th", "Scenario", scope="col"), [_head(cell) for cell in rows[0].cells])
    body = [
        tag(
            "tr",
            tag("th", row.scenario, tag("small", row.detail), scope="row"),
            [_cell(cell, cheapest) for cell in row.cells],
        )
        for row in rows
    ]
    whole = tag("table", tag("thead", head), tag("tbody", body), class_="matrix")
    yield tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label="What precision costs")


MATRIX = (
    "Dollars per hour and per million tokens of the cheapest single shape in each precision, as if this deployment "
    "stood alone on the pools. The accuracy class and the budget are set aside; what they forbid is in italics. "
    "A diamond marks the cheapest that they allow; the stronger the shade, the dearer."
)


def _head(cell: matrices.Cell) -> Markup:
    note = None if cell.is_allowed else tag("small", "not in the class")
    return tag("th", str(cell.precision), note, scope="col")


def _cell(cell: matrices.Cell, cheapest: MicroUsd) -> Markup:
    if not cell.name:
        return tag("td", cell.refusal, class_="no")
    step = min(HEAT, 1 + int(math.log(max(1.0, cell.usd_per_hour / max(1, cheapest)), HEAT_STEP)))
    note = "over budget" if cell.is_over_budget else cell.name
    is_out = cell.is_over_budget or not cell.is_allowed
    return tag(
        "td",
        tag("b" if cell.is_cheapest else "span", f"{dollars(cell.usd_per_hour)}/h", class_="out" if is_out else None),
        tag("small", f"{dollars(cell.usd_per_million_tokens)}/M"),
        tag("small", note),
        class_=f"h{step} best" if cell.is_cheapest else f"h{step}",
        title=cell.name,
    )


def alternatives(report: Report) -> Iterator[Markup]:
    """Every alternative with a shape of its own, one per line."""
    weighed = report.planned.candidates
    if not weighed:
        return
    priced = [item for item in weighed if item.prediction]
    rest = [item for item in weighed if not item.prediction]
    yield tag("h3", "Everything that was weighed")
    yield tag(
        "details", tag("summary", f"{len(priced)} alternatives whose service was worked out"), _priced(report, priced)
    )
    if rest:
        summary = tag("summary", f"{len(rest)} that were refused before that")
        yield tag("details", summary, _rest(rest))


def _priced(report: Report, items: Sequence[Candidate]) -> Markup:
    has_models = any(item.model != report.asked.model for item in items)
    columns = [Column("Alternative"), *([Column("Model")] if has_models else []), Column("Pool")]
    numbers = ("$/h", "$/M", "$/M in", "$/M out", "TTFT", "TPOT", "Load", "Margin")
    columns += [Column(name, is_number=True) for name in numbers]
    columns += [Column("Bound by", is_wide=True), Column("Loses in quality"), Column("Why not", is_wide=True)]
    return table(columns, [_line(item, has_models=has_models) for item in items], caption="Alternatives, each alone")


def _line(item: Candidate, *, has_models: bool) -> Row:
    prediction = item.prediction
    assert prediction is not None
    return Row(
        (
            tag("code", f"{item.replicas or '?'} x {item.name}"),
            *([item.model] if has_models else []),
            ", ".join(_places(item)) or "no room",
            dollars(item.usd_per_hour),
            dollars(item.usd_per_million_tokens),
            dollars(item.usd_per_million_input_tokens),
            dollars(item.usd_per_million_output_tokens),
            latency(prediction.time_to_first_token_s),
            latency(prediction.time_per_output_token_s),
            f"{prediction.utilization_percent:.0f} %",
            f"{prediction.margin_percent} %, {spaced(str(prediction.confidence))}",
            prediction.bottleneck,
            item.quality_loss,
            _verdict(item),
        ),
        "chosen" if item.is_chosen else None,
    )


def _places(item: Candidate) -> Iterator[str]:
    """Pools, with the replicas in each where there are several."""
    for pool, kind, replicas in item.pools:
        count = f"{replicas} in " if len(item.pools) > 1 else ""
        yield f"{count}{pool} ({capacity(kind)})"


def _verdict(item: Candidate) -> str:
    if item.is_chosen:
        return f"chosen {item.verdict}".strip()
    text = item.rejection.message if item.rejection else item.verdict or "would serve alone"
    return f"chosen beside others; alone: {text}" if item.is_part else text


def _rest(items: Sequence[Candidate]) -> Markup:
    columns = [Column("Alternative"), Column("Reason"), Column("Why not", is_wide=True)]
    rows = [
        Row((tag("code", item.name), spaced(str(item.rejection.reason)), message(item.rejection)))
        for item in items
        if item.rejection
    ]
    return table(columns, rows, caption="Refused before their service was worked out")


REFUSED = (
    "Shapes are counted once, by the refusal in their row above. Others would serve alone, but not on some of the "
    "pools or beside the other deployments. As a whole: a precision, an accelerator or a pool, before any shape of it."
)


def refused(report: Report) -> Iterator[Markup]:
    """By reason, furthest first; of each accelerator what came nearest, with the number that would have passed."""
    groups: dict[RejectionReason, list[Rejection]] = {}
    for rejection in _refusals(report):
        groups.setdefault(rejection.reason, []).append(rejection)
    shapes = {_named(report, item): item.rejection is None for item in report.planned.candidates}
    if not groups:
        return
    yield tag("h3", "What was refused, and what would pass")
    yield tag("p", REFUSED, class_="soft")
    for reason in sorted(groups, key=lambda reason: (-STAGES[reason], reason)):
        yield tag(
            "h4", spaced(str(reason)).capitalize(), " ", tag("small", _count(groups[reason], shapes), class_="soft")
        )
        columns = [Column("Nearest of each accelerator"), Column("Why", is_wide=True), Column("Would pass at")]
        rows = [Row((tag("code", item.name), message(item), would_pass(item))) for item in nearest(groups[reason])]
        yield table(columns, rows)


def _refusals(report: Report) -> Iterator[Rejection]:
    """Of each shape that does not serve the one that its row shows, and all that is about no such shape."""
    told: set[str] = set()
    for item in report.planned.candidates:
        if item.rejection:
            told.add(_named(report, item))
            yield item.rejection
    yield from (item for item in report.planned.rejections if item.name not in told)


def _named(report: Report, item: Candidate) -> str:
    """As refusals name it: behind the variant's name."""
    return item.name if item.model == report.asked.model else f"{item.model}/{item.name}"


def _count(group: Sequence[Rejection], shapes: Mapping[str, bool]) -> str:
    """``58, 1 that would serve alone, 8 as a whole``; ``shapes``: by name, whether the row serves."""
    refused = sum(1 for item in group if shapes.get(item.name) is False)
    elsewhere = sum(1 for item in group if shapes.get(item.name))
    whole = len(group) - refused - elsewhere
    parts = (f"{refused}", refused), (f"{elsewhere} that would serve alone", elsewhere), (f"{whole} as a whole", whole)
    return ", ".join(text for text, count in parts if count)
