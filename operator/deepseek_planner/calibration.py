"""Roofline -> measured: which correction applies to a model on an accelerator, and how far to trust it.

Margins are the errors seen when such a correction was asked about runs it was not fitted to: the same model and
accelerator 15 %, the model on another accelerator 25 %, another model 35 %, no measurement at all 60 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepseek_planner.catalog_rows import Calibration
from deepseek_planner.hardware import Accelerator
from deepseek_planner.models import ModelSpec
from deepseek_planner.plan import Confidence
from deepseek_planner.precision import PrecisionChoice

MARGIN_PERCENT: Mapping[Confidence, int] = {
    Confidence.CALIBRATED: 15,
    Confidence.SAME_MODEL_OTHER_ACCELERATOR: 25,
    Confidence.OTHER_MODEL: 35,
    Confidence.ROOFLINE_ONLY: 60,
    Confidence.UNVERIFIED: 60,
}

UNMEASURED_ACCELERATORS = frozenset({"t4", "v100", "l4", "a10g", "cpu"})
"""Accelerators without usable published runs of this engine: predictions there are unverified."""

BARE = Calibration(
    name="roofline",
    families=(),
    accelerators=(),
    precisions=(),
    engine="",
    decode_k=1.4,
    prefill_k=2.0,
    step_s=0.0005,
    layer_s=0.00002,
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


def correction(
    rows: Sequence[Calibration], model: ModelSpec, accelerator: Accelerator, choice: PrecisionChoice
) -> Correction:
    """The best row: of this family and accelerator, else of this family, else of any, else none.

    A row of another precision counts as another model's: kernels differ.
    """
    best, confidence = BARE, Confidence.ROOFLINE_ONLY
    rank = 0
    for row in rows:
        score, level = _match(row, model, accelerator, choice)
        if score > rank:
            best, confidence, rank = row, level, score
    if accelerator.name in UNMEASURED_ACCELERATORS and confidence is not Confidence.CALIBRATED:
        confidence = Confidence.UNVERIFIED
    return Correction(best, confidence)


def _match(
    row: Calibration, model: ModelSpec, accelerator: Accelerator, choice: PrecisionChoice
) -> tuple[int, Confidence]:
    family = not row.families or model.family in row.families
    same_accelerator = not row.accelerators or accelerator.name in row.accelerators
    precision = not row.precisions or choice.precision in row.precisions
    if "cpu" in row.accelerators and accelerator.name != "cpu":
        return 0, Confidence.ROOFLINE_ONLY
    if accelerator.name == "cpu" and not (family and same_accelerator):
        return 0, Confidence.ROOFLINE_ONLY
    if family and same_accelerator and precision:
        return 4, Confidence.CALIBRATED
    if family and precision:
        return 3, Confidence.SAME_MODEL_OTHER_ACCELERATOR
    if family and same_accelerator:
        return 2, Confidence.OTHER_MODEL
    return 0, Confidence.ROOFLINE_ONLY
