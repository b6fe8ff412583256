"""The real search, moves and steps together where two deployments want the same nodes."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from deepseek_planner.move import MoveReason
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Policy
from deepseek_planner.units import micro_usd
from support.crowd import Crowd, paid
from support.planning import CATALOG, demand, deployment, objectives, offering

MODEL = "deepseek-r1-distill-qwen-7b"
GPUS = 4


def asks(name, priority):
    goals = objectives(per_hour="100", accuracy="Critical", ttft_s=3.0, tpot_s=0.12, priority=priority)
    return deployment(MODEL, name, demand=demand(700, 1400), objectives=goals)


def search(policy):
    return lambda seen: plan(seen, CATALOG, policy)


def crowd(*asked, limit=None):
    pools = (offering("l40s", "16", gpus_per_node=GPUS, max_nodes=1),)
    policy = Policy(settle_s=60.0, max_usd_per_hour=None if limit is None else micro_usd(limit))
    return Crowd({item.key: item for item in asked}, pools, search, policy)


def wobbling(**means):
    random = Random(1)
    return lambda name, _: max(0.0, random.gauss(means[name], means[name] ** 0.5))


LOW, HIGH = asks("low", 0), asks("high", 10)


@pytest.fixture(scope="module")
def served():
    it = crowd(LOW)
    it.run(12, wobbling(low=1300))
    assert it.ready("low") >= 3
    return it


def again(it, **changes):
    made = crowd(*it.asked.values())
    made.__dict__.update({**it.__dict__, "began": [], "states": [], "asked": dict(it.asked), **changes})
    return made


def gave_way(it):
    return [each for each in it.began if each.reason is MoveReason.GIVES_WAY]


def test_a_higher_priority_takes_the_pool_and_gives_it_back(served):
    it = again(served)
    it.asked[HIGH.key] = HIGH
    load = wobbling(low=1300, high=1300)
    wanted = served.engines("low")
    assert it.run(20, load, until=lambda: it.engines("high") == wanted) <= 4
    it.run(15, load)
    assert it.ready("high") == wanted
    assert it.engines("low") <= GPUS - wanted
    short = it.plan.deployments[LOW.key].shortage
    assert (short.short_of, short.lost_to) == ("l40s", (HIGH.key,))
    assert len(gave_way(it)) == 1
    assert all(paid(fleet)[0] <= GPUS for fleet in it.states)
    it.leave("high")
    it.run(12, load)
    assert it.ready("low") == wanted
    it.run(15, load)
    assert len(gave_way(it)) == 1


def test_the_same_world_has_the_same_plan_before_and_after_giving_way(served):
    it = again(served)
    it.asked[HIGH.key] = HIGH
    load = wobbling(low=1300, high=1300)
    plans = []
    for _ in range(20):
        it.run(1, load)
        plans.append({key: found.placements for key, found in it.plan.deployments.items()})
    assert plans.count(plans[-1]) >= len(plans) - 2


def test_a_lower_limit_ends_under_it_and_a_higher_one_brings_back(served):
    it = again(served)
    load = wobbling(low=1300)
    before = it.engines("low")
    it.policy = replace(it.policy, max_usd_per_hour=micro_usd("1"))
    it.run(2, load)
    assert paid(it.fleet)[1] == 0
    assert it.plan.deployments[LOW.key].shortage.short_of == "budget"
    it.policy = replace(it.policy, max_usd_per_hour=None)
    it.run(12, load)
    assert it.ready("low") == before
