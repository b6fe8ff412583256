"""What a move under way ends with, read from the fleet and from what the status notes of the last move.

Half of a move costs more than either end of it: old and new engines are both paid for. So what has been started is
finished while it can be, and what the plan would rather have by then is judged from there. Nothing is held up by it
for long: engines that are waited for become ready within their patience, and what drains is gone after a while.
"""

from __future__ import annotations

from collections.abc import Mapping

from deepseek_planner.setbacks import cold_start_s
from deepseek_planner.snapshot import DeploymentInput, EngineGroup, Policy, RebalancingMode, Snapshot

NOTHING: Mapping[str, int] = {}


def end_of_move(snapshot: Snapshot, deployment: DeploymentInput, policy: Policy) -> Mapping[str, int]:
    """Replicas by name of group; empty where no move is under way, or where it may not end as it began.

    All of its engines were asked for and serve or start in time, and others are still to go. An edit asks for
    something else than the move did, and nothing goes on by itself unless the mode is ``Auto``.
    """
    last = {name: count for name, count in deployment.last_move_groups.items() if count}
    is_edited = deployment.generation != deployment.planned_generation
    if not last or is_edited or deployment.paused or deployment.rebalancing.mode is not RebalancingMode.AUTO:
        return NOTHING
    fleet = {group.name: group for group in snapshot.fleet.of(deployment.key)}
    others_go = any(group.desired > last.get(name, 0) for name, group in fleet.items())
    can_end = all(name in fleet and _comes(snapshot, fleet[name], count, policy) for name, count in last.items())
    return last if others_go and can_end else NOTHING


def _comes(snapshot: Snapshot, group: EngineGroup, replicas: int, policy: Policy) -> bool:
    """Whether so many were asked for, and all that were serve or may still be waited for."""
    if group.desired < replicas:
        return False
    if group.ready >= group.desired:
        return True
    offering = next((each for each in snapshot.offerings if each.pool == group.pool), None)
    since = group.unready_since or snapshot.now
    return (snapshot.now - since).total_seconds() < policy.patience * cold_start_s(offering, policy)
