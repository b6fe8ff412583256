"""Pure: what was observed, planned and done -> the status of one DeepSeekDeployment.

The status is bounded (8 KiB) and quiet: conditions carry the time of their last flip only, measured
values are written when they mean something, and the same world gives the same bytes, so that a
reconciled cluster sees no writes at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from deepseek_operator.conditions import conditions
from deepseek_operator.render.network import endpoint
from deepseek_operator.view import View, cut, summary, timestamp
from deepseek_planner.explain import plan_document
from deepseek_planner.moves import Hold, Move, MoveReason
from deepseek_planner.rollout import StepKind
from deepseek_planner.snapshot import EngineGroup
from deepseek_planner.units import MicroUsd, format_usd

MAX_BYTES = 8192
MAX_GROUPS = 16
MAX_SETBACKS = 8
MAX_TEXT = 256


def deployment_status(view: View, *, now: datetime) -> dict[str, Any]:
    """The whole status: what is not in it is gone from the resource.

    ``fleetGeneration`` follows once the plan for a generation is feasible and no move is left for it.
    """
    previous = view.previous
    status: dict[str, Any] = {
        "observedGeneration": view.generation,
        "conditions": conditions(view, now=now),
        "modelName": view.resource["spec"]["model"]["name"],
        "endpoint": endpoint(view.resource),
        "summary": summary(view.plan.placements if view.plan else (), view.groups),
        "replicas": sum(group.desired for group in view.groups),
        "readyReplicas": view.ready,
    }
    plan = _plan(view)
    if plan:
        status["plan"] = plan
    if view.actual:
        status["actual"] = dict(view.actual)
    moved = _last_move(view, now=now)
    if moved:
        status["lastMove"] = moved
    found = _setbacks(view)
    if found:
        status["setbacks"] = found
    # What was edited and would not start is not what runs, however long that waits.
    shunned = view.held is not None and view.held.waiting is not None and view.held.waiting.hold is Hold.DID_NOT_START
    is_settled = view.move is None and view.refusal is None and not shunned
    is_done = view.plan is not None and view.plan.is_feasible and is_settled
    planned = view.generation if is_done and not view.is_paused else previous.get("fleetGeneration")
    if planned is not None:
        status["fleetGeneration"] = planned
    return _bounded(status)


def _plan(view: View) -> Mapping[str, Any] | None:
    """The plan. The same decision with other numbers, because the load moved a little, is written now and then only."""
    before: Mapping[str, Any] | None = view.previous.get("plan")
    if view.plan is None:
        return before
    after = plan_document(view.plan)
    is_edited = view.previous.get("observedGeneration") != view.generation
    if before is None or is_edited or view.is_due or _decision(before) != _decision(after):
        return after
    return before


def _decision(plan: Mapping[str, Any]) -> Sequence[object]:
    what = [[item.get(name) for name in _DECIDED] for item in plan.get("placements") or ()]
    # Whether anything is asked for at all is part of it: what falls idle is told at once, and then nothing more.
    asked = bool(plan.get("requestsPerMinute"))
    short = plan.get("shortage") or {}
    lacks = short.get("shortOf"), list(short.get("lostTo") or ()), list(short.get("sharedWith") or ())
    return what, plan.get("usdPerHour"), plan.get("demandSource"), bool(plan.get("smallestChange")), asked, lacks


_DECIDED = ("name", "pool", "capacityType", "replicas")


def _last_move(view: View, *, now: datetime) -> Mapping[str, Any] | None:
    """A move begins with its first step; what follows of it keeps its time, so that a restart sees one move."""
    before: Mapping[str, Any] | None = view.previous.get("lastMove")
    move, step = view.move, view.step
    if move is None or step is None or step.kind is StepKind.WAIT:
        return before
    parts = (summary((), _kept(view, move)), summary([item.placement for item in move.targets], ()))
    target = " + ".join(part for part in parts if part) or "nothing"
    groups = [{"name": name, "replicas": replicas} for name, replicas in sorted(move.groups.items())][:MAX_GROUPS]
    was_moving = any(
        item["type"] == "Reconciling" and item["status"] == "True" for item in view.previous.get("conditions") or ()
    )
    if before and was_moving and before.get("groups", groups) == groups:
        return before
    saved = move.saves_usd_per_hour
    grew = timestamp(now) if move.reason is MoveReason.DEMAND_HIGH else (before or {}).get("grewAt")
    return {
        "at": timestamp(now),
        **({"grewAt": grew} if grew else {}),
        "from": summary((), view.groups) or "nothing",
        "to": target,
        "reason": str(move.reason),
        "groups": groups,
        "savedUSDPerHour": format_usd(saved) if saved >= 0 else f"-{format_usd(MicroUsd(-saved))}",
    }


def _kept(view: View, move: Move) -> list[EngineGroup]:
    """The groups that stay though no target names them, with what is left of them."""
    kept = {item.name: item.replicas for item in move.keeps}
    return [replace(group, ready=kept[group.name], starting=0) for group in view.groups if group.name in kept]


def _setbacks(view: View) -> list[Mapping[str, Any]]:
    return [
        {
            "group": item.group,
            "shape": item.shape,
            "pool": item.pool,
            "at": timestamp(item.at),
            "message": cut(item.message, MAX_TEXT),
        }
        for item in view.setbacks[-MAX_SETBACKS:]
    ]


def _bounded(status: dict[str, Any]) -> dict[str, Any]:
    """Drop the last rejections, then alternatives, until the status is small enough to be kept anywhere."""
    plan = status.get("plan")
    for name in ("rejections", "alternatives"):
        while plan and plan.get(name) and len(json.dumps(status)) > MAX_BYTES:
            plan = status["plan"] = {**plan, name: plan[name][:-1]}
    return status
