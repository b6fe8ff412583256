"""Laws of mixed fleets over hours of load: few moves, the load served and the budgets kept in every state between."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from random import Random

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from deepseek_planner.eligibility import planned_rate
from deepseek_planner.hardware import CapacityType
from deepseek_planner.plan import Confidence, DeploymentPlan, Plan, Prediction
from deepseek_planner.snapshot import Policy, RebalancingMode
from deepseek_planner.units import MicroUsd, micro_usd
from support.fleets import KEY, deployment, group, offering, placement, snapshot
from support.turns import Turns

POLICY = Policy(settle_s=60.0)
CAPACITY = {"h100": 100.0, "t4": 28.0}
"""Requests per minute of one replica: a big one at $10, a small one at $3."""
USD = {"h100": "10", "t4": "3"}
COOLDOWN_MIN = 10
MOST = 9


# A case is hours of load already: smaller ones are not looked for.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def capacity(groups):
    """Requests per minute that the serving engines carry."""
    return sum(min(each.ready, each.desired) * CAPACITY[each.pool] for each in groups)


def dollars(groups):
    return sum(each.paid_replicas * (each.usd_per_replica_hour or 0) for each in groups)


def cheapest_mix(prices):
    """A planner that finds the cheapest mix of both sizes by trying all, with headroom beside what runs."""

    def planner(seen):
        asked = seen.deployments[0]
        rate, source = planned_rate(seen.offerings, asked, POLICY)
        runs = {each.pool: each.desired for each in seen.fleet.groups if each.desired}
        spare = min(asked.demand.peak_requests_per_min, 1.1 * rate)
        found = []
        for counts in itertools.product(range(MOST + 1), repeat=2):
            mix = dict(zip(CAPACITY, counts, strict=True))
            carries = sum(count * CAPACITY[name] for name, count in mix.items())
            kept = bool(runs) and all(mix[name] >= count for name, count in runs.items())
            if carries >= (rate if kept or not runs else spare) - 1e-9 and any(counts):
                found.append((sum(count * prices[name] for name, count in mix.items()), counts, carries))
        usd, counts, carries = min(found)
        placements = tuple(
            replace(placement(count, name), usd_per_replica_hour=MicroUsd(prices[name]))
            for name, count in zip(CAPACITY, counts, strict=True)
            if count
        )
        predicted = Prediction(0.3, 0.02, 100 * rate / carries, carries, carries, Confidence.CALIBRATED, 10, "")
        hourly = MicroUsd(usd)
        one = DeploymentPlan(KEY, "m", placements, hourly, micro_usd("1"), predicted, source, rate, (), ())
        return Plan({KEY: one})

    return planner


def turns(prices=None, *, big=9, budget="150"):
    prices = prices or {name: micro_usd(usd) for name, usd in USD.items()}
    big_group = replace(group(big), name="chat-h100-fp8-tp1-h100")
    asked = deployment(budget=budget, moved_s_ago=None)
    pools = (offering("h100", max_nodes=4), offering("t4", max_nodes=4))
    return Turns(asked, snapshot(big_group, offerings=pools, of=asked), cheapest_mix(prices), POLICY)


def noisy(random, mean):
    return max(0.0, random.gauss(mean, math.sqrt(max(mean, 0.0))))


def serves(it, *, after=15):
    """Share of the minutes in which the engines that serve carry the load."""
    states = it.states[after:]
    return sum(capacity(groups) >= load for load, groups in states) / len(states)


def keeps_the_budget(it):
    limit = it.asked.objectives.max_usd_per_hour
    return all(dollars(groups) <= limit for _, groups in it.states)


def saved_per_hour(it):
    """Moves for savings: all others only add what the load asks for, or replace what is lost."""
    return 60 * sum(not each.required for each in it.moved) / len(it.states)


def rests_between_savings(it):
    """No move for savings begins within the cooldown of the move before; one may grow while it is on its way."""
    return all(
        after.required
        or after.minute - before.minute >= COOLDOWN_MIN
        or (after.starts and after.groups.keys() == before.groups.keys())
        for before, after in itertools.pairwise(it.moved)
    )


steady = st.floats(60, 700)
seeds = st.integers(0, 2**32)


@settings(max_examples=8, deadline=None, phases=PHASES)
@given(mean=steady, seed=seeds)
def test_a_steady_noisy_load_moves_a_mixed_fleet_at_most_five_times_in_four_hours(mean, seed):
    random = Random(seed)
    it = turns().run(noisy(random, mean) for _ in range(240))
    assert len(it.moved) <= 5, it.moved
    assert serves(it) >= 0.995
    assert keeps_the_budget(it)
    assert rests_between_savings(it)


@settings(max_examples=6, deadline=None, phases=PHASES)
@given(low=st.floats(60, 200), high=st.floats(300, 700), seed=seeds)
def test_slow_ramps_are_served_on_the_way_and_save_at_most_three_times_an_hour(low, high, seed):
    random = Random(seed)
    up = [low + (high - low) * minute / 120 for minute in range(120)]
    it = turns().run(noisy(random, mean) for mean in [low] * 60 + up + [high] * 60 + up[::-1] + [low] * 60)
    assert saved_per_hour(it) <= 3, it.moved
    assert len(it.moved) / len(it.states) <= 6 / 60, it.moved
    assert serves(it, after=60) >= 0.98
    assert keeps_the_budget(it)
    assert rests_between_savings(it)


@settings(max_examples=3, deadline=None, phases=PHASES)
@given(seed=seeds)
def test_a_wave_saves_at_most_twice_an_hour(seed):
    random = Random(seed)
    wave = (400 + 250 * math.sin(2 * math.pi * minute / 720) for minute in range(720))
    it = turns().run(noisy(random, mean) for mean in wave)
    assert saved_per_hour(it) <= 2, it.moved
    assert len(it.moved) / len(it.states) <= 4 / 60, it.moved
    assert serves(it, after=60) >= 0.99
    assert keeps_the_budget(it)
    assert rests_between_savings(it)


@settings(max_examples=8, deadline=None, phases=PHASES)
@given(mean=steady, seed=seeds)
def test_prices_that_jitter_below_the_threshold_move_nothing(mean, seed):
    random = Random(seed)
    prices = {name: micro_usd(usd) for name, usd in USD.items()}
    it = turns(prices)
    it.run(mean for _ in range(60))
    it.moved.clear()

    def jitter(it, _):
        for name, usd in USD.items():
            prices[name] = round(micro_usd(usd) * random.uniform(0.97, 1.03))
        groups = tuple(
            replace(each, usd_per_replica_hour=MicroUsd(prices[each.pool])) for each in it.snapshot.fleet.groups
        )
        it.snapshot = replace(it.snapshot, fleet=replace(it.snapshot.fleet, groups=groups))

    it.run((mean for _ in range(120)), each=jitter)
    assert it.moved == []


@settings(max_examples=6, deadline=None, phases=PHASES)
@given(seed=seeds)
def test_a_lost_pool_is_replaced_at_once_and_the_rest_serves_on(seed):
    random = Random(seed)
    it = turns().run(noisy(random, 120) for _ in range(90))
    held = {each.pool for each in it.snapshot.fleet.groups if each.desired}
    lost = max(held, key=lambda name: sum(g.desired for g in it.snapshot.fleet.groups if g.pool == name))
    left = "t4" if lost == "h100" else "h100"

    def lose(it, minute):
        if minute == 0:
            groups = tuple(
                replace(each, ready=0, starting=each.desired, unready_since=it.snapshot.now)
                if each.pool == lost
                else each
                for each in it.snapshot.fleet.groups
            )
            pools = tuple(each for each in it.snapshot.offerings if each.pool != lost)
            it.snapshot = replace(it.snapshot, offerings=pools, fleet=replace(it.snapshot.fleet, groups=groups))
            it.moved.clear()
            prices = {name: micro_usd(usd) for name, usd in USD.items()} | {lost: 10**12}
            it.planner = cheapest_mix(prices)

    it.run((noisy(random, 120) for _ in range(30)), each=lose)
    assert it.moved[0].minute == 0
    assert it.moved[0].required
    assert {each.pool for each in it.snapshot.fleet.groups} == {left}
    assert capacity(it.snapshot.fleet.groups) >= 120


def test_the_loop_of_these_laws_moves_at_all():
    it = turns().run([333.0] * 60)
    assert it.moved
    assert {each.pool for each in it.snapshot.fleet.groups if each.desired} == {"h100", "t4"}
    assert RebalancingMode.AUTO is it.asked.rebalancing.mode
    assert CapacityType.SPOT not in {each.capacity_type for each in it.snapshot.fleet.groups}
