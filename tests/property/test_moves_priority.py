"""Laws of giving way: who comes first gets the room soon, nobody loses more than that, and it comes back for good."""

from __future__ import annotations

import math
from random import Random

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from deepseek_planner.move import MoveReason
from deepseek_planner.snapshot import Policy
from deepseek_planner.units import micro_usd
from support.crowd import Crowd, asks, greedy, paid
from support.fleets import offering

POLICY = Policy(settle_s=60.0)
GPUS = 8
COLD_MIN = 6
SETTLE_MIN, DRAIN_MIN, LOOK_MIN = 1, 1, 1
GIVEN_MIN = SETTLE_MIN + DRAIN_MIN + LOOK_MIN
"""Minutes in which room is given, once it is asked for."""

# A case is hours of load already: smaller ones are not looked for.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def pool(name="h100", gpus=GPUS):
    return offering(name, max_nodes=1, free_gpus_by_node=(gpus,))


class World:
    """A crowd on pools of a few accelerators, with loads that wobble around what a test sets."""

    def __init__(self, *deployments, pools=(), seed=0, noise=1.0, limit=None):
        policy = Policy(settle_s=60.0, max_usd_per_hour=None if limit is None else micro_usd(limit))
        self.crowd = Crowd({item.key: item for item in deployments}, pools or (pool(),), greedy, policy)
        self.random, self.noise = Random(seed), noise
        self.loads = {}

    def load(self, name, minute):
        mean = self.loads[name]
        return max(0.0, self.random.gauss(mean, self.noise * math.sqrt(mean)))

    def run(self, minutes, until=lambda: False, **loads):
        self.loads |= loads
        return self.crowd.run(minutes, self.load, until=until)

    def add(self, deployment):
        self.crowd.asked[deployment.key] = deployment
        return self

    def limit(self, usd):
        self.crowd.policy = Policy(settle_s=60.0, max_usd_per_hour=None if usd is None else micro_usd(usd))

    def planned(self, name):
        plans = [plan for key, plan in self.crowd.plan.deployments.items() if key.name == name]
        return sum(each.replicas for plan in plans for each in plan.placements)

    def has_its_plan(self, name):
        return self.crowd.engines(name) == self.planned(name) > 0

    def serves_its_plan(self, name):
        return self.crowd.ready(name) == self.planned(name) > 0

    def gave_way(self, name="low"):
        return [each for each in self.crowd.began if each.reason is MoveReason.GIVES_WAY and each.key.name == name]


def nothing_is_held_twice(world, gpus=GPUS, name="h100"):
    return all(paid(fleet, name)[0] <= gpus for fleet in world.crowd.states)


loads = st.floats(80, 650)
seeds = st.integers(0, 2**32)


@settings(max_examples=12, deadline=None, phases=PHASES)
@given(low=loads, high=loads, seed=seeds)
def test_who_comes_first_gets_its_room_in_the_time_that_draining_takes(low, high, seed):
    it = World(asks("low", 0), seed=seed)
    it.run(30, low=low)
    it.add(asks("high", 10, peak=800.0))
    assert it.run(30, high=high, until=lambda: it.has_its_plan("high")) <= GIVEN_MIN
    assert it.run(30, until=lambda: it.serves_its_plan("high")) <= COLD_MIN + 1
    assert nothing_is_held_twice(it)


@settings(max_examples=6, deadline=None, phases=PHASES)
@given(low=loads, calm=st.floats(40, 150), busy=st.floats(400, 800), seed=seeds)
def test_a_higher_priority_that_grows_and_shrinks_takes_and_gives_back_once(low, calm, busy, seed):
    it = World(asks("low", 0, peak=700.0), asks("high", 10, peak=800.0), seed=seed)
    it.run(120, low=low, high=calm)
    served = it.crowd.ready("low")
    assert served > 0
    it.crowd.began.clear()
    it.run(60, high=busy)
    assert it.crowd.ready("high") * 100 >= busy
    it.run(45, high=calm)
    assert it.run(45, until=lambda: it.serves_its_plan("low")) < 45
    # No more often than the higher priority moves itself: what the jump asks for, and what it turns out to be.
    assert len(it.gave_way()) <= sum(each.key.name == "high" for each in it.crowd.began) <= 9
    assert nothing_is_held_twice(it)


@settings(max_examples=6, deadline=None, phases=PHASES)
@given(low=loads, high=loads, seed=seeds)
def test_a_load_that_wobbles_takes_nothing_twice(low, high, seed):
    it = World(asks("low", 0), asks("high", 10, peak=800.0), seed=seed)
    it.run(60, low=low, high=high)
    before = len(it.crowd.began)
    it.run(240)
    assert len(it.gave_way()) <= 1, it.crowd.began
    assert len(it.crowd.began) - before <= 8, it.crowd.began


