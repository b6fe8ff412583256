"""The search against trying everything: the same service for the same dollars on every small problem, or not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_planner.allocation import Problem, Solution
from deepseek_planner.mix import solve
from deepseek_planner.snapshot import DeploymentKey, Routing
from support.mixes import CONTENT, FULL, PARTS, best_value, check, counts_of, value
from support.worlds import small_problem


@dataclass(frozen=True, slots=True)
class Exactness:
    """What was tried, and how far apart the two were."""

    routing: Routing
    problems: int
    equal: int
    scarce: int
    """Problems in which somebody gets less than everything."""
    largest_difference: float
    """Of the cost, where the service is equal."""
    largest_gap: float
    """That the solver itself admits."""
    solver_s: float
    trial_s: float

    @property
    def is_exact(self) -> bool:
        return self.equal == self.problems


def measure(routing: Routing, problems: int) -> Exactness:
    """Problems of one, two and three deployments in turn."""
    equal, scarce, difference, gap, solver, trial = 0, 0, 0.0, 0.0, 0.0, 0.0
    for seed in range(problems):
        problem = small_problem(seed, routing=routing, asks=1 + seed % 3)
        start = time.perf_counter()
        found = solve(problem)
        solver += time.perf_counter() - start
        start = time.perf_counter()
        keys, best = best_value(problem)
        trial += time.perf_counter() - start
        check(problem, found)
        asks = [ask for ask in sorted(problem.asks, key=lambda item: item.key) if ask.key in keys]
        served = [_level(found, index) for index in keys]
        got = value(asks, served, [counts_of(ask, found.allotments[ask.key]) for ask in asks])
        same = got[:2] == best[:2] and not _others(problem, found, keys)
        equal += same
        scarce += any(level < CONTENT for level in served)
        gap = max(gap, found.gap)
        if got[0] == best[0] and best[1]:
            difference = max(difference, abs(got[1] / best[1] - 1.0))
    return Exactness(routing, problems, equal, scarce, difference, gap, solver, trial)


def _level(found: Solution, key: DeploymentKey) -> int:
    """As trying everything counts it: all that is asked for is content."""
    part = found.allotments[key].served
    level = PARTS.index(part) + 1 if part else 0
    return CONTENT if level == FULL else level


def _others(problem: Problem, found: Solution, keys: Sequence[DeploymentKey]) -> bool:
    """Whether somebody is served who could not be served alone."""
    return any(found.allotments[ask.key].served for ask in problem.asks if ask.key not in keys)
