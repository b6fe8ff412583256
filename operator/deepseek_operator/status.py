"""Pure: what was observed, planned and done -> the status of one DeepSeekDeployment.

The status is bounded (8 KiB) and quiet: conditions carry the time of their last flip only, measured
values are written when they mean something, and the same world gives the same bytes, so that a
reconciled cluster sees no writes at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deepseek_planner.explain import plan_document

from deepseek_operator.render.network import endpoint
from deepseek_operator.world import Object
from deepseek_planner.demand import LatencyTarget, Measured, Objectives
from deepseek_planner.errors import Problem
from deepseek_planner.moves import Move, Verdict
from deepseek_planner.plan import DeploymentInput, DeploymentPlan, EngineGroup, Placement
from deepseek_planner.rollout import Step, StepKind
from deepseek_planner.units import MicroUsd, format_usd

MAX_BYTES = 8192
MAX_SUMMARY = 64
MAX_MESSAGE = 512
CONDITIONS = ("Ready", "Reconciling", "Stalled", "Planned", "WithinBudget", "ObjectivesMet")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why this deployment could not be acted on in this cycle: reason and message of the error."""

    reason: str
    message: str
    is_lasting: bool
    """Whether trying again changes nothing until someone changes something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything about one deployment that its status is made of."""

    resource: Object
    input: DeploymentInput | None
    """None: the spec cannot be read; ``problems`` say why."""
    problems: tuple[Problem, ...] = ()
    plan: DeploymentPlan | None = None
    groups: tuple[EngineGroup, ...] = ()
    move: Move | None = None
    held: Verdict | None = None
    """A move that would be right and waits."""
    step: Step | None = None
    is_converged: bool = False
    """Whether the fleet is what the plan asks for, with nothing starting or draining."""
    refusal: Refusal | None = None
    actual: Mapping[str, Any] | None = None

    @property
    def previous(self) -> Mapping[str, Any]:
        return self.resource.get("status") or {}

    @property
    def generation(self) -> int:
        return int(self.resource["metadata"].get("generation", 1))

    @property
    def ready(self) -> int:
        return sum(group.ready for group in self.groups)

    @property
    def failure(self) -> str:
        return next((group.failure for group in self.groups if group.failure), "")


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
        "replicas": sum(group.ready + group.starting for group in view.groups),
        "readyReplicas": view.ready,
    }
    if view.plan:
        status["plan"] = plan_document(view.plan)
    elif "plan" in previous:
        status["plan"] = previous["plan"]
    if view.actual:
        status["actual"] = dict(view.actual)
    moved = _last_move(view, now=now)
    if moved:
        status["lastMove"] = moved
    is_done = view.plan is not None and view.plan.is_feasible and view.move is None and view.refusal is None
    planned = view.generation if is_done and not _is_paused(view) else previous.get("fleetGeneration")
    if planned is not None:
        status["fleetGeneration"] = planned
    return _bounded(status)


def conditions(view: View, *, now: datetime) -> list[dict[str, Any]]:
    """All six, in a fixed order, in the shape of KEP-1623."""
    made = {
        "Ready": next(_ready(view)),
        "Reconciling": next(_reconciling(view)),
        "Stalled": _stalled(view),
        "Planned": _planned(view),
        "WithinBudget": _within_budget(view),
        "ObjectivesMet": _objectives_met(view),
    }
    before = {item["type"]: item for item in view.previous.get("conditions") or ()}
    return [condition(kind, *made[kind], before.get(kind), generation=view.generation, now=now) for kind in CONDITIONS]


_Claim = tuple[bool | None, str, str]
"""Status (None: unknown), reason, message. A generator of claims yields those that hold; the first one counts."""


def condition(
    kind: str,
    holds: bool | None,  # noqa: FBT001 - the claim of a condition
    reason: str,
    message: str,
    before: Mapping[str, Any] | None,
    *,
    generation: int,
    now: datetime,
) -> dict[str, Any]:
    """One condition; its time changes only when its status does."""
    state = "Unknown" if holds is None else str(holds)
    is_same = before is not None and before.get("status") == state
    since = before["lastTransitionTime"] if before is not None and is_same else timestamp(now)
    return {
        "type": kind,
        "status": state,
        "reason": reason,
        "message": _cut(message, MAX_MESSAGE),
        "lastTransitionTime": since,
        "observedGeneration": generation,
    }


