"""One replica: every shape of a model on an accelerator, legal, fitting and fast enough, or refused with numbers.

Pools and prices do not enter here, so shapes are weighed once however many pools offer the accelerator. All that is
legal and fits is sized at once (:mod:`service`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from deepseek_planner.asked import Request
from deepseek_planner.catalog import Catalog
from deepseek_planner.demand import RequestClass
from deepseek_planner.engine import EngineQuestion, cache_ratio, parameters
from deepseek_planner.engine_reasons import reasons
from deepseek_planner.legal import Laid, Legal, Permission, Wiring, legal
from deepseek_planner.memory import CACHE_UNIT_BYTES, Fit
from deepseek_planner.plan import (
    Confidence,
    EngineParameters,
    EngineReason,
    Prediction,
    Rejection,
    Shape,
)
from deepseek_planner.precision import PrecisionChoice
from deepseek_planner.prediction.batching import CACHE_HELD_OUTPUT
from deepseek_planner.refusals import context_too_long, does_not_fit, in_time, too_slow
from deepseek_planner.service import Lengths, Replica, Service, lengths_of
from deepseek_planner.sizing import Sized, size
from deepseek_planner.slowest import slowest


class Option(NamedTuple):
    """A shape that serves, with what one replica of it sustains."""

    shape: Shape
    model: str
    """The variant that serves; empty: the deployment's own model."""
    choice: PrecisionChoice
    engine: EngineParameters
    replica: Replica
    sized: Sized
    capacity: Service
    """At the highest rate that keeps the targets with the margin."""
    loss_rank: int
    """Order by the quality it may cost: 0 for the native precision; variants come after all precisions of the model."""
    question: EngineQuestion
    memory: Fit
    loads: tuple[float, ...] = ()
    """By class of lengths, the share of one replica that one request per second of that class takes; infinite where it
    cannot serve the class within the targets. Empty where requests are not routed by length."""
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
        return reasons(self.question, self.memory, self.engine, prefill_share=self.capacity.prefill_share)

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

    def at_mix(self, demand: Lengths) -> Option | None:
        """The same replica with requests of other lengths; None where it then misses a target even when idle."""
        most = _max_running(self.question, self.memory, self.engine, demand)
        replica = self.replica._replace(demand=demand, max_running=most)
        (sized,) = size([replica])
        if sized.capacity is None:
            return None
        return self._replace(replica=replica, sized=sized, capacity=sized.capacity, loads=(), refusal=None)


class Enough(NamedTuple):
    """What makes larger shapes needless."""

    requests_per_s: float
    """That one replica must sustain, with all headroom that may be asked for."""
    running: frozenset[tuple[Shape, str]]
    """Shapes that run, and the variants that they run: these may go on whatever else is enough."""


Gate = Callable[[Request, Shape], Rejection | None]
"""Whether a shape is worth a closer look: asked after it fits and before its service is worked out."""


