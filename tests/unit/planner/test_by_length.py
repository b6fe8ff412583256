"""Routing by prompt length: options for some classes of lengths only, and plans made of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from deepseek_planner.asked import request
from deepseek_planner.candidates import Candidate
from deepseek_planner.demand import LengthDistribution, classes
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.legal import Wiring
from deepseek_planner.options import Option
from deepseek_planner.plan import DeploymentPlan, RejectionReason
from deepseek_planner.search import plan
from deepseek_planner.snapshot import DeploymentInput, Policy, Routing
from deepseek_planner.units import micro_usd
from support.feasibility import problems
from support.planning import CATALOG, demand, deployment, lengths, objectives, offering, snapshot, weighed, weighed_usd

MODEL = "deepseek-r1-distill-qwen-7b"
BY_LENGTH, EVEN = Policy(routing=Routing.BY_LENGTH), Policy(routing=Routing.EVEN)
SMALL, LARGE = offering("a10g", "8", "small", max_nodes=1), offering("h100", "98.32", "large", max_nodes=2)
SINGLE = offering("a10g", "1", "single", gpus_per_node=1, max_nodes=8)
LESS = replace(SINGLE.price, usd_per_node_hour=micro_usd("0.90")) if SINGLE.price else None


def chat(per_min: float = 2700, ttft_s: float = 0.6) -> DeploymentInput:
    """Nine prompts of ten are short; the others are too long for small accelerators."""
    prompts = lengths((500, 250.0, 0.9), (8000, 5000.0, 0.1))
    return deployment(
        MODEL,
        demand=demand(per_min, per_min, input_tokens=prompts),
        objectives=objectives(ttft_s=ttft_s, tpot_s=0.1, per_hour="1000"),
    )


def papers(per_min: float = 2100) -> DeploymentInput:
    """The longest prompts take more cache than a small accelerator has beside the weights."""
    prompts = lengths((500, 250.0, 0.9), (8000, 3000.0, 0.099), (120_000, 60_000.0, 0.001))
    return deployment(
        MODEL,
        demand=demand(per_min, per_min, input_tokens=prompts),
        objectives=objectives(ttft_s=300.0, tpot_s=0.1, per_hour="1000", accuracy="Critical"),
    )


def planned(asked: DeploymentInput, policy: Policy, *offerings: Offering, explains: bool = False) -> DeploymentPlan:
    world = snapshot(asked, offerings=offerings)
    found = plan(world, CATALOG, policy, explains=explains)
    assert problems(world, found, CATALOG, policy) == []
    return found.deployments[asked.key]


def small_options(asked: DeploymentInput) -> list[Option]:
    wiring = Wiring(SMALL.accelerator, SMALL.gpus_per_node, SMALL.intra_node, SMALL.inter_node)
    kinds = classes(asked.demand)
    ((serving, _),) = weighed(request(asked, CATALOG, is_measured=False), wiring, classes=kinds)
    return serving


def test_a_shape_too_slow_for_all_lengths_is_offered_for_those_that_it_serves_in_time() -> None:
    some = [option for option in small_options(chat()) if option.refusal is not None]

    assert some
    for option in some:
        assert option.whole_per_s == 0.0
        assert math.isfinite(option.loads[0])
        assert math.isinf(option.loads[-1])
        assert option.capacity.rate_per_s == pytest.approx(1 / option.loads[0])
        assert option.refusal is not None
        assert option.refusal.reason is RejectionReason.TTFT_TOO_HIGH
        assert option.refusal.value is not None
        assert option.refusal.value > 0.6
        assert option.refusal.message.endswith("; prompts of up to 500 tokens alone are served in time")


def test_a_shape_without_room_for_the_longest_requests_is_offered_for_those_that_fit() -> None:
    some = {option.name: option for option in small_options(papers())}["a10g-bf16-tp1"]

    assert some.refusal is not None
    assert some.refusal.reason is RejectionReason.DOES_NOT_FIT
    assert some.refusal.message.endswith("; prompts of up to 8,000 tokens alone are served in time")
    assert [kind.up_to_tokens for kind in classes(papers().demand)] == [500, 8000, 120_000]
    assert [math.isfinite(load) for load in some.loads] == [True, True, False]
    assert some.whole_per_s == 0.0


def test_requests_that_a_shape_has_no_room_for_never_go_there() -> None:
    mixed, even = (planned(papers(), policy, SINGLE, LARGE) for policy in (BY_LENGTH, EVEN))
    by_pool = {item.pool: item for item in mixed.placements}

    assert mixed.usd_per_hour < 0.7 * even.usd_per_hour
    assert by_pool["single"].shape.name == "a10g-bf16-tp1"
    assert by_pool["single"].input_tokens == (0, 500)
    assert by_pool["large"].input_tokens == (0, 120_000)


def test_each_engine_is_set_up_for_the_prompts_that_it_gets() -> None:
    found = planned(papers(), BY_LENGTH, SINGLE, LARGE)
    answers = papers().demand.output_tokens.max_tokens

    assert len(found.placements) == 2
    for item in found.placements:
        assert item.input_tokens is not None
        assert item.engine.max_model_len_tokens == item.input_tokens[1] + answers
        longest = next(because.reason for because in item.engine_reasons if because.parameter == "maxModelLen")
        assert longest.startswith(f"the longest request declared for it: {item.input_tokens[1]} tokens in")
    # Set up for all prompts up to 8,000 tokens it would run 103 at once.
    (small,) = (item for item in found.placements if item.pool == "single")
    assert small.engine.max_num_seqs > 150


def test_a_pool_that_is_nearly_or_wholly_full_changes_nothing_for_the_worse() -> None:
    """The best offer of the short prompts is the cheapest pool's, and there is room for one replica, or for none."""
    plenty = offering("a10g", "1", "plenty", gpus_per_node=1, max_nodes=8)
    alone = planned(papers(), BY_LENGTH, plenty, LARGE)
    for nodes in (0, 1):
        beside = planned(papers(), BY_LENGTH, plenty, replace(SINGLE, price=LESS, max_nodes=nodes), LARGE)

        assert beside.is_feasible
        assert beside.gap_percent == 0.0
        assert beside.usd_per_hour <= alone.usd_per_hour
        assert {item.pool for item in beside.placements} >= {"plenty", "large"}


