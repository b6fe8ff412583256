"""What is planned for: the highest minute that the horizon may bring, from the minutes that were seen."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from deepseek_planner.demand import Demand
from deepseek_planner.forecast import (
    GRID,
    Horizon,
    highest_minute,
    horizon,
    planned_requests_per_min,
    with_headroom,
    wobble,
)
from deepseek_planner.snapshot import Policy
from support.fleets import NOW, deployment, lengths, measured, offering

AHEAD = Horizon(360.0, 0.95)
DEMAND = Demand(240.0, 900.0, lengths(500), lengths(100))


def seen(*minutes, window_s=900.0):
    mean = sum(minutes) / len(minutes)
    return measured(mean, peak_requests_per_min=max(minutes), minutes=minutes, window_s=window_s, covered_s=window_s)


def noisy(level, *, seed=1, minutes=15, factor=1.0):
    random = Random(seed)
    return [max(0.0, random.gauss(level, math.sqrt(factor * level))) for _ in range(minutes)]


def test_the_horizon_is_the_slowest_cold_start_and_one_cycle():
    policy = Policy(engine_start_s=200.0, cycle_s=30.0, demand_percentile=90)
    pools = (offering("h100", startup_s=100.0), offering("t4", startup_s=400.0))
    assert horizon(pools, policy) == Horizon(630.0, 0.9)
    assert horizon((), policy) == Horizon(230.0, 0.9)


def test_a_steady_load_keeps_room_for_chance_alone():
    plan = highest_minute(seen(*noisy(200.0)), AHEAD)
    assert 200 + 2 * math.sqrt(200) < plan < 260


def test_noisier_minutes_ask_for_more_room():
    calm, wild = (highest_minute(seen(*noisy(200.0, factor=factor)), AHEAD) for factor in (1.0, 16.0))
    assert wild > calm + 2 * math.sqrt(200)


def test_a_rise_is_anticipated_over_the_horizon_and_a_fall_is_not():
    rising = [100.0 + 10 * minute for minute in range(15)]
    assert highest_minute(seen(*rising), AHEAD) > rising[-1] + 6 * 10
    falling = rising[::-1]
    level = sum(falling) / 15
    assert highest_minute(seen(*falling), AHEAD) > level
    assert highest_minute(seen(*rising), AHEAD) > highest_minute(seen(*falling), AHEAD) + 60


def test_a_rise_that_noise_would_make_too_is_not_believed():
    slopes = [noisy(100.0, seed=seed) for seed in range(40)]
    plans = [highest_minute(seen(*minutes), AHEAD) for minutes in slopes]
    assert max(plans) < 1.7 * 100
    assert sum(plans) / len(plans) < 1.4 * 100


def test_a_rise_is_trusted_no_longer_ahead_than_it_was_seen():
    rising = seen(*(100.0 + 10 * minute for minute in range(15)))
    one, two = (highest_minute(rising, Horizon(seconds, 0.95)) for seconds in (900.0, 9000.0))
    assert two < one + 60
    # A window of seconds says nothing about the next minutes.
    short = seen(*(60.0 + minute for minute in range(15)), window_s=15.0)
    assert highest_minute(short, AHEAD) < 100
    both_ends = seen(*(100.0 + 10 * minute for minute in range(16)))
    assert highest_minute(both_ends, AHEAD) > 250 + 60


@pytest.mark.parametrize("seconds", [60.0, 360.0, 1000.0])
def test_a_longer_horizon_and_a_higher_quantile_ask_for_more(seconds):
    load = seen(*noisy(200.0))
    assert highest_minute(load, Horizon(seconds, 0.95)) < highest_minute(load, Horizon(2 * seconds, 0.95))
    assert highest_minute(load, Horizon(seconds, 0.9)) < highest_minute(load, Horizon(seconds, 0.99))


def test_more_load_in_every_minute_plans_for_more():
    minutes = noisy(200.0)
    base = highest_minute(seen(*minutes), AHEAD)
    assert highest_minute(seen(*(rate + 20 for rate in minutes)), AHEAD) > base + 19
    assert highest_minute(seen(*(rate * 1.2 for rate in minutes)), AHEAD) > base * 1.1


def test_without_minutes_the_noise_is_read_from_the_busiest():
    calm = measured(200.0, peak_requests_per_min=205.0)
    wild = replace(calm, peak_requests_per_min=400.0)
    assert highest_minute(calm, AHEAD) < highest_minute(wild, AHEAD)
    assert highest_minute(measured(0.0), AHEAD) == 0.0


def test_the_plan_is_never_above_the_peak_nor_below_the_busiest_minute():
    assert planned_requests_per_min(DEMAND, seen(*noisy(880.0)), AHEAD) == (900.0, "measured")
    spike = [100.0] * 14 + [600.0]
    rate, _ = planned_requests_per_min(DEMAND, seen(*spike), AHEAD)
    assert rate >= 600.0
    assert planned_requests_per_min(DEMAND, measured(covered_s=899.0), AHEAD) == (900.0, "declared")


def test_planned_rates_lie_on_a_grid():
    rate, _ = planned_requests_per_min(DEMAND, seen(*noisy(200.0)), AHEAD)
    power = math.log(900.0 / rate, GRID)
    assert power == pytest.approx(round(power), abs=1e-9)


def test_after_growth_more_room_is_left_free_for_as_long_as_savings_may_take_to_pay():
    policy = Policy(break_even_s=3600.0)
    grown = replace(deployment(moved_s_ago=60.0), grew_at=NOW - timedelta(seconds=3599))
    assert wobble(grown, NOW, policy) == 3.0, "whatever moved since"
    assert wobble(grown, NOW + timedelta(seconds=1), policy) == 2.0
    assert wobble(replace(grown, grew_at=None), NOW, policy) == 2.0
    assert with_headroom(100.0, peak=900.0, percent=10, roots=3.0) == 130.0
    assert with_headroom(1600.0, peak=9000.0, percent=10, roots=3.0) == 1760.0, "a share of much is more"