@settings(max_examples=6, deadline=None, phases=PHASES)
@given(low=loads, high=loads, seed=seeds)
def test_what_left_gives_everything_back(low, high, seed):
    it = World(asks("low", 0, peak=700.0), seed=seed)
    it.run(40, low=low)
    it.add(asks("high", 10, peak=800.0)).run(45, high=high)
    it.crowd.leave("high")
    assert it.run(60, until=lambda: it.has_its_plan("low") and not short(it, "low")) <= 45
    gave = len(it.gave_way())
    it.run(60)
    assert len(it.gave_way()) == gave
    assert it.crowd.ready("low") * 100 >= low


def short(world, name):
    return next(plan.shortage for key, plan in world.crowd.plan.deployments.items() if key.name == name)


@settings(max_examples=12, deadline=None, phases=PHASES)
@given(low=st.floats(80, 450), high=loads, seed=seeds)
def test_who_has_a_place_elsewhere_serves_on_while_it_moves(low, high, seed):
    it = World(asks("low", 0, peak=500.0), pools=(pool(), pool("h200", 6)), seed=seed, noise=0.3)
    it.run(40, low=low)
    needs = math.ceil(low / 100 - 1e-9)
    it.add(asks("high", 10, peak=800.0))
    for _ in range(COLD_MIN + GIVEN_MIN + 1):
        it.run(1, high=high)
        assert it.crowd.ready("low") >= min(needs, it.planned("low"))
    # Where the lower one's plan grows on the way, the last engine waits for what came with that.
    assert it.crowd.engines("high") >= it.planned("high") - 1
    assert it.run(30, until=lambda: it.has_its_plan("high")) <= COLD_MIN + GIVEN_MIN
    assert nothing_is_held_twice(it)
    assert nothing_is_held_twice(it, 6, "h200")


@settings(max_examples=6, deadline=None, phases=PHASES)
@given(low=loads, high=loads, limit=st.integers(30, 170), seed=seeds)
def test_a_lower_limit_of_the_cluster_is_kept_when_what_goes_has_drained(low, high, limit, seed):
    roomy = (pool("h100", 18),)
    it = World(asks("low", 0), asks("high", 10, peak=800.0), pools=roomy, seed=seed, limit="1000")
    it.run(60, low=low, high=high)
    it.limit(str(limit))
    it.crowd.states.clear()
    it.run(DRAIN_MIN + 1)
    it.crowd.states.clear()
    it.run(60)
    assert all(paid(fleet)[1] <= limit * 1_000_000 for fleet in it.crowd.states)
    assert it.crowd.ready("high") > 0
    moved = len(it.crowd.began)
    it.limit("1000")
    # Back to what they asked for, without anybody being stopped again.
    assert it.run(60, until=lambda: it.serves_its_plan("low") and it.serves_its_plan("high")) < 60
    assert len(it.crowd.began) - moved <= 6, it.crowd.began
    it.crowd.began.clear()
    it.run(60)
    assert not it.gave_way("low"), it.crowd.began


@settings(max_examples=12, deadline=None, phases=PHASES)
@given(low=loads, high=loads, limit=st.integers(30, 150), seed=seeds)
def test_under_the_limit_dollars_are_given_to_who_comes_first(low, high, limit, seed):
    it = World(asks("low", 0), pools=(pool("h100", 24),), seed=seed, limit=str(limit))
    it.run(30, low=low)
    it.add(asks("high", 10, peak=800.0))
    assert it.run(30, high=high, until=lambda: it.has_its_plan("high")) <= GIVEN_MIN
    assert all(paid(fleet)[1] <= limit * 1_000_000 for fleet in it.crowd.states)


@settings(max_examples=12, deadline=None, phases=PHASES)
@given(low=loads, high=loads, looks=st.integers(1, 6))
def test_a_demand_that_flickers_takes_nothing(low, high, looks):
    it = World(asks("low", 0))
    it.run(30, low=low)
    before = it.crowd.engines("low")
    it.add(asks("high", 10, peak=800.0))
    it.crowd.look(looks)
    it.crowd.leave("high")
    it.crowd.look(6)
    assert it.crowd.engines("low") == before
    assert not it.gave_way()


@settings(max_examples=6, deadline=None, phases=PHASES)
@given(first=loads, second=loads, seed=seeds)
def test_equals_take_nothing_of_each_other(first, second, seed):
    it = World(asks("first", 5), seed=seed)
    it.run(30, first=first)
    it.add(asks("second", 5)).run(60, second=second)
    assert not it.gave_way("first")
    assert not it.gave_way("second")
    assert it.crowd.ready("first") * 100 >= first


def test_the_lowest_go_first_and_no_more_than_it_takes():
    it = World(asks("low", 0, peak=300.0), asks("middle", 5, peak=300.0), noise=0.0)
    it.run(40, low=250, middle=250)
    assert (it.crowd.engines("low"), it.crowd.engines("middle")) == (3, 3)
    it.add(asks("high", 10, peak=400.0)).run(30, high=380)
    assert (it.crowd.engines("high"), it.crowd.engines("middle"), it.crowd.engines("low")) == (4, 3, 1)
    assert not it.gave_way("middle")
