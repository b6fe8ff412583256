"""Measured corrections of the terms, and how far to trust them: a hierarchy of groups with fall-backs.

A factor is ``exp(base + sum of deviations)``. Deviations belong to groups - the accelerator's generation, the
precision, the model, the model on that accelerator - and were shrunk towards zero when fitted, so a run whose group
was never measured falls back to the next wider one by leaving its deviation out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import repeat
from math import exp
from typing import Any, NamedTuple

from deepseek_planner.plan import Confidence
from deepseek_planner.prediction.runs import LOOSE_SPREAD, Run
from deepseek_planner.prediction.systems import system
from deepseek_planner.prediction.terms import Term

ENOUGH_POINTS = 4
"""Runs of one model, accelerator and precision that make predictions of others calibrated; with fewer they count like
runs on another accelerator. Known points of a group take the error of TPOT from 14 % (none) to 8 (one), 6.5 (four) and
5 % (eight), says an experiment on vLLM's runs.
"""
ALIKE = {"int8": "fp8"}
"""No run has such weights: they are read and multiplied like the others."""


def groups(run: Run) -> dict[str, str]:
    """Names of the groups that a run belongs to, by level."""
    facts = system(run.system)
    model = run.model
    kind = run.architecture.attention_kind + ("+experts" if run.architecture.is_sparse else "")
    split = "expert" if run.sharding.expert_parallel > 1 else "tensor"
    return {
        "generation": facts.generation,
        "system": facts.name,
        "precision": ALIKE.get(run.precision, run.precision),
        "kind": kind,
        "sparse": "experts" if run.architecture.is_sparse else "dense",
        "model": model,
        "placed": f"{model}/{facts.name}",
        "cell": f"{model}/{facts.name}/{run.precision}",
        "harness": run.publisher or ("spread" if run.load.spread > LOOSE_SPREAD else "fixed"),
        "split": split,
        "version": run.version or "unknown",
        "edition": f"{model}/{run.version or facts.name}",
        "ranks": str(run.sharding.tensor),
        "release": f"{model}/{facts.name}/{run.precision}/{run.version}",
        "setup": f"{model}/{facts.name}/{run.precision}/{run.version}/{run.sharding.tensor}/{split}",
    }


class Group(NamedTuple):
    """Evidence behind one cell of (engine, model, system, precision)."""

    points: int
    tpot_error_percent: float
    ttft_error_percent: float | None
    """None: no TTFT was reported."""
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Corrections:
    """Logarithms of factors: base by name, deviations by name and ``level=value``; and the evidence by cell."""

    engine: str
    base: Mapping[str, float]
    deviations: Mapping[str, Mapping[str, float]]
    evidence: Mapping[str, Group]
    source: str

    def logarithm(self, name: str, keys: Iterable[str]) -> float:
        found = self.deviations.get(name)
        value = self.base.get(name, 0.0)
        return value + sum(map(found.get, keys, repeat(0.0))) if found else value

    def seconds(self, parts: Iterable[Term], keys: tuple[str, ...]) -> float:
        """Sum of the terms under the corrections of the groups ``keys`` (``level=value``)."""
        known: dict[str, float] = {}
        total = 0.0
        for names, seconds in parts:
            power = 0.0
            for name in names:
                if name not in known:
                    known[name] = self.logarithm(name, keys)
                power += known[name]
            total += exp(power) * seconds
        return total

    def confidence(self, run: Run) -> tuple[Confidence, str]:
        """What stands behind a prediction of ``run``, and the name of the group that it comes from."""
        own = groups(run)
        if own["cell"] in self.evidence:
            enough = self.evidence[own["cell"]].points >= ENOUGH_POINTS
            found = Confidence.CALIBRATED if enough else Confidence.SAME_MODEL_OTHER_ACCELERATOR
            return found, f"{self.engine}/{own['cell']}"
        generations = {system(cell.rsplit("/", 2)[1]).generation for cell in self.evidence}
        if own["generation"] not in generations or not system(run.system).curves:
            # What runs elsewhere teach was never seen to carry over to such an accelerator.
            is_alike = own["generation"] in {"ada", "ampere"}
            return Confidence.ROOFLINE_ONLY if is_alike else Confidence.UNVERIFIED, f"{self.engine}/all"
        model_cells = [cell for cell in self.evidence if cell.startswith(f"{run.model}/")]
        if any(cell.startswith(f"{own['placed']}/") for cell in model_cells):
            return Confidence.OTHER_MODEL, f"{self.engine}/{own['placed']}"
        if model_cells:
            return Confidence.SAME_MODEL_OTHER_ACCELERATOR, f"{self.engine}/{run.model}"
        return Confidence.OTHER_MODEL, f"{self.engine}/{own['generation']}"


def keys(run: Run) -> tuple[str, ...]:
    """The groups of a run as ``level=value``."""
    return tuple(f"{level}={value}" for level, value in groups(run).items())


FORMAT = 2
"""Of ``corrections.json``: deviations by group, then by factor."""


def by_group(deviations: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Deviations with their two keys swapped, sorted: the file names each group once."""
    swapped: dict[str, dict[str, float]] = {}
    for outer in sorted(deviations):
        for inner, value in deviations[outer].items():
            swapped.setdefault(inner, {})[outer] = value
    return {key: swapped[key] for key in sorted(swapped)}


def read(document: Mapping[str, Any]) -> Mapping[str, Corrections]:
    """Corrections by engine from the shipped document.

    Raises ValueError when it is of another format.
    """
    if document.get("format") != FORMAT:
        raise ValueError(f"corrections.json: format {document.get('format')!r} is not {FORMAT}; fit it again")
    return {
        engine: Corrections(
            engine=engine,
            base=facts["base"],
            deviations=by_group(facts["deviations"]),
            evidence={
                cell: Group(row["points"], row["tpot_error_percent"], row["ttft_error_percent"], tuple(row["versions"]))
                for cell, row in facts["evidence"].items()
            },
            source=facts["source"],
        )
        for engine, facts in document["engines"].items()
    }


@cache
def shipped() -> Mapping[str, Corrections]:
    """The corrections that ship with the project."""
    text = files("deepseek_planner").joinpath("data/corrections.json").read_text(encoding="utf-8")
    return read(json.loads(text))
