"""Is a move worth its disruption? The bars it must pass, and the first one that holds it back.

A move for savings passes every bar: measurements that fill their window, savings above the threshold, room for a
load that wobbles, objectives that hold under load, the cooldown, an answer that has settled, savings that pay for the
disruption soon enough, and few enough engines that start within the hour. Savings are expected dollars: what
interruptions of spot nodes lose counts, what reserved capacity costs anyway does not.
A move for capacity waits for nothing when measurements ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from deepseek_planner.difference import Difference, Situation
from deepseek_planner.forecast import covered, with_headroom, wobble
from deepseek_planner.setbacks import cold_start_s
from deepseek_planner.snapshot import DeploymentInput, EngineGroup
from deepseek_planner.units import SECONDS_PER_HOUR


class Hold(StrEnum):
    """What a move waits for. Names are API: status and Events show them."""

    MODE = "Mode"
    NO_MEASUREMENTS = "NoMeasurements"
    COOLDOWN = "Cooldown"
    SETTLING = "Settling"
    SAVINGS_BELOW_THRESHOLD = "SavingsBelowThreshold"
    HEADROOM_TOO_SMALL = "HeadroomTooSmall"
    OBJECTIVE_MISSED = "ObjectiveMissed"
    BREAK_EVEN_TOO_LATE = "BreakEvenTooLate"
    DISRUPTION_BUDGET = "DisruptionBudget"
    DID_NOT_START = "DidNotStart"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A bar that was not passed, with the numbers."""

    hold: Hold
    message: str
    until: datetime | None = None
    """When it may go, as far as time alone decides."""


def held_for_capacity(situation: Situation, difference: Difference) -> Waiting | None:
    """What more capacity waits for.

    On absent measurements the declared demand asks for it, and must have asked for a cooldown long: an outage of
    the metrics alone moves nothing. Nothing waits while nothing serves, or where nothing is ever measured.
    """
    if not situation.is_serving:
        return None
    if situation.is_measured:
        return _held_for_price(situation, difference)
    if not difference.only_grows:
        return Waiting(Hold.NO_MEASUREMENTS, "nothing measured says that what runs is not enough")
    outage_s = max(situation.policy.settle_s, situation.deployment.rebalancing.cooldown_s)
    return _held_for_settling(situation, outage_s if situation.policy.measures else 0.0)


def held_for_way(situation: Situation) -> Waiting | None:
    """What giving way waits for: a demand that only flickers takes no engine that serves."""
    wanted_s, settle_s = situation.wanted.for_s if situation.wanted else 0.0, situation.policy.settle_s
    if wanted_s >= settle_s:
        return None
    return Waiting(Hold.SETTLING, f"others have waited for the room for {wanted_s:.0f} s of {settle_s:.0f} s")


def held_for_savings(situation: Situation, difference: Difference) -> Waiting | None:
    """What a cheaper fleet waits for: the first bar that is not passed, None when all are."""
    if difference.only_cleans:
        return None
    return (
        _held_for_measurements(situation)
        or _held_for_threshold(situation, difference)
        or _held_for_headroom(situation)
        or _held_for_objectives(situation)
        or _held_for_cooldown(situation)
        or _held_for_settling(situation, situation.policy.settle_s)
        or _held_for_break_even(situation, difference)
        or _held_for_disruption(situation, difference)
    )


def held_for_setback(situation: Situation, difference: Difference) -> Waiting | None:
    """Engines that did not become ready are not started again at once, as long as others serve."""
    if not situation.is_serving:
        return None
    running = {group.name: group.desired for group in situation.fleet}
    missing = {goal.name for goal in difference.goals if goal.placement.replicas > running.get(goal.name, 0)}
    found = next((item for item in situation.setbacks if item.group in missing), None)
    if found is None:
        return None
    text = f"{found.group} was given up at {found.at:%H:%M} UTC: {found.message}"
    return Waiting(Hold.DID_NOT_START, text, found.at + timedelta(seconds=situation.policy.retry_s))


