"""One replica that serves: a shape with its engine set up, and what it sustains of the requests that it gets."""

from __future__ import annotations

from typing import NamedTuple

from deepseek_planner.engine import EngineQuestion, Wanted, cache_ratio, narrowed, parameters
from deepseek_planner.engine_reasons import reasons
from deepseek_planner.legal import Laid
from deepseek_planner.plan import Confidence, EngineParameters, EngineReason, Prediction, Rejection
from deepseek_planner.prediction.batching import CACHE_HELD_OUTPUT
from deepseek_planner.service import Lengths, Limits, Replica, Service
from deepseek_planner.sizing import Sized, size
from deepseek_planner.slowest import slowest
from deepseek_planner.snapshot import Shape


class Option(NamedTuple):
    """A shape that serves, with what one replica of it sustains."""

    shape: Shape
    model: str
    """The variant that serves; empty: the deployment's own model."""
    engine: EngineParameters
    replica: Replica
    sized: Sized
    capacity: Service
    """At the highest rate that keeps the targets with the margin."""
    loss_rank: int
    """Order by the quality it may cost: 0 for the native precision; variants come after all precisions of the model."""
    laid: Laid
    question: EngineQuestion
    loads: tuple[float, ...] = ()
    """By class of lengths, the share of one replica that one request per second of that class takes; infinite where it
    cannot serve the class within the targets. Empty where requests are not routed by length. Engines are set up for
    what they get: what serves a class alone has settings of its own."""
    refusal: Rejection | None = None
    """Why it must not serve all lengths: it is for some classes only, and sized for the first of them."""

    @property
    def name(self) -> str:
        """The shape's name, behind the variant's."""
        return f"{self.model}/{self.shape.name}" if self.model else self.shape.name

    @property
    def whole_per_s(self) -> float:
        """Requests per second of the whole mix that one replica sustains; 0 where it misses a target with it."""
        return 0.0 if self.refusal is not None else self.capacity.rate_per_s

    @property
    def confidence(self) -> Confidence:
        return self.replica.compiled.confidence

    @property
    def margin_percent(self) -> int:
        """What sizing adds to predicted latencies."""
        return self.replica.compiled.margin_percent

    @property
    def engine_reasons(self) -> tuple[EngineReason, ...]:
        """Why each engine parameter has its value; worked out when asked for."""
        return reasons(self.question, self.laid.memory, self.engine, prefill_share=self.capacity.prefill_share)

    def at_rate(self, rate_per_s: float) -> Service:
        """Service of one replica at a rate; at its capacity where the rate is higher."""
        return self.sized.at_rate(rate_per_s)

    def prediction(self, requests_per_s: float, *, replicas: int = 1) -> Prediction:
        """Service of so many replicas that share a rate evenly."""
        service = self.at_rate(requests_per_s / replicas)
        capacity, demand = self.capacity.rate_per_s * replicas, self.replica.demand
        return Prediction(
            time_to_first_token_s=service.time_to_first_token_s,
            time_per_output_token_s=service.time_per_output_token_s,
            utilization_percent=round(100 * requests_per_s / capacity, 1),
            capacity_tokens_per_s=capacity * (demand.input_mean + demand.output_mean),
            capacity_requests_per_min=capacity * 60,
            confidence=self.confidence,
            margin_percent=self.margin_percent,
            bottleneck=slowest(self.replica, service.running),
            time_to_first_token_percentile=self.replica.limits.first_percentile,
            time_per_output_token_percentile=self.replica.limits.token_percentile,
            prefill_share=service.prefill_share,
        )

    def at_mix(self, demand: Lengths, above_tokens: int, up_to_tokens: int) -> Option | None:
        """A replica that is set up for requests of these lengths alone, their prompts above and up to so many tokens;
        None where it misses a target even when idle.
        """
        wanted = narrowed(self.question.wanted, above_tokens, up_to_tokens)
        question, replica = set_up(self.laid, wanted, demand, self.replica.limits)
        (sized,) = size([replica])
        if sized.capacity is None:
            return None
        return self._replace(
            engine=replica.engine,
            replica=replica,
            sized=sized,
            capacity=sized.capacity,
            question=question,
            loads=(),
            refusal=None,
        )


def set_up(laid: Laid, wanted: Wanted, demand: Lengths, limits: Limits) -> tuple[EngineQuestion, Replica]:
    """One replica with its engine set for what is wanted, that gets requests of these lengths."""
    question = EngineQuestion(laid.model, laid.shape, laid.accelerator, laid.choice, wanted)
    engine = parameters(question, laid.memory)
    compiled = laid.compiled(engine.kv_cache_dtype)
    return question, Replica(
        compiled=compiled,
        engine=engine,
        demand=demand,
        limits=limits,
        max_running=_max_running(laid, engine, demand),
        margin=compiled.margin_percent / 100,
    )


def _max_running(laid: Laid, engine: EngineParameters, demand: Lengths) -> float:
    """Requests that fit the caches: a shared prefix is held once, and an answer is on average half written."""
    shared, memory = demand.input_mean - demand.prefill_mean, laid.memory
    held = demand.prefill_mean + demand.running_longer + CACHE_HELD_OUTPUT * demand.output_mean
    per_token = memory.cache_per_token * cache_ratio(laid.model, engine.kv_cache_dtype)
    once = memory.cache_per_sequence + shared * per_token if shared > 0 else 0.0
    room = max(1.0, (engine.kv_cache_bytes - once) / (memory.cache_per_sequence + held * per_token))
    # Every data-parallel rank has a cache and a scheduler of its own.
    return laid.shape.data_parallel * min(float(engine.max_num_seqs), room)
