"""Every Event the operator records, and when: on transitions only, never because time passed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from deepseek_operator.world import Event, Object


class Reason(StrEnum):
    """Reasons of Events. Names are API: people filter and alert on them."""

    READY = "Ready"
    NOT_READY = "NotReady"
    ENGINE_FAILED = "EngineFailed"
    MOVE_STARTED = "MoveStarted"
    MOVE_COMPLETED = "MoveCompleted"
    GIVEN_UP = "GivenUp"
    NO_FEASIBLE_PLAN = "NoFeasiblePlan"
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
    Reason.GIVEN_UP: "Rebalance",
    Reason.NO_FEASIBLE_PLAN: "Plan",
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
            is_refused = kind == "Stalled" and new[kind]["reason"] != Reason.INVALID_SPEC
            found.append((Reason.APPLY_REFUSED if is_refused else reason, warning, new[kind]["message"]))
    was, ready = old.get("Ready", {}), new["Ready"]
    if was.get("status") == "True" and ready["status"] == "False":
        found.append((Reason.NOT_READY, True, ready["message"]))
    if ready["reason"] == Reason.ENGINE_FAILED and was.get("reason") != Reason.ENGINE_FAILED:
        found.append((Reason.ENGINE_FAILED, True, ready["message"]))
    return found


def _moves(
    before: Mapping[str, Any], after: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> _Found:
    move = after.get("lastMove")
    if not move:
        return []
    text = f"{move['from']} -> {move['to']} ({move['reason']})"
    found: _Found = []
    if before.get("lastMove") != move:
        found.append((Reason.MOVE_STARTED, False, text))
    was_moving = old.get("Reconciling", {}).get("status") == "True"
    if was_moving and new["Reconciling"]["status"] == "False" and new["Reconciling"]["reason"] == "UpToDate":
        found.append((Reason.MOVE_COMPLETED, False, text))
    return found


def _by_type(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {item["type"]: item for item in status.get("conditions") or ()}
