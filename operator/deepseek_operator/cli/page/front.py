"""Price against latency: the plan, and every alternative as if it served alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deepseek_operator.cli.page.markup import Markup, tag
from deepseek_operator.cli.page.report import Report
from deepseek_operator.cli.page.scatter import Kind, Labels, Mark, scatter
from deepseek_operator.cli.page.words import dollars, usd
from deepseek_operator.cli.screens import latency
from deepseek_planner.hardware import CapacityType
from deepseek_planner.plan import Candidate, Prediction
from deepseek_planner.units import MICRO_PER_USD, MicroUsd

OUT_OF_SIGHT = 4
"""Times the dearest that would serve: what was refused at more would press all else into a corner."""


def front(report: Report) -> Iterator[Markup]:
    """Both pictures and their words."""
    if not _known(report):
        return
    yield tag("h3", "Price against latency")
    yield tag("p", _counted(report), class_="soft")
    reserved = any(item.capacity_type is CapacityType.RESERVED for item in report.planned.placements)
    caption = tag("figcaption", CAPTION, PAID_ANYWAY if reserved else None)
    yield tag("figure", tag("div", list(fronts(report)), class_="pair"), _key(), caption)


CAPTION = (
    "The plan, and every alternative as if it served alone. Latencies are at the asked percentile and the planned "
    "load, before the margin, so a point near the target may be refused."
)
PAID_ANYWAY = " Reserved capacity is paid for anyway, so it is chosen before what looks cheaper here."


def _counted(report: Report) -> str:
    shown, known = len(marked(report)), _known(report)
    refused = sum(1 for item in known if item.rejection)
    before = len(report.planned.candidates) - len(known)
    text = f"{len(known) - refused} alternatives would serve alone, {refused} were priced and refused"
    text += f" ({len(known) - shown} of them dearer than the pictures reach)" if shown < len(known) else ""
    return text + (f", {before} were refused before their service was worked out." if before else ".")


def _known(report: Report) -> list[Candidate]:
    """Alternatives of which price and latency are known."""
    return [item for item in report.planned.candidates if item.prediction and item.usd_per_million_tokens]


def marked(report: Report) -> list[Candidate]:
    """Alternatives that have a place in the pictures."""
    known = _known(report)
    serving = [item.usd_per_million_tokens for item in known if not item.rejection]
    serving += [report.planned.usd_per_million_tokens] if report.planned.is_feasible else []
    dearest = OUT_OF_SIGHT * max(serving) if serving else None
    return [item for item in known if dearest is None or item.usd_per_million_tokens <= dearest]


def fronts(report: Report) -> Iterator[Markup]:
    """Dollars per million tokens against TPOT and against TTFT."""
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
        yield scatter(list(_marks(report, what)), labels, limit=target.limit_s if target else None)


def _marks(report: Report, what: str) -> Iterator[Mark]:
    planned = report.planned
    if planned.prediction is not None and planned.usd_per_million_tokens:
        seconds = _seconds(planned.prediction, what)
        title = f"the plan, {report.fleet}: {_told(planned.usd_per_million_tokens, what, seconds)}"
        yield Mark(seconds, planned.usd_per_million_tokens / MICRO_PER_USD, Kind.CHOSEN, report.fleet_in_short, title)
    for item in marked(report):
        if item.is_chosen:
            continue
        assert item.prediction is not None
        seconds = _seconds(item.prediction, what)
        title = f"{item.replicas} x {item.name}: {_told(item.usd_per_million_tokens, what, seconds)}"
        if item.rejection:
            title += f"; refused: {item.rejection.message}"
        kind = Kind.REFUSED if item.rejection else Kind.WORKS
        yield Mark(seconds, item.usd_per_million_tokens / MICRO_PER_USD, kind, item.name, title)


def _seconds(prediction: Prediction, what: str) -> float:
    return prediction.time_per_output_token_s if what == "TPOT" else prediction.time_to_first_token_s


def _told(amount: MicroUsd, what: str, seconds: float) -> str:
    return f"{dollars(amount)}/M, {what} {latency(seconds)}"


def _key() -> Markup:
    entries: Sequence[tuple[Markup, str]] = (
        (tag("g", tag("path", d="M8-1l8 8-8 8-8-8z"), class_="chosen"), "the plan"),
        (tag("circle", cx="8", cy="7", r="5", class_="works"), "would serve"),
        (tag("g", tag("path", d="M4 3l8 8m0-8l-8 8"), class_="refused"), "refused"),
        (tag("path", d="M0 3h8v8h8", class_="front"), "nothing is both cheaper and quicker"),
        (tag("path", d="M8-1v16", class_="limit"), "target"),
    )
    icons = [tag("svg", form, viewBox="0 0 16 14", aria_hidden="true") for form, _ in entries]
    return tag("ul", [tag("li", icon, text) for icon, (_, text) in zip(icons, entries, strict=True)], class_="key")
