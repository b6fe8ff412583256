"""The question that remedies ask again and again: what would it take to serve this, if that were otherwise?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from deepseek_planner.hardware import Offering
from deepseek_planner.plan import Rejection, RejectionReason
from deepseek_planner.snapshot import DeploymentInput
from deepseek_planner.units import MicroUsd


class Case(NamedTuple):
    """One deployment alone, over pools that may be offered otherwise than they are."""

    deployment: DeploymentInput
    offerings: tuple[Offering, ...]
    multi_node: bool
    """Whether LeaderWorkerSet is served."""


class Least(Enum):
    """What there shall be least of: limits count billed dollars and replicas, and not what the search minimises."""

    DOLLARS = "billed dollars"
    REPLICAS = "replicas"
    NOTHING = "nothing: any fleet that serves will do"


class Cost(NamedTuple):
    """Of the fleet that serves a case with the least of what was asked for."""

    usd_per_hour: MicroUsd
    """As billed."""
    usd_per_million_tokens: MicroUsd
    """As ``maxUSDPerMillionTokens`` counts them."""
    replicas: int
    accelerators: Mapping[str, int]
    """By pool."""


Ask = Callable[[Case, Least], Cost | None]
"""None: nothing serves the case."""


class Said(NamedTuple):
    """A change in words, and what it makes of a case."""

    text: str
    applied: Callable[[Case], Case]


class Change(NamedTuple):
    """One limit that could be another."""

    lifted: Callable[[Case], Case | None]
    """The case without the limit, or as far from it as anybody would go; None where there is nothing to lift."""
    smallest: Callable[[Case, Ask, Sequence[Rejection]], Said | None]
    """The smallest change of this limit alone that serves the case; None where none does. The case's rejections are
    a hint where to look first."""
    reasons: frozenset[RejectionReason] = frozenset()
    """Of rejections without which it is not worth a try alone; empty: always."""


def passes(case: Case, ask: Ask) -> bool:
    """Whether anything serves it."""
    return ask(case, Least.NOTHING) is not None


def most(low: int, high: int, is_enough: Callable[[int], bool]) -> int:
    """The largest whole number that does, where ``low`` does and ``high`` does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_enough(middle) else (low, middle)
    return low
