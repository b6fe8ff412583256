"""Damped Gauss-Newton (Levenberg-Marquardt) with a numerical Jacobian: enough for a few dozen coefficients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[Any]

STEP = 1e-6
MAX_ITERATIONS = 200
TOLERANCE = 1e-9


def minimize(residuals: Callable[[Vector], Vector], start: Vector) -> Vector:
    """The coefficients near ``start`` with the least sum of squared residuals; deterministic."""
    import numpy as np  # noqa: PLC0415 - fits only: planning must start without it

    point = np.array(start, dtype=np.float64)
    values = residuals(point)
    cost, damping = float(values @ values), 1e-3
    for _ in range(MAX_ITERATIONS):
        jacobian = _jacobian(residuals, point, values)
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ values
        improved = False
        while damping < 1e12:
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), -gradient)
            trial = residuals(point + step)
            trial_cost = float(trial @ trial)
            if trial_cost < cost:
                improved = cost - trial_cost > TOLERANCE * cost
                point, values, cost = point + step, trial, trial_cost
                damping = max(damping / 5.0, 1e-12)
                break
            damping *= 4.0
        if not improved:
            break
    return point


def _jacobian(residuals: Callable[[Vector], Vector], point: Vector, values: Vector) -> Vector:
    import numpy as np  # noqa: PLC0415

    columns = []
    for index in range(len(point)):
        moved = point.copy()
        moved[index] += STEP
        columns.append((residuals(moved) - values) / STEP)
    return np.stack(columns, axis=1)
