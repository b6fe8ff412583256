"""Is a move worth its disruption? The bars it must pass, and the first one that holds it back.

A move for savings passes every bar: measurements that fill their window, savings above the threshold, room for a
load that wobbles, objectives that hold under load, the cooldown, an answer that has settled, and savings that pay for
the new engines' cold starts soon enough.
A move for capacity waits for nothing when measurements ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from deepseek_planner.difference import Difference, Situation
from deepseek_planner.forecast import covered
from deepseek_planner.plan import DeploymentInput
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


@dataclass(frozen=True, slots=True)
class Waiting:
    """A bar that was not passed, with the numbers."""

    hold: Hold
    message: str


def held_for_capacity(situation: Situation, difference: Difference) -> Waiting | None:
    """What more capacity waits for.

    On absent measurements the declared demand asks for it, and must have asked for a cooldown long: an outage of
    the metrics alone moves nothing. Nothing waits while nothing serves, or where nothing is ever measured.
    """
    if situation.is_measured or not situation.is_serving:
        return None
    if not difference.only_grows:
        return Waiting(Hold.NO_MEASUREMENTS, "nothing measured says that what runs is not enough")
    outage_s = max(situation.policy.settle_s, situation.deployment.rebalancing.cooldown_s)
    return _held_for_settling(situation, outage_s if situation.policy.measures else 0.0)


def held_for_savings(situation: Situation, difference: Difference) -> Waiting | None:
    """What a cheaper fleet waits for: the first bar that is not passed, None when all are."""
    return (
        _held_for_measurements(situation)
        or _held_for_threshold(situation, difference)
        or _held_for_headroom(situation)
        or _held_for_objectives(situation)
        or _held_for_cooldown(situation)
        or _held_for_settling(situation, situation.policy.settle_s)
        or _held_for_break_even(situation, difference)
    )


def _held_for_measurements(situation: Situation) -> Waiting | None:
    if situation.is_measured:
        return None
    measured = situation.deployment.measured
    seen_s = measured.covered_s if measured is not None else 0.0
    window = f" of {measured.window_s:.0f} s" if measured is not None else ""
    return Waiting(Hold.NO_MEASUREMENTS, f"{seen_s:.0f} s{window} are measured; less runs only on a full window")


def _held_for_threshold(situation: Situation, difference: Difference) -> Waiting | None:
    percent = 100 * difference.saves / situation.usd_per_hour if situation.usd_per_hour else 0.0
    wanted = situation.deployment.rebalancing.min_savings_percent
    if percent >= wanted:
        return None
    return Waiting(Hold.SAVINGS_BELOW_THRESHOLD, f"saves {percent:.1f} %, minSavingsPercent is {wanted}")


def _held_for_headroom(situation: Situation) -> Waiting | None:
    """Growing back is not held by anything, so what shrinks must not be about to grow back."""
    plan = situation.plan
    if plan is None or plan.prediction is None:
        return None
    spare = 1 + situation.policy.headroom_percent / 100
    peak = situation.deployment.demand.peak_requests_per_min
    wanted = min(peak, plan.planned_requests_per_min * spare)
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
    deployment = situation.deployment
    if deployment.last_move_at is None:
        return None
    waited_s = (situation.snapshot.now - deployment.last_move_at).total_seconds()
    cooldown_s = deployment.rebalancing.cooldown_s
    if waited_s >= cooldown_s:
        return None
    return Waiting(Hold.COOLDOWN, f"the last move was {waited_s:.0f} s ago, cooldown is {cooldown_s:.0f} s")


def _held_for_break_even(situation: Situation, difference: Difference) -> Waiting | None:
    pays_back_s, allowed_s = break_even_s(situation, difference), situation.policy.break_even_s
    if pays_back_s <= allowed_s:
        return None
    text = f"pays for its disruption after {pays_back_s:.0f} s, allowed are {allowed_s:.0f} s"
    return Waiting(Hold.BREAK_EVEN_TOO_LATE, text)


def break_even_s(situation: Situation, difference: Difference) -> float:
    """Seconds until the savings have paid for the new engines' cold starts, during which the old ones run on."""
    startup_s = {offering.pool: offering.startup_s for offering in situation.snapshot.offerings}
    running = {group.name: group.desired for group in situation.fleet}
    disruption = 0.0  # micro-dollars
    for goal in difference.goals:
        starts = max(0, goal.placement.replicas - running.get(goal.name, 0))
        cold_s = startup_s.get(goal.placement.pool, 0.0) + situation.policy.engine_start_s
        disruption += starts * goal.placement.usd_per_replica_hour * cold_s / SECONDS_PER_HOUR
    return disruption / difference.saves * SECONDS_PER_HOUR if difference.saves > 0 else 0.0


def _held_for_settling(situation: Situation, settle_s: float) -> Waiting | None:
    if situation.settled_s >= settle_s:
        return None
    return Waiting(Hold.SETTLING, f"the answer has stood for {situation.settled_s:.0f} s of {settle_s:.0f} s")
