"""The loop over several deployments in simulated minutes: loads in, engines out, each starting in its own time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from statistics import fmean

from deepseek_planner.difference import TargetGroup
from deepseek_planner.forecast import planned_requests_per_min, replicas_needed
from deepseek_planner.hardware import Offering
from deepseek_planner.look import Look
from deepseek_planner.move import MoveReason
from deepseek_planner.plan import Confidence, DeploymentPlan, Plan, Prediction, Shortage
from deepseek_planner.rollout import StepKind
from deepseek_planner.room import most_replicas
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey, EngineGroup, Fleet, Policy, Snapshot
from deepseek_planner.units import MicroUsd, micro_usd
from support.fleets import NOW, deployment, measured, placement

MINUTE = timedelta(minutes=1)
WINDOW = 15
LOOKS_A_MINUTE = 6
"""Half as often as the loop looks while a move is under way."""
PER_REPLICA = 100.0
"""Requests per minute that one engine of the greedy planner's serves."""

Planner = Callable[[Snapshot], Plan]


def asks(name: str, priority: int, *, peak: float = 900.0, **changes: object) -> DeploymentInput:
    """A deployment that nobody planned yet."""
    base = deployment(budget="1000", moved_s_ago=None, measured=None, planned_generation=None)
    return replace(
        base,
        key=DeploymentKey("team-a", name),
        objectives=replace(base.objectives, priority=priority),
        demand=replace(base.demand, expected_requests_per_min=peak / 2, peak_requests_per_min=peak),
        **changes,
    )


def greedy(policy: Policy) -> Planner:
    """A planner by hand: the highest priority first, of equals those that run; on the pools in their order.

    Who cannot have all gets a quarter less until it fits, like the search.
    """

    def planner(seen: Snapshot) -> Plan:
        room = {each.pool: most_replicas(each, placement(1, each.pool).shape) for each in seen.offerings}
        limit = policy.max_usd_per_hour
        left = math.inf if limit is None else limit
        price = {each.pool: PRICES[each.pool] for each in seen.offerings}
        plans: dict[DeploymentKey, DeploymentPlan] = {}
        for item in sorted(seen.deployments, key=lambda each: _in_turn(seen, each)):
            running = sum(group.desired for group in seen.fleet.of(item.key))
            rate, source = planned_requests_per_min(item.demand, item.measured)
            peak = item.demand.peak_requests_per_min
            for part in (1.0, 0.75, 0.5, 0.25, 0.0):
                need = replicas_needed(
                    rate * part, PER_REPLICA, running=running or None, peak=peak, headroom_percent=10
                )
                wanted = max(1, need) if part else 0
                got = _spread(wanted, room, price, left)
                if got is not None:
                    break
            assert got is not None
            for pool, count in got.items():
                room[pool] -= count
                left -= count * price[pool]
            plans[item.key] = _planned(item, got, price, rate, source, part, list(plans))
        return Plan(plans)

    return planner


PRICES = {"h100": micro_usd("10"), "h200": micro_usd("14")}


def _in_turn(seen: Snapshot, item: DeploymentInput) -> tuple[object, ...]:
    runs = any(group.ready for group in seen.fleet.of(item.key))
    return -item.objectives.priority, not runs, item.key


def _spread(wanted: int, room: Mapping[str, int], price: Mapping[str, int], left: float) -> dict[str, int] | None:
    found = {}
    for pool in sorted(room, key=price.__getitem__):
        found[pool] = min(wanted, room[pool])
        wanted -= found[pool]
    cost = sum(count * price[pool] for pool, count in found.items())
    return None if wanted or cost > left else {pool: count for pool, count in found.items() if count}


def _planned(
    item: DeploymentInput,
    got: Mapping[str, int],
    price: Mapping[str, int],
    rate: float,
    source: str,
    part: float,
    before: Sequence[DeploymentKey],
) -> DeploymentPlan:
    parts = tuple(
        replace(placement(count, pool), usd_per_replica_hour=MicroUsd(price[pool])) for pool, count in got.items()
    )
    carries = sum(got.values()) * PER_REPLICA
    predicted = Prediction(0.3, 0.02, 50.0, carries, carries, Confidence.CALIBRATED, 10, "") if got else None
    usd = MicroUsd(sum(each.usd_per_hour for each in parts))
    short = None if part == 1.0 else Shortage(round(100 * part), "h100", tuple(before))
    return DeploymentPlan(item.key, "m", parts, usd, micro_usd("1"), predicted, source, rate, (), (), shortage=short)


@dataclass(frozen=True)
class Began:
    """A move that began."""

    minute: int
    key: DeploymentKey
    reason: MoveReason
    groups: dict[str, int]


