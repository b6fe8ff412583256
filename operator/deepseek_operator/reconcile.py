"""The loop: observe -> plan -> choose moves -> take one step -> report.

Level-triggered: a cycle looks at everything and forgets everything but :class:`Memory`, and even a
loss of that changes no outcome, only delays it by one settling time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from deepseek_operator import events, observe, render
from deepseek_operator.act import Scene, act
from deepseek_operator.actual import actual
from deepseek_operator.errors import LeaseLostError, OperatorError, UnreachableError
from deepseek_operator.observe import Observation
from deepseek_operator.pool_status import pool_statuses
from deepseek_operator.settings import Settings
from deepseek_operator.status import Refusal, View, deployment_status
from deepseek_operator.world import Kind, World, Writer
from deepseek_planner import moves as moving
from deepseek_planner import rollout, search
from deepseek_planner.catalog import Catalog
from deepseek_planner.moves import Hold, Move, TargetGroup, Verdict
from deepseek_planner.plan import DeploymentKey, DeploymentPlan, EngineGroup, Plan, Policy, Snapshot
from deepseek_planner.rollout import Step, StepKind

logger = logging.getLogger(__name__)

_Answer = tuple[tuple[str, int], ...]
"""Names and replicas of the groups that a plan asks for."""


@dataclass(slots=True)
class Memory:
    """What is remembered from cycle to cycle: since when each answer stands, and what was last reported."""

    answers: dict[DeploymentKey, tuple[_Answer, datetime]] = field(default_factory=dict)
    actual_written: dict[DeploymentKey, datetime] = field(default_factory=dict)
    under_way: dict[DeploymentKey, Move] = field(default_factory=dict)
    """Moves that took a step: their outcome is known when they end."""

    def settled_s(self, targets: moving.Targets, now: datetime) -> Mapping[DeploymentKey, float]:
        """Seconds for which each deployment's plan has been the same; forgets those that are gone."""
        answers: dict[DeploymentKey, tuple[_Answer, datetime]] = {}
        for key, groups in targets.items():
            answer = tuple((group.name, group.placement.replicas) for group in groups)
            before = self.answers.get(key)
            answers[key] = before if before and before[0] == answer else (answer, now)
        self.answers = answers
        return {key: (now - since).total_seconds() for key, (_, since) in answers.items()}

    def follow(self, view: View, key: DeploymentKey) -> EndedMove | None:
        """Keep track of one deployment's move; returns it when it has ended."""
        before, move = self.under_way.get(key), view.move
        if move is not None and view.step is not None and view.step.kind is not StepKind.WAIT:
            self.under_way[key] = move
        if before is None:
            return None
        if move is not None:
            is_same = [item.name for item in move.targets] == [item.name for item in before.targets]
            return None if is_same else EndedMove(key, before, Outcome.SUPERSEDED)
        if not view.is_converged and any(group.starting or group.draining for group in view.groups):
            return None
        del self.under_way[key]
        return EndedMove(key, before, Outcome.COMPLETED if view.is_converged else Outcome.ABANDONED)


class Outcome(StrEnum):
    """How a move ended. Names are API: the ``deepseek_moves_total`` metric shows them."""

    COMPLETED = "Completed"
    SUPERSEDED = "Superseded"
    ABANDONED = "Abandoned"


