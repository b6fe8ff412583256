"""Which differences between fleet and plan are acted on, and what the others wait for."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from deepseek_planner.demand import Demand
from deepseek_planner.hardware import Price
from deepseek_planner.moves import Hold, MoveReason, as_running, moves, verdicts
from deepseek_planner.plan import Plan
from deepseek_planner.snapshot import DeploymentKey, Policy, RebalancingMode
from deepseek_planner.units import micro_usd
from support.fleets import KEY, deployment, group, lengths, measured, offering, plan, snapshot, target

POLICY = Policy(settle_s=60.0)
PRICE = Price(micro_usd("80"), "test", date(2026, 11, 1))


def decide(seen, *targets, settled_s=3600.0, source="measured", policy=POLICY):
    wanted, by_key = plan(*targets, source=source)
    found = verdicts(seen, wanted, by_key, policy=policy, settled_s={KEY: settled_s})
    made = moves(seen, wanted, by_key, policy=policy, settled_s={KEY: settled_s})
    assert made == tuple(verdict.move for verdict in found if verdict.waiting is None)
    assert len(found) <= 1
    return found[0] if found else None


def reason(verdict):
    assert verdict is not None
    assert verdict.waiting is None, verdict.waiting
    return verdict.move.reason


def hold(verdict):
    assert verdict is not None
    assert verdict.waiting is not None
    return verdict.waiting.hold


def test_an_empty_fleet_is_placed_at_once():
    seen = snapshot(planned_generation=None, measured=None, last_move_at=None)
    verdict = decide(seen, target(2), settled_s=0.0, source="declared")
    assert reason(verdict) is MoveReason.FIRST_PLACEMENT
    assert verdict.move.required
    assert verdict.move.targets == (target(2),)
    assert verdict.move.saves_usd_per_hour == -micro_usd("20")


def test_a_fleet_that_vanished_is_placed_again():
    ran = {"last_move_groups": {"chat-h100-a": 2}}
    assert reason(decide(snapshot(measured=None, **ran), target(2), settled_s=0.0)) is MoveReason.FLEET_LOST


def test_a_fleet_that_gave_way_is_placed_again_when_there_is_room():
    assert reason(decide(snapshot(measured=None), target(2), settled_s=0.0)) is MoveReason.ROOM_FOUND


def test_a_fleet_like_the_plan_is_left_alone():
    assert decide(snapshot(group(2)), target(2)) is None


@pytest.mark.parametrize("mode", list(RebalancingMode))
def test_a_changed_spec_replaces_the_engines_in_every_mode(mode):
    seen = snapshot(group(2), mode=mode, generation=4, moved_s_ago=1.0, measured=None)
    verdict = decide(seen, target(2, version="b"), settled_s=0.0)
    assert reason(verdict) is MoveReason.SPEC_CHANGED
    assert verdict.move.targets[0].name == "chat-h100-b"


def test_another_launch_hash_without_an_edit_restarts_nothing():
    assert decide(snapshot(group(2)), target(2, version="b")) is None


def test_what_runs_is_the_target_unless_the_spec_was_edited():
    wanted, runs = (target(2, version="b"), target(1, "t4")), (group(2), group(1, version="c", ready=0))
    assert [each.name for each in as_running(deployment(), wanted, runs)] == ["chat-h100-a", "chat-t4-a"]
    assert as_running(deployment(generation=4), wanted, runs) == wanted
    assert as_running(deployment(planned_generation=None), wanted, runs) == wanted


def test_the_running_identity_stays_when_only_the_replicas_change():
    verdict = decide(snapshot(group(2)), target(3, version="b"))
    assert reason(verdict) is MoveReason.DEMAND_HIGH
    assert [(each.name, each.launch_hash) for each in verdict.move.targets] == [("chat-h100-a", "a")]


def test_an_edit_that_allows_fewer_replicas_is_followed_without_measurements():
    seen = snapshot(group(5), generation=4, max_replicas=2, measured=None)
    assert reason(decide(seen, target(2), source="declared")) is MoveReason.SPEC_CHANGED


def test_an_unrelated_edit_does_not_hurry_a_scale_down():
    assert hold(decide(snapshot(group(2), generation=4, moved_s_ago=10.0), target(1))) is Hold.COOLDOWN


def test_more_replicas_wait_for_neither_cooldown_nor_settling():
    verdict = decide(snapshot(group(1), moved_s_ago=1.0), target(3), settled_s=0.0)
    assert reason(verdict) is MoveReason.DEMAND_HIGH
    assert verdict.move.required


def test_an_outage_of_the_metrics_alone_adds_nothing():
    seen = snapshot(group(1), measured=None)
    assert hold(decide(seen, target(2), settled_s=599.0, source="declared")) is Hold.SETTLING
    assert reason(decide(seen, target(2), settled_s=600.0, source="declared")) is MoveReason.DEMAND_HIGH


def test_where_nothing_is_ever_measured_the_declared_demand_is_acted_on_at_once():
    blind = Policy(settle_s=60.0, measures=False)
    seen = snapshot(group(1), measured=None)
    assert reason(decide(seen, target(2), settled_s=0.0, source="declared", policy=blind)) is MoveReason.DEMAND_HIGH
    dearer = decide(seen, target(1, "h200", "20"), source="declared", policy=blind)
    assert hold(dearer) is Hold.NO_MEASUREMENTS


def test_capacity_is_not_waited_for_while_nothing_serves():
    dead = group(1, ready=0, starting=1)
    assert reason(decide(snapshot(dead, measured=None), target(2), settled_s=0.0)) is MoveReason.DEMAND_HIGH


@pytest.mark.parametrize(("capacity", "held"), [(60.0, True), (75.4, True), (75.5, False), (200.0, False)])
def test_what_would_grow_back_at_once_does_not_shrink(capacity, held):
    wanted, by_key = plan(target(1), capacity=capacity)  # planned for 60 requests per minute
    (verdict,) = verdicts(snapshot(group(2)), wanted, by_key, policy=POLICY, settled_s={KEY: 3600.0})
    assert (verdict.waiting is not None) is held
    if held:
        assert hold(verdict) is Hold.HEADROOM_TOO_SMALL
        assert (
            verdict.waiting.message == f"would serve {capacity:.0f} requests/min, 75 leave room for a load that wobbles"
        )


@pytest.mark.parametrize(("per_min", "latency_s", "held"), [(60.0, 3.0, True), (60.0, 0.3, False), (10.0, 3.0, False)])
def test_nothing_is_taken_from_a_fleet_that_is_late_under_load(per_min, latency_s, held):
    seen = snapshot(group(2), measured=measured(per_min, time_to_first_token_s=latency_s))
    wanted, by_key = plan(target(1), capacity=100.0)
    (verdict,) = verdicts(seen, wanted, by_key, policy=POLICY, settled_s={KEY: 3600.0})
    assert (verdict.waiting is not None) is held
    if held:
        assert hold(verdict) is Hold.OBJECTIVE_MISSED


def test_nothing_above_the_declared_peak_is_kept_free():
    low = deployment(demand=Demand(10.0, 60.0, lengths(500), lengths(100)))
    wanted, by_key = plan(target(1), capacity=60.0)
    made = moves(snapshot(group(2), of=low), wanted, by_key, policy=POLICY, settled_s={KEY: 3600.0})
    assert [move.reason for move in made] == [MoveReason.DEMAND_LOW]


def test_fewer_replicas_on_low_demand():
    verdict = decide(snapshot(group(2)), target(1))
    assert reason(verdict) is MoveReason.DEMAND_LOW
    assert not verdict.move.required
    assert verdict.move.saves_usd_per_hour == micro_usd("10")
    assert verdict.move.message == "2 x h100-fp8-tp1 -> 1 x h100-fp8-tp1, saves $10.00/h"


def test_a_high_cost_per_token_at_low_load_scales_down():
    seen = snapshot(
        group(2),
        limit_per_million="2.50",
        measured=measured(usd_per_million_tokens=micro_usd("9"), requests_per_min=2.0),
    )
    assert reason(decide(seen, target(1))) is MoveReason.COST_PER_TOKEN_HIGH


def test_a_high_cost_per_token_moves_to_something_cheaper():
    seen = snapshot(
        group(2),
        limit_per_million="2.50",
        measured=measured(usd_per_million_tokens=micro_usd("9"), requests_per_min=2.0),
    )
    assert reason(decide(seen, target(1, "t4", "2"))) is MoveReason.COST_PER_TOKEN_HIGH


def test_a_cheaper_shape_is_moved_to():
    assert reason(decide(snapshot(group(2)), target(3, "t4", "2"))) is MoveReason.CHEAPER_PLAN


def test_the_same_dollars_elsewhere_move_nothing():
    assert decide(snapshot(group(2)), target(2, "h200", "10")) is None


@pytest.mark.parametrize("absent", [None, measured(covered_s=899.0)])
@pytest.mark.parametrize("wanted", [target(1), target(3, "t4", "2")])
def test_absent_data_never_takes_anything_away(absent, wanted):
    assert hold(decide(snapshot(group(2), measured=absent), wanted)) is Hold.NO_MEASUREMENTS


def test_a_small_saving_is_not_worth_it():
    verdict = decide(snapshot(group(2, usd="10")), target(2, "h200", "9.10"))
    assert hold(verdict) is Hold.SAVINGS_BELOW_THRESHOLD
    assert "saves 9.0 %" in verdict.waiting.message
    assert reason(decide(snapshot(group(2)), target(2, "h200", "9.00"))) is MoveReason.CHEAPER_PLAN


def test_savings_wait_for_the_cooldown_and_for_the_answer_to_settle():
    assert hold(decide(snapshot(group(2), moved_s_ago=599.0), target(1))) is Hold.COOLDOWN
    assert hold(decide(snapshot(group(2), moved_s_ago=600.0), target(1), settled_s=59.0)) is Hold.SETTLING
    assert reason(decide(snapshot(group(2), moved_s_ago=600.0), target(1), settled_s=60.0)) is MoveReason.DEMAND_LOW


def test_savings_must_pay_for_the_cold_start():
    # One new engine at $9/h costs $9 x (3300 + 300) s before it serves, the old one at $10/h a minute to drain;
    # $1/h saved pays that back in 9 h 10 min.
    slow = (offering("h100"), offering("h200", startup_s=3300.0))
    seen = snapshot(group(1), offerings=slow)
    verdict = decide(seen, target(1, "h200", "9"))
    assert hold(verdict) is Hold.BREAK_EVEN_TOO_LATE
    assert "33000 s" in verdict.waiting.message
    patient = Policy(settle_s=60.0, break_even_s=33000.0)
    assert reason(decide(seen, target(1, "h200", "9"), policy=patient)) is MoveReason.CHEAPER_PLAN


def test_a_dearer_shape_needs_measurements():
    assert reason(decide(snapshot(group(2)), target(2, "h200", "20"), settled_s=0.0)) is MoveReason.DEMAND_HIGH
    unmeasured = snapshot(group(2), measured=None)
    assert hold(decide(unmeasured, target(2, "h200", "20"))) is Hold.NO_MEASUREMENTS


def test_a_price_that_is_not_known_for_a_while_moves_nothing():
    """The plan leaves the pool because it cannot be priced, not because it carries too little."""
    known = {pool: replace(offering(pool), price=PRICE) for pool in ("h200", "t4")}
    pools = (offering("h100"), *known.values())
    seen = snapshot(group(2), offerings=pools)
    verdict = decide(seen, target(2, "h200", "20"), settled_s=0.0)
    assert hold(verdict) is Hold.SETTLING
    assert "the price of h100 is not known" in verdict.waiting.message
    assert reason(decide(seen, target(2, "h200", "20"), settled_s=600.0)) is MoveReason.DEMAND_HIGH
    priced = (replace(offering("h100"), price=PRICE), *known.values())
    assert reason(decide(snapshot(group(2), offerings=priced), target(2, "h200", "20"), settled_s=0.0))


def test_a_missed_objective_is_named():
    seen = snapshot(group(2), measured=measured(time_to_first_token_s=1.4))
    assert reason(decide(seen, target(3))) is MoveReason.OBJECTIVE_MISSED


def test_a_move_on_its_way_waits_for_nothing():
    seen = snapshot(group(2), group(1, "t4", "2", desired=3), moved_s_ago=1.0, measured=None)
    assert reason(decide(seen, target(3, "t4", "2"), settled_s=0.0)) is MoveReason.CHEAPER_PLAN


@pytest.mark.parametrize(
    ("changes", "replicas"),
    [({}, 4), ({"budget": "42"}, 3), ({"offerings": (offering("h100"), offering("h200", max_nodes=0))}, 3)],
    ids=["it fits", "too dear", "no room"],
)
def test_a_move_on_its_way_ends_with_what_can_still_be_had(changes, replicas):
    """Four were begun, the plan is three by now, and one more is too dear or has no room."""
    few = changes.pop("offerings", None)
    pools = None if few is None else (few[0], replace(few[1], max_nodes=1, free_gpus_by_node=(3,)))
    seen = snapshot(
        group(1),
        group(3, "h200", "10"),
        offerings=pools,
        last_move_groups={"chat-h200-a": 4},
        **{"budget": "60"} | changes,
    )
    verdict = decide(seen, target(3, "h200", "10"))
    assert {goal.name: goal.placement.replicas for goal in verdict.move.targets} == {"chat-h200-a": replicas}


def test_a_lost_pool_moves_its_engines():
    gone = (offering("h200"),)
    verdict = decide(snapshot(group(2), offerings=gone, measured=None), target(2, "h200", "20"), settled_s=0.0)
    assert reason(verdict) is MoveReason.FLEET_LOST
    closed = (offering("h200"), offering("h100", unavailable_reason="all nodes are cordoned"))
    starved = group(1, desired=2)
    assert reason(decide(snapshot(starved, offerings=closed), target(2, "h200", "20"))) is MoveReason.FLEET_LOST
    serves_on = decide(snapshot(group(2), offerings=closed, measured=None), target(2, "h200", "20"))
    assert hold(serves_on) is Hold.NO_MEASUREMENTS


@pytest.mark.parametrize("mode", [RebalancingMode.OFF, RebalancingMode.RECOMMEND])
def test_without_auto_nothing_is_rebalanced(mode):
    for wanted in (target(1), target(3), target(2, "t4", "2")):
        assert hold(decide(snapshot(group(2), mode=mode), wanted)) is Hold.MODE


def test_a_paused_deployment_is_left_alone():
    for groups in ((), (group(2),)):
        assert decide(snapshot(*groups, paused=True, generation=9, budget="1"), target(1, version="b")) is None


def test_an_infeasible_request_keeps_what_serves():
    assert decide(snapshot(group(2), generation=4)) is None


def test_over_budget_without_a_plan_shrinks_to_the_minimum_of_what_serves():
    seen = snapshot(group(2, usd="10"), group(1, "t4", "2", ready=0, starting=1, desired=1), budget="15")
    verdict = decide(seen)
    assert reason(verdict) is MoveReason.OVER_BUDGET
    assert {kept.name: kept.replicas for kept in verdict.move.keeps} == {"chat-h100-a": 1, "chat-t4-a": 0}
    assert verdict.move.saves_usd_per_hour == micro_usd("12")


@pytest.mark.parametrize(("limit", "shrinks"), [("25", False), ("15", True)])
def test_what_nothing_serves_shrinks_for_the_cluster_when_it_alone_is_over_the_limit(limit, shrinks):
    """What another runs beyond its plan goes first: that was made for what is left of the limit."""
    other = DeploymentKey("team-b", "docs")
    seen = snapshot(group(2), group(3, key=other, name="docs-h100-a"))
    seen = replace(seen, deployments=(*seen.deployments, deployment(key=other)))
    mine, targets = plan()
    theirs, _ = plan(target(1))
    both = Plan({**mine.deployments, other: replace(theirs.deployments[KEY], key=other)})
    policy = Policy(settle_s=60.0, max_usd_per_hour=micro_usd(limit))
    found = {item.move.key: item for item in verdicts(seen, both, targets, policy=policy, settled_s={})}
    assert (KEY in found) == shrinks
    if shrinks:
        assert "that no plan changes, the cluster's limit is $15.00/h" in found[KEY].move.message


def test_over_budget_never_stops_the_last_serving_replica():
    assert decide(snapshot(group(1, usd="50"), budget="15", min_replicas=0)) is None


def test_over_budget_goes_to_the_plan_where_there_is_one():
    verdict = decide(snapshot(group(3), budget="25", measured=None), target(2), settled_s=0.0)
    assert reason(verdict) is MoveReason.OVER_BUDGET


def test_deployments_are_decided_one_by_one_in_order():
    wanted, by_key = plan(target(1))
    seen = snapshot(group(2), of=deployment())
    assert [move.key for move in moves(seen, wanted, by_key, policy=POLICY, settled_s={KEY: 60.0})] == [KEY]
    assert moves(seen, wanted, by_key, policy=POLICY, settled_s={}) == ()