class Survey:
    """Every shape of a model and its variants on some wirings, before those that fit are sized."""

    def __init__(
        self,
        asked: Request,
        places: Sequence[tuple[Wiring, Gate]],
        catalog: Catalog,
        *,
        multi_node: bool,
        classes: Sequence[RequestClass] = (),
        known: dict[Laid, Option | Rejection] | None = None,
        enough: Enough | None = None,
    ) -> None:
        """With ``classes`` each option says what share of a replica a request of each class takes. What is ``known`` of
        the same request is not sized again, and what is sized is added to it. With ``enough`` larger shapes than are
        needed are left out.
        """
        self.classes = classes
        self.known = {} if known is None else known
        self.enough = enough
        self.legal: list[tuple[int, Legal]] = []
        """What may run on each of the places, by number, of the model and of its variants."""
        self.places: dict[Laid, list[int]] = {}
        """Of each legal shape: nodes of other sizes offer the same ones again."""
        self.pending: dict[Laid, Request] = {}
        self.settled: dict[Laid, Option | Rejection] = {}
        self._smallest: dict[int, int] = {}
        """By place, accelerators of the smallest shape of which one replica is enough."""
        permissions = [(each, _permission(each)) for each in (asked, *asked.variants)]
        for place, (wiring, gate) in enumerate(places):
            for each, permission in permissions:
                permitted = _legal(each, permission, wiring, catalog, multi_node=multi_node)
                self.legal.append((place, permitted))
                for laid in permitted.shapes:
                    others = self.places.get(laid)
                    if others is not None:
                        others.append(place)
                        continue
                    self.places[laid] = [place]
                    self._look_at(each, permitted, laid, gate)

    def _look_at(self, asked: Request, permitted: Legal, laid: Laid, gate: Gate) -> None:
        refusal = _refusal(asked, permitted, laid, gate)
        if refusal is not None or laid in self.known:
            self.settled[laid] = self.known[laid] if refusal is None else refusal
        else:
            self.pending[laid] = asked

    def due(self, accelerators: int) -> list[_Weighing]:
        """What is sized next: where shapes may be needless, those of so many accelerators that are not, when all that
        are smaller are settled.
        """
        is_any = self.enough is None
        due = [laid for laid in self.pending if is_any or laid.shape.accelerators <= accelerators]
        asked = [(laid, self.pending.pop(laid)) for laid in due]
        return [_weighing(one, laid) for laid, one in asked if not self._is_needless(laid, one)]

    def settle(self, laid: Laid, found: Option | Rejection) -> None:
        """What a shape sustains, or why it does not serve."""
        self.settled[laid] = self.known[laid] = found
        if self.enough is None or isinstance(found, Rejection) or laid.shape.nodes_per_replica > 1:
            return
        if found.whole_per_s >= self.enough.requests_per_s:
            for place in self.places[laid]:
                self._smallest.setdefault(place, laid.shape.accelerators)

    def _is_needless(self, laid: Laid, asked: Request) -> bool:
        """Whether wherever it may run one replica of a smaller shape is enough: that one costs less, takes less room
        and is lost no more often, so that it stands in for it in every fleet with even routing.
        """
        size = laid.shape.accelerators
        if self.enough is None or (laid.shape, asked.variant) in self.enough.running:
            return False
        return all(self._smallest.get(place, size) < size for place in self.places[laid])


def weigh(surveys: Sequence[Survey]) -> list[dict[Laid, Option | Rejection]]:
    """Of each survey the legal shapes: what they sustain, or why they do not serve. Those of a size are sized together:
    that is what makes weighing many of them quick.
    """
    sizes = sorted({laid.shape.accelerators for survey in surveys for laid in survey.pending})
    for accelerators in sizes if any(survey.enough for survey in surveys) else sizes[-1:]:
        pending = [(survey, one) for survey in surveys for one in survey.due(accelerators)]
        sized = size([one.replica for _, one in pending])
        for (survey, one), found, by_class in zip(pending, sized, _apart(pending), strict=True):
            survey.settle(
                one.laid,
                _for_some(one, survey.classes, by_class, too_slow(one.asked, one.replica, found.idle))
                if found.capacity is None
                else _option(one, found, found.capacity, _loads(by_class)),
            )
    return [{laid: survey.settled[laid] for laid in survey.places if laid in survey.settled} for survey in surveys]


def _permission(asked: Request) -> Permission:
    deployment, is_own = asked.deployment, not asked.variant
    return Permission(
        deployment.objectives.accuracy_class,
        own_weights=deployment.own_weights and is_own,
        own_precision=deployment.own_precision if is_own else None,
    )


def _legal(asked: Request, permission: Permission, wiring: Wiring, catalog: Catalog, *, multi_node: bool) -> Legal:
    accelerator = catalog.accelerator(wiring.accelerator)
    prefix = f"{asked.variant}/" if asked.variant else ""
    return legal(asked.model, accelerator, wiring, permission, multi_node=multi_node, prefix=prefix)


class _Weighing(NamedTuple):
    """A shape that fits, before its service is worked out."""

    asked: Request
    laid: Laid
    replica: Replica
    question: EngineQuestion


