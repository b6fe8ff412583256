"""Every alternative in dollars: what they pay for, what tokens of each kind cost, and who stands where."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepseek_planner.candidates import Bought, Load, Weighed, breakdown, candidates
from deepseek_planner.hardware import CapacityType
from deepseek_planner.models import Precision
from deepseek_planner.plan import Candidate, Confidence, DeploymentPlan, Prediction, Rejection, RejectionReason
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Policy, Shape
from deepseek_planner.units import MicroUsd, micro_usd
from support.planning import CATALOG, demand, deployment, objectives, offering, snapshot

MODEL = CATALOG.model("deepseek-v3")
LOAD = Load(planned_per_min=900, expected_per_min=300, input_tokens=1000, output_tokens=250)
SERVICE = Prediction(
    time_to_first_token_s=0.4,
    time_per_output_token_s=0.03,
    utilization_percent=75,
    capacity_tokens_per_s=25_000,
    capacity_requests_per_min=1200,
    confidence=Confidence.CALIBRATED,
    margin_percent=15,
    bottleneck="attention (memory)",
    prefill_share=0.25,
)


def shape(accelerator: str = "h200", precision: Precision = Precision.FP8, parallel: int = 8) -> Shape:
    return Shape(accelerator, precision, parallel, 1, 1, 1, 1)


def weighed(usd: str = "40", expected: str = "41", **changed: object) -> Weighed:
    bought = Bought("pool", CapacityType.SPOT, 2, micro_usd(usd), micro_usd(expected))
    return replace(Weighed(MODEL, shape(), (bought,), SERVICE, None), **changed)


def one(item: Weighed, load: Load = LOAD) -> Candidate:
    return candidates([item], load)[0]


def test_dollars_go_where_the_capacity_goes() -> None:
    parts = dict(one(weighed()).breakdown)

    # A quarter of the capacity is busy at the expected rate, half more at the planned one, a quarter is left.
    assert parts == {
        "prefill": micro_usd("2.50"),
        "decode": micro_usd("7.50"),
        "idle": micro_usd("20"),
        "spare": micro_usd("10"),
        "risk": micro_usd("1"),
    }


def test_reserved_capacity_that_is_paid_anyway_does_not_hide_what_spot_loses() -> None:
    reserved = Bought("own", CapacityType.RESERVED, 1, micro_usd("30"), micro_usd("0.03"))
    found = one(weighed(bought=(*weighed().bought, reserved)))

    assert dict(found.breakdown)["risk"] == micro_usd("1")
    assert found.usd_per_hour == micro_usd("70")


def test_prices_of_input_and_output_tokens_add_up_to_the_whole() -> None:
    found = one(weighed())
    tokens_in, tokens_out = 300 * 60 * 1000 / 1e6, 300 * 60 * 250 / 1e6

    paid = tokens_in * found.usd_per_million_input_tokens + tokens_out * found.usd_per_million_output_tokens
    assert paid == pytest.approx(found.usd_per_hour, rel=1e-6)
    assert found.usd_per_million_tokens == pytest.approx(found.usd_per_hour / (tokens_in + tokens_out), rel=1e-6)


@pytest.mark.parametrize(
    "load",
    [
        LOAD,
        Load(900, 0, 1000, 250),
        Load(0, 0, 1000, 250),
        Load(100, 300, 1000, 250),
        Load(5000, 4000, 1000, 250),
        Load(900, 900, 1000, 250),
    ],
)
def test_parts_sum_to_the_price_and_none_is_negative(load: Load) -> None:
    for service in (SERVICE, replace(SERVICE, capacity_requests_per_min=0.0), replace(SERVICE, prefill_share=1.0)):
        parts = dict(breakdown(micro_usd("33.333333"), micro_usd("0"), service, load))

        assert sum(parts.values()) == micro_usd("33.333333")
        assert min(parts.values()) >= 0


def test_nothing_expected_costs_nothing_per_token() -> None:
    found = one(weighed(), Load(900, 0, 1000, 250))

    assert found.usd_per_million_tokens == found.usd_per_million_input_tokens == MicroUsd(0)
    assert found.usd_per_hour == micro_usd("40")


def test_what_serves_comes_first_by_price_then_the_refused_furthest_first() -> None:
    dear = weighed("50", shape=shape("h100"))
    early = weighed(
        shape=shape("l4"), bought=(), prediction=None, rejection=Rejection("l4", RejectionReason.DOES_NOT_FIT, "small")
    )
    late = weighed("90", shape=shape("b200"), rejection=Rejection("b200", RejectionReason.OVER_BUDGET, "dear"))

    found = candidates([early, dear, late, weighed()], LOAD)

    assert [item.shape.accelerator for item in found] == ["h200", "h100", "b200", "l4"]
    assert found[-1].breakdown == ()
    assert found == candidates([weighed(), late, dear, early], LOAD)


def test_of_one_shape_on_several_kinds_of_nodes_the_best_is_kept() -> None:
    cheap, dear = weighed("30", "31"), weighed("50", "51")
    refused = weighed("10", rejection=Rejection("h200", RejectionReason.NOT_ENOUGH_NODES, "few"))
    other = replace(cheap, model=CATALOG.model("deepseek-r1"))

    found = candidates([dear, refused, cheap, other], LOAD)

    assert [(item.model, item.usd_per_hour, item.rejection) for item in found] == [
        ("deepseek-r1", micro_usd("30"), None),
        ("deepseek-v3", micro_usd("30"), None),
    ]


POOLS = (
    offering("h100", "55.04"),
    offering("h200", "63.296"),
    offering("h200", "20.7848", "h200-spot", capacity_type=CapacityType.SPOT, interruptions_per_node_day=0.05),
    offering("t4", "7.824"),
)


def explained(**changed: object):
    asked = deployment(**changed)
    world = snapshot(asked, offerings=POOLS)
    return plan(world, CATALOG, Policy(), explains=True).deployments[asked.key]


def test_the_chosen_shapes_are_marked_and_nothing_that_serves_alone_is_cheaper_than_the_plan() -> None:
    planned = explained(objectives=objectives(per_hour="400"))
    chosen = [item for item in planned.candidates if item.is_chosen]

    assert {item.shape for item in chosen} == {item.shape for item in planned.placements}
    serving = [item.usd_per_hour for item in planned.candidates if item.rejection is None]
    assert min(serving) >= planned.usd_per_hour * 0.99


def test_every_shape_stands_once_and_what_is_refused_is_told_or_beaten_by_one_of_its_size() -> None:
    planned = explained(objectives=objectives(per_hour="45"))
    names = [(item.model, item.name) for item in planned.candidates]

    assert len(names) == len(set(names))
    refused = {item.name for item in planned.candidates if item.rejection}
    assert {item.rejection.reason for item in planned.candidates if item.rejection} >= {RejectionReason.OVER_BUDGET}
    told = {item.name for item in planned.rejections}
    sizes = {item.name: (item.shape.accelerator, item.shape.accelerators) for item in planned.candidates}
    better = {sizes[name] for name in sizes if name in told or name not in refused}
    assert {sizes[name] for name in refused - told} <= better
    assert refused & told


def test_only_what_is_asked_to_explain_itself_does() -> None:
    asked = deployment()
    quiet = plan(snapshot(asked, offerings=POOLS), CATALOG, Policy()).deployments[asked.key]
    told = explained()

    assert quiet.candidates == ()
    assert told.candidates
    assert quiet.digest == told.digest
    assert replace(told, candidates=()) == quiet


def spread() -> DeploymentPlan:
    """Spot in two regions, one replica in each."""
    kinds = {"capacity_type": CapacityType.SPOT, "interruptions_per_node_day": 0.4, "startup_s": 240.0}
    pools = (
        offering("h200", "20", "east", zone="us-east-1a", **kinds),
        offering("h200", "21", "west", zone="us-west-2a", **kinds),
        offering("h200", "63", "on-demand", zone="us-east-1a"),
    )
    asked = deployment(
        objectives=replace(objectives(per_hour="1000"), availability_percent=99.0), demand=demand(120, 120)
    )
    return plan(snapshot(asked, offerings=pools), CATALOG, Policy(), explains=True).deployments[asked.key]


def test_what_is_shown_as_chosen_is_the_plan() -> None:
    planned = spread()
    (chosen,) = [item for item in planned.candidates if item.is_chosen]

    assert len(planned.placements) == 2
    assert chosen.pools == tuple((item.pool, item.capacity_type, item.replicas) for item in planned.placements)
    assert chosen.replicas == 2
    assert chosen.usd_per_hour == planned.usd_per_hour
    assert chosen.usd_per_million_tokens == planned.usd_per_million_tokens
    assert chosen.prediction == planned.prediction
    assert dict(chosen.breakdown)["risk"] == planned.expected_usd_per_hour - planned.usd_per_hour


def test_what_serves_alone_says_what_speaks_against_it() -> None:
    planned = spread()

    for item in planned.candidates:
        if item.rejection or item.is_chosen:
            assert not item.verdict
        else:
            assert item.verdict.startswith("dearer") == (item.usd_per_hour > planned.usd_per_hour)
            assert item.verdict.startswith("as dear") == (item.usd_per_hour == planned.usd_per_hour)


def test_what_is_refused_for_its_price_is_shown_at_that_price() -> None:
    planned = explained(objectives=objectives(per_hour="45"))
    refused = [
        item
        for item in planned.candidates
        if item.prediction and item.rejection and item.rejection.reason is RejectionReason.OVER_BUDGET
    ]

    assert refused
    for item in refused:
        assert item.usd_per_hour > micro_usd("45")
        assert item.rejection is not None
        assert item.rejection.message.startswith(f"{item.replicas} x ")
