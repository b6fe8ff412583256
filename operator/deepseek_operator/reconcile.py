"""The loop: observe -> plan -> choose moves -> take one step -> report.

Level-triggered: a cycle looks at everything and forgets everything but :class:`Memory`, and even a
loss of that changes no outcome, only delays it by one settling time.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from deepseek_operator import collector, events, observe, render
from deepseek_operator.act import Scene, act
from deepseek_operator.actual import actual
from deepseek_operator.errors import LeaseLostError, OperatorError, UnreachableError
from deepseek_operator.memory import EndedMove, Memory
from deepseek_operator.observe import Observation
from deepseek_operator.pool_status import pool_statuses
from deepseek_operator.settings import Settings
from deepseek_operator.status import deployment_status
from deepseek_operator.view import Refusal, View
from deepseek_operator.world import Kind, World, Writer
from deepseek_planner import moves as moving
from deepseek_planner import search
from deepseek_planner.catalog import Catalog
from deepseek_planner.look import Look
from deepseek_planner.moves import Hold, Move, TargetGroup, Verdict
from deepseek_planner.plan import DeploymentPlan, Plan
from deepseek_planner.rollout import Step
from deepseek_planner.setbacks import setbacks
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey, EngineGroup, Policy, Snapshot

__all__ = ["Decision", "DeploymentReport", "Memory", "Report", "cycle"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeploymentReport:
    """What one cycle found and did about one deployment."""

    key: DeploymentKey
    plan: DeploymentPlan | None
    groups: tuple[EngineGroup, ...]
    move: Move | None
    step: Step | None
    is_converged: bool
    status: Mapping[str, Any]
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What one cycle found and did."""

    snapshot: Snapshot
    deployments: tuple[DeploymentReport, ...]
    ended: tuple[EndedMove, ...]
    is_busy: bool
    """Whether something is under way that time alone may bring forward."""


async def cycle(
    *, world: World, writer: Writer, catalog: Catalog, settings: Settings, memory: Memory, now: datetime
) -> Report:
    """Look at everything, decide once for all deployments, take at most one step for each.

    A fault of one deployment is reported in its status and stops no other.
    """
    # 1. Observe. Time and the cluster enter here and nowhere else.
    observed = await observe.snapshot(world, catalog=catalog, settings=settings, now=now)
    snapshot = observed.snapshot

    # 2. Plan, for all at once: they share accelerators. The plan explains every alternative it refused.
    #    In a thread, so that probes and the lease are answered meanwhile.
    plan, refusals = await asyncio.to_thread(_plan, snapshot, catalog, settings.policy)

    # 3. Choose moves worth their disruption, and one surge-safe step of each, derived from what is observed,
    #    so that a restart loses nothing. No moves is the usual answer.
    #    What one deployment is about to start takes room and budget that the next no longer has, and what a higher
    #    priority lacks is wanted of those below.
    decisions: dict[DeploymentKey, Decision] = {}
    look = Look(snapshot, plan, settings.policy)
    for item in look.order:
        if item.key not in refusals:
            decisions[item.key] = _decide(item, look, observed, plan, catalog=catalog, memory=memory)

    # 4. Take the steps, and bring what runs back to its manifests.
    for item in snapshot.deployments:
        decision = decisions.get(item.key)
        if decision is None or item.paused:
            continue
        scene = Scene(
            key=item.key,
            resource=observed.resources[item.key],
            launches=decision.launches,
            groups=snapshot.fleet.of(item.key),
            offerings=snapshot.offerings,
            engine=settings.engine,
        )
        refusal = decision.refusal or await _guarded(act(world, writer, scene, decision.step), item.key)
        if refusal:
            refusals[item.key] = refusal

    # 5. Report, also when nothing changed or a part failed.
    views = _views(observed, plan=plan, decisions=decisions, refusals=refusals, memory=memory, settings=settings)
    reports = [await _report(writer, key, view, memory, now=now) for key, view in views.items()]
    for pool, status in pool_statuses(world.objects(Kind.POOL), snapshot, catalog, settings.policy):
        await _guarded(writer.write_status(pool, status), DeploymentKey("", pool["metadata"]["name"]))
    ended = [memory.follow(view, key) for key, view in views.items()]
    memory.keep(views.keys())
    is_busy = any(_is_busy(view) for view in views.values())
    return Report(snapshot, tuple(reports), tuple(item for item in ended if item), is_busy)


def _plan(snapshot: Snapshot, catalog: Catalog, policy: Policy) -> tuple[Plan, dict[DeploymentKey, Refusal]]:
    """The plan of all deployments; when it fails, of all but those that make it fail even alone."""
    with collector.paused():
        return _planned(snapshot, catalog, policy)


