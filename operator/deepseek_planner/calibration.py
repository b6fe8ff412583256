"""Roofline -> measured: which correction applies to a model on an accelerator, and how far to trust it.

Margins are the errors seen when such a correction was asked about runs it was not fitted to: the same model and
accelerator 15 %, the model on another accelerator 25 %, another model 35 %, no measurement at all 60 %. A row of
few points is trusted one class less, and one of another topology as if nothing had been measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepseek_planner.catalog_rows import Calibration
from deepseek_planner.hardware import Accelerator
from deepseek_planner.models import ModelSpec, Precision
from deepseek_planner.plan import Confidence, Shape
from deepseek_planner.precision import PrecisionChoice

MARGIN_PERCENT: Mapping[Confidence, int] = {
    Confidence.CALIBRATED: 15,
    Confidence.SAME_MODEL_OTHER_ACCELERATOR: 25,
    Confidence.OTHER_MODEL: 35,
    Confidence.ROOFLINE_ONLY: 60,
    Confidence.UNVERIFIED: 60,
}

CPU = "cpu"

UNMEASURED_ACCELERATORS = frozenset({"t4", "v100", "l4", "a10g", CPU})
"""Accelerators without usable published runs of this engine: predictions there are unverified."""

BARE = Calibration(
    name="roofline",
    families=(),
    also=(),
    accelerators=(),
    precisions=(),
    topologies=(),
    engine="",
    decode_k=1.4,
    prefill_k=2.0,
    step_s=0.0005,
    layer_s=0.00004,
    mixed_step_s=0.0027,
    mixed_layer_s=0.00004,
    first_token_s=0.03,
    points=0,
    error_percent=60.0,
    source="typical kernel efficiencies (0.7 of bandwidth, 0.5 of arithmetic) and launch times, 2026-11-22",
)


@dataclass(frozen=True, slots=True)
class Correction:
    """A calibration as it applies here, and what that is worth."""

    calibration: Calibration
    confidence: Confidence

    @property
    def margin_percent(self) -> int:
        return MARGIN_PERCENT[self.confidence]


FEW_POINTS = 6

CLASSES = (
    Confidence.CALIBRATED,
    Confidence.SAME_MODEL_OTHER_ACCELERATOR,
    Confidence.OTHER_MODEL,
    Confidence.ROOFLINE_ONLY,
)


def topology(shape: Shape) -> str:
    """Which kind of parallelism marks the shape; two shapes of one kind are predicted equally well."""
    if shape.pipeline_parallel > 1:
        return "pp"
    if shape.data_parallel > 1:
        return "dp"
    return "ep" if shape.expert_parallel > 1 else "tp"


def correction(
    rows: Sequence[Calibration], model: ModelSpec, accelerator: Accelerator, choice: PrecisionChoice, shape: Shape
) -> Correction:
    """The row that matches best, first of equals; without any, typical efficiencies.

    Best is the family on the accelerator in the precision, then the same in the precision on another accelerator,
    then in another precision (kernels differ: as another model's), then a borrowed row.
    """
    best, rank = BARE, len(RANKS)
    for row in rows:
        found = _rank(row, model, accelerator, choice)
        if found < rank:
            best, rank = row, found
    if best is BARE or topology(shape) not in best.topologies:
        confidence = Confidence.ROOFLINE_ONLY
    else:
        index = CLASSES.index(RANKS[rank]) + (1 if best.points < FEW_POINTS else 0)
        confidence = CLASSES[min(index, len(CLASSES) - 1)]
    if accelerator.name in UNMEASURED_ACCELERATORS and confidence is not Confidence.CALIBRATED:
        confidence = Confidence.UNVERIFIED
    return Correction(best, confidence)


RANKS = (
    Confidence.CALIBRATED,
    Confidence.SAME_MODEL_OTHER_ACCELERATOR,
    Confidence.OTHER_MODEL,
    Confidence.OTHER_MODEL,
    Confidence.OTHER_MODEL,
    Confidence.OTHER_MODEL,
)


def _rank(row: Calibration, model: ModelSpec, accelerator: Accelerator, choice: PrecisionChoice) -> int:
    """Place in RANKS, or their number when the row says nothing about this."""
    is_cpu = accelerator.name == CPU
    here = accelerator.name in row.accelerators
    if is_cpu != (CPU in row.accelerators):
        return len(RANKS)
    precision = choice.precision in row.precisions or (
        choice.precision is Precision.FP16 and Precision.BF16 in row.precisions
    )
    if model.family in row.families:
        return (0 if precision else 2) if here else (1 if precision else 3)
    if model.family in row.also and not is_cpu:
        return 4 if precision else 5
    return len(RANKS)