@dataclass(frozen=True, slots=True)
class EndedMove:
    """A move that is over, and how it ended."""

    key: DeploymentKey
    move: Move
    outcome: Outcome


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

    # 3. Choose moves worth their disruption. No moves is the usual answer.
    launches = _launches(observed, plan, catalog)
    targets = {key: tuple(item.target for item in items) for key, items in launches.items()}
    settled = memory.settled_s(targets, now)
    verdicts = moving.verdicts(snapshot, plan, targets, policy=settings.policy, settled_s=settled)
    chosen = {verdict.move.key: verdict.move for verdict in verdicts if verdict.waiting is None}
    held = {verdict.move.key: verdict for verdict in verdicts if verdict.waiting is not None}

    # 4. Take one surge-safe step each, derived from what is observed, so that a restart loses nothing.
    steps = {key: step for key, move in chosen.items() if (step := rollout.next_step(snapshot, move))}
    for item in snapshot.deployments:
        if item.key in refusals or item.paused:
            continue
        scene = Scene(
            key=item.key,
            resource=observed.resources[item.key],
            model=catalog.model(item.model),
            launches=launches.get(item.key, ()),
            groups=snapshot.fleet.of(item.key),
            offerings=snapshot.offerings,
            engine=settings.engine,
        )
        refusal = await _guarded(act(world, writer, scene, steps.get(item.key)), item.key)
        if refusal:
            refusals[item.key] = refusal

    # 5. Report, also when nothing changed or a part failed.
    views = _views(
        observed,
        plan=plan,
        targets=targets,
        chosen=chosen,
        held=held,
        steps=steps,
        refusals=refusals,
        memory=memory,
        settings=settings,
    )
    reports = [await _report(writer, key, view, memory, now=now) for key, view in views.items()]
    for pool, status in pool_statuses(world.objects(Kind.POOL), snapshot, settings.policy):
        await _guarded(writer.write_status(pool, status), DeploymentKey("", pool["metadata"]["name"]))
    ended = [memory.follow(view, key) for key, view in views.items()]
    is_busy = any(_is_busy(view) for view in views.values())
    return Report(snapshot, tuple(reports), tuple(item for item in ended if item), is_busy)


def _plan(snapshot: Snapshot, catalog: Catalog, policy: Policy) -> tuple[Plan, dict[DeploymentKey, Refusal]]:
    """The plan of all deployments; when it fails, of all but those that make it fail even alone."""
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


def _launches(observed: Observation, plan: Plan, catalog: Catalog) -> Mapping[DeploymentKey, tuple[render.Launch, ...]]:
    """The engines that each plan asks for. A deployment without a feasible plan is not in it."""
    inputs = {item.key: item for item in observed.snapshot.deployments}
    found: dict[DeploymentKey, tuple[render.Launch, ...]] = {}
    for key, item in plan.deployments.items():
        if not item.is_feasible:
            continue
        request, model = observed.resources[key].request, catalog.model(item.model)
        found[key] = tuple(render.launch(inputs[key], model, placement, request) for placement in item.placements)
    return found


def _views(
    observed: Observation,
    *,
    plan: Plan,
    targets: moving.Targets,
    chosen: Mapping[DeploymentKey, Move],
    held: Mapping[DeploymentKey, Verdict],
    steps: Mapping[DeploymentKey, Step],
    refusals: Mapping[DeploymentKey, Refusal],
    memory: Memory,
    settings: Settings,
) -> Mapping[DeploymentKey, View]:
    snapshot = observed.snapshot
    inputs = {item.key: item for item in snapshot.deployments}
    views: dict[DeploymentKey, View] = {}
    for key, resource in observed.resources.items():
        groups = snapshot.fleet.of(key)
        views[key] = View(
            resource=resource.object,
            input=inputs.get(key),
            problems=resource.problems,
            plan=plan.deployments.get(key),
            groups=groups,
            move=chosen.get(key),
            held=held.get(key),
            step=steps.get(key),
            is_converged=key in targets and _is_converged(groups, targets[key]),
            refusal=refusals.get(key),
            actual=actual(
                resource.status,
                inputs.get(key),
                groups,
                memory.actual_written.setdefault(key, snapshot.now),
                now=snapshot.now,
                settings=settings,
            ),
        )
    return views


def _is_busy(view: View) -> bool:
    """Whether the next look is due soon, though no event may call for it."""
    settles = view.held is not None and view.held.waiting is not None and view.held.waiting.hold is Hold.SETTLING
    fails = view.refusal is not None and not view.refusal.is_lasting
    return view.move is not None or settles or fails


def _is_converged(groups: tuple[EngineGroup, ...], targets: tuple[TargetGroup, ...]) -> bool:
    """Whether exactly the targets run, all of them ready, and nothing else is left."""
    wanted = {item.name: item.placement.replicas for item in targets}
    running = {item.name: item.ready for item in groups}
    return running == wanted and not any(item.starting or item.draining for item in groups)


async def _report(writer: Writer, key: DeploymentKey, view: View, memory: Memory, *, now: datetime) -> DeploymentReport:
    status = deployment_status(view, now=now)
    refusal = await _guarded(_publish(writer, view, status), key) or view.refusal
    if status.get("actual") != view.previous.get("actual"):
        memory.actual_written[key] = now
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
