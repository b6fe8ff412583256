"""What the page is made of: a deployment as asked, its plan, and the facts beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepseek_planner.candidates import quality
from deepseek_planner.hardware import Offering
from deepseek_planner.matrix import Row
from deepseek_planner.models import ModelSpec
from deepseek_planner.plan import DeploymentPlan, Placement
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey

MOST_SHAPES = 3
"""Of a mix, that are named in one line."""


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
    max_price_age_days: int
    """Older prices are stale."""
    name: str
    """Unique on the page."""

    @property
    def fleet(self) -> str:
        """``2 x h200-fp8-tp8 + 4 x l4-int4-tp1``: replicas by shape."""
        counts = self._counts()
        return " + ".join(f"{count} x {name}" for name, count in list(counts.items())[:MOST_SHAPES]) + (
            f" and {len(counts) - MOST_SHAPES} more shapes" if len(counts) > MOST_SHAPES else ""
        )

    @property
    def fleet_in_short(self) -> str:
        """The shape, or how many of them: what has room in a picture."""
        counts = self._counts()
        return next(iter(counts)) if len(counts) == 1 else f"{len(counts)} shapes"

    def _counts(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for item in self.planned.placements:
            name = f"{item.model}/{item.shape.name}" if item.model else item.shape.name
            counts[name] = counts.get(name, 0) + item.replicas
        return counts

    def quality(self, placement: Placement) -> str:
        """What the placement's precision loses, with its source; a variant is another model besides."""
        text = quality(self.models[placement.model or self.asked.model], placement.shape.precision)
        return f"another model answers; its precision: {text}" if placement.model else text
