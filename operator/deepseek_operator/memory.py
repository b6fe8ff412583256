"""What the loop remembers from cycle to cycle. Losing it changes no outcome, only delays it by one settling time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from deepseek_operator.view import View
from deepseek_planner.moves import Move, MoveReason, TargetGroup
from deepseek_planner.rollout import StepKind
from deepseek_planner.snapshot import DeploymentKey

_Answer = tuple[tuple[str, int], ...]
"""Names and replicas of the groups that a plan asks for."""


@dataclass(slots=True)
class Memory:
    """What is remembered from cycle to cycle: since when each answer stands, and what was last reported."""

    answers: dict[DeploymentKey, tuple[_Answer, datetime]] = field(default_factory=dict)
    wanted: dict[DeploymentKey, datetime] = field(default_factory=dict)
    """Since when higher priorities want what engines hold."""
    measured_written: dict[DeploymentKey, datetime] = field(default_factory=dict)
    """When numbers that follow the load were last written into each status."""
    under_way: dict[DeploymentKey, Move] = field(default_factory=dict)
    """Moves that took a step: their outcome is known when they end."""

    def settled_s(self, key: DeploymentKey, targets: tuple[TargetGroup, ...], now: datetime) -> float:
        """Seconds for which a deployment's plan has been the same."""
        answer = tuple((group.name, group.placement.replicas) for group in targets)
        before = self.answers.get(key)
        if before is None or before[0] != answer:
            self.answers[key] = before = (answer, now)
        return (now - before[1]).total_seconds()

    def wanted_s(self, key: DeploymentKey, is_wanted: bool, now: datetime) -> float:  # noqa: FBT001 - what is seen
        """Seconds for which others have wanted something of a deployment."""
        if not is_wanted:
            self.wanted.pop(key, None)
            return 0.0
        return (now - self.wanted.setdefault(key, now)).total_seconds()

    def keep(self, keys: Collection[DeploymentKey]) -> None:
        """Forget all deployments but these."""
        self.answers = {key: answer for key, answer in self.answers.items() if key in keys}
        self.wanted = {key: at for key, at in self.wanted.items() if key in keys}
        self.measured_written = {key: at for key, at in self.measured_written.items() if key in keys}
        self.under_way = {key: move for key, move in self.under_way.items() if key in keys}

    def follow(self, view: View, key: DeploymentKey) -> EndedMove | None:
        """Keep track of one deployment's move; returns it when it has ended."""
        before, move = self.under_way.get(key), view.move
        if move is not None and view.step is not None and view.step.kind is not StepKind.WAIT:
            self.under_way[key] = move
        if before is None:
            return None
        if move is not None:
            if move.groups.keys() == before.groups.keys():
                return None
            is_retreat = move.reason is MoveReason.DID_NOT_START
            return EndedMove(key, before, Outcome.ROLLED_BACK if is_retreat else Outcome.SUPERSEDED)
        if not view.is_converged and any(group.starting or group.draining for group in view.groups):
            return None
        del self.under_way[key]
        is_reached = view.is_converged or _running(view) == dict(before.groups)
        return EndedMove(key, before, Outcome.COMPLETED if is_reached else Outcome.ABANDONED)


def _running(view: View) -> dict[str, int]:
    return {group.name: group.desired for group in view.groups}


class Outcome(StrEnum):
    """How a move ended. Names are API: the ``deepseek_moves_total`` metric shows them."""

    COMPLETED = "Completed"
    SUPERSEDED = "Superseded"
    ABANDONED = "Abandoned"
    ROLLED_BACK = "RolledBack"


@dataclass(frozen=True, slots=True)
class EndedMove:
    """A move that is over, and how it ended."""

    key: DeploymentKey
    move: Move
    outcome: Outcome
