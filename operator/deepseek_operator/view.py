"""One deployment as a cycle found and left it: what its status, its Events and its metrics are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deepseek_operator.world import Object
from deepseek_planner.errors import Problem
from deepseek_planner.moves import Move, Verdict
from deepseek_planner.plan import DeploymentPlan, Placement
from deepseek_planner.rollout import Step
from deepseek_planner.snapshot import DeploymentInput, EngineGroup, Setback
from deepseek_planner.units import MicroUsd

MAX_SUMMARY = 64


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
    setbacks: tuple[Setback, ...] = ()
    """What was given up lately because it never became ready."""
    step: Step | None = None
    is_converged: bool = False
    """Whether the fleet is what the plan asks for, with nothing starting or draining."""
    refusal: Refusal | None = None
    actual: Mapping[str, Any] | None = None
    is_due: bool = True
    """Whether numbers that moved a little may be written again."""

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

    @property
    def is_paused(self) -> bool:
        return self.input is not None and self.input.paused


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
    return cut(" + ".join(parts), MAX_SUMMARY)


def _part(replicas: int, item: Placement | EngineGroup) -> str:
    accelerator = item.shape.accelerator.upper().replace("GB", "")
    words = [f"{replicas} x {item.shape.accelerators} {accelerator}", str(item.shape.precision)]
    words += [] if item.capacity_type == "OnDemand" else [str(item.capacity_type).lower()]
    words += [f"({item.model})"] if item.model else []
    return " ".join(words)


def timestamp(now: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as Kubernetes writes it."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def cut(text: str, limit: int) -> str:
    """The text, or as much of it as fits, with a mark that there is more."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