def _ready(view: View) -> Iterator[_Claim]:
    """Ready: at least one engine answers. The reason is what the STATUS column shows, so it names what matters most."""
    serves = view.ready > 0
    planned = sum(item.replicas for item in view.plan.placements) if view.plan else 0
    if view.problems:
        yield serves, "InvalidSpec", _problems(view.problems)
    if view.refusal:
        yield serves, view.refusal.reason, view.refusal.message
    if view.plan and not view.plan.is_feasible:
        yield serves, "NoFeasiblePlan", _infeasible(view.plan)
    if _is_paused(view):
        yield serves, "Paused", "spec.paused is true: what runs keeps serving, nothing is changed"
    if view.failure and view.ready < max(1, planned):
        yield serves, "EngineFailed", view.failure
    if serves:
        yield True, "Ready", f"{view.ready} of {max(planned, view.ready)} engines ready"
    if planned == 0 and view.plan is not None:
        yield False, "ScaledToZero", "idle: no engine runs"
    yield False, "EnginesStarting", _waiting(view)


def _reconciling(view: View) -> Iterator[_Claim]:
    if view.refusal and not view.refusal.is_lasting:
        yield True, view.refusal.reason, view.refusal.message
    if view.problems or view.refusal:
        yield False, "Stalled", "waits for a change"
    if view.step is not None and view.move is not None:
        reason = view.move.reason if view.step.kind is not StepKind.WAIT else view.step.reason
        yield True, str(reason), view.step.message or view.move.message
    if _is_paused(view):
        yield False, "Paused", "spec.paused is true"
    if view.plan and not view.plan.is_feasible:
        yield False, "NoFeasiblePlan", "what runs is kept; waits for capacity, prices or the spec to change"
    if any(group.starting or group.draining for group in view.groups):
        yield True, "Progressing", "engines are starting or draining"
    if view.held and view.held.waiting:
        # The message of what it waits for counts seconds, and would be a write per cycle.
        yield False, str(view.held.waiting.hold), f"would move: {view.held.move.message}"
    yield False, "UpToDate", "what runs is what the plan asks for"


def _stalled(view: View) -> _Claim:
    if view.problems:
        return True, "InvalidSpec", _problems(view.problems)
    if view.refusal and view.refusal.is_lasting:
        return True, view.refusal.reason, view.refusal.message
    return False, "Progressing", "nothing stands in the way"


def _planned(view: View) -> _Claim:
    if view.problems:
        return None, "InvalidSpec", "not planned: the spec cannot be read"
    if view.plan is None:
        return None, "PlanningFailed", view.refusal.message if view.refusal else "not planned yet"
    if not view.plan.is_feasible:
        return False, "NoFeasiblePlan", _infeasible(view.plan)
    price = f"${format_usd(view.plan.usd_per_hour)}/h"
    return True, "Planned", f"{summary(view.plan.placements, ())}: {price}, for the {view.plan.demand_source} demand"


def _within_budget(view: View) -> _Claim:
    if view.input is None:
        return None, "InvalidSpec", "no budget can be read"
    spent = fleet_usd_per_hour(view.groups)
    limit = view.input.objectives.max_usd_per_hour
    if spent is None:
        return None, "PriceUnknown", "an engine runs on a pool without a price"
    if spent > limit:
        return False, "OverBudget", f"what runs costs ${format_usd(spent)}/h, over maxUSDPerHour {format_usd(limit)}"
    return True, "WithinBudget", f"at most ${format_usd(limit)}/h"


def _objectives_met(view: View) -> _Claim:
    if view.input is None or view.input.measured is None:
        return None, "NoMeasurements", "no requests were measured in the window"
    missed = _missed(view.input.measured, view.input.objectives)
    if missed:
        return False, "ObjectivesMissed", "; ".join(missed)
    return True, "ObjectivesMet", "all measured objectives hold"


