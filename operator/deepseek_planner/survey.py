"""Every shape of a model on an accelerator: legal, fitting and fast enough for one replica, or refused with numbers.

Pools and prices do not enter here, so shapes are weighed once however many pools offer the accelerator. All that is
legal and fits is sized at once (:mod:`service`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from deepseek_planner.asked import Request
from deepseek_planner.catalog import Catalog
from deepseek_planner.demand import RequestClass
from deepseek_planner.engine import EngineQuestion, Wanted, narrowed, step_tokens
from deepseek_planner.legal import Laid, Legal, Permission, Wiring, legal
from deepseek_planner.memory import CACHE_UNIT_BYTES
from deepseek_planner.options import Option, set_up
from deepseek_planner.plan import Rejection
from deepseek_planner.refusals import context_too_long, does_not_fit, in_time, too_slow
from deepseek_planner.service import Lengths, Replica, Service, lengths_of
from deepseek_planner.sizing import Sized, size
from deepseek_planner.slowest import rounded_up
from deepseek_planner.snapshot import Shape


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
        self.pending: dict[Laid, _Pending] = {}
        self.settled: dict[Laid, Option | Rejection] = {}
        self._smallest: dict[int, int] = {}
        """By place, accelerators of the smallest shape of which one replica is enough."""
        self._shorter: dict[tuple[str, int], Request] = {}
        """By variant and number of classes, the same asked of these prompts alone."""
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
        too_large, classes = _too_large(asked, permitted, laid), len(self.classes)
        if too_large is not None:
            classes = next((n for n in range(classes - 1, 0, -1) if _fits(self._first(n, asked), laid)), 0)
        refusal = too_large if too_large is not None and not classes else gate(asked, laid.shape)
        if refusal is not None or laid in self.known:
            self.settled[laid] = self.known[laid] if refusal is None else refusal
        else:
            one = asked if too_large is None else self._first(classes, asked)
            self.pending[laid] = _Pending(one, classes, too_large)

    def _first(self, classes: int, asked: Request) -> Request:
        """The same of so many classes, the shortest prompts first."""
        key = asked.variant, classes
        known = self._shorter.get(key)
        if known is None:
            wanted = narrowed(asked.wanted, 0, self.classes[classes - 1].up_to_tokens)
            known = self._shorter[key] = replace(asked, wanted=wanted, demand=wanted.declared)
        return known

    def due(self, accelerators: int) -> list[_Weighing]:
        """What is sized next: where shapes may be needless, those of so many accelerators that are not, when all that
        are smaller are settled.
        """
        is_any = self.enough is None
        due = [laid for laid in self.pending if is_any or laid.shape.accelerators <= accelerators]
        asked = [(laid, self.pending.pop(laid)) for laid in due]
        return [_weighing(one, laid) for laid, one in asked if not self._is_needless(laid, one.asked)]

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
        loose = _loose_first_tokens_s([one for _, one in pending], sized)
        for (survey, one), found, first_s, by_class in zip(pending, sized, loose, _apart(pending), strict=True):
            survey.settle(one.laid, _settled(one, found, first_s, survey.classes, by_class))
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


class _Pending(NamedTuple):
    """What is asked of a shape that is to be sized."""

    asked: Request
    classes: int
    """Of lengths that fit it, the shortest prompts first."""
    too_large: Rejection | None
    """Why no others do."""


class _Weighing(NamedTuple):
    """A shape that fits, before its service is worked out."""

    pending: _Pending
    laid: Laid
    replica: Replica
    question: EngineQuestion


def _too_large(asked: Request, permitted: Legal, laid: Laid) -> Rejection | None:
    """Why a shape does not take the longest request."""
    shape, longest = laid.shape, asked.wanted.longest_tokens
    if _fits(asked, laid):
        return None
    if longest > asked.model.max_context_tokens:
        return context_too_long(asked, shape)
    key = shape, longest
    known = permitted.too_large.get(key)
    if known is None:
        known = permitted.too_large[key] = does_not_fit(asked, permitted, shape, laid.memory)
    return known


def _fits(asked: Request, laid: Laid) -> bool:
    longest, memory = asked.wanted.longest_tokens, laid.memory
    is_taken = longest <= asked.model.max_context_tokens
    return is_taken and memory.cache >= max(memory.sequence_bytes(longest), CACHE_UNIT_BYTES)


def _weighing(pending: _Pending, laid: Laid) -> _Weighing:
    asked = pending.asked
    question, replica = set_up(laid, asked.wanted, asked.demand, asked.limits)
    return _Weighing(pending, laid, replica, question)


def _apart(pending: Sequence[tuple[Survey, _Weighing]]) -> Iterator[list[tuple[Replica, Sized]]]:
    """Of each shape: by class that fits it, what a replica sustains that is set up for it and serves nothing else."""
    replicas: list[Replica] = []
    known: dict[tuple[int, int], tuple[Wanted, Lengths]] = {}
    for survey, one in pending:
        asked = one.pending.asked
        for kind in survey.classes[: one.pending.classes]:
            key = id(kind), id(asked.wanted)
            if key not in known:
                shared = asked.deployment.demand.shared_prefix_tokens
                demand = lengths_of(kind.input_tokens, kind.output_tokens, shared_prefix_tokens=shared)
                known[key] = narrowed(asked.wanted, kind.above_tokens, kind.up_to_tokens), demand
            replicas.append(set_up(one.laid, *known[key], asked.limits)[1])
    found = zip(replicas, size(replicas), strict=True)
    for _, one in pending:
        yield list(islice(found, one.pending.classes))


def _settled(
    one: _Weighing,
    sized: Sized,
    loose_first_token_s: float,
    classes: Sequence[RequestClass],
    by_class: Sequence[tuple[Replica, Sized]],
) -> Option | Rejection:
    """What a shape sustains. One that does not take the longest requests, or misses a target with all lengths together,
    is for the classes that it serves in time, if any.
    """
    loads = [math.inf if found.capacity is None else 1 / found.capacity.rate_per_s for _, found in by_class]
    loads += [math.inf] * (len(classes) - len(loads))
    refusal = one.pending.too_large
    if refusal is None and sized.capacity is not None:
        return _option(one, sized, sized.capacity, tuple(loads))
    refusal = refusal or too_slow(one.pending.asked, one.replica, sized.idle, loose_first_token_s)
    for replica, found in by_class:
        if found.capacity is not None:
            option = _option(one._replace(replica=replica), found, found.capacity, tuple(loads))
            return option._replace(refusal=in_time(refusal, classes, loads))
    return refusal


def _loose_first_tokens_s(asked: Sequence[_Weighing], sized: Sequence[Sized]) -> list[float]:
    """Time to the first token of each idle replica at the limit that it would pass."""
    found = [one.idle.time_to_first_token_s for one in sized]
    loose = [(at, other) for at, one in enumerate(asked) if (other := _with_loose_limit(one, sized[at])) is not None]
    for (at, _), then in zip(loose, size([replica for _, replica in loose]), strict=True):
        found[at] = max(found[at], then.idle.time_to_first_token_s)
    return found


def _with_loose_limit(one: _Weighing, sized: Sized) -> Replica | None:
    """The same replica as it is set up for a limit of its own for first tokens, if that is another way. A tight limit
    has longer steps set, which make first tokens come sooner: at a loose one they are as usual.
    """
    asked, replica = one.pending.asked, one.replica
    target, step = asked.limits.time_to_first_token, replica.engine.max_num_batched_tokens
    if sized.capacity is not None or target is None or step <= step_tokens(one.laid.accelerator):
        return None
    limit = replace(target, limit_s=rounded_up(sized.idle.time_to_first_token_s * (1 + replica.margin)))
    deployment = asked.wanted.deployment
    looser = replace(deployment, objectives=replace(deployment.objectives, time_to_first_token=limit))
    _, other = set_up(one.laid, asked.wanted._replace(deployment=looser), replica.demand, asked.limits)
    return None if other.engine.max_num_batched_tokens == step else other


def _option(one: _Weighing, sized: Sized, capacity: Service, loads: tuple[float, ...]) -> Option:
    shape, asked = one.laid.shape, one.pending.asked
    return Option(
        shape,
        asked.variant,
        one.replica.engine,
        one.replica,
        sized,
        capacity,
        asked.loss_rank + one.laid.loss_rank,
        one.laid,
        one.question,
        loads,
    )
