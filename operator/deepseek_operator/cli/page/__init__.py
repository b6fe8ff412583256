"""The plan as one page of HTML that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from deepseek_operator.cli.page.breakdown import breakdown
from deepseek_operator.cli.page.chosen import chosen
from deepseek_operator.cli.page.front import front
from deepseek_operator.cli.page.markup import Markup, raw, tag
from deepseek_operator.cli.page.report import Report
from deepseek_operator.cli.page.style import COLOURS, DRAWING, STYLE
from deepseek_operator.cli.page.trust import engines, trust
from deepseek_operator.cli.page.weighed import alternatives, matrix, refused

__all__ = ["Report", "page"]


def page(reports: Sequence[Report], now: datetime, *, has_pools: bool) -> str:
    """All deployments, one after the other; the same plans at the same time give the same bytes.

    Without ``has_pools`` the shipped price list was chosen from, which the page says.
    """
    names = ", ".join(str(report.asked.key) for report in reports)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("title", f"Plan of {names}"),
        tag("style", raw(COLOURS + STYLE + DRAWING)),
    )
    body = tag(
        "body",
        tag("header", tag("h1", f"Serving plan, {now:%Y-%m-%d}"), _contents(reports), class_="top"),
        tag("main", [_report(report, now) for report in reports]),
        tag("footer", tag("p", FOOTER if has_pools else f"{SHIPPED} {FOOTER}")),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


SHIPPED = "No pools were given: the shipped price list was chosen from."

FOOTER = (
    "Dollars cover accelerator nodes alone: gateway, storage and egress are left out. Latencies and throughput are "
    "predictions; the margin is what the planner keeps off the targets for that."
)


def _contents(reports: Sequence[Report]) -> Markup | None:
    if len(reports) < 2:
        return None
    links = [tag("li", tag("a", str(report.asked.key), href=f"#{report.name}")) for report in reports]
    return tag("nav", tag("ul", links), aria_label="Deployments")


def _report(report: Report, now: datetime) -> Markup:
    parts = (
        chosen(report),
        front(report),
        breakdown(report),
        matrix(report),
        engines(report),
        alternatives(report),
        refused(report),
        trust(report, now),
    )
    return tag("section", [list(part) for part in parts], id=report.name)
