"""The precision-cost matrix: scenarios that differ from the request, and what each precision costs in them."""

from __future__ import annotations

from dataclasses import replace

from deepseek_planner.demand import AccuracyClass
from deepseek_planner.hardware import CapacityType
from deepseek_planner.matrix import Row, matrix, scenarios
from deepseek_planner.models import Precision
from deepseek_planner.plan import Candidate, Rejection
from deepseek_planner.search import weigh_alone
from deepseek_planner.snapshot import DeploymentInput, Policy
from support.planning import CATALOG, demand, deployment, lengths, objectives, offering, snapshot

POOLS = (
    offering("h200", "63.296"),
    offering("h200", "20.7848", "h200-spot", capacity_type=CapacityType.SPOT),
    offering("a100-80gb", "20.128", "a100-spot", capacity_type=CapacityType.SPOT),
)


WORLD = snapshot(offerings=POOLS)


def ask(changed: DeploymentInput) -> tuple[tuple[Candidate, ...], tuple[Rejection, ...]]:
    return weigh_alone(changed, WORLD, CATALOG, Policy())


def rows(asked: DeploymentInput) -> dict[str, Row]:
    return {row.scenario: row for row in matrix(asked, CATALOG.model(asked.model), ask)}


def test_scenarios_follow_from_the_request() -> None:
    asked = deployment()
    found = {name: changed for name, _, changed in scenarios(asked)}

    assert list(found) == [
        "as asked",
        "expected load only",
        "short prompts only",
        "long prompts only",
        "tight latency",
        "relaxed latency",
    ]
    assert found["expected load only"].demand.peak_requests_per_min == 240
    assert found["short prompts only"].demand.input_tokens.max_tokens == 4000
    assert [bucket.mean_tokens for bucket in found["long prompts only"].demand.input_tokens.buckets] == [3900.0]
    assert found["tight latency"].objectives.time_to_first_token.limit_s == 0.5
    assert found["relaxed latency"].objectives.time_per_output_token.limit_s == 0.12
    for changed in found.values():
        assert abs(sum(bucket.share for bucket in changed.demand.input_tokens.buckets) - 1) < 1e-9


def test_scenarios_that_would_change_nothing_are_left_out() -> None:
    flat = demand(expected=60, peak=60, input_tokens=lengths((512, 300.0, 1.0)))
    asked = deployment(demand=flat, objectives=objectives(ttft_s=None, tpot_s=None))

    assert [name for name, _, _ in scenarios(asked)] == ["as asked"]


def test_every_precision_stands_in_every_row_and_the_class_is_marked() -> None:
    found = rows(deployment(objectives=objectives(accuracy="Balanced")))

    for row in found.values():
        assert [cell.precision for cell in row.cells] == list(Precision)
        assert all(bool(cell.name) != bool(cell.refusal) for cell in row.cells)
    allowed = {cell.precision for cell in found["as asked"].cells if cell.is_allowed}
    assert Precision.INT4 not in allowed
    assert Precision.FP8 in allowed


def test_the_cheapest_of_the_class_is_what_the_search_would_choose_of_single_shapes() -> None:
    asked = deployment()
    cells = rows(asked)["as asked"].cells
    best = min(cell.usd_per_hour for cell in cells if cell.is_cheapest)
    alone = [item.usd_per_hour for item in ask(asked)[0] if item.rejection is None]

    assert best == min(alone)


def test_dollars_are_told_even_when_the_budget_forbids_them() -> None:
    tight = rows(deployment(objectives=objectives(per_hour="1")))["as asked"]
    priced = [cell for cell in tight.cells if cell.name]

    assert priced
    assert all(cell.is_over_budget and cell.usd_per_hour > 0 for cell in priced)


def test_what_is_over_budget_is_never_the_cheapest_that_may_be_chosen() -> None:
    asked = deployment(objectives=objectives(per_hour="1"))
    cells = [cell for row in rows(asked).values() for cell in row.cells if cell.name]

    assert cells
    assert all(cell.is_over_budget and not cell.is_cheapest for cell in cells)


def test_less_demand_and_looser_latency_never_cost_more() -> None:
    found = rows(deployment())
    for less in ("expected load only", "relaxed latency"):
        for cell, asked in zip(found[less].cells, found["as asked"].cells, strict=True):
            if asked.name:
                assert cell.name
                assert cell.usd_per_hour <= asked.usd_per_hour


def test_refusals_are_a_few_words() -> None:
    asked = replace(deployment(), own_weights=True)
    cells = {cell.precision: cell for cell in rows(asked)["as asked"].cells}

    assert cells[Precision.INT4].refusal == "no checkpoint"
    assert cells[Precision.FP8].name
    assert AccuracyClass.ECONOMY is asked.objectives.accuracy_class
