"""A thin bar: how much of a limit is used, and what the margin takes of the rest."""

from __future__ import annotations

from deepseek_operator.cli.page.markup import Markup, tag

HEIGHT = 6.0


def gauge(used: float, margin: float = 0.0) -> Markup:
    """``used`` and ``margin`` as parts of the limit, 0 to 1. Decoration: the numbers stand beside it."""
    filled = max(0.0, min(1.0, used))
    kept = max(0.0, min(1.0 - filled, margin))
    return tag(
        "svg",
        tag("rect", class_="track", width="100%", height=HEIGHT),
        tag("rect", class_="filled", width=f"{100 * filled:.1f}%", height=HEIGHT),
        tag("rect", class_="kept", x=f"{100 * filled:.1f}%", width=f"{100 * kept:.1f}%", height=HEIGHT),
        class_="gauge",
        width="100%",
        height=HEIGHT,
        aria_hidden="true",
    )
