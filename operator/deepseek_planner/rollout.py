"""From moves to one surge-safe step per deployment, derived from what is observed, so a restart loses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from deepseek_planner.moves import TargetGroup
from deepseek_planner.plan import DeploymentKey


class StepKind(StrEnum):
    """What a step does to one group of engines."""

    CREATE = "Create"
    SCALE = "Scale"
    DELETE = "Delete"
    WAIT = "Wait"


@dataclass(frozen=True, slots=True)
class Step:
    """One change to one group, or the reason why nothing may change yet (``WAIT``)."""

    key: DeploymentKey
    kind: StepKind
    group: str
    """Name of the group's object; empty for a wait that concerns none."""
    replicas: int
    """Desired replicas after the step."""
    reason: str
    """CamelCase: ``Progressing``, ``SurgeOverBudget``, ``WaitingForReady``, ``Draining``, …"""
    message: str
    target: TargetGroup | None = None
    """What to create, for ``CREATE``."""
