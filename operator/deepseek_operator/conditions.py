"""The conditions of a deployment: six claims, each with a reason and a message that change only when they mean to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from deepseek_operator.view import View, cut, fleet_usd_per_hour, summary, timestamp
from deepseek_planner.demand import LatencyTarget, Measured, Objectives
from deepseek_planner.errors import Problem
from deepseek_planner.explain import duration_asked, shortage
from deepseek_planner.moves import Hold, Move, MoveReason, Waiting
from deepseek_planner.plan import DeploymentPlan
from deepseek_planner.rollout import StepKind
from deepseek_planner.units import format_usd

MAX_MESSAGE = 512
CAPACITY_SHORT = "CapacityShort"
"""Reason where a deployment is served nothing of what it could have alone."""
CONDITIONS = ("Ready", "Reconciling", "Stalled", "Planned", "WithinBudget", "ObjectivesMet")


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
        "message": cut(message, MAX_MESSAGE),
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
        yield serves, _without_a_plan(view.plan), _infeasible(view)
    if view.is_paused:
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
        is_waiting, gives_way = view.step.kind is StepKind.WAIT, view.move.reason is MoveReason.GIVES_WAY
        reason = view.step.reason if is_waiting else view.move.reason
        # Who it gives way to is the move's to say.
        told = view.move.message if gives_way and not is_waiting else view.step.message
        yield True, str(reason), told or view.move.message
    if view.is_paused:
        yield False, "Paused", "spec.paused is true"
    if view.plan and not view.plan.is_feasible and view.plan.shortage is None:
        yield False, "NoFeasiblePlan", "what runs is kept; waits for capacity, prices or the spec to change"
    if any(group.starting or group.draining for group in view.groups):
        yield True, "Progressing", "engines are starting or draining"
    if view.held and view.held.waiting:
        yield False, str(view.held.waiting.hold), _would_move(view.held.move, view.held.waiting)
    if view.plan and not view.plan.is_feasible:
        kept = "what runs is kept until who comes first needs its room" if view.groups else "nothing runs"
        yield (
            False,
            CAPACITY_SHORT,
            f"{kept}; engines start by themselves when there is room: {view.plan.smallest_change}",
        )
    yield False, "UpToDate", "what runs is what the plan asks for"


def _would_move(move: Move, waiting: Waiting) -> str:
    """The message of what it waits for counts seconds, mostly, and would be a write per cycle; a time stands still."""
    why = f"; {waiting.message}" if waiting.hold is Hold.DID_NOT_START else ""
    when = f"; not before {timestamp(waiting.until)}" if waiting.until is not None else ""
    return f"would move: {move.message}{why}{when}"


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
        return False, _without_a_plan(view.plan), _infeasible(view)
    price = f"${format_usd(view.plan.usd_per_hour)}/h"
    said = f"{summary(view.plan.placements, ())}: {price}, for the {view.plan.demand_source} demand"
    warnings = [f"warning: {text}" for text in view.plan.warnings]
    if view.plan.shortage is None:
        return True, "Planned", "; ".join((said, *warnings))
    return True, "PlannedInPart", "; ".join((said, shortage(view.plan.shortage, {}), *warnings))


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
            found.append(f"{name} p{target.percentile} is {ratio:.0%} of {duration_asked(target.limit_s)}")
    cost, ceiling = measured.usd_per_million_tokens, objectives.max_usd_per_million_tokens
    if ceiling is not None and cost is not None and cost > ceiling:
        found.append(f"cost is over maxUSDPerMillionTokens {format_usd(ceiling)}")
    return found


def _without_a_plan(plan: DeploymentPlan) -> str:
    """Whether nothing would do even alone, or others, or the cluster's limit, leave nothing."""
    return "NoFeasiblePlan" if plan.shortage is None else CAPACITY_SHORT


def _infeasible(view: View) -> str:
    """What was asked, field by field, and the smallest change that would do."""
    assert view.plan is not None
    plan = view.plan
    if plan.shortage is not None:
        text = shortage(plan.shortage, {})
        return f"{text}; would be feasible: {plan.smallest_change}" if plan.smallest_change else text
    remedy = f"would be feasible: {plan.smallest_change}" if plan.smallest_change else plan.obstacle
    return f"nothing offered meets {_asked(view.input.objectives)}; {remedy}" if view.input else remedy


def _asked(objectives: Objectives) -> str:
    """The objectives with their values: ``timeToFirstToken p95 1s, maxUSDPerHour 60.00``."""
    targets = (
        ("timeToFirstToken", objectives.time_to_first_token),
        ("timePerOutputToken", objectives.time_per_output_token),
    )
    asked = [f"{name} p{target.percentile} {duration_asked(target.limit_s)}" for name, target in targets if target]
    asked.append(f"maxUSDPerHour {format_usd(objectives.max_usd_per_hour)}")
    if objectives.max_usd_per_million_tokens is not None:
        asked.append(f"maxUSDPerMillionTokens {format_usd(objectives.max_usd_per_million_tokens)}")
    return ", ".join(asked)


def _problems(problems: Sequence[Problem]) -> str:
    return " | ".join(str(problem) for problem in problems)


def _waiting(view: View) -> str:
    if view.step is not None and view.step.message:
        return view.step.message
    starting = sum(group.starting for group in view.groups)
    return f"{starting} engines are starting" if starting else "waits for the first engine"
