"""The pictures of a deployment: price against latency, and what each alternative's dollars pay for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deepseek_operator.cli.page.bars import PARTS, Bar, bars
from deepseek_operator.cli.page.markup import Markup, tag
from deepseek_operator.cli.page.report import Report
from deepseek_operator.cli.page.scatter import Kind, Labels, Mark, scatter
from deepseek_operator.cli.page.tables import Column, Row, table
from deepseek_operator.cli.page.words import dollars, usd
from deepseek_operator.cli.screens import latency, spaced
from deepseek_planner.hardware import CapacityType
from deepseek_planner.plan import Candidate
from deepseek_planner.units import MICRO_PER_USD

MOST_BARS = 8
OUT_OF_SIGHT = 4
"""Times the dearest that would serve: what was refused at more would press all else into a corner."""


def pictures(report: Report) -> Iterator[Markup]:
    """Both, each with its words and its table."""
    priced = marked(report)
    if not priced:
        return
    yield tag("h3", "Price against latency")
    yield tag("p", _counted(report), class_="soft")
    yield tag("figure", tag("div", list(fronts(report, priced)), class_="pair"), _key(), _caption(report))
    rows = breakdowns(report)
    yield tag("h3", "What the dollars pay for")
    yield tag(
        "figure",
        costs(report, rows),
        tag("ul", [_part_key(report, part, text) for part, text in PARTS.items()], class_="key"),
        tag("figcaption", COSTS),
    )
    yield tag("details", tag("summary", "The same as a table"), _breakdown_table(rows))


def costs(report: Report, rows: Sequence[Bar]) -> Markup:
    """The stacked bars."""
    return bars(
        rows,
        name=f"{report.name}-costs",
        title="Dollars per hour by what they pay for",
        description="A stacked bar per alternative; the table below holds the same numbers.",
    )


COSTS = (
    "Each shape alone, carrying the whole planned load; the cheapest of each kind of accelerator and precision. "
    "Prompts and answers: the capacity that the expected load keeps busy. Held for the peak: what the planned load "
    "needs above that. Left over: what whole replicas and cover for interruptions leave. "
    "Lost to interruptions comes on top of the price."
)


def _counted(report: Report) -> str:
    shown, known = len(marked(report)), _known(report)
    refused = sum(1 for item in known if item.rejection)
    before = len(report.planned.candidates) - len(known)
    text = f"{len(known) - refused} alternatives would serve alone, {refused} were priced and refused"
    text += f" ({len(known) - shown} of them dearer than the pictures reach)" if shown < len(known) else ""
    return text + (f", {before} were refused before their service was worked out." if before else ".")


def _caption(report: Report) -> Markup:
    placements = report.planned.placements
    mixed = len({(item.model, item.shape) for item in placements}) > 1
    reserved = any(item.capacity_type is CapacityType.RESERVED for item in placements)
    return tag("figcaption", BEFORE_MARGIN, MIXED if mixed else None, PAID_ANYWAY if reserved else None)


BEFORE_MARGIN = (
    "Latencies are at the asked percentile and the planned load, before the margin, so a point near the target may be "
    "refused."
)
PAID_ANYWAY = " Reserved capacity is paid for anyway, so it is chosen before what looks cheaper here."
MIXED = " The chosen shapes serve together: each is shown as if it served alone."


def _known(report: Report) -> list[Candidate]:
    """Alternatives of which price and latency are known."""
    return [item for item in report.planned.candidates if item.prediction and item.usd_per_million_tokens]


def marked(report: Report) -> list[Candidate]:
    """Alternatives that have a place in the pictures."""
    known = _known(report)
    serving = [item.usd_per_million_tokens for item in known if not item.rejection]
    dearest = OUT_OF_SIGHT * max(serving) if serving else None
    return [item for item in known if dearest is None or item.usd_per_million_tokens <= dearest]


def fronts(report: Report, priced: Sequence[Candidate]) -> Iterator[Markup]:
    """Dollars per million tokens against TTFT and against TPOT."""
    objectives = report.asked.objectives
    for what, long, target in (
        ("TPOT", "time per output token", objectives.time_per_output_token),
        ("TTFT", "time to first token", objectives.time_to_first_token),
    ):
        labels = Labels(
            name=f"{report.name}-{what.lower()}",
            title=f"Dollars per million tokens against {what}",
            description=f"Each alternative's price and {long}; the numbers are in the table of all alternatives below.",
            x=f"{what}{f' p{target.percentile}' if target else ''}",
            y="$ per million tokens",
            x_text=lambda seconds: latency(seconds) if seconds else "0",
            y_text=usd,
        )
        yield scatter([_mark(item, what) for item in priced], labels, limit=target.limit_s if target else None)


def _mark(item: Candidate, what: str) -> Mark:
    prediction = item.prediction
    assert prediction is not None
    seconds = prediction.time_per_output_token_s if what == "TPOT" else prediction.time_to_first_token_s
    kind = Kind.CHOSEN if item.is_chosen else Kind.REFUSED if item.rejection else Kind.WORKS
    title = f"{item.replicas} x {item.name}: {dollars(item.usd_per_million_tokens)}/M, {what} {latency(seconds)}"
    if item.rejection:
        title += f"; refused: {item.rejection.message}"
    return Mark(seconds, item.usd_per_million_tokens / MICRO_PER_USD, kind, item.name, title)


def _key() -> Markup:
    entries = (
        (tag("g", tag("path", d="M8-1l8 8-8 8-8-8z"), class_="chosen"), "chosen"),
        (tag("circle", cx="8", cy="7", r="5", class_="works"), "would serve"),
        (tag("g", tag("path", d="M4 3l8 8m0-8l-8 8"), class_="refused"), "refused"),
        (tag("path", d="M0 3h8v8h8", class_="front"), "nothing is both cheaper and quicker"),
        (tag("path", d="M8-1v16", class_="limit"), "target"),
    )
    return tag("ul", [tag("li", _icon(form), text) for form, text in entries], class_="key")


def _icon(form: Markup, box: str = "0 0 16 14") -> Markup:
    return tag("svg", form, viewBox=box, aria_hidden="true")


def _part_key(report: Report, part: str, text: str) -> Markup:
    fill = f"url(#{report.name}-costs-{part})" if part in {"spare", "risk"} else None
    form = tag("rect", class_=f"part {part}", fill=fill, width="28", height="14")
    return tag("li", _icon(form, "0 0 28 14"), text, class_="wide")


def breakdowns(report: Report) -> list[Bar]:
    """The chosen and the cheapest of each kind of accelerator and precision."""
    seen: set[tuple[str, str, str]] = set()
    found: list[Bar] = []
    for item in sorted(report.planned.candidates, key=lambda item: (not item.is_chosen, item.usd_per_hour, item.name)):
        kind = (item.model, item.shape.accelerator, str(item.shape.precision))
        if not item.breakdown or (item.rejection and not item.is_chosen) or kind in seen:
            continue
        seen.add(kind)
        found.append(Bar(f"{item.replicas} x {item.name}", item.usd_per_hour, item.breakdown, item.is_chosen))
    return found[:MOST_BARS]


def _breakdown_table(rows: Sequence[Bar]) -> Markup:
    columns = [Column("Alternative"), Column("$/h", is_number=True)]
    columns += [Column(spaced(text).capitalize(), is_number=True) for text in PARTS.values()]
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
