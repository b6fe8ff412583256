"""Arrivals so far -> the request rate to plan for.

The declared peak stands until the window is full of measurements. Then the rate is what the highest minute of the
horizon stays within, with the asked probability. The horizon is what it takes to do something about a rise: the
slowest cold start of the pools that may serve, and the cycle in which the rise is noticed. A structural model of the
window's minutes says how high that minute may be:

- their level, and their trend where it rises (a fall is followed when it has happened, not before), as far as the
  rise stands out of the noise, and for no longer ahead than it was seen;
- their noise: requests arrive independently of one another, so a minute's count varies by its square root at least,
  and by as much more as the minutes show;
- a drift of the level that no window shows.

Days that resemble one another are not looked for: no public trace of requests to language models is longer than an
hour, so nothing could be checked. What the constants are worth is measured by ``tests/bench/forecast_traces.py``.

The estimate is rounded up to a coarse grid, so that noise in the load is not noise in the plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import NormalDist, fmean
from typing import NamedTuple

from deepseek_planner.demand import Demand, Measured
from deepseek_planner.hardware import Offering
from deepseek_planner.snapshot import DeploymentInput, Policy
from deepseek_planner.units import whole

DECLARED = "declared"
MEASURED = "measured"

WOBBLE, WOBBLE_AFTER_GROWTH = 2.0, 3.0
"""Square roots of the planned rate by which it may rise again though the load stays as it is. Of a steady load the
planned rate spans 2.3 to 2.8 of them within four hours, in the median. Three for everybody would cost dollars all day;
where the load has made the fleet grow, it has shown that two were not enough."""

GRID = 1.02
"""Planned rates are the declared peak divided by a power of this."""

LEAST = 1e-6
"""Requests per minute below which there are none."""

MINUTE_S = 60.0
FEWEST_MINUTES = 5
"""Fewer say nothing about trend and noise."""
OVERDISPERSION = 2.0
"""Variance of a minute's count over its mean, as a prior: 1 is Poisson. The hourly traces of chat show 3 and 16."""
PRIOR_MINUTES = 5.0
"""So many minutes' worth is the prior."""
LEFT_BY_LARGEST = 0.74
"""Part of the summed squares of fourteen normal steps that is left without the largest, on average."""
STILL = 3.0
"""Times the recent half's own slope that the whole window's slope may be, and still count as going on."""
DRIFT = 0.02
"""Standard deviation of the level's own change within a minute, of the level; it grows by the square root of time."""


class Horizon(NamedTuple):
    """How far ahead demand matters, and how surely it shall be covered."""

    seconds: float
    quantile: float
    """Probability that the highest minute of the horizon stays within the planned rate."""


def horizon(offerings: Iterable[Offering], policy: Policy) -> Horizon:
    """Until engines that a rise asks for can serve, on the slowest of the pools that may serve."""
    slowest_s = max((offering.startup_s for offering in offerings), default=0.0)
    return Horizon(slowest_s + policy.engine_start_s + policy.cycle_s, policy.demand_percentile / 100)


USUAL = horizon((), Policy())
"""Where nodes are there and settings are as shipped."""


def planned_requests_per_min(demand: Demand, measured: Measured | None, ahead: Horizon = USUAL) -> tuple[float, str]:
    """Requests per minute to plan for, and where the number comes from (``declared`` or ``measured``).

    Never above the declared peak, never below the busiest minute of the window.
    """
    peak = demand.peak_requests_per_min
    seen = covered(measured)
    if seen is None:
        return peak, DECLARED
    busiest = max(seen.peak_requests_per_min, seen.requests_per_min, 0.0)
    return min(peak, _rounded_up(max(busiest, highest_minute(seen, ahead)), peak)), MEASURED


def covered(measured: Measured | None) -> Measured | None:
    """The measurements, when they fill their window; else None: a window without data says nothing, not zero."""
    return measured if measured is not None and measured.covered_s >= measured.window_s else None


def highest_minute(seen: Measured, ahead: Horizon) -> float:
    """Requests per minute that the busiest minute of the horizon stays within at the horizon's quantile."""
    found = _structure(seen.minutes) if len(seen.minutes) >= FEWEST_MINUTES else _from_extremes(seen)
    if found.mean <= 0:
        return 0.0
    # A rise is trusted for no longer ahead than it was seen. A window that holds few minutes is seen in stretches that
    # overlap: from one to the next they differ about as much as minutes do, and what looks like a rise is often none.
    ahead_s = min(ahead.seconds, seen.window_s)
    has_minutes = seen.window_s >= (found.minutes - 1) * MINUTE_S  # Prometheus gives both ends of the window
    level = found.level + found.rise * ahead_s * found.minutes / seen.window_s if has_minutes else found.mean
    prior = OVERDISPERSION * found.mean
    weight = found.minutes - 1
    variance = (PRIOR_MINUTES * prior + weight * found.variance) / (PRIOR_MINUTES + weight)
    drift = (DRIFT * found.mean) ** 2 * ahead_s / MINUTE_S
    # The highest of n minutes is within a limit when all of them are.
    z = NormalDist().inv_cdf(ahead.quantile ** (1 / max(1.0, ahead.seconds / MINUTE_S)))
    skew = variance / found.mean * (z * z - 1) / 6  # counts are skewed: the first term of Cornish and Fisher
    return level + z * math.sqrt(variance * (1 + 1 / found.minutes) + drift) + max(0.0, skew)


