"""Moves that take away what the plan does not: engines that never served, room that others come first for, and what a
budget without a plan cannot hold.
"""

from __future__ import annotations

from deepseek_planner.difference import Situation, TargetGroup, difference
from deepseek_planner.move import KeptGroup, Move, MoveReason, Verdict, at_least, named
from deepseek_planner.units import MicroUsd, format_usd
from deepseek_planner.worth import held_for_way

MOST_NAMED = 5
"""Deployments that a message names."""


def given_up(situation: Situation) -> Verdict | None:
    """Engines of which none became ready go, as long as others serve; those stay as they are."""
    names = {item.group: item.message for item in situation.setbacks}
    failed = [group for group in situation.fleet if group.name in names and not group.ready]
    others = [group for group in situation.fleet if group not in failed]
    if not failed or not any(group.ready for group in others):
        return None
    which = ", ".join(f"{group.name} ({names[group.name]})" for group in failed)
    move = Move(
        key=situation.deployment.key,
        targets=(),
        reason=MoveReason.DID_NOT_START,
        required=True,
        saves_usd_per_hour=MicroUsd(sum(group.usd_per_hour for group in failed)),
        message=f"given up: {which}",
        keeps=tuple(KeptGroup(group.name, group.desired) for group in others),
    )
    return Verdict(move)


def gives_way(situation: Situation) -> Verdict | None:
    """Engines that the plan does not leave here go, as many as others wait for.

    What the plan has elsewhere is started first. Where it has nothing, what nobody waits for serves on.
    """
    wanted = situation.wanted
    is_gone = situation.is_outranked and any(not group.desired for group in situation.fleet)
    if wanted is None and not is_gone:
        return None
    goes = wanted.goes if wanted else {}
    stays = {group.name: group.desired - goes.get(group.name, 0) for group in situation.fleet}
    differs = difference(situation)
    goals, keeps = differs.goals, tuple[KeptGroup, ...]()
    if not differs.grows:
        goals = tuple(at_least(goal, stays.get(goal.name, 0)) for goal in goals)
        keeps = tuple(KeptGroup(group.name, stays[group.name]) for group in differs.surplus if stays[group.name])
    is_due = wanted is None or wanted.is_over_limit
    price = {group.name: group.usd_per_replica_hour or 0 for group in situation.fleet}
    left = sum(kept.replicas * price[kept.name] for kept in keeps)
    move = Move(
        key=situation.deployment.key,
        targets=goals,
        reason=MoveReason.OVER_BUDGET if wanted and wanted.is_over_limit else MoveReason.GIVES_WAY,
        required=True,
        saves_usd_per_hour=MicroUsd(situation.usd_per_hour - left - sum(goal.placement.usd_per_hour for goal in goals)),
        message=_why(situation, goals, keeps),
        keeps=keeps,
        yields=tuple(KeptGroup(name, stays[name]) for name in sorted(goes)),
    )
    return Verdict(move, None if is_due else held_for_way(situation))


def _why(situation: Situation, goals: tuple[TargetGroup, ...], keeps: tuple[KeptGroup, ...]) -> str:
    """What is left, and who comes first."""
    shapes = {group.name: group.shape.name for group in situation.fleet}
    before = named((group.desired, group.shape.name) for group in situation.fleet if group.desired)
    after = [(goal.placement.replicas, goal.placement.shape.name) for goal in goals]
    after += [(kept.replicas, shapes[kept.name]) for kept in keeps]
    wanted, limit = situation.wanted, situation.policy.max_usd_per_hour
    if wanted is None:
        return "emptied groups are removed: others come first"
    text = f"{before} -> {named(after)}"
    if wanted.is_over_limit and limit is not None:
        return f"{text}: the cluster costs more than its limit of ${format_usd(limit)}/h"
    return f"{text}: {', '.join(map(str, wanted.by[:MOST_NAMED]))} {'need' if len(wanted.by) > 1 else 'needs'} the room"


def shrunk_to_minimum(situation: Situation) -> Verdict | None:
    """Nothing is feasible: what serves goes on serving, at its minimum when it costs more than the budget."""
    floor = max(1, situation.deployment.constraints.min_replicas)
    limit, unplanned = situation.policy.max_usd_per_hour, situation.unplanned_usd_per_hour
    # What others run beyond their plans goes first: those are made for what these engines leave of the limit.
    is_over_all = not situation.is_outranked and limit is not None and unplanned > limit
    is_over = situation.is_over_budget or is_over_all
    if not is_over or situation.desired <= floor:
        return None
    keeps = _cheapest_serving(situation, floor)
    price = {group.name: group.usd_per_replica_hour or 0 for group in situation.fleet}
    budget = situation.deployment.objectives.max_usd_per_hour
    runs = situation.usd_per_hour
    why = f"${format_usd(runs)}/h runs, the budget is ${format_usd(budget)}/h"
    if not situation.is_over_budget and limit is not None:
        held = format_usd(MicroUsd(unplanned))
        why = f"${held}/h run that no plan changes, the cluster's limit is ${format_usd(limit)}/h"
    move = Move(
        key=situation.deployment.key,
        targets=(),
        reason=MoveReason.OVER_BUDGET,
        required=True,
        saves_usd_per_hour=MicroUsd(runs - sum(kept.replicas * price[kept.name] for kept in keeps)),
        message=f"{why} and no plan is feasible in it: down to minReplicas ({floor})",
        keeps=keeps,
    )
    return Verdict(move)


def _cheapest_serving(situation: Situation, replicas: int) -> tuple[KeptGroup, ...]:
    """So many replicas of the fleet: those that serve before those that do not, the cheap before the dear."""
    by_price = sorted(situation.fleet, key=lambda group: (group.usd_per_replica_hour or 0, group.name))
    stays = dict.fromkeys((group.name for group in by_price), 0)
    for serving in (True, False):
        for group in by_price:
            available = min(group.ready, group.desired) if serving else group.desired
            taken = max(0, min(replicas, available - stays[group.name]))
            stays[group.name] += taken
            replicas -= taken
    return tuple(KeptGroup(name, count) for name, count in stays.items())
