"""Errors of the planner.

PlannerError
├── CatalogError     the shipped or given facts contradict each other; carries every problem
└── InputError       what was asked for cannot be read; carries every problem

An infeasible request is not an error: it is a plan without placements and with rejections.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input: where, what stood there, what is wrong, what to do."""

    field: str
    value: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.value}: {self.message}; {self.remedy}"


class PlannerError(Exception):
    """Base of everything the planner raises on purpose."""


class CatalogError(PlannerError):
    """Facts that contradict each other or lack a source; ``problems`` holds all of them."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class InputError(PlannerError):
    """A request that cannot be read; ``problems`` holds all of them, in the order of the fields."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))
