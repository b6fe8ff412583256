"""Price against latency as a picture: what was chosen, what would also work, what was refused, and the front."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from deepseek_operator.cli.page.markup import Markup, tag
from deepseek_operator.cli.page.scales import Axis, axis

WIDTH, HEIGHT = 460.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 40.0, 46.0
UNDER = 0.16
"""Room for the name under the cheapest, as a part of the spread."""


class Kind(StrEnum):
    """What became of an alternative; each has a form of its own, so that colour is never alone in telling."""

    CHOSEN = "chosen"
    WORKS = "works"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Mark:
    """One alternative."""

    x: float
    y: float
    kind: Kind
    name: str
    title: str
    """What a pointer that rests on it is told."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The words of a picture."""

    name: str
    """Of its ids: unique on the page."""
    title: str
    description: str
    x: str
    y: str
    x_text: Callable[[float], str]
    y_text: Callable[[float], str]


def best_of(marks: Sequence[Mark]) -> list[Mark]:
    """Those that serve and that nothing beats in both: from the quickest to the cheapest."""
    best: list[Mark] = []
    serving = (mark for mark in marks if mark.kind is not Kind.REFUSED)
    for mark in sorted(serving, key=lambda mark: (mark.x, mark.y)):
        if not best or mark.y < best[-1].y:
            best.append(mark)
    return best


def scatter(marks: Sequence[Mark], labels: Labels, *, limit: float | None) -> Markup:
    """The picture; ``limit`` is the target on the horizontal axis."""
    across = axis([mark.x for mark in marks] + ([limit] if limit else []))
    up = axis((mark.y for mark in marks), below=UNDER)
    # The refused lie below, the chosen on top.
    order = (Kind.REFUSED, Kind.WORKS, Kind.CHOSEN)
    drawn = sorted(marks, key=lambda mark: order.index(mark.kind))
    return tag(
        "svg",
        tag("title", labels.title, id=f"{labels.name}-title"),
        tag("desc", labels.description, id=f"{labels.name}-text"),
        _grid(across, up, labels),
        [_limit(across, limit, labels)] if limit else [],
        _front(best_of(marks), across, up),
        [_mark(mark, across, up) for mark in drawn],
        [_name(mark, across, up) for mark in drawn if mark.kind is Kind.CHOSEN],
        class_="picture",
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_labelledby=f"{labels.name}-title {labels.name}-text",
    )


def _x(across: Axis, value: float) -> float:
    return LEFT + across.at(value) * (WIDTH - LEFT - RIGHT)


def _y(up: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - up.at(value) * (HEIGHT - TOP - BOTTOM)


def _grid(across: Axis, up: Axis, labels: Labels) -> Iterator[Markup]:
    floor, edge = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in up.ticks:
        y = _y(up, tick)
        yield tag("line", class_="grid", x1=LEFT, x2=edge, y1=y, y2=y)
        yield tag("text", labels.y_text(tick), class_="tick", x=LEFT - 8, y=y + 4, text_anchor="end")
    for tick in across.ticks:
        x = _x(across, tick)
        yield tag("line", class_="grid", x1=x, x2=x, y1=TOP, y2=floor)
        anchor = "end" if x > edge - 12 else "middle"
        yield tag("text", labels.x_text(tick), class_="tick", x=x, y=floor + 17, text_anchor=anchor)
    yield tag("line", class_="axis", x1=LEFT, x2=edge, y1=floor, y2=floor)
    logarithmic = [" (log)" if item.is_log else "" for item in (across, up)]
    yield tag("text", labels.x + logarithmic[0], class_="label", x=edge, y=HEIGHT - 8, text_anchor="end")
    yield tag("text", labels.y + logarithmic[1], class_="label", x=0.0, y=12.0)


def _limit(across: Axis, limit: float, labels: Labels) -> list[Markup]:
    x = _x(across, limit)
    return [
        tag("line", class_="limit", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM),
        tag("text", f"target {labels.x_text(limit)}", class_="tick", x=x, y=TOP - 6, text_anchor="middle"),
    ]


def _front(best: Sequence[Mark], across: Axis, up: Axis) -> list[Markup]:
    """Steps: to be cheaper one must wait until the next alternative."""
    if len(best) < 2:
        return []
    path = f"M{_x(across, best[0].x):.1f} {_y(up, best[0].y):.1f}"
    path += "".join(f"H{_x(across, mark.x):.1f}V{_y(up, mark.y):.1f}" for mark in best[1:])
    return [tag("path", class_="front", d=path)]


def _mark(mark: Mark, across: Axis, up: Axis) -> Markup:
    x, y = _x(across, mark.x), _y(up, mark.y)
    match mark.kind:
        case Kind.CHOSEN:
            form = tag("path", d=f"M{x:.1f} {y - 9:.1f}l9 9l-9 9l-9-9z")
        case Kind.WORKS:
            form = tag("circle", cx=x, cy=y, r=5.0)
        case Kind.REFUSED:
            form = tag("path", d=f"M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0-7l-7 7")
    return tag("g", tag("title", mark.title), form, class_=str(mark.kind))


def _name(mark: Mark, across: Axis, up: Axis) -> Markup:
    x, y = _x(across, mark.x), _y(up, mark.y)
    place = across.at(mark.x)
    anchor = "end" if place > 0.7 else "start" if place < 0.3 else "middle"
    return tag("text", mark.name, class_="name halo", x=x, y=y + 24, text_anchor=anchor)