def _held_for_measurements(situation: Situation) -> Waiting | None:
    if situation.is_measured:
        return None
    measured = situation.deployment.measured
    seen_s = measured.covered_s if measured is not None else 0.0
    window = f" of {measured.window_s:.0f} s" if measured is not None else ""
    return Waiting(Hold.NO_MEASUREMENTS, f"{seen_s:.0f} s{window} are measured; less runs only on a full window")


def _held_for_threshold(situation: Situation, difference: Difference) -> Waiting | None:
    runs = situation.expected_usd_per_hour
    percent = 100 * difference.saves / runs if runs else 0.0
    wanted = situation.deployment.rebalancing.min_savings_percent
    if percent >= wanted:
        return None
    return Waiting(Hold.SAVINGS_BELOW_THRESHOLD, f"saves {percent:.1f} %, minSavingsPercent is {wanted}")


def _held_for_headroom(situation: Situation) -> Waiting | None:
    """Growing back is not held by anything, so what shrinks must not be about to grow back."""
    plan = situation.plan
    if plan is None or plan.prediction is None:
        return None
    rate, peak = plan.planned_requests_per_min, situation.deployment.demand.peak_requests_per_min
    roots = wobble(situation.deployment, situation.snapshot.now, situation.policy)
    wanted = with_headroom(rate, peak=peak, percent=situation.policy.headroom_percent, roots=roots)
    capacity = plan.prediction.capacity_requests_per_min
    # A tolerance for a capacity that is exactly what is wanted, but for its last binary digit.
    if capacity >= wanted * (1 - 1e-9):
        return None
    text = f"would serve {capacity:.0f} requests/min, {wanted:.0f} leave room for a load that wobbles"
    return Waiting(Hold.HEADROOM_TOO_SMALL, text)


def _held_for_objectives(situation: Situation) -> Waiting | None:
    """Under load, latencies over their limits say that engines serve less than predicted: none may be taken away.

    At less than half of what would be left, latency has another cause than load, and engines do not help it.
    """
    measured, plan = covered(situation.deployment.measured), situation.plan
    if measured is None or plan is None or plan.prediction is None or not objective_missed(situation.deployment):
        return None
    capacity = plan.prediction.capacity_requests_per_min
    if measured.requests_per_min <= capacity / 2:
        return None
    text = (
        f"a latency objective is missed at {measured.requests_per_min:.0f} requests/min, "
        f"of which the cheaper fleet is predicted to serve {capacity:.0f}"
    )
    return Waiting(Hold.OBJECTIVE_MISSED, text)


def objective_missed(deployment: DeploymentInput) -> bool:
    """Whether a measured latency is over its limit. What is not measured is not missed."""
    measured, objectives = covered(deployment.measured), deployment.objectives
    if measured is None:
        return False
    pairs = (
        (measured.time_to_first_token_s, objectives.time_to_first_token),
        (measured.time_per_output_token_s, objectives.time_per_output_token),
    )
    return any(seen is not None and target is not None and seen > target.limit_s for seen, target in pairs)


def _held_for_cooldown(situation: Situation) -> Waiting | None:
    last, cooldown_s = situation.deployment.last_move_at, situation.deployment.rebalancing.cooldown_s
    if last is None or not situation.is_cooling_down:
        return None
    waited_s = (situation.snapshot.now - last).total_seconds()
    text = f"the last move was {waited_s:.0f} s ago, cooldown is {cooldown_s:.0f} s"
    return Waiting(Hold.COOLDOWN, text, last + timedelta(seconds=cooldown_s))


def _held_for_break_even(situation: Situation, difference: Difference) -> Waiting | None:
    pays_back_s, allowed_s = break_even_s(situation, difference), situation.policy.break_even_s
    if pays_back_s <= allowed_s:
        return None
    text = f"pays for its disruption after {pays_back_s:.0f} s, allowed are {allowed_s:.0f} s"
    return Waiting(Hold.BREAK_EVEN_TOO_LATE, text)


