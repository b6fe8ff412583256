"""Who must give way: engines beyond their plan whose room or dollars a higher priority waits for.

A plan is made as if nothing ran; what runs beyond it is *spare*. Spare engines serve on for as long as nobody needs
what they hold: the shortage may be of a deployment's own making. They are wanted where a move of a strictly higher
priority lacks the room in their pool, or the dollars under the cluster's limit, and where the cluster costs more than
its limit. No more of them than it takes are wanted, of the lowest priority first; equals take nothing of each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

from deepseek_planner.difference import Wanted
from deepseek_planner.hardware import CapacityType
from deepseek_planner.move import Move
from deepseek_planner.plan import Plan
from deepseek_planner.progress import Goal, Progress, progress
from deepseek_planner.room import most_replicas
from deepseek_planner.snapshot import DeploymentKey, EngineGroup, Policy, Shape, Snapshot


@dataclass(frozen=True, slots=True)
class Lack:
    """Replicas of one shape that a move cannot start for want of room or dollars."""

    pool: str
    shape: Shape
    replicas: int
    usd_per_replica_hour: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What one deployment's move lacks."""

    key: DeploymentKey
    priority: int
    lacks: tuple[Lack, ...]
    is_whole: bool
    """Whether nothing of it helps but all: what replaces engines that serve."""