@dataclass
class Crowd:
    """Deployments that share pools; engines become ready after ``cold_min`` and drain for a minute."""

    asked: dict[DeploymentKey, DeploymentInput]
    offerings: tuple[Offering, ...]
    planner: Callable[[Policy], Planner]
    policy: Policy
    cold_min: int = 6
    now: datetime = NOW
    fleet: Fleet = field(default_factory=Fleet)
    plan: Plan = field(default_factory=lambda: Plan({}))
    began: list[Began] = field(default_factory=list)
    states: list[Fleet] = field(default_factory=list)
    """The fleet after every look."""
    minute: int = 0
    _minutes: dict[DeploymentKey, list[float]] = field(default_factory=dict)
    _answers: dict[DeploymentKey, tuple[object, datetime]] = field(default_factory=dict)
    _wanted: dict[DeploymentKey, datetime] = field(default_factory=dict)
    _last: dict[DeploymentKey, dict[str, int]] = field(default_factory=dict)

    def engines(self, name: str) -> int:
        """That were asked for."""
        return sum(group.desired for group in self.fleet.groups if group.key.name == name)

    def ready(self, name: str) -> int:
        return sum(min(group.ready, group.desired) for group in self.fleet.groups if group.key.name == name)

    def run(self, minutes: int, load: Callable[[str, int], float], *, until: Callable[[], bool] = lambda: False) -> int:
        """So many minutes at most; how many went by until what was waited for."""
        for passed in range(minutes):
            if until():
                return passed
            for key, item in self.asked.items():
                serves = any(group.ready for group in self.fleet.of(key))
                seen = self._minutes.setdefault(key, [])
                # Nothing is measured where nothing serves.
                seen[:] = [*seen[-WINDOW + 1 :], load(key.name, self.minute)] if serves else []
                self.asked[key] = replace(item, measured=_measured(seen))
            self._pass_a_minute()
            self.look(LOOKS_A_MINUTE)
            self.minute += 1
        return minutes

    def look(self, times: int = 1) -> None:
        """So many looks, ten seconds apart."""
        for _ in range(times):
            self._look()
            self.states.append(self.fleet)
            self.now += MINUTE / LOOKS_A_MINUTE

    def leave(self, name: str) -> None:
        """A deployment is deleted, and its engines with it."""
        self.asked = {key: item for key, item in self.asked.items() if key.name != name}
        self.fleet = Fleet(tuple(group for group in self.fleet.groups if group.key.name != name))

    def _pass_a_minute(self) -> None:
        groups = []
        for group in self.fleet.groups:
            begun = group.starts[len(group.starts) - group.starting :]
            waits = tuple(at for at in begun if self.now - at < self.cold_min * MINUTE)
            ready = group.ready + group.starting - len(waits)
            since = waits[0] if waits else None
            groups.append(replace(group, ready=ready, starting=len(waits), draining=0, unready_since=since))
        self.fleet = Fleet(tuple(groups))

    def _look(self) -> None:
        seen = Snapshot(self.now, tuple(self.asked.values()), self.offerings, self.fleet)
        self.plan = self.planner(self.policy)(seen)
        look = Look(seen, self.plan, self.policy)
        for item in look.order:
            targets = self._targets(item)
            verdict, step = look.decide(item, targets, self._settled_s(item.key, targets), self._wanted_for(item.key))
            is_done = verdict is None and self.plan.deployments[item.key].is_feasible
            if is_done:
                self.asked[item.key] = replace(item, planned_generation=item.generation)
            if verdict is not None and step is not None and step.kind is not StepKind.WAIT:
                self._note(item, verdict.move.reason, dict(verdict.move.groups))
        self.fleet = look.snapshot.fleet

    def _targets(self, item: DeploymentInput) -> tuple[TargetGroup, ...]:
        planned = self.plan.deployments[item.key].placements
        return tuple(
            TargetGroup(item.key, f"{item.key.name}-{each.shape.name}-{each.pool}", "a", each) for each in planned
        )

    def _settled_s(self, key: DeploymentKey, targets: tuple[TargetGroup, ...]) -> float:
        answer = [(each.name, each.placement.replicas) for each in targets]
        if key not in self._answers or self._answers[key][0] != answer:
            self._answers[key] = answer, self.now
        return (self.now - self._answers[key][1]).total_seconds()

    def _wanted_for(self, key: DeploymentKey) -> Callable[[bool], float]:
        def wanted_s(is_wanted: bool) -> float:
            if not is_wanted:
                self._wanted.pop(key, None)
                return 0.0
            return (self.now - self._wanted.setdefault(key, self.now)).total_seconds()

        return wanted_s

    def _note(self, item: DeploymentInput, reason: MoveReason, groups: dict[str, int]) -> None:
        if groups != self._last.get(item.key):
            self._last[item.key] = groups
            self.began.append(Began(self.minute, item.key, reason, groups))
            last = {
                "last_move_at": self.now,
                "last_move_groups": groups,
                "grew_at": self.now if reason is MoveReason.DEMAND_HIGH else self.asked[item.key].grew_at,
            }
            self.asked[item.key] = replace(self.asked[item.key], **last)


def _measured(seen: Sequence[float]) -> object:
    if not seen:
        return None
    lengths = {"mean_input_tokens": None, "mean_output_tokens": None}
    return measured(
        fmean(seen), peak_requests_per_min=max(seen), minutes=tuple(seen), covered_s=60.0 * len(seen), **lengths
    )


def paid(fleet: Fleet, pool: str | None = None) -> tuple[int, int]:
    """Accelerators and micro-dollars per hour of all that starts, serves or drains."""
    groups: list[EngineGroup] = [each for each in fleet.groups if pool in (None, each.pool)]
    gpus = sum(each.paid_replicas * each.shape.accelerators for each in groups)
    return gpus, sum(each.paid_replicas * (each.usd_per_replica_hour or 0) for each in groups)