def break_even_s(situation: Situation, difference: Difference) -> float:
    """Seconds until the savings have paid for the disruption."""
    return disruption_usd(situation, difference) / difference.saves * SECONDS_PER_HOUR if difference.saves > 0 else 0.0


def disruption_usd(situation: Situation, difference: Difference) -> float:
    """Micro-dollars that a move costs once, as billed.

    - New engines are paid for while they start, and the old ones serve on.
    - What they start with is an empty prefix cache: while it fills, the shared part of the prompts is computed again.
    - Old engines go one by one, each paid for until its requests are finished.
    """
    policy, demand = situation.policy, situation.deployment.demand
    shared = min(1.0, demand.shared_prefix_tokens / max(1.0, demand.input_tokens.mean_tokens))
    running = {group.name: group.desired for group in situation.fleet}
    total = 0.0
    for goal in difference.goals:
        starts = max(0, goal.placement.replicas - running.get(goal.name, 0))
        idle_s = cold_start_s(situation.offering(goal.placement.pool), policy) + policy.warm_up_s * shared
        total += starts * goal.placement.usd_per_replica_hour * idle_s
    if difference.starts:
        for group in difference.surplus:
            in_turn_s = policy.drain_s * group.desired * (group.desired + 1) / 2
            total += (group.usd_per_replica_hour or 0) * in_turn_s
    return total / SECONDS_PER_HOUR


def _held_for_disruption(situation: Situation, difference: Difference) -> Waiting | None:
    """Few engines start within an hour for the sake of savings: in the deployment, and in the cluster."""
    policy, fleet = situation.policy, situation.snapshot.fleet.groups
    own = tuple(group for group in fleet if group.key == situation.deployment.key)
    for groups, most, where in (
        (own, policy.max_moved_engines_per_hour, "of it"),
        (fleet, policy.max_moved_engines_per_hour_in_all, "of the cluster"),
    ):
        waiting = _held_for_starts(situation, difference.starts, groups, most, where)
        if waiting is not None:
            return waiting
    return None


def _held_for_starts(
    situation: Situation, starts: int, groups: tuple[EngineGroup, ...], most: int, where: str
) -> Waiting | None:
    """A move of more engines than an hour may start goes alone: when none started within the hour before."""
    hour = timedelta(seconds=SECONDS_PER_HOUR)
    now = situation.snapshot.now
    recent = sorted(at for group in groups for at in group.starts if at > now - hour)
    over = min(len(recent), len(recent) + starts - most)
    if starts == 0 or over <= 0:
        return None
    text = f"starts {starts} engines; {len(recent)} {where} started within the hour, {most} may"
    return Waiting(Hold.DISRUPTION_BUDGET, text, recent[over - 1] + hour)


def _held_for_price(situation: Situation, difference: Difference) -> Waiting | None:
    """An outage of the prices alone moves nothing, like one of the metrics."""
    if not (unpriced := _unpriced(situation, difference)):
        return None
    text = f"the price of {unpriced} is not known, and what runs there is not left for that at once"
    return _held_for_settling(situation, situation.deployment.rebalancing.cooldown_s, text)


def _unpriced(situation: Situation, difference: Difference) -> str:
    """A pool that engines would leave for priced ones, and of which nobody says what it costs; empty: there is none."""
    wanted = {goal.name: goal.placement.replicas for goal in difference.goals}
    unpriced = {each.pool for each in situation.snapshot.offerings if each.price is None}
    if any(goal.placement.pool in unpriced for goal in difference.goals):
        return ""
    leaving = (group.pool for group in situation.fleet if group.desired > wanted.get(group.name, 0))
    return next((pool for pool in leaving if pool in unpriced), "")


def _held_for_settling(situation: Situation, settle_s: float, why: str = "") -> Waiting | None:
    if situation.settled_s >= settle_s:
        return None
    text = f"the answer has stood for {situation.settled_s:.0f} s of {settle_s:.0f} s"
    return Waiting(Hold.SETTLING, f"{why}; {text}" if why else text)
