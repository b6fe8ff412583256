"""The loop over one deployment in simulated minutes: load in, moves out; engines start and drain in their own time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from statistics import fmean

from deepseek_planner.difference import TargetGroup
from deepseek_planner.moves import Move, MoveReason, moves
from deepseek_planner.plan import Plan
from deepseek_planner.rollout import StepKind, next_step
from deepseek_planner.simulation import applied
from deepseek_planner.snapshot import DeploymentInput, EngineGroup, Fleet, Policy, Snapshot
from support.fleets import NOW, measured

MINUTE = timedelta(minutes=1)
WINDOW = 15
STEPS_A_MINUTE = 12
"""As the loop looks every five seconds while a move is under way."""

Planner = Callable[[Snapshot], Plan]


@dataclass(frozen=True)
class Moved:
    """A move that began."""

    minute: int
    reason: str
    required: bool
    starts: int
    groups: dict[str, int]


@dataclass
class Turns:
    """One deployment, turned once a minute; its engines become ready after ``cold_min`` and drain within a minute."""

    asked: DeploymentInput
    snapshot: Snapshot
    planner: Planner
    policy: Policy
    cold_min: int = 6
    minutes: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    moved: list[Moved] = field(default_factory=list)
    states: list[tuple[float, tuple[EngineGroup, ...]]] = field(default_factory=list)
    """Load and fleet, minute by minute."""
    _answer: object = None
    _since: datetime = NOW
    _last: dict[str, int] = field(default_factory=dict)
    known: dict[object, float] = field(default_factory=dict)
    """What one replica carries, where a test learns it on the way."""

    def run(self, loads: Iterable[float], *, each: Callable[[Turns, int], None] | None = None) -> Turns:
        """One cycle a minute, and the steps of a move within it."""
        for minute, load in enumerate(loads):
            if each is not None:
                each(self, minute)
            self.minutes.append(load)
            self._pass_a_minute()
            self._turn(minute)
            self.states.append((load, self.snapshot.fleet.groups))
        return self

    def _pass_a_minute(self) -> None:
        """What starts becomes ready when its time has come, what drains is gone."""
        now = self.snapshot.now + MINUTE
        groups = []
        for group in self.snapshot.fleet.groups:
            begun = group.starts[len(group.starts) - group.starting :]  # the youngest are those that start
            waits = tuple(at for at in begun if now - at < self.cold_min * MINUTE)
            ready = group.ready + group.starting - len(waits)
            since = waits[0] if waits else None
            groups.append(replace(group, ready=ready, starting=len(waits), draining=0, unready_since=since))
        self.snapshot = replace(self.snapshot, now=now, fleet=Fleet(tuple(groups)))

    def _turn(self, minute: int) -> None:
        seen = measured(
            fmean(self.minutes),
            peak_requests_per_min=max(self.minutes),
            minutes=tuple(self.minutes),
            covered_s=60.0 * len(self.minutes),
            mean_input_tokens=None,
            mean_output_tokens=None,
        )
        self.asked = replace(self.asked, measured=seen)
        self.snapshot = replace(self.snapshot, deployments=(self.asked,))
        planned = self.planner(self.snapshot)
        key = self.asked.key
        targets = tuple(
            TargetGroup(key, f"{key.name}-{each.shape.name}-{each.pool}", "a", each)
            for each in planned.deployments[key].placements
        )
        answer = tuple((each.name, each.placement.replicas) for each in targets)
        self._since = self._since if answer == self._answer else self.snapshot.now
        self._answer = answer
        settled_s = {key: (self.snapshot.now - self._since).total_seconds()}
        for move in moves(self.snapshot, planned, {key: targets}, policy=self.policy, settled_s=settled_s):
            for _ in range(STEPS_A_MINUTE):
                step = next_step(self.snapshot, move, self.policy)
                if step is None or step.kind is StepKind.WAIT:
                    break
                self._note(minute, move)
                self.snapshot = applied(self.snapshot, step)
        self.snapshot = replace(self.snapshot, deployments=(self.asked,))

    def _note(self, minute: int, move: Move) -> None:
        """As the status notes the last move: the same groups are the same move."""
        groups = dict(move.groups)
        if groups == self._last:
            return
        running = {group.name: group.desired for group in self.snapshot.fleet.groups}
        starts = sum(max(0, replicas - running.get(name, 0)) for name, replicas in groups.items())
        self.moved.append(Moved(minute, str(move.reason), move.required, starts, groups))
        self._last = groups
        now = self.snapshot.now
        grew_at = now if move.reason is MoveReason.DEMAND_HIGH else self.asked.grew_at
        self.asked = replace(self.asked, last_move_at=now, last_move_groups=groups, grew_at=grew_at)
