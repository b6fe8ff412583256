"""Errors of the operator.

OperatorError
├── SettingsError    the process cannot start as configured; carries every problem
├── NameTakenError        an object with the name of a child of ours exists and belongs to someone else
├── RefusedError     the world refused a write, and would refuse it again
├── UnreachableError      the world did not answer; the same call may pass later
└── LeaseLostError        another process may lead now; this one must stop

What a person asked for and cannot have is not an error here: the planner's ``InputError`` carries
unreadable requests, and an infeasible one is a plan without placements.
"""

from __future__ import annotations


class OperatorError(Exception):
    """Base of everything the operator raises on purpose. ``reason`` is CamelCase and API."""

    reason = "OperatorError"


class SettingsError(OperatorError):
    """Settings that cannot be used; ``problems`` holds all of them."""

    reason = "InvalidSettings"

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class NameTakenError(OperatorError):
    """A child cannot be made because an object of that name is not ours."""

    reason = "NameTaken"

    def __init__(self, kind: str, namespace: str, name: str) -> None:
        super().__init__(
            f"{kind} {namespace}/{name} exists and does not belong to this deployment; rename one of the two"
        )


class RefusedError(OperatorError):
    """The API refused an object: invalid, forbidden or over a quota."""

    reason = "ApplyRefused"


class UnreachableError(OperatorError):
    """The API did not answer or asked to come back later."""

    reason = "Unreachable"


class LeaseLostError(OperatorError):
    """The lease could not be renewed in time."""

    reason = "LeaseLost"
