"""The corrections of one shape, worked out once: what each class of work in a step is multiplied with, and overheads.

:func:`terms.terms` names the factors of a run term by term; here the same names become numbers that arrays of steps are
multiplied with. ``tests`` hold the two against each other.
"""

from __future__ import annotations

from math import exp
from typing import Any, NamedTuple

from deepseek_planner.plan import Confidence
from deepseek_planner.prediction.corrections import Corrections, keys
from deepseek_planner.prediction.runs import Run
from deepseek_planner.prediction.systems import System
from deepseek_planner.prediction.terms import PACE, PART_NAMES


class Factors(NamedTuple):
    """Factors and seconds of one shape, or arrays of shape (models, 1) of many."""

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
    """Of the steps that carry a request's own prompt."""
    queue: Any
    """Of the steps that carry prompts of others before."""
    first_token_s: Any
    """Once per request."""
    first_token_s_per_token: Any
    """Per prompt token, cached ones included."""


def factors(run: Run, corrections: Corrections, system: System, layers: float) -> Factors:
    """Factors of a run's groups; ``layers``: of one pipeline stage."""
    if system.overheads is not None:
        one, seconds = (1.0,) * len(PART_NAMES), system.overheads
        step = seconds["step"]
        return Factors(one, one, step, step, seconds["sequence"], 1.0, 1.0, 1.0, seconds["first_token"], 0.0)
    groups = keys(run)

    def factor(*names: str) -> float:
        return exp(sum(corrections.logarithm(name, groups) for name in names))

    def beside(kind: str) -> float:
        return layers * factor(PACE, f"layer.{kind}") + factor(PACE, f"step.{kind}")

    return Factors(
        decode=tuple(factor(PACE, f"{name}.decode") for name in PART_NAMES),
        mixed=tuple(factor(PACE, f"{name}.mixed") for name in PART_NAMES),
        decode_s=beside("decode"),
        mixed_s=beside("mixed"),
        sequence_s=factor(PACE, "sequence"),
        wait=factor("wait"),
        own=factor("own"),
        queue=factor("queue"),
        first_token_s=factor("first_token"),
        first_token_s_per_token=factor("first_token_per_token"),
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
