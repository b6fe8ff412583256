"""HiGHS as this package uses it: one thread, a fixed seed, limits of nodes and never of time; imported when needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

EXACT = 1e-9


@dataclass(slots=True)
class Program:
    """Minimise ``costs`` over columns between their bounds, with rows between theirs, given by rows."""

    costs: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    row_lower: list[float] = field(default_factory=list)
    row_upper: list[float] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)

    def row(self, entries: Sequence[tuple[int, float]], lower: float, upper: float) -> None:
        """``lower <= sum of entries <= upper``."""
        self.starts.append(len(self.index))
        self.index += [column for column, _ in entries]
        self.value += [value for _, value in entries]
        self.row_lower.append(lower)
        self.row_upper.append(upper)


class Answer(NamedTuple):
    """The best found, and what is proven."""

    values: list[float]
    duals: list[float]
    """By row; of linear programs only."""
    objective: float
    bound: float


def solve(program: Program, *, is_integer: bool = False, most_nodes: int = 0) -> Answer | None:
    """None where nothing keeps all rows, or nothing was found within the nodes."""
    import highspy  # noqa: PLC0415

    highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    options: dict[str, Any] = {"output_flag": False, "threads": 1, "random_seed": 1, "presolve": "on"}
    if is_integer:
        options |= {"mip_rel_gap": 0.0, "mip_abs_gap": EXACT, "mip_feasibility_tolerance": 1e-9}
        options |= {"mip_max_nodes": most_nodes} if most_nodes else {}
    for name, value in options.items():
        highs.setOptionValue(name, value)
    highs.passModel(_model(program, highspy, is_integer=is_integer))
    highs.run()
    status = highs.getModelStatus()
    info, solution = highs.getInfo(), highs.getSolution()
    if status == highspy.HighsModelStatus.kInfeasible or info.primal_solution_status != highspy.kSolutionStatusFeasible:
        return None
    bound = info.mip_dual_bound if is_integer else info.objective_function_value
    return Answer(list(solution.col_value), list(solution.row_dual), info.objective_function_value, bound)


def _model(program: Program, highspy: Any, *, is_integer: bool) -> Any:
    import numpy as np  # noqa: PLC0415

    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(program.costs), len(program.row_lower)
    lp.col_cost_ = np.asarray(program.costs, dtype=np.float64)
    lp.col_lower_ = np.zeros(lp.num_col_)
    lp.col_upper_ = np.asarray(program.upper, dtype=np.float64)
    lp.row_lower_ = np.asarray(program.row_lower, dtype=np.float64)
    lp.row_upper_ = np.asarray(program.row_upper, dtype=np.float64)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.asarray([*program.starts, len(program.index)], dtype=np.int32)
    lp.a_matrix_.index_ = np.asarray(program.index, dtype=np.int32)
    lp.a_matrix_.value_ = np.asarray(program.value, dtype=np.float64)
    if is_integer:
        lp.integrality_ = [highspy.HighsVarType.kInteger] * lp.num_col_
    return lp
