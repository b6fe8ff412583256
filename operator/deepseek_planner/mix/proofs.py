"""What a search proved under other prices: a bound under these, often as good as a new search.

Where no price is below *r* times what it was, no fleet costs less than *r* times what the cheapest did. Where a fleet
that is known costs no more than that, searching anew finds nothing better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from deepseek_planner.mix.lattice import Column

CLOSE = 1e-7
"""Share of its price that a fleet may cost above the bound and still be taken for the cheapest: what rounding hides."""


class Offered(NamedTuple):
    """The cheapest fleet at one level, and what every such fleet costs at least."""

    column: Column | None
    bound: float


@dataclass(slots=True)
class _Proof:
    weights: Any = None
    """Prices at which the bound was proven."""
    bound: float = 0.0
    columns: list[Column] = field(default_factory=list)
    counts: Any = None
    """Of the columns, one row each."""


class Proofs:
    """Of one ask after the other, at each of its levels."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], _Proof] = {}

    def cheapest(self, key: tuple[int, int], weights: Any, search: Callable[[], Offered]) -> Offered:
        """From what is known where that is good enough, else from a new search."""
        proof = self._known.setdefault(key, _Proof())
        known = _known(proof, weights)
        if known is not None:
            return known
        found = search()
        proof.weights, proof.bound = weights, found.bound
        if found.column is not None and found.column not in proof.columns:
            proof.columns.append(found.column)
            proof.counts = np.array([item.counts for item in proof.columns], dtype=np.float64)
        return found


def _known(proof: _Proof, weights: Any) -> Offered | None:
    if proof.weights is None:
        return None
    if proof.bound == math.inf:
        return Offered(None, math.inf)  # whatever the prices
    costs_something = proof.weights > 0
    ratio = float((weights[costs_something] / proof.weights[costs_something]).min(initial=2.0))
    bound = ratio * proof.bound
    if not proof.columns:
        # Nothing was found within the search's steps: it would be the same at the same prices only.
        return Offered(None, bound) if (abs(weights - proof.weights) <= CLOSE * proof.weights).all() else None
    costs = proof.counts @ weights
    place = int(costs.argmin())
    cost = float(costs[place])
    return Offered(proof.columns[place], min(bound, cost)) if cost * (1 - CLOSE) <= bound else None
