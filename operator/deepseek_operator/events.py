"""Every Event the operator records, and when: on transitions only, never because time passed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from deepseek_operator.world import Event, Object
from deepseek_planner.moves import MoveReason


class Reason(StrEnum):
    """Reasons of Events. Names are API: people filter and alert on them."""

    READY = "Ready"
    NOT_READY = "NotReady"
    ENGINE_FAILED = "EngineFailed"
    MOVE_STARTED = "MoveStarted"
    MOVE_COMPLETED = "MoveCompleted"
    GAVE_WAY = "GaveWay"
    GIVEN_UP = "GivenUp"
    NO_FEASIBLE_PLAN = "NoFeasiblePlan"
    CAPACITY_SHORT = "CapacityShort"
    PLANNED = "Planned"
    INVALID_SPEC = "InvalidSpec"
    APPLY_REFUSED = "ApplyRefused"
    OVER_BUDGET = "OverBudget"
    OBJECTIVES_MISSED = "ObjectivesMissed"


_ACTIONS: Mapping[Reason, str] = {
    Reason.READY: "Serve",
    Reason.NOT_READY: "Serve",
    Reason.ENGINE_FAILED: "Serve",
    Reason.MOVE_STARTED: "Rebalance",
    Reason.MOVE_COMPLETED: "Rebalance",
    Reason.GAVE_WAY: "Rebalance",
    Reason.GIVEN_UP: "Rebalance",
    Reason.NO_FEASIBLE_PLAN: "Plan",
    Reason.CAPACITY_SHORT: "Plan",
    Reason.PLANNED: "Plan",
    Reason.INVALID_SPEC: "Observe",
    Reason.APPLY_REFUSED: "Apply",
    Reason.OVER_BUDGET: "Plan",
    Reason.OBJECTIVES_MISSED: "Measure",
}


def transitions(resource: Object, before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Event, ...]:
    """Events for what changed between two statuses of one resource."""
    old, new = _by_type(before), _by_type(after)
    found: list[tuple[Reason, bool, str]] = []
    found += _flips(old, new)
    found += _moves(before, after, old, new)
    known = {(item["group"], item["at"]) for item in before.get("setbacks") or ()}
    for item in after.get("setbacks") or ():
        if (item["group"], item["at"]) not in known:
            found.append((Reason.GIVEN_UP, True, f"{item['group']} never became ready: {item['message']}"))
    return tuple(Event(resource, warning, reason, message, _ACTIONS[reason]) for reason, warning, message in found)


_Found = list[tuple[Reason, bool, str]]


def _flips(old: Mapping[str, Any], new: Mapping[str, Any]) -> _Found:
    found: _Found = []
    for kind, status, reason, warning in (
        ("Stalled", "True", Reason.INVALID_SPEC, True),
        ("Planned", "False", Reason.NO_FEASIBLE_PLAN, True),
        ("Planned", "True", Reason.PLANNED, False),
        ("WithinBudget", "False", Reason.OVER_BUDGET, True),
        ("ObjectivesMet", "False", Reason.OBJECTIVES_MISSED, True),
        ("Ready", "True", Reason.READY, False),
    ):
        if new[kind]["status"] == status and old.get(kind, {}).get("status") != status:
            found.append((_precisely(kind, reason, new[kind]["reason"]), warning, new[kind]["message"]))
    was, ready = old.get("Ready", {}), new["Ready"]
    if was.get("status") == "True" and ready["status"] == "False":
        found.append((Reason.NOT_READY, True, ready["message"]))
    if ready["reason"] == Reason.ENGINE_FAILED and was.get("reason") != Reason.ENGINE_FAILED:
        found.append((Reason.ENGINE_FAILED, True, ready["message"]))
    return found


def _precisely(kind: str, reason: Reason, said: str) -> Reason:
    """The Event's reason, where the condition's tells cases apart."""
    if kind == "Stalled" and said != Reason.INVALID_SPEC:
        return Reason.APPLY_REFUSED
    return Reason.CAPACITY_SHORT if said == Reason.CAPACITY_SHORT else reason


def _moves(
    before: Mapping[str, Any], after: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> _Found:
    move = after.get("lastMove")
    if not move:
        return []
    text = f"{move['from']} -> {move['to']} ({move['reason']})"
    found: _Found = []
    if before.get("lastMove") != move:
        why = new["Reconciling"]["message"]
        if move["reason"] == MoveReason.GIVES_WAY:
            found.append((Reason.GAVE_WAY, True, why))
        else:
            is_less = move["reason"] == MoveReason.OVER_BUDGET
            found.append((Reason.MOVE_STARTED, False, f"{text}: {why}" if is_less else text))
    was_moving = old.get("Reconciling", {}).get("status") == "True"
    if was_moving and new["Reconciling"]["status"] == "False" and new["Reconciling"]["reason"] == "UpToDate":
        found.append((Reason.MOVE_COMPLETED, False, text))
    return found


def _by_type(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {item["type"]: item for item in status.get("conditions") or ()}
