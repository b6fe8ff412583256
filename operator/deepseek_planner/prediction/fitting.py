"""Corrections from measured runs: maximum a posteriori, with robust residuals and exact derivatives. Needs numpy.

Every factor starts at a prior (curves were measured, so theirs is 1; overheads at typical launch times), and every
group's deviation at zero with a width. The widths are chosen by hand, looking at cross-validation of vLLM's runs:
what that reports is a little optimistic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, log
from typing import TYPE_CHECKING, Any

from deepseek_planner.prediction.corrections import Corrections, Group, groups
from deepseek_planner.prediction.curves import curve_set
from deepseek_planner.prediction.runs import Run
from deepseek_planner.prediction.terms import CurveLookup, terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[Any]

ITERATIONS = 60
TOLERANCE = 1e-6
TPOT_NOISE = 0.05
TTFT_NOISE = 0.12
HUBER = 2.0
"""Residuals beyond so many noise widths count linearly."""
MAX_TTFT_MS = 10_000.0
"""Longer waits say something about a queue or a cold start, not about the engine."""
COLD_START = 8.0
"""So many times the TTFT that the priors expect is taken for a cold start in the mean. Inferred from the runs,
not stated by a publisher: their TPOT fits, and their TTFT of 5 to 9 s hardly grows with prompts or concurrency.
"""


@dataclass(frozen=True, slots=True)
class Prior:
    """Where the logarithm of a factor starts, how far it may go, and the widths of its groups' deviations."""

    center: float
    width: float
    levels: Mapping[str, float]


_PARTS = {
    "gemm": 0.1,
    "experts": 0.2,
    "decode_attention": 0.2,
    "prefill_attention": 0.2,
    "collective": 0.2,
    "elementwise": 0.2,
}
_SCALE = {"generation": 0.06, "precision": 0.08, "sparse": 0.08, "model": 0.05}
_OVERHEAD = {"generation": 0.5, "sparse": 0.3, "model": 0.1, "release": 0.1}
_STEPS = {"generation": 0.1}
_FIRST = {
    "harness": 0.4,
    "generation": 1.0,
    "version": 0.4,
    "sparse": 0.3,
    "model": 0.3,
    "placed": 0.3,
    "release": 0.3,
    "setup": 0.4,
}
_PACE = {"model": 0.05, "placed": 0.05, "release": 0.05, "setup": 0.12}


_BY_EDITION: Mapping[str, Mapping[str, float]] = {
    "pace": {**_PACE, "edition": 0.1},
    "first_token": {**_FIRST, "model": 0.15, "edition": 0.3, "placed": 0.15, "release": 0.15, "setup": 0.2},
    "first_token_per_token": {},
    "burst": {**_STEPS, "release": 0.1, "harness": 0.5},
}
"""Levels of SGLang and TensorRT-LLM, whose runs are of many releases: what a release makes of a model (its edition)
goes along to other accelerators; a release that is not said does not. For vLLM's runs, of few releases, the same levels
predict new accelerators worse.
"""


def default_priors(engine: str) -> dict[str, Prior]:
    """Priors by factor. Overheads start at seconds, everything else at one."""
    found = {
        f"{name}.{kind}": Prior(0.0, width, _SCALE) for name, width in _PARTS.items() for kind in ("decode", "mixed")
    }
    found["layer.decode"] = Prior(log(7e-6), 0.5, _OVERHEAD)
    found["layer.mixed"] = Prior(log(2e-5), 0.5, _OVERHEAD)
    found["step.decode"] = Prior(log(5e-4), 0.5, _OVERHEAD)
    found["step.mixed"] = Prior(log(3e-3), 0.5, _OVERHEAD)
    found["sequence"] = Prior(log(5e-6), 0.7, {"generation": 0.2, "model": 0.2})
    found["pace"] = Prior(0.0, 0.02, _PACE)
    found["first_token"] = Prior(log(0.03), 0.5, _FIRST)
    found["first_token_per_token"] = Prior(log(1e-6), 1.0, {"harness": 0.3})
    found["wait"] = Prior(0.0, 0.15, {})
    found["own"] = Prior(0.0, 0.1, _STEPS)
    found["queue"] = Prior(0.0, 0.3, {})
    found["burst"] = Prior(0.0, 0.15, {**_STEPS, "release": 0.1})
    found["cache"] = Prior(log(0.8), 0.3, {})
    found["slow_prefill"] = Prior(log(4.0), 1.0, {})
    found["speculation"] = Prior(log(1.2), 0.2, {})
    if engine != "vllm":
        found |= {name: replace(found[name], levels=levels) for name, levels in _BY_EDITION.items()}
    if engine == "sglang":
        # Its steps with prompts are launched kernel by kernel, and experts have many: dense models tell little of them.
        found["step.mixed"] = replace(found["step.mixed"], levels={**_OVERHEAD, "sparse": 0.5, "model": 0.3})
        found["cold_start"] = Prior(log(5.0), 0.5, {})
        found["cold_stall"] = Prior(log(1.0), 1.0, {})
    return found