def _refusal(asked: Request, permitted: Legal, laid: Laid, gate: Gate) -> Rejection | None:
    """Why a shape need not be sized."""
    shape, memory, longest = laid.shape, laid.memory, asked.wanted.longest_tokens
    if longest > asked.model.max_context_tokens:
        return context_too_long(asked, shape)
    if memory.cache < max(memory.sequence_bytes(longest), CACHE_UNIT_BYTES):
        key = shape, longest
        known = permitted.too_large.get(key)
        if known is None:
            known = permitted.too_large[key] = does_not_fit(asked, permitted, shape, memory)
        return known
    return gate(asked, shape)


def _weighing(asked: Request, laid: Laid) -> _Weighing:
    question = EngineQuestion(asked.model, laid.shape, laid.accelerator, laid.choice, asked.wanted)
    engine = parameters(question, laid.memory)
    compiled = laid.compiled(engine.kv_cache_dtype)
    replica = Replica(
        compiled=compiled,
        engine=engine,
        demand=asked.demand,
        limits=asked.limits,
        max_running=_max_running(question, laid.memory, engine, asked.demand),
        margin=compiled.margin_percent / 100,
    )
    return _Weighing(asked, laid, replica, question)


def _apart(pending: Sequence[tuple[Survey, _Weighing]]) -> Iterator[list[tuple[Replica, Sized]]]:
    """Of each shape: by class, what it sustains where it serves nothing else."""
    replicas: list[Replica] = []
    known: dict[int, Lengths] = {}
    for survey, one in pending:
        for kind in survey.classes:
            if id(kind) not in known:
                shared = one.asked.deployment.demand.shared_prefix_tokens
                known[id(kind)] = lengths_of(kind.input_tokens, kind.output_tokens, shared_prefix_tokens=shared)
            demand = known[id(kind)]
            most = _max_running(one.question, one.laid.memory, one.replica.engine, demand)
            replicas.append(one.replica._replace(demand=demand, max_running=most))
    found = zip(replicas, size(replicas), strict=True)
    for survey, _ in pending:
        yield list(islice(found, len(survey.classes)))


def _loads(by_class: Sequence[tuple[Replica, Sized]]) -> tuple[float, ...]:
    """By class: what one request per second of it takes of a replica that serves nothing else."""
    return tuple(math.inf if found.capacity is None else 1 / found.capacity.rate_per_s for _, found in by_class)


def _for_some(
    one: _Weighing, classes: Sequence[RequestClass], by_class: Sequence[tuple[Replica, Sized]], refusal: Rejection
) -> Option | Rejection:
    """A shape that misses a target with all lengths together: for the classes that it serves in time, if any."""
    for replica, found in by_class:
        if found.capacity is not None:
            loads = _loads(by_class)
            option = _option(one._replace(replica=replica), found, found.capacity, loads)
            return option._replace(refusal=in_time(refusal, classes, loads))
    return refusal


def _option(one: _Weighing, sized: Sized, capacity: Service, loads: tuple[float, ...]) -> Option:
    shape, asked = one.laid.shape, one.asked
    return Option(
        shape,
        asked.variant,
        one.laid.choice,
        one.replica.engine,
        one.replica,
        sized,
        capacity,
        asked.loss_rank + one.laid.loss_rank,
        one.question,
        one.laid.memory,
        loads,
    )


def _max_running(question: EngineQuestion, memory: Fit, engine: EngineParameters, demand: Lengths) -> float:
    """Requests that fit the caches: a shared prefix is held once, and an answer is on average half written."""
    shared = demand.input_mean - demand.prefill_mean
    held = demand.prefill_mean + demand.running_longer + CACHE_HELD_OUTPUT * demand.output_mean
    per_token = memory.cache_per_token * cache_ratio(question.model, engine.kv_cache_dtype)
    once = memory.cache_per_sequence + shared * per_token if shared > 0 else 0.0
    room = max(1.0, (engine.kv_cache_bytes - once) / (memory.cache_per_sequence + held * per_token))
    # Every data-parallel rank has a cache and a scheduler of its own.
    return question.shape.data_parallel * min(float(engine.max_num_seqs), room)
