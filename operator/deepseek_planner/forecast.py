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

GRID = 1.02
"""Planned rates are the declared peak divided by a power of this."""


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
    return min(peak, _rounded_up(upper, peak)), MEASURED


def covered(measured: Measured | None) -> Measured | None:
    """The measurements, when they fill their window; else None: a window without data says nothing, not zero."""
    return measured if measured is not None and measured.covered_s >= measured.window_s else None


def replicas_needed(
    requests_per_min: float, per_replica: float, *, running: int | None, peak: float, headroom_percent: int
) -> int:
    """Replicas that serve a planned rate, each serving ``per_replica`` requests per minute within its objectives.

    ``running`` are those of the same kind that run; None while nothing runs. They grow when the rate asks for it and
    shrink only as far as leaves headroom: a load that wobbles around what a number of replicas serves moves nothing
    twice. What would replace them must have the headroom from the start.
    """
    plain = _whole(requests_per_min / per_replica)
    if running is None:
        return plain
    spare = _whole(min(peak, requests_per_min * (1 + headroom_percent / 100)) / per_replica)
    return max(plain, min(running, spare)) if running else max(plain, spare)


def _whole(replicas: float) -> int:
    # A tolerance, or a rate that is exactly what n replicas serve would ask for one more by its last binary digit.
    return math.ceil(replicas - 1e-9)


def _rounded_up(rate: float, peak: float) -> float:
    if rate <= 0 or peak <= rate:
        return rate
    # The tolerance keeps a rate that sits on the grid where it is, whatever its last binary digit says.
    return peak / GRID ** math.floor(math.log(peak / rate, GRID) + 1e-9)
