"""Service of replicas: the highest rate within the targets, and what a lower rate sees.

:mod:`prediction.serving` says what a number of running requests means for rate and latencies; here the largest number
that keeps the targets is searched, for many shapes and loads at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from deepseek_planner.demand import Demand, LatencyTarget, LengthDistribution, Measured
from deepseek_planner.plan import EngineParameters
from deepseek_planner.prediction.compiled import Compiled, stacked
from deepseek_planner.prediction.serving import Arrivals, Engines, Percentiles, Schedulers, Served

NORMAL_QUANTILE = {50: 0.0, 90: 1.2816, 95: 1.6449, 99: 2.3263}
DEFAULT_PERCENTILE = 95
"""Of a latency without a target: nothing depends on it but what is shown."""

PASS = 24
"""Concurrencies looked at in each of two passes of the search: it ends within 2 percent, below."""
IDLE_RUNNING, LEAST_RUNNING = 0.02, 0.25
"""Requests running on average on a replica that is called idle, and at the first concurrency above."""


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
class Drafting:
    """Next-token layers (MTP) at work: ``tokens`` drafted per step, each kept by chance if all before are."""

    tokens: int
    acceptance: float = 0.85
    """Of the second token: 85 to 90 % (DeepSeek-V3 technical report, arXiv 2412.19437, section 5.4.3)."""

    @property
    def accepted(self) -> float:
        """Tokens of a step, with the one that is never a draft."""
        return sum(self.acceptance**place for place in range(self.tokens + 1))


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
    drafting: Drafting | None = None
    """None, as in the search: no gain by drafts is counted on, since no measured run stands behind it."""

    @property
    def draft_facts(self) -> tuple[float, float, float]:
        """Tokens drafted and accepted per step, and what drafting adds to it: one layer of all per token."""
        if self.drafting is None:
            return 0.0, 1.0, 0.0
        layers = self.compiled.steps.layers * self.compiled.setting.shape.pipeline_parallel
        return float(self.drafting.tokens), self.drafting.accepted, self.drafting.tokens / layers

    @property
    def ranks(self) -> int:
        """Schedulers that share the running requests: data-parallel ranks and pipeline stages."""
        shape = self.compiled.setting.shape
        return shape.data_parallel * shape.pipeline_parallel


class Sized:
    """What sizing found: service of an idle replica, and at rates up to its capacity; none: it misses a target."""

    __slots__ = ("_below", "_points", "_row", "capacity", "idle")

    def __init__(
        self, idle: Service, capacity: Service | None = None, below: _Table | None = None, row: int = 0
    ) -> None:
        self.idle = idle
        self.capacity = capacity
        """At the highest rate that keeps the targets; None: even an idle replica misses one."""
        self._below, self._row = below, row
        self._points: tuple[Service, ...] = ()

    @property
    def points(self) -> tuple[Service, ...]:
        """From idle to the highest rate that keeps the targets."""
        if not self._points and self.capacity is not None and self._below is not None:
            kept = int(self._below.kept[self._row])
            found = [*(self._below.service(self._row, column) for column in range(kept)), self.capacity]
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
        if rate_per_s <= points[0].rate_per_s:
            return replace(points[0], rate_per_s=rate_per_s, utilization=rate_per_s / highest)
        index = next(i for i, point in enumerate(points) if point.rate_per_s > rate_per_s)
        low, high = points[index - 1], points[index]
        part = (rate_per_s - low.rate_per_s) / (high.rate_per_s - low.rate_per_s)
        names = "time_to_first_token_s", "time_per_output_token_s", "running", "prefill_share"
        between = {name: getattr(low, name) + part * (getattr(high, name) - getattr(low, name)) for name in names}
        return Service(rate_per_s=rate_per_s, utilization=rate_per_s / highest, **between)


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
                *one.draft_facts,
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
        Schedulers(*rows[:6]),
        Arrivals(*rows[6:]),
        Percentiles(NORMAL_QUANTILE[first], first / 100, NORMAL_QUANTILE[token]),
    )


def size(replicas: Sequence[Replica], limits: Limits) -> list[Sized]:
    """For each replica the highest rate within the limits, margin included, and the rates below."""
    if not replicas:
        return []
    running = np.array([[min(IDLE_RUNNING, highest_running(one.max_running) / 4)] for one in replicas])
    model = engines(replicas, limits)
    found = model.at(running)
    keeps = _keeps(found, limits, _margins(replicas))
    able = np.flatnonzero(keeps[:, 0]).tolist()
    sized = [Sized(idle) for idle in _Table(found, running, np.ones(len(replicas), dtype=int)).highest()]
    if able:
        chosen = [replicas[index] for index in able]
        below, nearest = _search(model if len(chosen) == len(replicas) else engines(chosen, limits), chosen, limits)
        both = zip(able, below.highest(), nearest.highest(), strict=True)
        for row, (index, low, highest) in enumerate(both):
            sized[index] = Sized(sized[index].idle, _never_faster(highest, low), below, row)
    return sized


class _Table(NamedTuple):
    """Service at concurrencies: rows of replicas, and how many of each keep the targets before the first that fails."""

    found: Served
    running: Any
    kept: Any

    def highest(self) -> list[Service]:
        """Of each row at the last concurrency that keeps the targets."""
        found, rows, columns = self.found, np.arange(len(self.kept)), self.kept - 1
        fields = found.rate_per_s, found.first_token_s, found.per_token_s, self.running, found.prefill_share
        return [Service(*row) for row in zip(*(field[rows, columns].tolist() for field in fields), strict=True)]

    def service(self, row: int, column: int) -> Service:
        found = self.found
        return Service(
            rate_per_s=float(found.rate_per_s[row, column]),
            time_to_first_token_s=float(found.first_token_s[row, column]),
            time_per_output_token_s=float(found.per_token_s[row, column]),
            running=float(self.running[row, column]),
            prefill_share=float(found.prefill_share[row, column]),
        )


def _search(model: Engines, replicas: Sequence[Replica], limits: Limits) -> tuple[_Table, _Table]:
    """Of replicas that keep the targets when idle: concurrencies from idle to the most that fit, and those around the
    highest that does.
    """
    margins = _margins(replicas)
    highest = np.array([[highest_running(one.max_running)] for one in replicas])
    idle, least = np.minimum(IDLE_RUNNING, highest / 4), np.minimum(LEAST_RUNNING, highest / 2)
    grid = np.concatenate([idle, least * (highest / least) ** np.linspace(0.0, 1.0, PASS - 1)], axis=1)
    below = _kept(model, grid, limits, margins)
    rows = np.arange(len(grid))
    low, high = grid[rows, below.kept - 1], grid[rows, np.minimum(below.kept, PASS - 1)]
    near = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, PASS)[None, :]
    return below, _kept(model, near, limits, margins)


def _kept(model: Engines, running: Any, limits: Limits, margins: Any) -> _Table:
    found = model.at(running)
    # More decodes read more of the experts, so that a prompt beside them adds less: nobody is promised that gain.
    first, token = (np.maximum.accumulate(item, axis=1) for item in (found.first_token_s, found.per_token_s))
    found = found._replace(first_token_s=first, per_token_s=token)
    kept = np.cumprod(_keeps(found, limits, margins), axis=1).sum(axis=1)
    return _Table(found, running, np.maximum(kept, 1))


def _never_faster(service: Service, quieter: Service) -> Service:
    first, per = quieter.time_to_first_token_s, quieter.time_per_output_token_s
    if first <= service.time_to_first_token_s and per <= service.time_per_output_token_s:
        return service
    return replace(
        service,
        time_to_first_token_s=max(service.time_to_first_token_s, first),
        time_per_output_token_s=max(service.time_per_output_token_s, per),
    )


def _margins(replicas: Sequence[Replica]) -> Any:
    return np.array([[1.0 + one.margin] for one in replicas])


def _keeps(found: Served, limits: Limits, margins: Any) -> Any:
    """Whether the targets are kept with the margin on top of the prediction."""
    first, per = limits.time_to_first_token, limits.time_per_output_token
    keeps = found.is_stable
    if first is not None:
        keeps = keeps & (found.first_token_s * margins <= first.limit_s)
    if per is not None:
        keeps = keeps & (found.per_token_s * margins <= per.limit_s)
    return keeps


def highest_running(max_running: float) -> float:
    """Mean concurrency whose busy moments still fit."""
    z = NORMAL_QUANTILE[95]
    return max(1e-3, (math.sqrt(z * z / 4 + max_running) - z / 2) ** 2)
