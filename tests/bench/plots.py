"""Line plots as SVG, written by hand: no library, no random identifiers, the same text for the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

COLORS = ("#1f6feb", "#bf5a00", "#2da44e", "#8250df", "#cf222e", "#57606a", "#0a7ea4")
WIDTH, HEIGHT, GAP, LEFT, TOP = 230, 190, 62, 62, 54
TICKINGS = ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0))
"""Ticks of a decade, ever denser."""
FEWEST, MOST = 3, 7
"""Ticks of an axis."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over logarithmic axes; a line is left out where it has no value."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def plot(panels: Sequence[Panel], *, columns: int, label: str) -> str:
    """All panels under one legend, each with its own scale."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    rows = ceil(len(panels) / columns)
    width, height = LEFT + columns * (WIDTH + GAP) - GAP + 16, TOP + rows * (HEIGHT + GAP)
    head = f'font-family="sans-serif" font-size="11" role="img" aria-label="{label}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {head}>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    x = LEFT
    for name, color in zip(names, COLORS, strict=False):
        parts.append(f'<path d="M{x} 12h18" stroke="{color}" stroke-width="2"/><text x="{x + 22}" y="16">{name}</text>')
        x += 40 + 6 * len(name)
    colors = dict(zip(names, COLORS, strict=False))
    for index, panel in enumerate(panels):
        left, top = LEFT + index % columns * (WIDTH + GAP), TOP + index // columns * (HEIGHT + GAP)
        parts += _panel(panel, left, top, colors)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, left: float, top: float, colors: Mapping[str, str]) -> Iterator[str]:
    points = [point for line in panel.lines.values() for point in line]
    across = _Axis([x for x, _ in points], WIDTH, is_exact=True)
    up = _Axis([y for _, y in points], HEIGHT)
    bottom = top + HEIGHT
    yield f'<text x="{left + WIDTH / 2}" y="{top - 8}" text-anchor="middle">{panel.title}</text>'
    for tick in across.ticks:
        at = left + across.at(tick)
        yield f'<path d="M{at:.1f} {top}v{HEIGHT}" stroke="#e4e4e4"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>'
    for tick in up.ticks:
        at = bottom - up.at(tick)
        yield f'<path d="M{left} {at:.1f}h{WIDTH}" stroke="#e4e4e4"/>'
        yield f'<text x="{left - 4}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>'
    yield f'<text x="{left + WIDTH / 2}" y="{bottom + 30}" text-anchor="middle">{panel.x}</text>'
    x, y = left - 46, top + HEIGHT / 2
    yield f'<text x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">{panel.y}</text>'
    for name, line in panel.lines.items():
        path = "L".join(f"{left + across.at(x):.1f} {bottom - up.at(y):.1f}" for x, y in line)
        if path:
            yield f'<path d="M{path}" fill="none" stroke="{colors[name]}" stroke-width="2" stroke-linejoin="round"/>'
    yield f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>'


class _Axis:
    """Logarithmic, from just below the least value to just above the greatest; exact: with ticks at the values."""

    def __init__(self, values: Sequence[float], length: float, *, is_exact: bool = False) -> None:
        least, most = min(values), max(values)
        self._low, self._high = log10(least) - 0.03, log10(most) + 0.03
        self._length = length
        decades = range(floor(self._low), ceil(self._high) + 1)
        own = sorted(set(values))
        self.ticks = own if is_exact and len(own) <= MOST else []
        for steps in TICKINGS if not self.ticks else ():
            every = [step * 10.0**decade for decade in decades for step in steps]
            inside = [tick for tick in every if self._low <= log10(tick) <= self._high]
            if len(inside) <= MOST or not self.ticks:
                self.ticks = inside
            if len(inside) >= FEWEST:
                break

    def at(self, value: float) -> float:
        return (log10(value) - self._low) / (self._high - self._low) * self._length
