"""A move as a value: what a fleet is brought to, why, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from deepseek_planner.difference import TargetGroup
from deepseek_planner.snapshot import DeploymentKey
from deepseek_planner.units import MicroUsd, format_usd
from deepseek_planner.worth import Waiting


class MoveReason(StrEnum):
    """Why a fleet is moved. Names are API: status, Events and the ``deepseek_moves_total`` metric show them."""

    FIRST_PLACEMENT = "FirstPlacement"
    SPEC_CHANGED = "SpecChanged"
    FLEET_LOST = "FleetLost"
    DEMAND_HIGH = "DemandHigh"
    DEMAND_LOW = "DemandLow"
    OBJECTIVE_MISSED = "ObjectiveMissed"
    COST_PER_TOKEN_HIGH = "CostPerTokenHigh"
    CHEAPER_PLAN = "CheaperPlan"
    OVER_BUDGET = "OverBudget"
    GIVES_WAY = "GivesWay"
    ROOM_FOUND = "RoomFound"
    DID_NOT_START = "DidNotStart"


@dataclass(frozen=True, slots=True)
class KeptGroup:
    """A group that runs, in no plan, and stays with so many replicas; its template is left as it is."""

    name: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Move:
    """Bring one deployment's fleet to ``targets``; ``required`` moves wait for no savings and no cooldown."""

    key: DeploymentKey
    targets: tuple[TargetGroup, ...]
    reason: MoveReason
    required: bool
    saves_usd_per_hour: MicroUsd
    """Negative when the move costs more than what runs."""
    message: str
    keeps: tuple[KeptGroup, ...] = ()
    """What stays of the fleet though no target names it."""
    least_serving: int | None = None
    """Replicas that the measured load needs: where there is no room for one more, old ones may stop first down to
    so many. None: not known, none may."""
    yields: tuple[KeptGroup, ...] = ()
    """Groups that go down to so many replicas though nothing may replace those: others wait for the room."""

    @property
    def groups(self) -> Mapping[str, int]:
        """Names and replicas of everything that is left when the move is over."""
        left = {kept.name: kept.replicas for kept in self.keeps if kept.replicas}
        return left | {target.name: target.placement.replicas for target in self.targets}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A move that would bring the fleet to the plan, and what it waits for: None when for nothing."""

    move: Move
    waiting: Waiting | None = None


def named(groups: Iterable[tuple[int, str]]) -> str:
    """``2 x h100-fp8-tp8 + 1 x …``, of numbers and names of shapes."""
    return " + ".join(f"{replicas} x {shape}" for replicas, shape in groups) or "nothing"


def dollars(saves: MicroUsd) -> str:
    """Saved or spent, in words."""
    return f"{'saves' if saves >= 0 else 'costs'} ${format_usd(MicroUsd(abs(saves)))}/h"


def at_least(target: TargetGroup, replicas: int) -> TargetGroup:
    """The target with so many replicas or more."""
    placement = target.placement
    return replace(target, placement=replace(placement, replicas=max(replicas, placement.replicas)))
