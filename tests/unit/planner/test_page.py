"""The page that explains a plan: one file, whole, escaped, with everything in it that was weighed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from deepseek_operator.cli.page import Report, page
from deepseek_operator.cli.page.front import marked
from deepseek_operator.cli.page.markup import VOID, tag
from deepseek_operator.cli.page.scales import axis
from deepseek_operator.cli.page.scatter import Kind, Mark, best_of
from deepseek_operator.cli.page.words import would_pass
from deepseek_planner.hardware import CapacityType
from deepseek_planner.matrix import matrix
from deepseek_planner.plan import DeploymentPlan, EngineReason, Rejection, RejectionReason, Shortage
from deepseek_planner.search import plan, weigh_alone
from deepseek_planner.snapshot import Constraints, DeploymentInput, DeploymentKey, Policy
from deepseek_planner.units import micro_usd
from support.planning import CATALOG, NOW, demand, deployment, objectives, offering, snapshot

POOLS = (
    offering("h200", "63.296"),
    offering("h200", "20.7848", "h200-spot", capacity_type=CapacityType.SPOT),
    offering("a100-80gb", "20.128", "a100-spot", capacity_type=CapacityType.SPOT),
    offering("t4", "7.824"),
)


WORLD = snapshot(offerings=POOLS)


class Page(HTMLParser):
    """Elements as they stand, refused where they are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((name, dict(attrs)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def solved(changed: DeploymentInput) -> DeploymentPlan:
    return plan(snapshot(changed, offerings=POOLS), CATALOG, Policy(), explains=True).deployments[changed.key]


def report(asked: DeploymentInput, planned: DeploymentPlan | None = None, name: str = "d1") -> Report:
    return Report(
        asked=asked,
        planned=planned or solved(asked),
        models={asked.model: CATALOG.model(asked.model)},
        priorities={asked.key: 0, DeploymentKey("team-b", "docs"): 10},
        matrix=matrix(asked, CATALOG.model(asked.model), lambda each: weigh_alone(each, WORLD, CATALOG, Policy())),
        offerings=POOLS,
        max_price_age_days=90,
        name=name,
    )


@pytest.fixture(scope="module")
def usual() -> Report:
    return report(deployment())


def test_the_page_is_whole_and_needs_nothing_else(usual: Report) -> None:
    text = page([usual], NOW, has_pools=True)
    found = Page(text)

    assert text.startswith("<!doctype html>")
    names = {name for name, _ in found.attributes}
    assert not names & {"script", "link", "img", "iframe", "object", "foreignobject"}
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert not any(key.startswith("on") or key == "src" for _, attributes in found.attributes for key in attributes)


def test_the_same_plans_give_the_same_bytes(usual: Report) -> None:
    assert page([usual], NOW, has_pools=True) == page([report(deployment())], NOW, has_pools=True)


def test_ids_are_unique_and_every_reference_has_its_id(usual: Report) -> None:
    other = report(deployment(name="second"), name="d2")
    text = page([usual, other], NOW, has_pools=True)
    attributes = [each for _, each in Page(text).attributes]
    ids = [each["id"] for each in attributes if "id" in each]

    assert len(ids) == len(set(ids))
    wanted = {word for each in attributes for word in str(each.get("aria-labelledby", "")).split()}
    wanted |= {str(each["href"])[1:] for each in attributes if "href" in each}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert wanted <= set(ids)
    assert {"d1", "d2"} <= wanted


def test_pictures_have_names_descriptions_and_tables_with_the_same_numbers(usual: Report) -> None:
    found = Page(page([usual], NOW, has_pools=True))
    pictures = [each for name, each in found.attributes if name == "svg" and each.get("role") == "img"]

    assert len(pictures) == 3
    assert all(len(str(each["aria-labelledby"]).split()) == 2 for each in pictures)
    for item in usual.planned.candidates:
        assert item.name in found.text


def test_what_is_far_too_dear_is_counted_and_not_drawn(usual: Report) -> None:
    candidates = usual.planned.candidates
    dear = next(item for item in candidates if item.prediction and not item.is_chosen)
    refusal = Rejection("dear", RejectionReason.TOO_MANY_REPLICAS, "", accelerator="t4")
    dear = replace(dear, name="dear", usd_per_million_tokens=micro_usd("99999"), rejection=refusal)
    planned = replace(usual.planned, candidates=(*candidates, dear))

    assert dear not in marked(replace(usual, planned=planned))
    text = Page(page([replace(usual, planned=planned)], NOW, has_pools=True)).text
    left_out = [item for item in candidates if item.usd_per_million_tokens and item not in marked(usual)]
    assert f"{len(left_out) + 1} of them dearer than the pictures reach" in text
    assert "$99,999.00" in text


def test_everything_the_plan_holds_is_told(usual: Report) -> None:
    text = Page(page([usual], NOW, has_pools=True)).text
    planned = usual.planned

    for item in planned.placements:
        assert f"{item.replicas} x {item.shape.name}" in text
        assert item.pool in text
    assert planned.digest in text
    assert "test" in text  # the prices' source
    assert "2026-11-01" in text
    for row in usual.matrix:
        assert row.scenario in text
    for reason in {item.reason for item in planned.rejections}:
        assert "".join(f" {c.lower()}" if c.isupper() else c for c in reason).strip().capitalize() in text


def test_as_many_shapes_are_refused_in_the_end_as_in_the_table() -> None:
    asked = deployment(
        demand=demand(240, 900),
        objectives=objectives(ttft_s=2.0, tpot_s=0.06, per_hour="400"),
        constraints=Constraints(max_replicas=4),
    )
    planned = solved(asked)
    refusals = [item.rejection for item in planned.candidates if item.rejection]
    assert {item.name for item in refusals} - {item.name for item in planned.rejections}, "some are only in the table"

    text = Page(page([report(asked, planned)], NOW, has_pools=True)).text
    below = text.partition("What was refused, and what would pass")[2]
    for reason, count in Counter(item.reason for item in refusals).items():
        words = "".join(f" {char.lower()}" if char.isupper() else char for char in reason).strip().capitalize()
        assert re.search(rf"{words} {count}(, | Nearest)", below)
    assert re.search(r"No checkpoint \d+ as a whole", below)


def test_texts_of_others_cannot_become_markup() -> None:
    asked = deployment(namespace="<b>a", name='"><script>alert(1)</script>')
    planned = solved(deployment())
    hostile = "<img src=x onerror=alert(1)>"
    placement = replace(planned.placements[0], pool=hostile, engine_reasons=(EngineReason(hostile, hostile, hostile),))
    rejection = Rejection(hostile, RejectionReason.OVER_BUDGET, hostile, 2.0, 1.0, "USD/h", hostile)
    candidates = tuple(replace(item, name=hostile, pool=hostile, rejection=rejection) for item in planned.candidates)
    planned = replace(
        planned,
        key=asked.key,
        placements=(placement,),
        rejections=(rejection,),
        candidates=candidates,
        warnings=(hostile,),
        smallest_change=hostile,
        digest=hostile,
        shortage=Shortage(50, hostile, (DeploymentKey(hostile, hostile),)),
    )
    text = page([replace(report(deployment()), asked=asked, planned=planned)], NOW, has_pools=False)

    names = {name for name, _ in Page(text).attributes}
    assert not names & {"script", "img"}
    assert "<img" not in text
    assert text.count("&lt;img src=x") >= 8


def test_shortage_risk_warnings_and_engine_reasons_are_shown(usual: Report) -> None:
    planned = usual.planned
    first = planned.placements[0]
    reasons = (EngineReason("max_num_seqs", "1280", "the cache holds 1310 typical requests"),)
    told = replace(
        planned,
        placements=(
            replace(first, engine_reasons=reasons, input_tokens=(1200, 16384), capacity_type=CapacityType.SPOT),
            replace(first, engine_reasons=reasons, pool="other"),
        ),
        shortage=Shortage(60, "h200-spot", (DeploymentKey("team-b", "docs"),)),
        warnings=("prices of h200 are 125 days old",),
        availability_percent=99.31,
        expected_usd_per_hour=micro_usd("43.10"),
        gap_percent=0.4,
    )
    text = Page(page([replace(usual, planned=told)], NOW, has_pools=True)).text

    assert "serves 60 % of the planned load: pool h200-spot is short; team-b/docs (priority 10) comes first" in text
    assert "above 1,200 up to 16,384 tokens" in text
    assert text.count("the cache holds 1310 typical requests") == 1
    assert f"on {first.pool}, other" in text
    assert "1,280" in text
    assert "prices of h200 are 125 days old" in text
    assert "99.31 %" in text
    assert "$43.10/h" in text
    assert "0.4 % cheaper" in text


def test_prices_tell_their_age_and_whether_they_are_stale(usual: Report) -> None:
    fresh = Page(page([usual], NOW, has_pools=True)).text
    old = Page(page([replace(usual, max_price_age_days=20)], NOW, has_pools=True)).text

    assert "2026-11-01 21 days 4 (used)" in fresh
    assert "2026-11-01 21 days, stale 4 (used)" in old


def test_what_is_infeasible_says_what_would_do() -> None:
    text = Page(page([report(deployment(objectives=objectives(per_hour="1")))], NOW, has_pools=False)).text

    assert "No plan is feasible" in text
    assert "$/h >= " in text
    assert "No pools were given" in text


@pytest.mark.parametrize(
    ("reason", "value", "unit", "expected"),
    [
        (RejectionReason.OVER_BUDGET, 135.406, "USD/h", "objectives.maxUSDPerHour ≥ $135.41/h"),
        (RejectionReason.TTFT_TOO_HIGH, 1.341, "s", "objectives.timeToFirstToken ≥ 1.4 s"),
        (RejectionReason.TPOT_TOO_HIGH, 0.0881, "s", "objectives.timePerOutputToken ≥ 89 ms"),
        (RejectionReason.TOO_MANY_REPLICAS, 18.0, "replicas", "scaling.maxReplicas ≥ 18 replicas"),
        (RejectionReason.SPOT_RISK, 97.3581, "%", "objectives.availabilityPercent ≤ 97.35"),
        (RejectionReason.TTFT_TOO_HIGH, float("inf"), "s", ""),
        (RejectionReason.PRECISION_ILLEGAL, None, "", ""),
    ],
)
def test_the_number_that_would_pass_is_rounded_to_the_safe_side(
    reason: RejectionReason, value: float | None, unit: str, expected: str
) -> None:
    assert would_pass(Rejection("x", reason, "", value, 1.0, unit)) == expected


def test_the_front_holds_what_nothing_beats() -> None:
    def mark(x: float, y: float, kind: Kind = Kind.WORKS) -> Mark:
        return Mark(x, y, kind, "", "")

    marks = [mark(3, 1), mark(1, 5), mark(2, 5), mark(2, 3), mark(4, 1), mark(0.5, 0.5, Kind.REFUSED), mark(5, 2)]

    assert [(each.x, each.y) for each in best_of(marks)] == [(1, 5), (2, 3), (3, 1)]


@pytest.mark.parametrize("values", [[1.0], [0.031, 0.036, 0.05], [1.9, 1.95], [0.4, 900.0], [2, 5, 10, 16.8], []])
def test_axes_hold_their_values_and_a_few_round_ticks(values: list[float]) -> None:
    found = axis(values)

    assert all(0 <= found.at(value) <= 1 for value in values)
    assert 1 <= len(found.ticks) <= 7
    assert all(0 <= found.at(tick) <= 1 for tick in found.ticks)
    assert list(found.ticks) == sorted(found.ticks)


def test_attributes_and_texts_are_escaped_and_what_is_none_is_left_out() -> None:
    assert (
        tag("p", "a < b & c", class_='"x"', title=None, hidden=False) == '<p class="&quot;x&quot;">a &lt; b &amp; c</p>'
    )
    assert tag("p", tag("b", "x"), ["<", None]) == "<p><b>x</b>&lt;</p>"
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'
