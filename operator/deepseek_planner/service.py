"""Service of replicas: the highest rate within the targets, and what a lower rate sees.

:mod:`prediction.serving` says what a number of running requests means for rate and latencies; here the largest number
that keeps the targets is searched, for many shapes and loads at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from deepseek_planner.demand import Demand, LatencyTarget, LengthDistribution, Measured
from deepseek_planner.plan import EngineParameters
from deepseek_planner.prediction.compiled import Compiled, stacked
from deepseek_planner.prediction.serving import Arrivals, Engines, Percentiles, Schedulers, Served

NORMAL_QUANTILE = {50: 0.0, 90: 1.2816, 95: 1.6449, 99: 2.3263}
DEFAULT_PERCENTILE = 95
"""Of a latency without a target: nothing depends on it but what is shown."""

COARSE, FINE = 10, 8
"""Concurrencies looked at in the first pass of the search, and in each of two closer ones: within 2 percent, below."""
IDLE_RUNNING, LEAST_RUNNING = 0.02, 0.25
"""Requests running on average on a replica that is called idle, and at the first concurrency above."""
POINTS = 9
"""Of the table that answers for lower rates."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts that service depends on."""

    input_mean: float
    output_mean: float
    prefill_mean: float
    """Prompt tokens that no shared prefix saves."""
    prefill_at: dict[int, float]
    """By percentile."""
    variation: float
    """Squared coefficient of variation of the prompt tokens that are computed."""
    third: float
    """Mean of their cube over the cube of their mean."""
    per_output: float
    """Mean of one over the output's length."""

    @property
    def context(self) -> float:
        return self.input_mean + self.output_mean / 2


def lengths(demand: Demand, measured: Measured | None = None) -> Lengths:
    """Lengths as declared; with measurements their means, the declared distribution scaled to them."""
    scale = output_scale = 1.0
    if measured is not None and measured.mean_input_tokens:
        scale = measured.mean_input_tokens / demand.input_tokens.mean_tokens
    if measured is not None and measured.mean_output_tokens:
        output_scale = measured.mean_output_tokens / demand.output_tokens.mean_tokens
    return lengths_of(
        demand.input_tokens,
        demand.output_tokens,
        shared_prefix_tokens=demand.shared_prefix_tokens,
        scale=scale,
        output_scale=output_scale,
    )


def lengths_of(
    inputs: LengthDistribution,
    outputs: LengthDistribution,
    *,
    shared_prefix_tokens: float,
    scale: float = 1.0,
    output_scale: float = 1.0,
) -> Lengths:
    """Lengths of two distributions, each scaled."""
    longest = inputs.max_tokens

    def saved(tokens: float) -> float:
        return max(1.0, min(tokens, longest) - shared_prefix_tokens)

    shares = [bucket.share for bucket in inputs.buckets]
    means = [saved(bucket.mean_tokens * scale) for bucket in inputs.buckets]
    spreads = [variance * scale**2 for variance in _variances(inputs)]
    prefill = sum(share * mean for share, mean in zip(shares, means, strict=True))
    rows = list(zip(shares, means, spreads, strict=True))
    square = sum(share * (mean**2 + spread) for share, mean, spread in rows)
    cube = sum(share * (mean**3 + 3 * mean * spread) for share, mean, spread in rows)
    answers = [max(1.0, bucket.mean_tokens * output_scale) for bucket in outputs.buckets]
    return Lengths(
        input_mean=max(1.0, inputs.mean_tokens * scale),
        output_mean=max(1.0, outputs.mean_tokens * output_scale),
        prefill_mean=prefill,
        prefill_at={p: saved(inputs.at_percentile(p) * scale) for p in NORMAL_QUANTILE},
        variation=max(0.0, square / prefill**2 - 1.0),
        third=cube / prefill**3,
        per_output=sum(bucket.share / tokens for bucket, tokens in zip(outputs.buckets, answers, strict=True)),
    )


