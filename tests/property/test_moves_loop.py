"""Laws of deciding: no swinging under noise, no growth for the sake of cost per token, nothing taken on absent data."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from deepseek_planner.demand import Demand
from deepseek_planner.forecast import covered, planned_requests_per_min, replicas_needed
from deepseek_planner.moves import MoveReason, moves, verdicts
from deepseek_planner.rollout import next_step
from deepseek_planner.simulation import applied, settled
from deepseek_planner.snapshot import Fleet, Policy, RebalancingMode
from deepseek_planner.units import micro_usd
from support.fleets import KEY, NOW, deployment, group, lengths, measured, plan, snapshot, target

POLICY = Policy(settle_s=60.0)
MINUTE_S, WINDOW_MIN = 60.0, 15
PEAK = 900.0


@dataclass
class Loop:
    """The loop over a fleet of one shape: minutes of load in, moves out. Nothing but the planning is simplified."""

    per_replica: float
    """Requests per minute that one replica serves."""
    seen: object = None
    minutes: deque = field(default_factory=lambda: deque(maxlen=WINDOW_MIN))
    moved: list = field(default_factory=list)
    """(seconds, desired before, after, reason)"""

    @property
    def declared(self):
        return math.ceil(PEAK / self.per_replica - 1e-9)

    def run(self, loads):
        """One cycle a minute, from the fleet that the declared demand asks for."""
        self.seen = snapshot(group(self.declared), budget="1000", max_replicas=64, moved_s_ago=None)
        now_s, answer, since_s, last_move_s = 0.0, None, 0.0, None
        for load in loads:
            self.minutes.append(load)
            now_s += MINUTE_S
            self._observe(now_s, last_move_s)
            wanted = self._plan()
            answer, since_s = (answer, since_s) if wanted == answer else (wanted, now_s)
            planned, targets = plan(target(wanted), rate=self._rate(), capacity=wanted * self.per_replica)
            for move in moves(self.seen, planned, targets, policy=POLICY, settled_s={KEY: now_s - since_s}):
                before = self.seen.fleet.of(KEY)[0].desired
                step = next_step(self.seen, move)
                self.seen = settled(applied(self.seen, step))
                last_move_s = now_s
                self.moved.append((now_s, before, step.replicas, move.reason))
        return self

    def _observe(self, now_s, last_move_s):
        full = measured(
            sum(self.minutes) / len(self.minutes),
            peak_requests_per_min=max(self.minutes),
            covered_s=len(self.minutes) * MINUTE_S,
            minutes=tuple(self.minutes),
        )
        last = None if last_move_s is None else NOW + timedelta(seconds=last_move_s)
        one = replace(self.seen.deployments[0], measured=full, last_move_at=last)
        self.seen = replace(self.seen, now=NOW + timedelta(seconds=now_s), deployments=(one,))

    def _rate(self):
        one = self.seen.deployments[0]
        return planned_requests_per_min(one.demand, one.measured)[0]

    def _plan(self):
        running = self.seen.fleet.of(KEY)[0].desired
        return max(1, replicas_needed(self._rate(), self.per_replica, running=running, peak=PEAK, headroom_percent=10))


@settings(max_examples=25, deadline=None)
@given(mean=st.floats(20, 800), noise=st.floats(0, 0.08), per_replica=st.floats(30, 400), seed=st.integers(0, 2**32))
def test_a_load_that_wobbles_around_its_mean_never_swings_the_fleet(mean, noise, per_replica, seed):
    random = Random(seed)
    loop = Loop(per_replica).run(mean * (1 + random.uniform(-noise, noise)) for _ in range(180))
    # Down from what was declared, perhaps in two moves; never back up.
    sizes = [loop.declared, *(after for *_, after, _ in loop.moved)]
    assert sizes == sorted(sizes, reverse=True), loop.moved
    assert len(loop.moved) <= 2


@settings(max_examples=25, deadline=None)
@given(loads=st.lists(st.floats(0, PEAK), min_size=60, max_size=90), per_replica=st.floats(30, 400))
def test_whatever_the_load_does_savings_respect_the_cooldown_and_the_window(loads, per_replica):
    loop = Loop(per_replica).run(loads)
    times = [at_s for at_s, *_ in loop.moved]
    for index, (at_s, before, after, _) in enumerate(loop.moved):
        if after < before:
            assert at_s >= WINDOW_MIN * MINUTE_S
            assert index == 0 or at_s - times[index - 1] >= 600.0


@settings(max_examples=25, deadline=None)
@given(drop_to=st.floats(0, 50), per_replica=st.floats(60, 200))
@example(drop_to=35.0, per_replica=60.0)  # one replica would do, but not with headroom: two
def test_load_that_goes_is_followed_down_and_load_that_comes_up(drop_to, per_replica):
    loop = Loop(per_replica).run([500.0] * 30 + [drop_to] * 60 + [500.0] * 60)
    sizes = [loop.declared, *(after for *_, after, _ in loop.moved)]

    def replicas(load):
        return max(1, math.ceil(min(PEAK, load) / per_replica))

    # With room for what the horizon may bring, and for a load that wobbles; a jump is no rise that goes on.
    assert replicas(drop_to) <= min(sizes) <= replicas(1.35 * drop_to + 30)
    assert replicas(500) <= sizes[-1] <= replicas(1.3 * 500)


fleets = st.tuples(st.sampled_from(["h100", "h200", "t4"]), st.integers(1, 5))
PRICES = {"h100": "10", "h200": "16", "t4": "2"}


@settings(max_examples=300, deadline=None)
@given(runs=fleets, wanted=fleets, cost=st.integers(3, 1000), settled_s=st.floats(0, 7200), slow=st.booleans())
def test_a_high_cost_per_token_never_costs_more(runs, wanted, cost, settled_s, slow):
    low = measured(
        1.0, usd_per_million_tokens=micro_usd(cost), time_to_first_token_s=9.0 if slow else 0.1, usd_per_hour=None
    )
    seen = snapshot(group(runs[1], runs[0], PRICES[runs[0]]), limit_per_million="2.50", budget="1000", measured=low)
    planned, targets = plan(target(wanted[1], wanted[0], PRICES[wanted[0]]))
    for verdict in verdicts(seen, planned, targets, policy=POLICY, settled_s={KEY: settled_s}):
        move = verdict.move
        if move.reason is MoveReason.COST_PER_TOKEN_HIGH:
            assert move.saves_usd_per_hour >= 0
            assert verdict.waiting or move.saves_usd_per_hour > 0
        if move.saves_usd_per_hour < 0:
            assert move.reason in {MoveReason.DEMAND_HIGH, MoveReason.OBJECTIVE_MISSED}


@settings(max_examples=300, deadline=None)
@given(
    runs=fleets,
    wanted=fleets,
    seen_s=st.none() | st.floats(0, 899),
    settled_s=st.floats(0, 7200),
    mode=st.sampled_from(list(RebalancingMode)),
    measures=st.booleans(),
)
def test_absent_data_takes_nothing_away(runs, wanted, seen_s, settled_s, mode, measures):
    partial = None if seen_s is None else measured(0.0, covered_s=seen_s)
    assert covered(partial) is None
    seen = snapshot(group(runs[1], runs[0], PRICES[runs[0]]), mode=mode, budget="1000", measured=partial)
    planned, targets = plan(target(wanted[1], wanted[0], PRICES[wanted[0]]), source="declared")
    policy = replace(POLICY, measures=measures)
    for move in moves(seen, planned, targets, policy=policy, settled_s={KEY: settled_s}):
        assert move.reason is MoveReason.DEMAND_HIGH
        assert wanted[0] == runs[0]
        assert wanted[1] > runs[1]


@settings(max_examples=200, deadline=None)
@given(
    peak=st.floats(0.5, 10_000),
    busiest=st.floats(0, 20_000),
    mean=st.floats(0, 20_000),
    seen_s=st.floats(0, 2000),
)
def test_planned_rates_stay_between_what_was_seen_and_the_declared_peak(peak, busiest, mean, seen_s):
    demand = Demand(peak / 2, peak, lengths(500), lengths(100))
    seen = measured(mean, peak_requests_per_min=busiest, covered_s=seen_s)
    rate, source = planned_requests_per_min(demand, seen)
    assert source == ("measured" if seen_s >= 900 else "declared")
    assert 0 <= rate <= peak
    if source == "declared":
        assert rate == peak
    else:
        assert rate >= min(peak, busiest) * (1 - 1e-9)
    assert planned_requests_per_min(demand, None) == (peak, "declared")


@settings(max_examples=100, deadline=None)
@given(busiest=st.floats(0, 2000), more=st.floats(0, 500))
def test_more_load_never_plans_for_less(busiest, more):
    demand = Demand(100.0, 900.0, lengths(500), lengths(100))
    rates = [
        planned_requests_per_min(demand, measured(0.0, peak_requests_per_min=x))[0] for x in (busiest, busiest + more)
    ]
    assert rates[0] <= rates[1]


def test_the_loop_of_these_laws_moves_at_all():
    quiet = Loop(100.0).run([10.0] * 40)
    assert [(before, after) for _, before, after, _ in quiet.moved] == [(9, 1)]
    assert deployment().demand.peak_requests_per_min == PEAK
    assert isinstance(quiet.seen.fleet, Fleet)
