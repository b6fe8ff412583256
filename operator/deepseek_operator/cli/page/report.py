"""What the page is made of: a deployment as asked, its plan, and the facts beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepseek_planner.candidates import quality
from deepseek_planner.hardware import Offering
from deepseek_planner.matrix import Row
from deepseek_planner.models import ModelSpec
from deepseek_planner.plan import DeploymentInput, DeploymentKey, DeploymentPlan, Placement


@dataclass(frozen=True, slots=True)
class Report:
    """One deployment."""

    asked: DeploymentInput
    planned: DeploymentPlan
    models: Mapping[str, ModelSpec]
    """Its own and its variants, by name."""
    priorities: Mapping[DeploymentKey, int]
    """Of every deployment that was planned with it."""
    matrix: tuple[Row, ...]
    offerings: tuple[Offering, ...]
    name: str
    """Unique on the page."""

    def quality(self, placement: Placement) -> str:
        """What the placement's precision loses, with its source; a variant is another model besides."""
        text = quality(self.models[placement.model or self.asked.model], placement.shape.precision)
        return f"another model answers; its precision: {text}" if placement.model else text
