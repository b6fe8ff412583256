"""From plan to moves: what differs between the fleet and the plan, and which differences are worth acting on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from deepseek_planner.plan import DeploymentKey, Placement
from deepseek_planner.units import MicroUsd


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """A placement of the plan together with the engines' identity, which the renderer derives from
    everything that would need a restart (model source, shape, engine settings; never price or version).
    """

    key: DeploymentKey
    name: str
    launch_hash: str
    placement: Placement


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


Targets = Mapping[DeploymentKey, tuple[TargetGroup, ...]]