class Problem:
    """Measured runs of one engine as arrays, ready to be fitted on any subset."""

    def __init__(
        self, runs: Sequence[Run], priors: Mapping[str, Prior] | None = None, lookup: CurveLookup = curve_set
    ) -> None:
        self.runs = [run for run in runs if run.is_measured]
        engine = self.runs[0].engine if self.runs else ""
        self.priors = dict(priors or default_priors(engine))
        self.terms = [terms(run, lookup) for run in self.runs]
        self.keys = [groups(run) for run in self.runs]
        start = Corrections("", {name: prior.center for name, prior in self.priors.items()}, {}, {}, "")
        self.has_ttft = [
            run.ttft_ms <= min(MAX_TTFT_MS, COLD_START * start.seconds(found.ttft, ()) * 1e3)
            for run, found in zip(self.runs, self.terms, strict=True)
        ]
        """Whether a run's TTFT says something about the engine."""

    def fit(self, chosen: Sequence[int]) -> Corrections:
        """Corrections from the runs at the indices ``chosen``."""
        return _Fit(self, chosen).solve()


class _Fit:
    """One fit. A term's logarithm is a sum of a few *nodes* (a factor as one group of runs sees it), and a node is
    a sum of coefficients: both are kept as indices, so that the derivative is two small products.
    """

    def __init__(self, problem: Problem, chosen: Sequence[int]) -> None:
        import numpy as np  # noqa: PLC0415

        self.problem = problem
        self.names: list[tuple[str, str]] = []
        self._columns: dict[tuple[str, str], int] = {}
        self._nodes: dict[tuple[str, ...], int] = {}
        self._node_columns: list[list[int]] = []
        self._widths: list[float] = []
        self._centers: list[float] = []
        terms_of: list[list[list[int]]] = []
        values: list[list[float]] = []
        targets: list[float] = []
        noise: list[float] = []
        for at in chosen:
            run, found, keys = problem.runs[at], problem.terms[at], problem.keys[at]
            observed = [(found.tpot, run.tpot_ms, TPOT_NOISE)]
            if problem.has_ttft[at]:
                observed.append((found.ttft, run.ttft_ms, TTFT_NOISE))
            for parts, measured_ms, width in observed:
                terms_of.append([[self._node(name, keys) for name in names] for names, _ in parts])
                values.append([seconds for _, seconds in parts])
                targets.append(log(measured_ms / 1e3))
                noise.append(width)
        self.centers, self.widths = np.array(self._centers), np.array(self._widths)
        self.targets, self.noise = np.array(targets), np.array(noise)
        nodes = len(self._node_columns)
        self.coefficients = np.zeros((nodes + 1, len(self.names)))
        for node, columns in enumerate(self._node_columns):
            self.coefficients[node, columns] = 1.0
        longest, deepest = max(map(len, values)), max(len(one) for row in terms_of for one in row)
        self.seconds = np.zeros((len(values), longest))
        # The node after the last is none: its logarithm is zero.
        self.nodes = np.full((len(values), longest, deepest), nodes, dtype=np.int64)
        for row, (lists, seconds) in enumerate(zip(terms_of, values, strict=True)):
            self.seconds[row, : len(seconds)] = seconds
            for term, one in enumerate(lists):
                self.nodes[row, term, : len(one)] = one

    def _node(self, name: str, keys: Mapping[str, str]) -> int:
        prior = self.problem.priors[name]
        identity = (name, *(f"{level}={keys[level]}" for level in prior.levels))
        if identity not in self._nodes:
            self._nodes[identity] = len(self._node_columns)
            columns = [self._column(name, "", prior.center, prior.width)]
            columns += [
                self._column(name, f"{level}={keys[level]}", 0.0, width) for level, width in prior.levels.items()
            ]
            self._node_columns.append(columns)
        return self._nodes[identity]

    def _column(self, name: str, key: str, center: float, width: float) -> int:
        if (name, key) not in self._columns:
            self._columns[name, key] = len(self.names)
            self.names.append((name, key))
            self._centers.append(center)
            self._widths.append(width)
        return self._columns[name, key]

    def solve(self) -> Corrections:
        import numpy as np  # noqa: PLC0415

        point = self.centers.copy()
        damping = 1e-3
        cost, gradient, normal = self._expand(point)
        for _ in range(ITERATIONS):
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -gradient)
            trial = point + step
            new_cost, new_gradient, new_normal = self._expand(trial)
            if new_cost < cost:
                done = cost - new_cost < TOLERANCE * cost
                point, cost, gradient, normal = trial, new_cost, new_gradient, new_normal
                damping = max(damping / 5.0, 1e-9)
                if done:
                    break
            else:
                damping *= 5.0
                if damping > 1e9:
                    break
        return self._corrections(point)

    def _expand(self, point: Vector) -> tuple[float, Vector, Vector]:
        """Cost, gradient and Gauss-Newton matrix at ``point``, residuals reweighted by Huber's rule."""
        import numpy as np  # noqa: PLC0415

        logarithms = self.coefficients @ point
        shares = np.exp(logarithms[self.nodes].sum(axis=2)) * self.seconds
        total = shares.sum(axis=1)
        residual = (np.log(total) - self.targets) / self.noise
        by_node = np.zeros((len(total), len(logarithms)))
        rows = np.arange(len(total))[:, None]
        for depth in range(self.nodes.shape[2]):
            np.add.at(by_node, (rows, self.nodes[:, :, depth]), shares)
        jacobian = (by_node / (total * self.noise)[:, None]) @ self.coefficients
        size = np.abs(residual)
        weight = np.where(size <= HUBER, 1.0, HUBER / np.maximum(size, 1e-12))
        losses = np.where(size <= HUBER, size**2, 2 * HUBER * size - HUBER**2)
        prior = (point - self.centers) / self.widths
        cost = float(losses.sum() + prior @ prior)
        gradient = jacobian.T @ (weight * residual) + prior / self.widths
        normal = jacobian.T @ (weight[:, None] * jacobian) + np.diag(1.0 / self.widths**2)
        return cost, gradient, normal

    def _corrections(self, point: Vector) -> Corrections:
        base = {name: prior.center for name, prior in self.problem.priors.items()}
        deviations: dict[str, dict[str, float]] = {}
        for (name, key), value in zip(self.names, point, strict=True):
            if not key:
                base[name] = round(float(value), 4)
            elif abs(value) >= 0.002:
                deviations.setdefault(name, {})[key] = round(float(value), 4)
        return Corrections("", base, deviations, {}, "")


def evidence(problem: Problem, fitted: Corrections, chosen: Sequence[int]) -> dict[str, Group]:
    """By cell: how many points, which releases, and the mean error that is left in them."""
    cells: dict[str, list[int]] = {}
    for at in chosen:
        cells.setdefault(problem.keys[at]["cell"], []).append(at)
    found: dict[str, Group] = {}
    for cell, members in sorted(cells.items()):
        tpot, ttft = [], []
        for at in members:
            run = problem.runs[at]
            known = tuple(f"{level}={value}" for level, value in problem.keys[at].items())
            tpot.append(abs(fitted.seconds(problem.terms[at].tpot, known) * 1e3 / run.tpot_ms - 1.0))
            if isfinite(run.ttft_ms):
                ttft.append(abs(fitted.seconds(problem.terms[at].ttft, known) * 1e3 / run.ttft_ms - 1.0))
        found[cell] = Group(
            points=len(members),
            tpot_error_percent=round(100.0 * sum(tpot) / len(tpot), 1),
            ttft_error_percent=round(100.0 * sorted(ttft)[len(ttft) // 2], 1) if ttft else None,
            versions=tuple(sorted({problem.runs[at].version or "unknown" for at in members})),
        )
    return found
