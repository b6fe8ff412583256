"""The master problem as a linear program that grows: columns are added, the solver goes on from where it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highspy
import numpy as np

from deepseek_planner.mix.lattice import Column
from deepseek_planner.mix.master import Want, is_wanted
from deepseek_planner.mix.pricing import Duals
from deepseek_planner.mix.world import World
from deepseek_planner.units import MICRO_PER_USD

INFINITE = float("inf")


class Relaxation:
    """At most one fleet per ask, in parts; what is wanted and not served costs ``penalty`` dollars apiece."""

    def __init__(self, world: World, numbers: Sequence[int], wants: Sequence[Want], penalty: float) -> None:
        self._world, self._wants = world, tuple(wants)
        self._seeker_row = {number: row for row, number in enumerate(numbers)}
        self._pool_row = len(numbers)
        self._budget_row = self._pool_row + len(world.rows.rows)
        self._want_row = self._budget_row + 1
        self._highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        for name, value in (("output_flag", False), ("threads", 1), ("random_seed", 1), ("presolve", "off")):
            self._highs.setOptionValue(name, value)
        self.columns: list[Column] = []
        self._seen: set[tuple[int, int, tuple[int, ...]]] = set()
        self._rows(penalty)

    def _rows(self, penalty: float) -> None:
        world = self._world
        budget = INFINITE if world.budget is None else world.budget / MICRO_PER_USD
        upper = [1.0] * len(self._seeker_row) + [float(row.room) for row in world.rows.rows] + [budget]
        lower = [-INFINITE] * len(upper) + [float(want.count) for want in self._wants]
        upper += [INFINITE] * len(self._wants)
        none = np.empty(0)
        starts = np.zeros(len(upper), dtype=np.int32)
        self._highs.addRows(len(upper), np.array(lower), np.array(upper), 0, starts, none.astype(np.int32), none)
        for number in range(len(self._wants)):
            index = np.array([self._want_row + number], dtype=np.int32)
            self._highs.addCol(penalty, 0.0, INFINITE, 1, index, np.ones(1))

    def add(self, columns: Sequence[Column], costs: Sequence[float]) -> int:
        """Columns that are new, with their dollars; how many these were."""
        starts: list[int] = []
        index: list[int] = []
        value: list[float] = []
        new_costs: list[float] = []
        for item, cost in zip(columns, costs, strict=True):
            key = item.seeker, item.level, item.counts
            if key in self._seen:
                continue
            self._seen.add(key)
            self.columns.append(item)
            starts.append(len(index))
            new_costs.append(cost)
            for row, amount in self._entries(item):
                index.append(row)
                value.append(amount)
        if starts:
            count = len(starts)
            self._highs.addCols(
                count,
                np.array(new_costs),
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
        entries += [
            (self._want_row + number, 1.0)
            for number, want in enumerate(self._wants)
            if is_wanted(self._world, item.seeker, item.level, want)
        ]
        return entries

    def solve(self, expected: float) -> tuple[float, Duals]:
        """Dollars, and what the shared things are worth."""
        self._highs.run()
        duals = np.array(self._highs.getSolution().row_dual)
        pools = np.maximum(0.0, -duals[self._pool_row : self._budget_row]) * MICRO_PER_USD
        budget = max(0.0, -float(duals[self._budget_row]))
        wants = tuple(max(0.0, float(value)) for value in duals[self._want_row :])
        return float(self._highs.getInfo().objective_function_value), Duals(expected, budget, pools, wants)

    def primal(self) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
        """What is wanted and not served; of each column how much is taken, and by how much it is worse."""
        solution, first = self._highs.getSolution(), len(self._wants)
        values, worse = list(solution.col_value), list(solution.col_dual)
        return sum(values[:first]), tuple(values[first:]), tuple(max(0.0, loss) for loss in worse[first:])
