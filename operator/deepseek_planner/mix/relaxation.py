"""The master problem as a linear program that grows: columns are added, the solver goes on from where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import highspy
import numpy as np

from deepseek_planner.mix.lattice import Column
from deepseek_planner.mix.master import Want, is_wanted
from deepseek_planner.mix.pricing import Duals
from deepseek_planner.mix.world import World
from deepseek_planner.units import MICRO_PER_USD

INFINITE = float("inf")
ROUNDED = 1e-6
"""Of a fleet: what is known to be served is asked for so much less, or rounding might make it impossible."""


class Relaxation:
    """At most one fleet per ask, in parts.

    What is minimised and what is wanted may change; the solver then goes on from where it was, too.
    """

    def __init__(self, world: World, numbers: Sequence[int]) -> None:
        self._world = world
        self._seeker_row = {number: row for row, number in enumerate(numbers)}
        self._pool_row = len(numbers)
        self._budget_row = self._pool_row + len(world.rows.rows)
        self._highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        for name, value in (
            ("output_flag", False),
            ("threads", 1),
            ("random_seed", 1),
            ("presolve", "off"),
            ("simplex_strategy", 4),
        ):
            self._highs.setOptionValue(name, value)
        self._wants: tuple[Want, ...] = ()
        self._want_rows: dict[Want, int] = {}
        """By want, whatever its count."""
        self._missing: dict[Want, int] = {}
        """Likewise, the solver's column of what is wanted and not served."""
        self._counted: dict[tuple[int, int], tuple[int, ...]] = {}
        """By ask and level, the rows of wants that it counts for."""
        self._value: Callable[[Column], float] = lambda _: 0.0
        self.columns: list[Column] = []
        self._places: list[int] = []
        """Of each column, in the solver."""
        self._seen: set[tuple[int, int, tuple[int, ...]]] = set()
        self._rows()

    def _rows(self) -> None:
        world = self._world
        budget = INFINITE if world.budget is None else world.budget / MICRO_PER_USD
        upper = [1.0] * len(self._seeker_row) + [float(row.room) for row in world.rows.rows] + [budget]
        none, starts = np.empty(0), np.zeros(len(upper), dtype=np.int32)
        lower = np.full(len(upper), -INFINITE)
        self._highs.addRows(len(upper), lower, np.array(upper), 0, starts, none.astype(np.int32), none)

    def aim(self, wants: Sequence[Want], value: Callable[[Column], float], penalty: float | None) -> None:
        """Minimise the columns' values, in dollars, where so much is wanted.

        What is not served of it costs ``penalty`` dollars apiece; None: the columns are known to serve it.
        """
        for want in self._wants:
            self._highs.changeRowBounds(self._want_rows[_uncounted(want)], -INFINITE, INFINITE)
        self._wants, self._value = tuple(wants), value
        for want in wants:
            kind = _uncounted(want)
            if kind not in self._want_rows:
                self._want(kind)
            rounded = ROUNDED if penalty is None else 0.0
            bounds = (-INFINITE, want.count + rounded) if want.at_most else (want.count - rounded, INFINITE)
            self._highs.changeRowBounds(self._want_rows[kind], *bounds)
            can_miss = penalty is not None and not want.at_most
            self._highs.changeColBounds(self._missing[kind], 0.0, INFINITE if can_miss else 0.0)
            self._highs.changeColCost(self._missing[kind], penalty or 0.0)
        costs = np.array([value(item) for item in self.columns])
        self._highs.changeColsCost(len(costs), np.array(self._places, dtype=np.int32), costs)

    def _want(self, want: Want) -> None:
        """A row that counts the columns that serve so, and what is missing."""
        place, row = self._highs.getNumCol(), self._highs.getNumRow()
        self._want_rows[want], self._missing[want] = row, place
        self._counted.clear()
        self._highs.addCol(0.0, 0.0, INFINITE, 0, np.empty(0, dtype=np.int32), np.empty(0))
        index = [
            there
            for item, there in zip(self.columns, self._places, strict=True)
            if is_wanted(self._world, item.seeker, item.level, want)
        ]
        index.append(place)
        self._highs.addRow(-INFINITE, INFINITE, len(index), np.array(index, dtype=np.int32), np.ones(len(index)))

    def add(self, columns: Iterable[Column]) -> int:
        """Columns that are new; how many these were."""
        starts: list[int] = []
        index: list[int] = []
        value: list[float] = []
        costs: list[float] = []
        for item in columns:
            key = item.seeker, item.level, item.counts
            if key in self._seen:
                continue
            self._seen.add(key)
            self.columns.append(item)
            starts.append(len(index))
            costs.append(self._value(item))
            for row, amount in self._entries(item):
                index.append(row)
                value.append(amount)
        if starts:
            count, first = len(starts), self._highs.getNumCol()
            self._places += range(first, first + count)
            self._highs.addCols(
                count,
                np.array(costs),
                np.zeros(count),
                np.full(count, INFINITE),
                len(index),
                np.array(starts, dtype=np.int32),
                np.array(index, dtype=np.int32),
                np.array(value),
            )
        return len(starts)

    def _entries(self, item: Column) -> list[tuple[int, float]]:
        entries = [(self._seeker_row[item.seeker], 1.0)]
        entries += [(self._pool_row + row, float(amount)) for row, amount in item.uses]
        if item.nominal:
            entries.append((self._budget_row, item.nominal / MICRO_PER_USD))
        served = item.seeker, item.level
        if served not in self._counted:
            rows = self._want_rows.items()
            self._counted[served] = tuple(row for want, row in rows if is_wanted(self._world, *served, want))
        entries += [(row, 1.0) for row in self._counted[served]]
        return entries

    def solve(self, expected: float) -> tuple[float, Duals]:
        """Dollars, and what the shared things are worth."""
        self._highs.run()
        duals = np.array(self._highs.getSolution().row_dual)
        pools = np.maximum(0.0, -duals[self._pool_row : self._budget_row]) * MICRO_PER_USD
        budget = max(0.0, -float(duals[self._budget_row]))
        wants = tuple(_signed(float(duals[self._want_rows[_uncounted(want)]]), want) for want in self._wants)
        return float(self._highs.getInfo().objective_function_value), Duals(expected, budget, pools, wants)

    def primal(self) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
        """What is wanted and not served; of each column how much is taken, and by how much it is worse."""
        solution = self._highs.getSolution()
        values, worse = np.array(solution.col_value), np.maximum(0.0, np.array(solution.col_dual))
        missing = sum(float(values[self._missing[_uncounted(want)]]) for want in self._wants)
        return missing, tuple(values[self._places].tolist()), tuple(worse[self._places].tolist())


def _uncounted(want: Want) -> Want:
    return replace(want, count=0)


def _signed(worth: float, want: Want) -> float:
    """Of one more that is served, without what rounding makes of nothing."""
    return min(0.0, worth) if want.at_most else max(0.0, worth)
