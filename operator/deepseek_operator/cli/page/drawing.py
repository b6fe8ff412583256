"""Pictures of the page as files of their own, for documents: with their colours, light and dark."""

from __future__ import annotations

from collections.abc import Sequence

from deepseek_operator.cli.page.markup import Markup, raw, tag
from deepseek_operator.cli.page.style import COLOURS, DRAWING

GAP = 16.0


def drawing(pictures: Sequence[Markup], *, width: float, height: float) -> str:
    """An SVG file of pictures side by side, each as wide as the others."""
    each = (width - GAP) / len(pictures) - GAP
    placed = [
        tag("svg", picture, x=GAP + index * (each + GAP), y=GAP, width=each, height=height - 2 * GAP)
        for index, picture in enumerate(pictures)
    ]
    whole = tag(
        "svg",
        tag("style", raw(COLOURS + DRAWING)),
        tag("rect", width="100%", height="100%", fill="var(--page)"),
        placed,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
    )
    return f"{whole}\n"