def _planned(snapshot: Snapshot, catalog: Catalog, policy: Policy) -> tuple[Plan, dict[DeploymentKey, Refusal]]:
    try:
        return search.plan(snapshot, catalog, policy), {}
    except Exception:
        logger.exception("planning failed; looking for the deployments it fails for")
    refusals: dict[DeploymentKey, Refusal] = {}
    for item in snapshot.deployments:
        try:
            search.plan(replace(snapshot, deployments=(item,)), catalog, policy)
        except Exception as error:
            logger.exception("%s: planning failed", item.key)
            refusals[item.key] = Refusal("PlanningFailed", f"{type(error).__name__}: {error}", is_lasting=True)
    rest = tuple(item for item in snapshot.deployments if item.key not in refusals)
    return search.plan(replace(snapshot, deployments=rest), catalog, policy), refusals


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about one deployment."""

    launches: tuple[render.Launch, ...] = ()
    """Engines that the plan asks for; none where nothing is feasible."""
    verdict: Verdict | None = None
    step: Step | None = None
    refusal: Refusal | None = None

    @property
    def targets(self) -> tuple[TargetGroup, ...]:
        return tuple(launch.target for launch in self.launches)

    @property
    def move(self) -> Move | None:
        """The move to make now."""
        return self.verdict.move if self.verdict is not None and self.verdict.waiting is None else None


def _decide(
    item: DeploymentInput, look: Look, observed: Observation, plan: Plan, *, catalog: Catalog, memory: Memory
) -> Decision:
    """One deployment's move and step. A fault in deciding about one keeps no other from being decided about."""
    now = observed.snapshot.now
    try:
        request, placements = observed.resources[item.key].request, plan.deployments[item.key].placements
        launches = (render.launch(item, catalog.model(each.model or item.model), each, request) for each in placements)
        decision = Decision(tuple(launches))
        settled_s = memory.settled_s(item.key, decision.targets, now)
        wanted_for_s = functools.partial(memory.wanted_s, item.key, now=now)
        verdict, step = look.decide(item, decision.targets, settled_s, wanted_for_s)
    except Exception as error:
        logger.exception("%s: deciding failed", item.key)
        return Decision(refusal=Refusal("InternalError", f"{type(error).__name__}: {error}", is_lasting=False))
    return replace(decision, verdict=verdict, step=step)


def _views(
    observed: Observation,
    *,
    plan: Plan,
    decisions: Mapping[DeploymentKey, Decision],
    refusals: Mapping[DeploymentKey, Refusal],
    memory: Memory,
    settings: Settings,
) -> Mapping[DeploymentKey, View]:
    snapshot = observed.snapshot
    inputs = {item.key: item for item in snapshot.deployments}
    views: dict[DeploymentKey, View] = {}
    for key, resource in observed.resources.items():
        groups = snapshot.fleet.of(key)
        decision = decisions.get(key, Decision())
        written_at = memory.measured_written.setdefault(key, snapshot.now)
        is_due = (snapshot.now - written_at).total_seconds() >= settings.actual_s
        views[key] = View(
            resource=resource.object,
            input=inputs.get(key),
            problems=resource.problems,
            plan=plan.deployments.get(key),
            groups=groups,
            move=decision.move,
            held=decision.verdict if decision.move is None else None,
            setbacks=setbacks(snapshot, inputs[key], settings.policy) if key in inputs else (),
            step=decision.step,
            is_converged=bool(decision.launches) and _is_converged(inputs[key], groups, decision.targets),
            refusal=refusals.get(key),
            actual=actual(resource.status, inputs.get(key), groups, is_due=is_due),
            is_due=is_due,
        )
    return views


def _is_busy(view: View) -> bool:
    """Whether the next look is due soon, though no event may call for it."""
    settles = view.held is not None and view.held.waiting is not None and view.held.waiting.hold is Hold.SETTLING
    fails = view.refusal is not None and not view.refusal.is_lasting
    return view.move is not None or settles or fails


def _is_converged(
    deployment: DeploymentInput, groups: tuple[EngineGroup, ...], targets: tuple[TargetGroup, ...]
) -> bool:
    """Whether exactly the targets run, or what is as good as they are, all ready, and nothing else is left."""
    wanted = {item.name: item.placement.replicas for item in moving.as_running(deployment, targets, groups)}
    running = {item.name: item.ready for item in groups}
    return running == wanted and not any(item.starting or item.draining for item in groups)


async def _report(writer: Writer, key: DeploymentKey, view: View, memory: Memory, *, now: datetime) -> DeploymentReport:
    status = deployment_status(view, now=now)
    refusal = await _guarded(_publish(writer, view, status), key) or view.refusal
    if any(status.get(part) != view.previous.get(part) for part in ("actual", "plan")):
        memory.measured_written[key] = now
    return DeploymentReport(key, view.plan, view.groups, view.move, view.step, view.is_converged, status, refusal)


async def _publish(writer: Writer, view: View, status: Mapping[str, Any]) -> None:
    """The status first: an Event about it may be lost with us, but is never recorded twice."""
    await writer.write_status(view.resource, status)
    for event in events.transitions(view.resource, view.previous, status):
        await writer.emit(event)


async def _guarded(work: Awaitable[None], key: DeploymentKey) -> Refusal | None:
    """Do one deployment's part; its faults stay its own."""
    try:
        await work
    except LeaseLostError:
        raise
    except OperatorError as error:
        logger.warning("%s: %s: %s", key, error.reason, error)
        return Refusal(error.reason, str(error), is_lasting=not isinstance(error, UnreachableError))
    except Exception as error:
        logger.exception("%s: unexpected fault", key)
        return Refusal("InternalError", f"{type(error).__name__}: {error}", is_lasting=False)
    return None
