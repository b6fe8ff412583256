"""Who gives way, to whom, how much of it, and step by step."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from deepseek_planner.claims import claim
from deepseek_planner.difference import TargetGroup
from deepseek_planner.hardware import CapacityType
from deepseek_planner.look import Look
from deepseek_planner.moves import Hold, MoveReason
from deepseek_planner.plan import DeploymentPlan, Plan, Shortage
from deepseek_planner.rollout import StepKind
from deepseek_planner.simulation import settled
from deepseek_planner.snapshot import DeploymentKey, Fleet, Policy, RebalancingMode, Snapshot
from deepseek_planner.units import MicroUsd, micro_usd
from support.fleets import NOW, deployment, group, measured, offering, placement

POLICY = Policy(settle_s=60.0)
USD = {"h100": "10", "h200": "16"}
LONG = 3600.0


def key(name):
    return DeploymentKey("team-a", name)


def asked(name, priority=0, **changes):
    base = deployment(key=key(name), **changes)
    return replace(base, objectives=replace(base.objectives, priority=priority))


def runs(name, replicas, pool="h100", **changes):
    return group(replicas, pool, USD[pool], key=key(name), name=f"{name}-{pool}", **changes)


def pools(**gpus):
    return tuple(offering(name, max_nodes=1, free_gpus_by_node=(count,)) for name, count in gpus.items())


def planned(name, short=None, **replicas):
    placements = tuple(placement(count, pool, USD[pool]) for pool, count in replicas.items())
    usd = MicroUsd(sum(each.usd_per_hour for each in placements))
    served = None if short is None else Shortage(50 if placements else 0, short, (key("high"),))
    one = MicroUsd(1)
    return DeploymentPlan(key(name), "m", placements, usd, one, None, "measured", 60.0, (), (), shortage=served)


def world(*deployments, groups=(), offerings=None):
    return Snapshot(NOW, deployments, pools(h100=8) if offerings is None else offerings, Fleet(tuple(groups)))


def looked(seen, *plans, policy=POLICY, wanted_s=LONG):
    """Verdict and step by name."""
    by_key = {each.key: each for each in plans}
    look = Look(seen, Plan(by_key), policy)
    found = {}
    for item in look.order:
        targets = tuple(
            TargetGroup(item.key, f"{item.key.name}-{each.pool}", "a", each) for each in by_key[item.key].placements
        )
        found[item.key.name] = look.decide(item, targets, LONG, lambda is_wanted: wanted_s if is_wanted else 0.0)
    return found, look.snapshot


def goes(found, name):
    """Group and replicas after the step; None where nothing goes."""
    _, step = found[name]
    return (step.group, step.replicas) if step is not None and step.kind is StepKind.SCALE else None


LOW, HIGH = asked("low"), asked("high", 10, planned_generation=None)


def test_what_runs_beyond_the_plan_gives_way_to_a_higher_priority():
    seen = world(LOW, HIGH, groups=[runs("low", 8)])
    found, _ = looked(seen, planned("low", "h100"), planned("high", h100=6))
    verdict, step = found["low"]
    assert verdict.move.reason is MoveReason.GIVES_WAY
    assert verdict.move.message == "8 x h100-fp8-tp1 -> 2 x h100-fp8-tp1: team-a/high needs the room"
    assert verdict.move.saves_usd_per_hour == micro_usd("60")
    # Two serve on: nobody needs their room.
    assert (step.kind, step.group, step.replicas) == (StepKind.SCALE, "low-h100", 2)
    assert found["high"][1].kind is StepKind.WAIT


def test_room_that_is_free_or_drains_already_is_not_wanted_of_anybody():
    drains = runs("low", 4, draining=4)
    found, _ = looked(world(LOW, HIGH, groups=[drains]), planned("low", "h100"), planned("high", h100=4))
    assert found["low"] == (None, None)
    free = world(LOW, HIGH, groups=[runs("low", 4)])
    found, after = looked(free, planned("low", "h100"), planned("high", h100=4))
    assert found["low"] == (None, None)
    assert {each.name: each.desired for each in after.fleet.groups} == {"high-h100": 4, "low-h100": 4}


@pytest.mark.parametrize("priority", [0, -1])
def test_equals_and_lower_priorities_take_nothing(priority):
    other = replace(HIGH, objectives=replace(HIGH.objectives, priority=priority))
    seen = world(LOW, other, groups=[runs("low", 8)])
    found, _ = looked(seen, planned("low", "h100"), planned("high", h100=8))
    assert found["low"] == (None, None)


def test_what_equals_hold_does_not_count_as_room_for_a_replacement():
    # Eight new engines would fit if an equal gave way too: as it does not, the lower one would go in vain.
    edited = asked("high", 10, generation=4)
    old = replace(runs("high", 2), name="high-old", launch_hash="old")
    groups = [runs("low", 3), runs("equal", 3), old]
    seen = world(LOW, asked("equal", 10), edited, groups=groups, offerings=pools(h100=10))
    found, _ = looked(seen, planned("low", "h100"), planned("equal", "h100"), planned("high", h100=8))
    assert found["low"] == found["equal"] == (None, None)


def test_an_impossible_request_and_a_paused_one_keep_what_serves():
    seen = world(LOW, HIGH, groups=[runs("low", 8)])
    found, _ = looked(seen, planned("low"), planned("high", h100=8))
    assert found["low"] == (None, None)
    paused = world(replace(LOW, paused=True), HIGH, groups=[runs("low", 8)])
    found, _ = looked(paused, planned("low", "h100"), planned("high", h100=8))
    assert found["low"] == (None, None)


@pytest.mark.parametrize("mode", list(RebalancingMode))
def test_every_mode_gives_way(mode):
    seen = world(asked("low", mode=mode), HIGH, groups=[runs("low", 8)])
    found, _ = looked(seen, planned("low", "h100"), planned("high", h100=8))
    assert goes(found, "low") == ("low-h100", 0)


def test_it_waits_until_the_room_has_been_wanted_for_the_settling_time():
    seen = world(LOW, HIGH, groups=[runs("low", 8)])
    found, _ = looked(seen, planned("low", "h100"), planned("high", h100=8), wanted_s=59.0)
    verdict, step = found["low"]
    assert verdict.waiting.hold is Hold.SETTLING
    assert step is None


def test_a_move_for_savings_takes_nothing_from_anybody():
    saves = asked("high", 10, measured=measured(10.0))
    seen = world(LOW, saves, groups=[runs("low", 8), runs("high", 2, "h200")], offerings=pools(h100=8, h200=8))
    found, _ = looked(seen, planned("low", "h100"), planned("high", h100=2))
    assert found["high"][0].waiting is None
    assert not found["high"][0].move.required
    assert found["low"] == (None, None)


def test_an_edit_of_a_higher_priority_takes_nothing_for_its_surge():
    edited = asked("high", 10, generation=4)
    old = replace(runs("high", 4), name="high-old", launch_hash="old")
    seen = world(LOW, edited, groups=[runs("low", 4), old])
    found, _ = looked(seen, planned("low", h100=3), planned("high", h100=4))
    assert found["high"][1].reason == "NoRoomInPool"
    assert found["low"][0] is None or found["low"][0].move.reason is not MoveReason.GIVES_WAY


def test_a_replacement_that_would_not_fit_anyway_takes_nothing():
    # Two old engines of the higher priority serve until all eight new ones do: there is room for six at most.
    edited = asked("high", 10, generation=4)
    old = replace(runs("high", 2), name="high-old", launch_hash="old")
    seen = world(LOW, edited, groups=[runs("low", 6), old])
    found, _ = looked(seen, planned("low", "h100"), planned("high", h100=8))
    assert found["low"] == (None, None)
    wide = replace(seen, offerings=pools(h100=10))
    found, _ = looked(wide, planned("low", "h100"), planned("high", h100=8))
    assert goes(found, "low") == ("low-h100", 0)


def test_the_lowest_go_first_of_equals_what_serves_nothing():
    middle, other = asked("middle", 5), asked("other")
    starting = runs("other", 2, ready=0, starting=2, unready_since=NOW)
    seen = world(LOW, middle, other, HIGH, groups=[runs("low", 3), runs("middle", 3), starting])
    plans = [planned(name, "h100") for name in ("low", "middle", "other")]
    found, _ = looked(seen, *plans, planned("high", h100=4))
    assert (goes(found, "other"), goes(found, "low")) == (("other-h100", 0), ("low-h100", 1))
    assert found["middle"] == (None, None)


def test_a_part_is_given_and_a_part_serves_on():
    seen = world(LOW, HIGH, groups=[runs("low", 8)])
    found, _ = looked(seen, planned("low", "h100", h100=4), planned("high", h100=3))
    assert goes(found, "low") == ("low-h100", 5)
    assert found["low"][0].move.groups == {"low-h100": 5}


def test_what_has_a_place_elsewhere_starts_there_first_and_is_waited_for():
    two = pools(h100=8, h200=8)
    seen = world(asked("low", budget="1000"), HIGH, groups=[runs("low", 8)], offerings=two)
    plans = planned("low", h200=8), planned("high", h100=8)
    found, after = looked(seen, *plans)
    assert (found["low"][1].kind, found["low"][1].group) == (StepKind.CREATE, "low-h200")
    found, _ = looked(after, *plans)
    assert (found["low"][1].kind, found["low"][1].reason) == (StepKind.WAIT, "WaitingForReady")
    half = [replace(each, ready=4, starting=4) if each.pool == "h200" else each for each in after.fleet.groups]
    found, _ = looked(replace(after, fleet=Fleet(tuple(half))), *plans)
    assert goes(found, "low") == ("low-h100", 4)
    found, _ = looked(settled(after), *plans)
    assert goes(found, "low") == ("low-h100", 0)
    # Who comes first does not wait for engines that never come.
    late = replace(after, now=NOW + timedelta(seconds=POLICY.patience * POLICY.engine_start_s))
    found, _ = looked(late, *plans)
    assert goes(found, "low") == ("low-h100", 0)


def test_it_hands_on_what_it_lacks_itself():
    last = asked("last", -5)
    seen = world(LOW, last, HIGH, groups=[runs("low", 8), runs("last", 8, "h200")], offerings=pools(h100=8, h200=8))
    plans = planned("low", h200=6), planned("last", "h200"), planned("high", h100=8)
    found, _ = looked(seen, *plans)
    # There is no room for it yet: it goes at once, and what holds its new place too.
    assert goes(found, "low") == ("low-h100", 0)
    assert goes(found, "last") == ("last-h200", 2)


def test_dollars_under_the_clusters_limit_are_given_like_room():
    limited = replace(POLICY, max_usd_per_hour=micro_usd("85"))
    seen = world(LOW, HIGH, groups=[runs("low", 8)], offerings=pools(h100=8, h200=8))
    found, _ = looked(seen, planned("low", "budget"), planned("high", h200=2), policy=limited)
    # 32 dollars are needed and 5 are left.
    assert goes(found, "low") == ("low-h100", 5)


def test_above_the_clusters_limit_the_lowest_shrink_at_once_whatever_they_serve():
    limited = replace(POLICY, max_usd_per_hour=micro_usd("45"))
    high = asked("high", 10)
    seen = world(LOW, high, groups=[runs("low", 4), runs("high", 4)])
    found, _ = looked(seen, planned("low", "budget"), planned("high", h100=4), policy=limited, wanted_s=0.0)
    assert goes(found, "low") == ("low-h100", 0)
    assert found["low"][0].move.reason is MoveReason.OVER_BUDGET
    assert "the cluster costs more than its limit of $45.00/h" in found["low"][0].move.message
    assert found["high"] == (None, None)
    # One is enough, and the higher priority has another to spare: the lower one goes all the same.
    less = replace(limited, max_usd_per_hour=micro_usd("75"))
    found, _ = looked(seen, planned("low", "budget", h100=3), planned("high", h100=3), policy=less, wanted_s=0.0)
    assert goes(found, "low") == ("low-h100", 3)
    assert found["high"][0].move.reason is not MoveReason.OVER_BUDGET


def test_above_the_limit_nothing_waits_for_what_starts_elsewhere():
    limited = replace(POLICY, max_usd_per_hour=micro_usd("50"))
    starts = runs("low", 2, "h200", ready=0, starting=2, unready_since=NOW)
    seen = world(LOW, groups=[runs("low", 3), starts], offerings=pools(h100=8, h200=8))
    found, _ = looked(seen, planned("low", h200=2), policy=limited, wanted_s=0.0)
    assert goes(found, "low") == ("low-h100", 1)


def test_emptied_groups_are_deleted_when_their_last_engine_is_gone():
    seen = world(LOW, groups=[runs("low", 0, ready=0, draining=1)])
    found, _ = looked(seen, planned("low", "h100"))
    assert found["low"][1].reason == "Draining"
    found, _ = looked(settled(seen), planned("low", "h100"))
    assert found["low"][1].kind is StepKind.DELETE
    # Beside what serves on, too, whatever the mode.
    beside = world(asked("low", mode=RebalancingMode.OFF), groups=[runs("low", 2), runs("low", 0, "h200")])
    found, _ = looked(beside, planned("low", "h100", h100=2))
    assert (found["low"][1].kind, found["low"][1].group) == (StepKind.DELETE, "low-h200")


def test_spot_goes_before_what_cannot_be_taken_back():
    spot = replace(runs("low", 2), name="low-spot", capacity_type=CapacityType.SPOT)
    seen = world(LOW, HIGH, groups=[runs("low", 6), spot])
    found, _ = looked(seen, planned("low", "h100"), planned("high", h100=2))
    assert goes(found, "low") == ("low-spot", 0)


def test_what_its_own_budget_cannot_pay_for_is_not_claimed():
    poor = asked("high", 10, planned_generation=None, budget="25")
    seen = world(LOW, poor, groups=[runs("low", 8)])
    found, _ = looked(seen, planned("low", "h100"), planned("high", h100=8))
    assert goes(found, "low") == ("low-h100", 6)


def test_the_order_of_what_is_seen_says_nothing():
    groups = [runs("low", 4), runs("middle", 4)]
    plans = planned("low", "h100"), planned("middle", "h100"), planned("high", h100=6)
    deployments = LOW, asked("middle"), HIGH
    one, _ = looked(world(*deployments, groups=groups), *plans)
    other, _ = looked(world(*deployments[::-1], groups=groups[::-1]), *plans[::-1])
    assert one == other


def test_a_finished_move_claims_nothing():
    seen = world(HIGH, groups=[runs("high", 2)])
    found, after = looked(seen, planned("high", h100=4))
    assert claim(after, found["high"][0].move, POLICY) is None
