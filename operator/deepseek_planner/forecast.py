"""Arrivals so far -> the request rate to plan for.

The declared peak stands until the window is full of measurements. Then the rate is an upper estimate of what
the window showed: its busiest minute, and what chance may add to a minute that was expected to bring so many.
Requests arrive independently of one another, so a minute's count varies like a Poisson count: by its square
root. The estimate is rounded up to a coarse grid, so that noise in the load is not noise in the plan.
"""

from __future__ import annotations

import math

from deepseek_planner.demand import Demand, Measured

DECLARED = "declared"
MEASURED = "measured"

QUANTILE_Z = 1.645
"""Standard normal quantile at 95 %: one busy minute in twenty may bring more than is planned for."""

GRID = 20
"""Planned rates are multiples of the declared peak divided by this: 5 % steps."""


def planned_requests_per_min(demand: Demand, measured: Measured | None) -> tuple[float, str]:
    """Requests per minute to plan for, and where the number comes from (``declared`` or ``measured``).

    Never above the declared peak, never below zero.
    """
    peak = demand.peak_requests_per_min
    seen = covered(measured)
    if seen is None:
        return peak, DECLARED
    busiest = max(seen.peak_requests_per_min, seen.requests_per_min, 0.0)
    upper = busiest + QUANTILE_Z * math.sqrt(busiest)
    return min(peak, _rounded_up(upper, step=peak / GRID)), MEASURED


def covered(measured: Measured | None) -> Measured | None:
    """The measurements, when they fill their window; else None: a window without data says nothing, not zero."""
    return measured if measured is not None and measured.covered_s >= measured.window_s else None


def _rounded_up(rate: float, *, step: float) -> float:
    # The tolerance keeps a rate that sits on the grid where it is, whatever its last binary digit says.
    return math.ceil(rate / step - 1e-9) * step if step > 0 else rate