def _variances(distribution: LengthDistribution) -> Iterator[float]:
    """Of the lengths inside each bucket: a third of the most that its bounds allow around its mean, as if uniform."""
    below = 0.0
    for bucket in distribution.buckets:
        yield max(0.0, (bucket.mean_tokens - below) * (bucket.up_to_tokens - bucket.mean_tokens)) / 3
        below = float(bucket.up_to_tokens)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the service must keep; None: no target."""

    time_to_first_token: LatencyTarget | None
    time_per_output_token: LatencyTarget | None

    @property
    def first_percentile(self) -> int:
        return self.time_to_first_token.percentile if self.time_to_first_token else DEFAULT_PERCENTILE

    @property
    def token_percentile(self) -> int:
        return self.time_per_output_token.percentile if self.time_per_output_token else DEFAULT_PERCENTILE


@dataclass(frozen=True, slots=True)
class Service:
    """Service of one replica at one rate, latencies at the targets' percentiles, before any margin."""

    rate_per_s: float
    time_to_first_token_s: float
    time_per_output_token_s: float
    running: float = 0.0
    """Requests that run at once, on average."""
    prefill_share: float = 0.0
    """Part of the busy time that goes to prompts, 0 to 1."""
    utilization: float = 1.0
    """The rate over the highest one within the targets."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica to size: a compiled shape, its engine's settings, and the lengths it gets."""

    compiled: Compiled
    engine: EngineParameters
    demand: Lengths
    max_running: float
    """Requests that fit the cache and the engine's own limit."""
    margin: float
    """Share that is added to predicted latencies before they are held against the targets."""

    @property
    def ranks(self) -> int:
        """Schedulers that share the running requests: data-parallel ranks and pipeline stages."""
        shape = self.compiled.setting.shape
        return shape.data_parallel * shape.pipeline_parallel


class Sized:
    """What sizing found: service of an idle replica, and at rates up to its capacity; none: it misses a target."""

    __slots__ = ("_points", "_row", "_running", "_table", "capacity", "idle")

    def __init__(self, idle: Service, table: Served | None = None, running: Any = None, row: int = 0) -> None:
        self.idle = idle
        self._table, self._running, self._row = table, running, row
        self._points: tuple[Service, ...] = ()
        self.capacity = None if table is None else _service(table, running, row, -1)
        """At the highest rate that keeps the targets; None: even an idle replica misses one."""

    @property
    def points(self) -> tuple[Service, ...]:
        """From idle to the highest rate that keeps the targets."""
        if not self._points and self._table is not None:
            found = [_service(self._table, self._running, self._row, column) for column in range(POINTS)]
            rising = [found[0]]
            rising += [later for early, later in pairwise(found) if later.rate_per_s > early.rate_per_s]
            self._points = tuple(replace(one, utilization=one.rate_per_s / found[-1].rate_per_s) for one in rising)
        return self._points

    def at_rate(self, rate_per_s: float) -> Service:
        """Service at a rate, between the points; at the capacity where the rate is higher."""
        points = self.points
        highest = points[-1].rate_per_s
        if rate_per_s >= highest:
            return points[-1]
        index = next(i for i, point in enumerate(points) if point.rate_per_s > rate_per_s)
        low, high = points[index - 1], points[index]
        part = (rate_per_s - low.rate_per_s) / (high.rate_per_s - low.rate_per_s)

        def between(name: str) -> float:
            start, end = getattr(low, name), getattr(high, name)
            return float(start + part * (end - start))

        return Service(
            rate_per_s=rate_per_s,
            time_to_first_token_s=between("time_to_first_token_s"),
            time_per_output_token_s=between("time_per_output_token_s"),
            running=between("running"),
            prefill_share=between("prefill_share"),
            utilization=rate_per_s / highest,
        )


