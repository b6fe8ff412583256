"""The corrections of one shape, worked out once: what each class of work in a step is multiplied with, and overheads.

:func:`terms.terms` names the factors of a run term by term; here the same names become numbers that arrays of steps are
multiplied with. ``tests`` hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import Any, NamedTuple

from deepseek_planner.plan import Confidence
from deepseek_planner.prediction.corrections import Corrections, keys
from deepseek_planner.prediction.runs import Run
from deepseek_planner.prediction.systems import System
from deepseek_planner.prediction.terms import PACE, PART_NAMES

MARGIN_PERCENT: Mapping[Confidence, int] = {
    Confidence.CALIBRATED: 15,
    Confidence.SAME_MODEL_OTHER_ACCELERATOR: 25,
    Confidence.OTHER_MODEL: 35,
    Confidence.ROOFLINE_ONLY: 60,
    Confidence.UNVERIFIED: 60,
}
"""What to size with on top. Wider than the TPOT and TTFT errors that cross-validation of vLLM's runs shows by class."""


class Factors(NamedTuple):
    """Factors and seconds of one shape, or arrays of shape (models,) of many."""

    decode: Any
    """By :class:`operations.Part`: of a step without prompt tokens."""
    mixed: Any
    """The same of a step with prompt tokens."""
    decode_s: Any
    """Seconds of such a step beside its operations."""
    mixed_s: Any
    sequence_s: Any
    """Seconds per request in a step."""
    wait: Any
    """Of the time until the running step ends."""
    own: Any
    """Of the steps that carry a request's own prompt, and those that came with it."""
    first_token_s: Any
    """Once per request."""
    first_token_s_per_token: Any
    """Per prompt token, cached ones included."""

    @property
    def flat(self) -> tuple[float, ...]:
        """All numbers in a row."""
        return *self.decode, *self.mixed, *self[2:]


def beside(rows: Any) -> Factors:
    """Of rows of numbers, one for each shape."""
    fields, parts = rows.T.copy(), len(PART_NAMES)
    return Factors(fields[:parts], fields[parts : 2 * parts], *fields[2 * parts :])


def factors(run: Run, corrections: Corrections, system: System, layers: float) -> Factors:
    """Factors of a run's groups; ``layers``: of one pipeline stage."""
    if system.overheads is not None:
        one, seconds = (1.0,) * len(PART_NAMES), system.overheads
        step = seconds["step"]
        return Factors(one, one, step, step, seconds["sequence"], 1.0, 1.0, seconds["first_token"], 0.0)
    groups = keys(run)
    pace = corrections.logarithm(PACE, groups)

    def paced(name: str) -> float:
        return exp(pace + corrections.logarithm(name, groups))

    def alone(name: str) -> float:
        return exp(corrections.logarithm(name, groups))

    return Factors(
        decode=tuple(paced(f"{name}.decode") for name in PART_NAMES),
        mixed=tuple(paced(f"{name}.mixed") for name in PART_NAMES),
        decode_s=layers * paced("layer.decode") + paced("step.decode"),
        mixed_s=layers * paced("layer.mixed") + paced("step.mixed"),
        sequence_s=paced("sequence"),
        wait=alone("wait"),
        own=alone("own"),
        first_token_s=alone("first_token"),
        first_token_s_per_token=alone("first_token_per_token"),
    )


def confidence(run: Run, corrections: Corrections, system: System, *, is_spread: bool) -> Confidence:
    """What stands behind a prediction; ``is_spread``: over stages, data-parallel ranks or nodes, which no run was."""
    if system.overheads is not None:
        return Confidence.CALIBRATED if run.model in system.measured_models else Confidence.UNVERIFIED
    if system.not_confirmed:
        return Confidence.UNVERIFIED
    found, _ = corrections.confidence(run)
    if is_spread and found is not Confidence.UNVERIFIED:
        return Confidence.ROOFLINE_ONLY
    return found