def claim(snapshot: Snapshot, move: Move, policy: Policy) -> Claim | None:
    """What the move still lacks. A move for savings takes nothing from anybody, nor does the surge of another."""
    at = progress(snapshot, move, policy)
    missing = [(goal, at.missing(goal)) for goal in at.goals if at.missing(goal)]
    is_whole = not move.yields and any(at.excess(group) for group in at.fleet)
    if not move.required or not missing or (is_whole and not _is_more(at, missing)):
        return None
    stays = sum(at.yields.get(group.name, group.desired) * (group.usd_per_replica_hour or 0) for group in at.fleet)
    left, lacks = at.budget - stays, []
    for goal, replicas in missing:
        price = goal.usd_per_replica_hour
        affordable = min(replicas, max(0, left // price)) if price else replicas
        if is_whole and affordable < replicas:
            return None
        left -= affordable * price
        if affordable:
            lacks.append(Lack(goal.pool, goal.shape, affordable, price))
    if not lacks:
        return None
    return Claim(move.key, at.deployment.objectives.priority, tuple(lacks), is_whole)


def _is_more(at: Progress, missing: Sequence[tuple[Goal, int]]) -> bool:
    """Whether the move ends with more, of a pool or of the dollars, than runs."""
    if sum(goal.replicas * goal.usd_per_replica_hour for goal in at.goals) > sum(g.usd_per_hour for g in at.fleet):
        return True
    for pool in {goal.pool for goal, _ in missing}:
        shall = sum(goal.replicas * goal.shape.accelerators for goal in at.goals if goal.pool == pool)
        if shall > sum(group.desired * group.shape.accelerators for group in at.fleet if group.pool == pool):
            return True
    return False


def wanted(snapshot: Snapshot, plan: Plan, claims: Iterable[Claim], policy: Policy) -> dict[DeploymentKey, Wanted]:
    """What is wanted of whom; without claims only what the cluster costs beyond its limit."""
    claims = sorted(claims, key=lambda item: (-item.priority, item.key))
    room = _Room(snapshot, policy)
    if not claims and room.over <= 0:
        return {}
    spare = _spare(snapshot, plan)
    by: dict[DeploymentKey, list[DeploymentKey]] = {}
    if room.over > 0:
        # First of all: while it is exceeded, nothing can be started anyway.
        room.shed(spare)
        return _by_key(room, spare, by, is_over_limit=True)
    for item in claims:
        after = room.copy()
        below = [each for each in spare if each.priority < item.priority]
        made = [after.made_for(lack, below) for lack in item.lacks]
        if item.is_whole and any(count < lack.replicas for (count, _), lack in zip(made, item.lacks, strict=True)):
            continue
        room = after
        for _, taken in made:
            for each in taken:
                by.setdefault(each.group.key, []).append(item.key)
    return _by_key(room, spare, by, is_over_limit=False)


@dataclass(frozen=True, slots=True)
class _Spare:
    """Engines of one group beyond the plan."""

    number: int
    priority: int
    group: EngineGroup
    replicas: int

    @property
    def usd(self) -> int:
        return self.group.usd_per_replica_hour or 0


def _spare(snapshot: Snapshot, plan: Plan) -> list[_Spare]:
    """In the order in which it goes: the lowest priority first, what serves nothing before what serves.

    Of a deployment without a plan nothing is spare, unless others alone keep it from one.
    """
    found: list[tuple[int, EngineGroup, int]] = []
    for deployment in snapshot.deployments:
        planned = plan.deployments.get(deployment.key)
        if deployment.paused or planned is None or not (planned.is_feasible or planned.shortage):
            continue
        shall = {(item.model, item.shape, item.pool, item.capacity_type): item.replicas for item in planned.placements}
        for group in sorted(snapshot.fleet.of(deployment.key), key=lambda each: (-each.ready, each.name)):
            place = group.model, group.shape, group.pool, group.capacity_type
            stays = min(group.desired, shall.get(place, 0))
            shall[place] = shall.get(place, 0) - stays
            if group.desired > stays:
                found.append((deployment.objectives.priority, group, group.desired - stays))
    found.sort(key=lambda each: _goes_first(each[0], each[1]))
    return [_Spare(number, *each) for number, each in enumerate(found)]


def _goes_first(priority: int, group: EngineGroup) -> tuple[object, ...]:
    return priority, group.ready > 0, group.capacity_type is not CapacityType.SPOT, group.key, group.name


def _by_key(
    room: _Room, spare: Iterable[_Spare], by: Mapping[DeploymentKey, Iterable[DeploymentKey]], *, is_over_limit: bool
) -> dict[DeploymentKey, Wanted]:
    found: dict[DeploymentKey, dict[str, int]] = {}
    for each in spare:
        if each.number in room.goes:
            found.setdefault(each.group.key, {})[each.group.name] = room.goes[each.number]
    return {
        key: Wanted(groups, tuple(dict.fromkeys(by.get(key, ()))), is_over_limit=is_over_limit)
        for key, groups in found.items()
    }


class _Room:
    """Room and dollars as they will be when what drains is gone, and what was found to go of what is spare."""

    def __init__(self, snapshot: Snapshot, policy: Policy) -> None:
        self._offerings = {offering.pool: offering for offering in snapshot.offerings}
        self._limit = policy.max_usd_per_hour
        self._usd = 0
        self._held: dict[str, int] = {}
        self.goes: dict[int, int] = {}
        for group in snapshot.fleet.groups:
            self._usd += group.usd_per_hour
            self._hold(group.pool, group.desired * group.shape.accelerators)

    def copy(self) -> _Room:
        """The same, to be tried apart."""
        other = copy(self)
        other._held, other.goes = dict(self._held), dict(self.goes)
        return other

    @property
    def over(self) -> int:
        """Micro-dollars per hour above the cluster's limit."""
        return 0 if self._limit is None else self._usd - self._limit

    def made_for(self, lack: Lack, spare: Sequence[_Spare]) -> tuple[int, list[_Spare]]:
        """Make room for as many of its replicas as can be; how many these are, and who goes for them."""
        replicas = min(lack.replicas, self._most(lack, spare))
        if replicas == 0:
            return 0, []
        room = most_replicas(self._offerings[lack.pool], lack.shape) - replicas
        self._usd += replicas * lack.usd_per_replica_hour
        taken = []
        for each in spare:
            over = self._held.get(lack.pool, 0) - room * lack.shape.accelerators
            if each.group.pool == lack.pool and self._take(each, over, each.group.shape.accelerators):
                taken.append(each)
        self._hold(lack.pool, replicas * lack.shape.accelerators)
        for each in spare:
            if self._take(each, self.over, each.usd):
                taken.append(each)
        return replicas, taken

    def shed(self, spare: Iterable[_Spare]) -> None:
        """Let go what the cluster costs too much."""
        for each in spare:
            self._take(each, self.over, each.usd)

    def _left(self, each: _Spare) -> int:
        return each.replicas - self.goes.get(each.number, 0)

    def _most(self, lack: Lack, spare: Iterable[_Spare]) -> int:
        """Replicas there can be at most, when all that is spare goes."""
        offering = self._offerings.get(lack.pool)
        if offering is None or offering.unavailable_reason:
            return 0
        held, usd = self._held.get(lack.pool, 0), -self.over
        for each in spare:
            held -= self._left(each) * each.group.shape.accelerators if each.group.pool == lack.pool else 0
            usd += self._left(each) * each.usd
        most = max(0, most_replicas(offering, lack.shape) - -(-held // lack.shape.accelerators))
        if self._limit is None or not lack.usd_per_replica_hour:
            return most
        return max(0, min(most, usd // lack.usd_per_replica_hour))

    def _take(self, each: _Spare, needed: int, worth: int) -> bool:
        """So many of its replicas as cover the need, each being worth so much of it."""
        replicas = min(self._left(each), -(-needed // worth)) if needed > 0 and worth > 0 else 0
        if replicas > 0:
            self.goes[each.number] = self.goes.get(each.number, 0) + replicas
            self._usd -= replicas * each.usd
            self._hold(each.group.pool, -replicas * each.group.shape.accelerators)
        return replicas > 0

    def _hold(self, pool: str, accelerators: int) -> None:
        self._held[pool] = self._held.get(pool, 0) + accelerators