def engines(replicas: Sequence[Replica], limits: Limits) -> Engines:
    """The replicas' closed forms, side by side."""
    first, token = limits.first_percentile, limits.token_percentile
    shapes = [one.compiled.setting.shape for one in replicas]
    rows = np.array(
        [
            (
                one.engine.max_num_batched_tokens,
                shape.pipeline_parallel,
                shape.data_parallel,
                one.demand.prefill_mean,
                one.demand.prefill_at[first],
                max(0.0, one.demand.input_mean - one.demand.prefill_mean),
                one.demand.output_mean,
                one.demand.variation,
                one.demand.third,
                one.demand.per_output,
            )
            for one, shape in zip(replicas, shapes, strict=True)
        ]
    ).T[..., None]
    return Engines(
        stacked([one.compiled for one in replicas]),
        [one.compiled.factors for one in replicas],
        Schedulers(*rows[:3]),
        Arrivals(*rows[3:]),
        Percentiles(NORMAL_QUANTILE[first], first / 100, NORMAL_QUANTILE[token]),
    )


def size(replicas: Sequence[Replica], limits: Limits) -> list[Sized]:
    """For each replica the highest rate within the limits, margin included, and a table of the rates below."""
    if not replicas:
        return []
    idle_running = np.array([[min(IDLE_RUNNING, _highest_running(one.max_running) / 4)] for one in replicas])
    idle = engines(replicas, limits).at(idle_running)
    keeps = _keeps(idle, limits, _margins(replicas))[:, 0]
    able = [one for one, is_able in zip(replicas, keeps, strict=True) if is_able]
    table, running = _table(able, limits) if able else (None, None)
    rows = np.cumsum(keeps) - 1
    return [
        Sized(_service(idle, idle_running, index, 0), table if keeps[index] else None, running, int(rows[index]))
        for index in range(len(replicas))
    ]


def _table(replicas: Sequence[Replica], limits: Limits) -> tuple[Served, Any]:
    """Service of replicas that keep the targets when idle, from idle to the highest concurrency that does."""
    model, margins = engines(replicas, limits), _margins(replicas)
    highest = np.array([[_highest_running(one.max_running)] for one in replicas])
    idle, least = np.minimum(IDLE_RUNNING, highest / 4), np.minimum(LEAST_RUNNING, highest / 2)
    grid = np.concatenate([idle, least * (highest / least) ** np.linspace(0.0, 1.0, COARSE - 1)], axis=1)
    low, high = _bracket(grid, _keeps(model.at(grid), limits, margins))
    for _ in range(2):
        grid = low + (high - low) * np.linspace(0.0, 1.0, FINE + 1)[None, :]
        low, high = _bracket(grid, _keeps(model.at(grid), limits, margins))
    running = low * np.linspace(0.0, 1.0, POINTS)[None, :]
    return model.at(running), running


def _margins(replicas: Sequence[Replica]) -> Any:
    return np.array([[1.0 + one.margin] for one in replicas])


def _bracket(grid: Any, keeps: Any) -> tuple[Any, Any]:
    """The last concurrency before the first that fails, and that one; the first is known to keep the targets."""
    passed = np.maximum(np.cumprod(keeps, axis=1).sum(axis=1), 1)
    rows = np.arange(len(grid))
    return grid[rows, passed - 1][:, None], grid[rows, np.minimum(passed, grid.shape[1] - 1)][:, None]


def _keeps(found: Served, limits: Limits, margins: Any) -> Any:
    """Whether the targets are kept with the margin on top of the prediction."""
    first, per = limits.time_to_first_token, limits.time_per_output_token
    keeps = found.is_stable
    if first is not None:
        keeps = keeps & (found.first_token_s * margins <= first.limit_s)
    if per is not None:
        keeps = keeps & (found.per_token_s * margins <= per.limit_s)
    return keeps


def _highest_running(max_running: float) -> float:
    """Mean concurrency whose busy moments still fit."""
    z = NORMAL_QUANTILE[95]
    return max(1e-3, (math.sqrt(z * z / 4 + max_running) - z / 2) ** 2)


def _service(table: Served, running: Any, row: int, column: int) -> Service:
    return Service(
        rate_per_s=float(table.rate_per_s[row, column]),
        time_to_first_token_s=float(table.first_token_s[row, column]),
        time_per_output_token_s=float(table.per_token_s[row, column]),
        running=float(running[row, column]),
        prefill_share=float(table.prefill_share[row, column]),
    )
