"""Cross-validation: how well the corrections predict what they were not fitted to. Needs numpy.

Three ways: runs of other shapes (lengths and sharding), the model on an accelerator where it was not measured, and a
model that was not measured at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

from deepseek_planner.prediction.corrections import Corrections, keys
from deepseek_planner.prediction.fitting import Problem
from deepseek_planner.prediction.runs import Run

WAYS = ("shape", "accelerator", "model")
SHAPE_FOLDS = 8
MIN_TRAINING = 20


@dataclass(frozen=True, slots=True)
class Residual:
    """Prediction over measurement minus one."""

    run: Run
    way: str
    tpot: float
    ttft: float
    """NaN where no TTFT was measured."""
    throughput: float


def residuals(problem: Problem, fitted: Corrections, chosen: Sequence[int], way: str) -> list[Residual]:
    """How far the fit is off on the chosen runs."""
    found = []
    for at in chosen:
        run, known = problem.runs[at], keys(problem.runs[at])
        tpot = fitted.seconds(problem.terms[at].tpot, known) * 1e3
        ttft = fitted.seconds(problem.terms[at].ttft, known) * 1e3
        measured = run.throughput(run.ttft_ms, run.tpot_ms)
        found.append(
            Residual(
                run=run,
                way=way,
                tpot=tpot / run.tpot_ms - 1.0,
                ttft=ttft / run.ttft_ms - 1.0,
                throughput=run.throughput(ttft, tpot) / measured - 1.0,
            )
        )
    return found


def cross_validate(problem: Problem, way: str) -> list[Residual]:
    """Residuals of every fold, each predicted by a fit that has not seen it."""
    found: list[Residual] = []
    for training, held_out in folds(problem.runs, way):
        found += residuals(problem, problem.fit(training), held_out, way)
    return found


def folds(runs: Sequence[Run], way: str) -> Iterator[tuple[list[int], list[int]]]:
    """(training, held out) indices."""
    names = [_fold(run, way) for run in runs]
    distinct = sorted(set(names))
    if way == "shape":
        number = {name: index % SHAPE_FOLDS for index, name in enumerate(distinct)}
        names = [(str(number[name]),) for name in names]
        distinct = sorted(set(names))
    for name in distinct:
        held_out = [at for at, other in enumerate(names) if other == name]
        training = [at for at, other in enumerate(names) if other != name]
        if way == "accelerator" and not any(runs[at].model == name[0] for at in training):
            continue
        if len(training) >= MIN_TRAINING:
            yield training, held_out


def _fold(run: Run, way: str) -> tuple[str, ...]:
    match way:
        case "shape":
            return (f"{run.nominal_input:09.0f}", f"{run.nominal_output:09.0f}", f"{run.sharding.tensor:03d}")
        case "accelerator":
            return (run.model, run.system)
        case "model":
            return (run.model,)
        case _:
            raise ValueError(f"way {way!r} is not one of {', '.join(WAYS)}")


@dataclass(frozen=True, slots=True)
class Score:
    """Mean error of TPOT, median errors of TTFT and throughput, in percent, over so many points."""

    tpot_percent: float
    ttft_percent: float
    throughput_percent: float
    points: int


def score(found: Sequence[Residual]) -> Score:
    """Summary of residuals.

    Raises ValueError when there are none.
    """
    if not found:
        raise ValueError("no residuals to summarize")
    return Score(
        tpot_percent=100.0 * sum(abs(one.tpot) for one in found) / len(found),
        ttft_percent=100.0 * _median([abs(one.ttft) for one in found]),
        throughput_percent=100.0 * _median([abs(one.throughput) for one in found]),
        points=len(found),
    )


def _median(values: Sequence[float]) -> float:
    """Of those that are known; NaN where none is."""
    ordered = sorted(value for value in values if isfinite(value))
    if not ordered:
        return float("nan")
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2.0
