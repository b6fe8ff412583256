"""Replicas in the terms of the prediction: lengths of what they get, what they must keep, and what they then do.

:mod:`prediction.serving` says what a number of running requests means for rate and latencies; :mod:`sizing` searches
the largest number that keeps the targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deepseek_planner.demand import Demand, LatencyTarget, LengthDistribution, Measured
from deepseek_planner.plan import EngineParameters
from deepseek_planner.prediction.compiled import Compiled, stacked
from deepseek_planner.prediction.factors import beside
from deepseek_planner.prediction.serving import Arrivals, Engines, Percentiles, Schedulers

NORMAL_QUANTILE = {50: 0.0, 90: 1.2816, 95: 1.6449, 99: 2.3263}
DEFAULT_PERCENTILE = 95
"""Of a latency without a target: nothing depends on it but what is shown."""


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
    running_longer: float = 0.0
    """Prompt tokens that a request running at a random moment has beyond the mean one: long answers run longer, so
    their prompts are met more often."""

    @property
    def context(self) -> float:
        return self.input_mean + self.running_longer + self.output_mean / 2


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
    """Lengths of the prompts and of the answers to them, each scaled."""
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
        running_longer=_running_longer(inputs, means, prefill),
    )


def _running_longer(inputs: LengthDistribution, means: Sequence[float], mean: float) -> float:
    """Of prompts with these means by bucket: how much more they are where each counts by the answer to it."""
    weights = [bucket.share * bucket.answer_tokens for bucket in inputs.buckets if bucket.answer_tokens is not None]
    if len(weights) < len(means):
        return 0.0
    return sum(weight * tokens for weight, tokens in zip(weights, means, strict=True)) / sum(weights) - mean


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
    def seconds(self) -> tuple[float, float]:
        """Of both; without end where there is no target."""
        first, token = self.time_to_first_token, self.time_per_output_token
        return (math.inf if first is None else first.limit_s), (math.inf if token is None else token.limit_s)

    @property
    def first_percentile(self) -> int:
        return self.time_to_first_token.percentile if self.time_to_first_token else DEFAULT_PERCENTILE

    @property
    def token_percentile(self) -> int:
        return self.time_per_output_token.percentile if self.time_per_output_token else DEFAULT_PERCENTILE


class Service(NamedTuple):
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


NO_DRAFTS = 0.0, 1.0, 0.0


class Replica(NamedTuple):
    """One replica to size: a compiled shape, its engine's settings, the lengths it gets, and what it must keep."""

    compiled: Compiled
    engine: EngineParameters
    demand: Lengths
    limits: Limits
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
            return NO_DRAFTS
        layers = self.compiled.steps.layers * self.compiled.setting.shape.pipeline_parallel
        return float(self.drafting.tokens), self.drafting.accepted, self.drafting.tokens / layers

    @property
    def ranks(self) -> int:
        """Schedulers that share the running requests: data-parallel ranks and pipeline stages."""
        shape = self.compiled.setting.shape
        return shape.data_parallel * shape.pipeline_parallel


def engines(replicas: Sequence[Replica]) -> Engines:
    """The replicas' closed forms, side by side."""
    models = [one.compiled for one in replicas]
    ranks = np.array([one.scheduler_ranks for one in models], dtype=float).T.copy()
    budgets = np.array([float(one.engine.max_num_batched_tokens) for one in replicas])
    drafts = np.array([one.draft_facts for one in replicas]).T.copy()
    # Few loads for many replicas: all shapes of a deployment get the same.
    loads: dict[tuple[int, int], int] = {}
    rows: list[tuple[float, ...]] = []
    places: list[int] = []
    for one in replicas:
        key = id(one.demand), id(one.limits)
        place = loads.get(key)
        if place is None:
            place = loads[key] = len(rows)
            rows.append(_load(one.demand, one.limits))
        places.append(place)
    fields = np.array(rows)[places].T.copy()
    return Engines(
        stacked(models),
        beside(np.concatenate([one.factor_row for one in models])),
        Schedulers(budgets, *ranks, *drafts),
        Arrivals(*fields[2:9])._replace(longer=fields[9]),
        Percentiles(*fields[:2]),
    )


def _load(demand: Lengths, limits: Limits) -> tuple[float, ...]:
    """Fields of :class:`Percentiles`, then of :class:`Arrivals`."""
    first = limits.first_percentile
    return (
        NORMAL_QUANTILE[first],
        NORMAL_QUANTILE[limits.token_percentile],
        demand.prefill_mean,
        demand.prefill_at[first],
        max(0.0, demand.input_mean - demand.prefill_mean),
        demand.output_mean,
        demand.variation,
        demand.third,
        demand.per_output,
        demand.running_longer,
    )


def highest_running(max_running: Any) -> Any:
    """Mean concurrency whose busy moments still fit; of numbers or of arrays."""
    z = NORMAL_QUANTILE[95]
    return np.maximum(1e-3, (np.sqrt(z * z / 4 + max_running) - z / 2) ** 2)
