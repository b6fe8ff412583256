"""The real planner, moves and rollout together, over hours of load: cheap at low load, and never up for cost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from deepseek_planner.difference import TargetGroup
from deepseek_planner.moves import MoveReason, moves
from deepseek_planner.rollout import StepKind, next_step
from deepseek_planner.search import plan
from deepseek_planner.simulation import applied, settled
from deepseek_planner.snapshot import Fleet, Policy, Snapshot
from deepseek_planner.units import micro_usd
from support.fleets import NOW, measured
from support.planning import CATALOG, demand, deployment, objectives, offering

POLICY = Policy(settle_s=60.0)
MODEL = "deepseek-r1-distill-qwen-7b"
POOLS = (offering("l40s", "30.1312", max_nodes=16), offering("h100", "98.32", max_nodes=4))


class Operator:
    """One deployment, turned once a minute: observe, plan, move, step; engines start and drain within the minute."""

    def __init__(self, load, *, limit=None):
        asked = deployment(MODEL, demand=demand(600, 6000), objectives=objectives(per_hour="400", accuracy="Critical"))
        goals = replace(asked.objectives, max_usd_per_million_tokens=None if limit is None else micro_usd(limit))
        self.asked = replace(asked, objectives=goals)
        self.fleet, self.version, self.load = Fleet(), "a", load
        self.now, self.moved, self.answer, self.since = NOW, [], None, NOW
        self.planned_generation, self.last_move_at = None, None

    def observe(self, seen):
        one = replace(
            self.asked, measured=seen, planned_generation=self.planned_generation, last_move_at=self.last_move_at
        )
        return Snapshot(self.now, (one,), POOLS, self.fleet)

    def targets(self, planned):
        key = self.asked.key
        names = (f"{key.name}-{each.shape.name}-{each.pool}-{self.version}" for each in planned.placements)
        return tuple(
            TargetGroup(key, name, self.version, each) for name, each in zip(names, planned.placements, strict=True)
        )

    def turn(self, *, covered=True):
        self.now += timedelta(minutes=1)
        tokens_per_s = self.load / 60 * 1500
        spent = sum(group.usd_per_hour for group in self.fleet.groups)
        per_million = round(spent / (tokens_per_s * 3600) * 1e6) if tokens_per_s else None
        seen = measured(
            self.load,
            tokens_per_s=tokens_per_s,
            usd_per_million_tokens=per_million,
            mean_input_tokens=None,
            mean_output_tokens=None,
        )
        snapshot = self.observe(seen if covered else None)
        result = plan(snapshot, CATALOG, POLICY)
        targets = self.targets(result.deployments[self.asked.key])
        answer = [(each.name, each.placement.replicas) for each in targets]
        self.since = self.since if answer == self.answer else self.now
        self.answer = answer
        waited = {self.asked.key: (self.now - self.since).total_seconds()}
        made = moves(snapshot, result, {self.asked.key: targets}, policy=POLICY, settled_s=waited)
        for move in made:
            step = next_step(snapshot, move)
            if step is not None and step.kind is not StepKind.WAIT:
                self.moved.append((move.reason, move.saves_usd_per_hour, f"{step.kind} {step.group} {step.replicas}"))
                self.last_move_at = self.now
                snapshot = settled(applied(snapshot, step))
        if not made:
            self.planned_generation = self.asked.generation
        self.fleet = settled(snapshot).fleet

    @property
    def usd(self):
        return sum(group.usd_per_hour for group in self.fleet.groups)

    @property
    def replicas(self):
        return sum(group.desired for group in self.fleet.groups)

    def hours(self, hours, **how):
        for _ in range(round(hours * 60)):
            self.turn(**how)
        return self


@pytest.fixture(scope="module")
def at_peak():
    made = Operator(5000.0).hours(0.5)
    assert made.replicas > 2
    return made


def again(operator, **changes):
    made = Operator(operator.load)
    made.__dict__.update({**operator.__dict__, "moved": [], **changes})
    return made


def test_it_begins_with_what_was_declared_and_rests(at_peak):
    assert at_peak.moved[0][0] is MoveReason.FIRST_PLACEMENT
    rested = again(at_peak).hours(0.5)
    assert rested.moved == []


@pytest.mark.parametrize("limit", [None, "0.50"])
@pytest.mark.parametrize("load", [0.5, 60.0, 900.0])
def test_a_high_cost_per_token_at_low_load_only_ever_gets_cheaper(at_peak, load, limit):
    most = None if limit is None else micro_usd(limit)
    asked = replace(at_peak.asked, objectives=replace(at_peak.asked.objectives, max_usd_per_million_tokens=most))
    quiet = again(at_peak, load=load, asked=asked).hours(1.5)
    assert quiet.usd < at_peak.usd / 2
    wanted = {MoveReason.DEMAND_LOW, MoveReason.COST_PER_TOKEN_HIGH, MoveReason.CHEAPER_PLAN}
    assert {reason for reason, *_ in quiet.moved} <= wanted
    assert all(saves >= 0 for _, saves, _ in quiet.moved), quiet.moved


def test_low_load_without_measurements_takes_nothing_away(at_peak):
    blind = again(at_peak, load=1.0).hours(0.15, covered=False)
    assert blind.moved == []
    # An outage that lasts brings back what was declared.
    assert blind.hours(2, covered=False).usd >= at_peak.usd
    assert {reason for reason, *_ in blind.moved} <= {MoveReason.DEMAND_HIGH}


def test_a_new_operator_restarts_nothing(at_peak):
    upgraded = again(at_peak, version="b").hours(1)
    assert upgraded.moved == []
    assert upgraded.fleet == at_peak.fleet
    edited = again(upgraded, asked=replace(at_peak.asked, generation=2)).hours(1)
    assert {reason for reason, *_ in edited.moved} == {MoveReason.SPEC_CHANGED}
    assert {group.launch_hash for group in edited.fleet.groups} == {"b"}
    assert edited.replicas == at_peak.replicas


def test_load_that_wobbles_moves_nothing_twice(at_peak):
    wobbling = again(at_peak)
    for minute in range(180):
        wobbling.load = 2000.0 * (1.06 if minute % 7 < 3 else 0.97)
        wobbling.turn()
    assert len(wobbling.moved) <= 2
    assert {reason for reason, *_ in wobbling.moved} <= {MoveReason.DEMAND_LOW, MoveReason.CHEAPER_PLAN}


def test_load_that_comes_back_is_served_at_once(at_peak):
    quiet = again(at_peak, load=60.0).hours(2)
    quiet.load = 5000.0
    quiet.turn()
    assert quiet.moved[-1][0] is MoveReason.DEMAND_HIGH
    # Back on the same shape; a fleet that is chosen anew has its headroom, which the old one did not grow for.
    back = again(quiet).hours(0.2)
    assert {group.shape for group in back.fleet.groups} == {group.shape for group in at_peak.fleet.groups}
    assert at_peak.replicas <= back.replicas <= at_peak.replicas + 1
