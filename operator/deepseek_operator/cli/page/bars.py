"""What the dollars of each alternative pay for, as stacked bars that keep their letters readable at any width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepseek_operator.cli.page.markup import Markup, tag
from deepseek_operator.cli.page.words import dollars
from deepseek_planner.units import MicroUsd

ROW, BAR = 46.0, 16.0
PARTS = {
    "prefill": "prompts",
    "decode": "answers",
    "idle": "held for the peak",
    "spare": "left over",
    "risk": "lost to interruptions",
}
"""What each part of a breakdown pays for, in the order of the bar."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One alternative and its breakdown."""

    name: str
    usd_per_hour: MicroUsd
    parts: tuple[tuple[str, MicroUsd], ...]
    is_chosen: bool


def bars(rows: Sequence[Bar], *, name: str, title: str, description: str) -> Markup:
    """One bar per alternative; the longest fills the width."""
    longest = max((sum(amount for _, amount in row.parts) for row in rows), default=0) or 1
    return tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", description, id=f"{name}-text"),
        _patterns(name),
        [_row(row, index * ROW, longest, name) for index, row in enumerate(rows)],
        class_="bars",
        width="100%",
        height=len(rows) * ROW,
        role="img",
        aria_labelledby=f"{name}-title {name}-text",
    )


def _patterns(name: str) -> Markup:
    """Strokes for what is left over, dots for risk: told apart without colour."""
    strokes = tag("path", d="M0 6l6-6M-1 1l2-2M5 7l2-2", class_="stroke")
    dots = tag("circle", cx=3.0, cy=3.0, r=1.5, class_="dot")
    return tag(
        "defs",
        tag("pattern", strokes, id=f"{name}-spare", width=6.0, height=6.0, patternUnits="userSpaceOnUse"),
        tag("pattern", dots, id=f"{name}-risk", width=6.0, height=6.0, patternUnits="userSpaceOnUse"),
    )


def _row(row: Bar, top: float, longest: int, name: str) -> Markup:
    label = f"{row.name} — chosen" if row.is_chosen else row.name
    return tag(
        "g",
        tag("text", label, class_="name" if row.is_chosen else "label", x="0", y=top + 14),
        tag("text", f"{dollars(row.usd_per_hour)}/h", class_="sum", x="100%", y=top + 14, text_anchor="end"),
        list(_segments(row, top + 20, longest, name)),
    )


def _segments(row: Bar, top: float, longest: int, name: str) -> Iterator[Markup]:
    start = 0.0
    for part, amount in row.parts:
        share = 100 * amount / longest
        if share > 0:
            fill = f"url(#{name}-{part})" if part in {"spare", "risk"} else None
            text = f"{PARTS[part]}: {dollars(amount)}/h"
            yield tag(
                "rect",
                tag("title", text),
                class_=f"part {part}",
                fill=fill,
                x=f"{start:.2f}%",
                y=top,
                width=f"{share:.2f}%",
                height=BAR,
            )
        start += share
