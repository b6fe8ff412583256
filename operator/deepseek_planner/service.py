"""From step times to service: concurrency, TTFT, TPOT and the rate that one replica sustains within its targets.

With ``b`` requests running, each step finishes ``b / output`` of them and so admits as many: a share of the steps
also carries prompt tokens. That fixes TPOT, TPOT fixes how long a request stays, and that the rate that keeps
``b`` running. TTFT is the wait for the running step, the prompts ahead, and the request's own prefill.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepseek_planner.demand import Demand, LatencyTarget, Measured
from deepseek_planner.performance import Batch, StepModel
from deepseek_planner.plan import EngineParameters

NORMAL_QUANTILE = {50: 0.0, 90: 1.2816, 95: 1.6449, 99: 2.3263}

PREFILL_LOAD_LIMIT = 0.85
"""Share of the steps' token budget that prompts may take: beyond it their queue grows without bound."""

STEPS = 10
"""Halvings of the search for the largest concurrency: to about 1 percent of it, below it."""


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
    """Squared coefficient of variation of the prompt length."""

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
    mean = demand.input_tokens.mean_tokens
    square = sum(bucket.share * bucket.mean_tokens**2 for bucket in demand.input_tokens.buckets)
    prefix = demand.shared_prefix_tokens

    def saved(tokens: float) -> float:
        return max(1.0, min(tokens, demand.input_tokens.max_tokens) - prefix)

    return Lengths(
        input_mean=max(1.0, mean * scale),
        output_mean=max(1.0, demand.output_tokens.mean_tokens * output_scale),
        prefill_mean=saved(mean * scale),
        prefill_at={p: saved(demand.input_tokens.at_percentile(p) * scale) for p in NORMAL_QUANTILE},
        variation=max(0.0, square / mean**2 - 1.0),
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """What the service must keep; None: no target."""

    time_to_first_token: LatencyTarget | None
    time_per_output_token: LatencyTarget | None


@dataclass(frozen=True, slots=True)
class Service:
    """Service of one replica at one concurrency, latencies at the targets' percentiles, before any margin."""

    rate_per_s: float
    time_to_first_token_s: float
    time_per_output_token_s: float


class Replica:
    """One replica under a demand."""

    def __init__(
        self, steps: StepModel, engine: EngineParameters, demand: Lengths, limits: Limits, *, max_running: float
    ) -> None:
        self.steps, self._engine, self.demand, self._limits = steps, engine, demand, limits
        self.ranks = steps.shape.data_parallel * steps.shape.pipeline_parallel
        """Schedulers that share the running requests: data-parallel ranks and pipeline stages."""
        self.max_running = max_running
        """Requests that fit the cache and the engine's own limit."""
        first, per = limits.time_to_first_token, limits.time_per_output_token
        self.first_percentile = first.percentile if first else 95
        self.token_percentile = per.percentile if per else 95
        self._token_quantile = NORMAL_QUANTILE[self.token_percentile]

    def at(self, running: float) -> Service | None:
        """Service with that many requests running on average; None when prompts would queue without end."""
        demand = self.demand
        mean = self._mix(running)
        if mean is None:
            return None
        busy = self._busy(running)
        if busy is None:
            return None
        return Service(
            rate_per_s=running / (demand.output_mean * mean.step_s),
            time_to_first_token_s=self._first_token_s(mean),
            time_per_output_token_s=busy.step_s,
        )

    def _mix(self, running: float) -> _Mix | None:
        """Steps as they are with that many requests: plain ones and those that carry prompt tokens."""
        demand = self.demand
        each = running / self.ranks
        room = self._engine.max_num_batched_tokens - each
        if room <= 0:
            return None
        prompts_per_step = each / demand.output_mean
        load = prompts_per_step * demand.prefill_mean / room
        if load > PREFILL_LOAD_LIMIT:
            return None
        mixed_share = max(1.0 - math.exp(-prompts_per_step), load)
        chunk = min(room, prompts_per_step * demand.prefill_mean / mixed_share)
        plain = self.steps.step_s(Batch(each, demand.context))
        mixed = self.steps.step_s(Batch(each, demand.context, chunk, demand.prefill_mean / 2))
        # A step with a prompt never takes less than one without: two fits must not say so at a small chunk.
        mixed = max(mixed, plain)
        return _Mix(each, room, load, mixed_share, plain, mixed)

    def _first_token_s(self, mix: _Mix) -> float:
        demand = self.demand
        own_mean = self._prefill_s(mix, demand.prefill_mean)
        own_far = self._prefill_s(mix, demand.prefill_at[self.first_percentile])
        # Prompts queue for the steps' token budget: an M/G/1 queue whose server is the budget.
        busy, served = mix.load, own_mean * (1 + self.demand.variation) / 2
        queue_mean = busy * served / (1 - busy)
        late = 1 - self.first_percentile / 100
        queue_far = max(0.0, math.log(busy / late)) * served / (1 - busy) if busy > late else 0.0
        residual_mean = (mix.mixed_share * mix.mixed_s**2 + (1 - mix.mixed_share) * mix.plain_s**2) / (2 * mix.step_s)
        residual_far = mix.mixed_s if mix.mixed_share > late else mix.plain_s
        excess = (own_far - own_mean, max(0.0, queue_far - queue_mean), residual_far - residual_mean)
        spread = math.sqrt(sum(value * value for value in excess)) if self.first_percentile > 50 else 0.0
        first = self.steps.correction.calibration.first_token_s
        return first + residual_mean + queue_mean + own_mean + spread

    def _prefill_s(self, mix: _Mix, tokens: float) -> float:
        chunks = math.ceil(tokens / mix.room)
        batch = Batch(mix.each, self.demand.context, tokens / chunks, tokens / 2)
        return chunks * max(self.steps.step_s(batch), mix.plain_s)

    def holds(self, service: Service | None, margin: float) -> bool:
        """Whether the targets are kept with ``margin`` (0.15: 15 %) on top of the prediction."""
        if service is None:
            return False
        first, per = self._limits.time_to_first_token, self._limits.time_per_output_token
        if first is not None and service.time_to_first_token_s * (1 + margin) > first.limit_s:
            return False
        return per is None or service.time_per_output_token_s * (1 + margin) <= per.limit_s

    @property
    def highest_running(self) -> float:
        """Mean concurrency whose busy moments still fit."""
        z = NORMAL_QUANTILE[95]
        return max(0.0, (math.sqrt(z * z / 4 + self.max_running) - z / 2) ** 2)

    def capacity(self, margin: float) -> Service | None:
        """Service at the highest rate that keeps the targets; None when even an idle replica misses them."""
        low, high = min(IDLE, self.highest_running), self.highest_running
        if not self._keeps(low, margin):
            return None
        if self._keeps(high, margin):
            return self.at(high)
        for _ in range(STEPS):
            middle = math.sqrt(low * high)
            if self._keeps(middle, margin):
                low = middle
            else:
                high = middle
        return self.at(low)

    def _keeps(self, running: float, margin: float) -> bool:
        """As :meth:`holds` of :meth:`at`, but without working out TTFT where TPOT is missed already."""
        per = self._limits.time_per_output_token
        busy = self._busy(running)
        if busy is None or (per is not None and busy.step_s * (1 + margin) > per.limit_s):
            return False
        return self.holds(self.at(running), margin)

    def _busy(self, running: float) -> _Mix | None:
        """Steps at the percentile: with as many requests as a busy moment has."""
        return self._mix(running + self._token_quantile * math.sqrt(running))

    def idle(self) -> Service | None:
        """Service of a replica that is all but empty: the best it can do."""
        return self.at(min(IDLE, self.highest_running))

    def at_rate(self, rate_per_s: float) -> Service | None:
        """Service at an arrival rate; None above what the replica sustains at all."""
        low, high = 0.0, self.highest_running
        top = self.at(high)
        if top is not None and top.rate_per_s <= rate_per_s:
            return top if top.rate_per_s >= rate_per_s * 0.999 else None
        best = top
        for _ in range(STEPS + 6):
            middle = (low + high) / 2
            found = self.at(middle)
            if found is None or found.rate_per_s > rate_per_s:
                high, best = middle, found or best
            else:
                low, best = middle, found
        return best


IDLE = 0.05
"""Requests running on average on a replica that is called idle."""


@dataclass(frozen=True, slots=True)
class _Mix:
    each: float
    room: float
    load: float
    mixed_share: float
    plain_s: float
    mixed_s: float

    @property
    def step_s(self) -> float:
        return self.mixed_share * self.mixed_s + (1 - self.mixed_share) * self.plain_s