def test_where_only_lengths_told_apart_serve_all_the_gap_is_that_of_such_plans() -> None:
    """Spread evenly the one large node carries less, for fewer dollars: that proves nothing of plans that carry all."""
    found = planned(papers(), BY_LENGTH, SINGLE, replace(LARGE, gpus_per_node=1, max_nodes=1))

    assert found.is_feasible
    assert found.shortage is None
    assert found.gap_percent == 0.0
    even = plan(snapshot(papers(), offerings=(SINGLE, replace(LARGE, gpus_per_node=1, max_nodes=1))), CATALOG, EVEN)
    assert not even.deployments[papers().key].is_feasible


def test_without_classes_there_is_nothing_but_the_refusal() -> None:
    asked = chat()
    wiring = Wiring(SMALL.accelerator, SMALL.gpus_per_node, SMALL.intra_node, SMALL.inter_node)
    ((serving, refused),) = weighed(request(asked, CATALOG, is_measured=False), wiring)

    assert all(option.refusal is None for option in serving)
    assert not any("in time" in item.message for item in refused)


def test_short_prompts_go_to_accelerators_that_are_too_slow_for_the_others() -> None:
    asked = chat()
    mixed, even = (planned(asked, policy, SMALL, LARGE) for policy in (BY_LENGTH, EVEN))
    by_pool = {item.pool: item for item in mixed.placements}

    assert mixed.usd_per_hour < 0.8 * even.usd_per_hour
    assert {item.pool for item in even.placements} == {"large"}
    assert by_pool["small"].input_tokens == (0, 500)
    assert by_pool["large"].input_tokens is not None
    assert by_pool["large"].input_tokens[1] == 8000
    assert all(item.prediction is not None for item in mixed.placements)
    assert mixed.prediction is not None
    assert mixed.prediction.capacity_requests_per_min >= mixed.planned_requests_per_min * 0.999


def test_the_refusal_for_all_lengths_stays_beside_the_placement() -> None:
    found = planned(chat(), BY_LENGTH, SMALL, LARGE, explains=True)
    name = next(item.shape.name for item in found.placements if item.pool == "small")
    refused = [item for item in found.rejections if item.name == name]
    here: list[Candidate] = [item for item in found.candidates if item.name == name]

    assert [item.reason for item in refused] == [RejectionReason.TTFT_TOO_HIGH]
    assert [(item.is_chosen, item.is_part, item.rejection) for item in here] == [(False, True, refused[0])]


def test_small_accelerators_alone_serve_nobody() -> None:
    found = planned(chat(), BY_LENGTH, SMALL)

    assert not found.is_feasible
    assert found.smallest_change


def test_small_accelerators_on_spot_are_covered_as_the_others_are() -> None:
    """What is lost of the small ones must be carried by what is left; nothing but large ones takes long prompts."""
    shaky = replace(SMALL, capacity_type=CapacityType.SPOT, interruptions_per_node_day=1.0, startup_s=240.0)
    asked = chat()
    bold, careful = (
        planned(
            replace(asked, objectives=replace(asked.objectives, availability_percent=percent)), BY_LENGTH, shaky, LARGE
        )
        for percent in (90.0, 99.9)
    )

    assert {item.pool for item in bold.placements} == {"small", "large"}
    for found, percent in ((bold, 90.0), (careful, 99.9)):
        assert found.availability_percent is not None
        assert found.availability_percent >= percent
    assert weighed_usd(careful) > weighed_usd(bold)


def test_joint_lengths_move_what_prompts_take() -> None:
    """As many tokens in all: where long prompts have the long answers, their class takes more and the others less."""
    asked = chat()
    short, long = asked.demand.input_tokens.buckets
    tokens = (replace(short, answer_tokens=200.0), replace(long, answer_tokens=1200.0))
    joint = replace(asked, demand=replace(asked.demand, input_tokens=LengthDistribution(tokens)))
    plain = {one.name: one.loads for one in small_options(chat(ttft_s=3.0))}
    moved = {one.name: one.loads for one in small_options(replace(joint, objectives=chat(ttft_s=3.0).objectives))}
    both = [name for name in plain if name in moved and all(map(math.isfinite, (*plain[name], *moved[name])))]
    # Weights of 16 bits leave one accelerator hardly any cache: there long answers cost the others room.
    both.remove("a10g-bf16-tp1")

    assert both
    for name in both:
        assert moved[name][0] < plain[name][0]
        assert moved[name][-1] > plain[name][-1]