def _missed(measured: Measured, objectives: Objectives) -> list[str]:
    found = []
    pairs: Sequence[tuple[str, float | None, LatencyTarget | None]] = (
        ("timeToFirstToken", measured.time_to_first_token_s, objectives.time_to_first_token),
        ("timePerOutputToken", measured.time_per_output_token_s, objectives.time_per_output_token),
    )
    for name, value, target in pairs:
        if target is not None and value is not None and value > target.limit_s:
            # Rounded to the limit's scale: a message that changes with every sample is a write per cycle.
            ratio = value / target.limit_s
            found.append(f"{name} p{target.percentile} is {ratio:.0%} of {duration(target.limit_s)}")
    cost, ceiling = measured.usd_per_million_tokens, objectives.max_usd_per_million_tokens
    if ceiling is not None and cost is not None and cost > ceiling:
        found.append(f"cost is over maxUSDPerMillionTokens {format_usd(ceiling)}")
    return found


def fleet_usd_per_hour(groups: Sequence[EngineGroup]) -> MicroUsd | None:
    """Dollars per hour of every engine held, draining ones too; None where one has no price."""
    total = 0
    for group in groups:
        if held(group) and group.usd_per_replica_hour is None:
            return None
        total += held(group) * (group.usd_per_replica_hour or 0)
    return MicroUsd(total)


def held(group: EngineGroup) -> int:
    """Replicas that hold accelerators now, from their scheduling until their pod is gone."""
    return group.ready + group.starting - group.unscheduled + group.draining


def summary(placements: Sequence[Placement], groups: Sequence[EngineGroup]) -> str:
    """``1 x 8 H200 fp8 spot + 1 x 8 A100-80GB int4``: the plan, or what runs where there is none."""
    parts = [_part(item.replicas, item) for item in placements]
    parts = parts or [_part(group.ready + group.starting, group) for group in groups if group.ready + group.starting]
    return _cut(" + ".join(parts), MAX_SUMMARY)


def _part(replicas: int, item: Placement | EngineGroup) -> str:
    accelerator = item.shape.accelerator.upper().replace("GB", "")
    words = [f"{replicas} x {item.shape.accelerators} {accelerator}", str(item.shape.precision)]
    words += [] if item.capacity_type == "OnDemand" else [str(item.capacity_type).lower()]
    return " ".join(words)


def _is_paused(view: View) -> bool:
    return view.input is not None and view.input.paused


def _last_move(view: View, *, now: datetime) -> Mapping[str, Any] | None:
    """A move begins with its first step; what follows of it keeps its time, so that a restart sees one move."""
    before: Mapping[str, Any] | None = view.previous.get("lastMove")
    move, step = view.move, view.step
    if move is None or step is None or step.kind is StepKind.WAIT:
        return before
    target = summary([item.placement for item in move.targets], ()) or "nothing"
    was_moving = any(
        item["type"] == "Reconciling" and item["status"] == "True" for item in view.previous.get("conditions") or ()
    )
    if before and was_moving and before.get("to") == target:
        return before
    saved = move.saves_usd_per_hour
    return {
        "at": timestamp(now),
        "from": summary((), view.groups) or "nothing",
        "to": target,
        "reason": str(move.reason),
        "savedUSDPerHour": format_usd(saved) if saved >= 0 else f"-{format_usd(MicroUsd(-saved))}",
    }


def _bounded(status: dict[str, Any]) -> dict[str, Any]:
    """Drop the last rejections, then alternatives, until the status is small enough to be kept anywhere."""
    plan = status.get("plan")
    for name in ("rejections", "alternatives"):
        while plan and plan.get(name) and len(json.dumps(status)) > MAX_BYTES:
            plan = status["plan"] = {**plan, name: plan[name][:-1]}
    return status


def _infeasible(plan: DeploymentPlan) -> str:
    change = f"would be feasible: {plan.smallest_change}" if plan.smallest_change else ""
    first = f"{plan.rejections[0].name}: {plan.rejections[0].message}" if plan.rejections else "no pool can be used"
    return change or first


def _problems(problems: Sequence[Problem]) -> str:
    return " | ".join(str(problem) for problem in problems)


def _waiting(view: View) -> str:
    if view.step is not None and view.step.message:
        return view.step.message
    starting = sum(group.starting for group in view.groups)
    return f"{starting} engines are starting" if starting else "waits for the first engine"


def duration(seconds: float) -> str:
    """Go-style and short: ``620ms``, ``1.4s``."""
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.3g}s"


def timestamp(now: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as Kubernetes writes it."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