class _Structure(NamedTuple):
    """What the window's minutes are made of, in requests per minute."""

    minutes: int
    mean: float
    level: float
    """At the window's end; not below the mean."""
    rise: float
    """Per minute of the series; never below zero."""
    variance: float
    """Of the noise around level and rise."""


def _structure(minutes: Sequence[float]) -> _Structure:
    count, mean, recent = len(minutes), fmean(minutes), minutes[len(minutes) // 2 :]
    variance = _noise(minutes)
    slope, spread = _slope(minutes)
    # A slope counts by how far it stands out of what noise alone would make of it, and while it goes on: what jumped
    # and stays is no rise.
    noise = max(variance, mean) / spread
    sure = 1 - noise / slope**2 if slope > 0 and slope**2 > noise else 0.0
    rise = sure * max(0.0, min(slope, STILL * _slope(recent)[0]))
    level = max(mean, fmean(recent) + rise * (len(recent) - 1) / 2)
    return _Structure(count, mean, level, rise, variance)


def _slope(minutes: Sequence[float]) -> tuple[float, float]:
    """Least squares per minute, and the squared times it rests on."""
    times = [index - (len(minutes) - 1) / 2 for index in range(len(minutes))]
    spread = sum(time * time for time in times)
    return sum(time * rate for time, rate in zip(times, minutes, strict=True)) / spread, spread


def _noise(minutes: Sequence[float]) -> float:
    """Variance from one minute to the next, which neither level nor trend is in.

    The largest step is left out: one change of the level is no noise. A quarter of the noise goes with it.
    """
    steps = sorted((after - before) ** 2 for before, after in pairwise(minutes))
    return sum(steps[:-1]) / (2 * len(steps)) / LEFT_BY_LARGEST


_USUAL_MINUTES = 15
_HIGHEST_OF_15 = 1.736
"""Standard deviations by which the highest of fifteen normal numbers exceeds their mean, on average."""


def _from_extremes(seen: Measured) -> _Structure:
    """Without the minutes: their noise from how far the busiest stands out."""
    level = max(0.0, seen.requests_per_min)
    above = max(0.0, seen.peak_requests_per_min - level) / _HIGHEST_OF_15
    return _Structure(_USUAL_MINUTES, level, level, 0.0, above * above)


def replicas_needed(
    requests_per_min: float,
    per_replica: float,
    *,
    running: int | None,
    peak: float,
    headroom_percent: int,
    roots: float = WOBBLE,
) -> int:
    """Replicas that serve a planned rate, each serving ``per_replica`` requests per minute within its objectives.

    ``running`` are those of the same kind that run; None while nothing runs. They grow when the rate asks for it and
    shrink only as far as leaves headroom: a load that wobbles around what a number of replicas serves moves nothing
    twice. What would replace them must have the headroom from the start.
    """
    plain = whole(requests_per_min / per_replica)
    if running is None:
        return plain
    spare = whole(with_headroom(requests_per_min, peak=peak, percent=headroom_percent, roots=roots) / per_replica)
    return max(plain, min(running, spare)) if running else max(plain, spare)


def wobble(deployment: DeploymentInput, now: datetime, policy: Policy) -> float:
    """Square roots of the planned rate that are left free by what would replace engines that run.

    Growth is remembered for as long as savings may take to pay.
    """
    grew = deployment.grew_at
    is_lately = grew is not None and (now - grew).total_seconds() < policy.break_even_s
    return WOBBLE_AFTER_GROWTH if is_lately else WOBBLE


def with_headroom(requests_per_min: float, *, peak: float, percent: int, roots: float = WOBBLE) -> float:
    """The rate that what runs is left for: the planned one, and room for its own wobble. Never above the peak.

    A share of the rate; at few requests a minute, where the forecast of a steady load wobbles by more, so many
    square ``roots`` of it.
    """
    return min(peak, requests_per_min + max(requests_per_min * percent / 100, roots * math.sqrt(requests_per_min)))


def _rounded_up(rate: float, peak: float) -> float:
    if peak <= rate:
        return rate
    if rate < LEAST:
        return 0.0
    # The tolerance keeps a rate that sits on the grid where it is, whatever its last binary digit says.
    return peak / GRID ** math.floor(math.log(peak / rate, GRID) + 1e-9)
