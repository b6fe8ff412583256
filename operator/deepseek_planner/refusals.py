"""Why a shape does not serve, each with the number that stood against which limit, and what would pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf

from deepseek_planner.asked import Request
from deepseek_planner.demand import LatencyTarget, RequestClass
from deepseek_planner.legal import Legal, memory_of, over_nodes
from deepseek_planner.memory import CACHE_UNIT_BYTES, GB, Fit
from deepseek_planner.models import Precision
from deepseek_planner.plan import Rejection, RejectionReason
from deepseek_planner.service import Replica, Service
from deepseek_planner.slowest import milliseconds, rounded_up, slowest
from deepseek_planner.snapshot import Shape


def context_too_long(asked: Request, shape: Shape) -> Rejection:
    """The longest request is longer than the model takes."""
    return Rejection(
        asked.named(shape),
        RejectionReason.CONTEXT_TOO_LONG,
        f"longest request {asked.wanted.longest_tokens} tokens > {asked.model.max_context_tokens} the model takes; "
        "lower inputTokens.max or outputTokens.max",
        asked.wanted.longest_tokens,
        asked.model.max_context_tokens,
        "tokens",
    )


def does_not_fit(asked: Request, permitted: Legal, shape: Shape, memory: Fit) -> Rejection:
    """Weights, or the longest request's cache beside them, are more than one accelerator holds."""
    longest = memory.sequence_bytes(asked.wanted.longest_tokens)
    room = memory.usable - memory.workspace
    remedies = list(_remedies(asked, permitted, shape, memory))
    remedy = f"; {' or '.join(remedies)} would fit" if remedies else "; no sharding that is looked at holds it"
    unit = "slot" if permitted.accelerator.compute_capability is None else "GPU"
    what = f"weights need {memory.weights / GB:.1f} GB per {unit}"
    if memory.weights <= room:
        what += f" and the longest request's cache {longest / GB:.1f} GB"
    return Rejection(
        asked.named(shape),
        RejectionReason.DOES_NOT_FIT,
        f"{what}, {max(0.0, room) / GB:.1f} usable{remedy}",
        memory.weights + longest,
        room,
        "bytes",
    )


def _remedies(asked: Request, permitted: Legal, shape: Shape, memory: Fit) -> Iterator[str]:
    """More accelerators, or a smaller format: each of them is looked at, here or where LeaderWorkerSet is served."""
    accelerator, model = permitted.accelerator, asked.model
    least = max(memory.sequence_bytes(asked.wanted.longest_tokens), CACHE_UNIT_BYTES)
    larger = _fewest(asked, ((laid.shape, laid.memory) for laid in permitted.shapes), shape.precision)
    if larger is not None:
        is_larger = larger.accelerators > shape.accelerators
        yield f"{larger.accelerators} GPUs" if is_larger else asked.named(larger)
    elif accelerator.compute_capability is not None:
        larger = _fewest(asked, over_nodes(model, permitted, shape.precision), shape.precision)
        if larger is not None:
            yield f"{larger.accelerators} GPUs on {larger.nodes_per_replica} nodes with LeaderWorkerSet"
    for choice in permitted.choices:
        other = memory_of(model, replace(shape, precision=choice.precision), accelerator)
        if other.cache >= least and other.weights < memory.weights:
            yield str(choice.precision)


def _fewest(asked: Request, candidates: Iterable[tuple[Shape, Fit]], precision: Precision) -> Shape | None:
    """The smallest shape of the precision that holds weights and the longest request."""
    holding = [
        shape
        for shape, memory in candidates
        if shape.precision is precision
        and memory.cache >= max(memory.sequence_bytes(asked.wanted.longest_tokens), CACHE_UNIT_BYTES)
    ]
    return min(holding, key=lambda shape: (shape.accelerators, shape.nodes_per_replica), default=None)


def too_slow(asked: Request, replica: Replica, idle: Service, loose_first_token_s: float) -> Rejection:
    """Even an idle replica misses a target: which one, by how much, and what takes the time. ``loose_first_token_s``:
    its time to the first token at the limit that it would pass.
    """
    name, margin = asked.named(replica.compiled.setting.shape), replica.margin
    first, per = asked.limits.time_to_first_token, asked.limits.time_per_output_token
    seconds = idle.time_per_output_token_s * (1 + margin)
    if per is not None and seconds > per.limit_s:
        text = _latency("TPOT", per, seconds, slowest(replica, idle.running), seconds)
        return Rejection(name, RejectionReason.TPOT_TOO_HIGH, text, seconds, per.limit_s, "s")
    # A step always has room for a prompt: what is left is the other target.
    assert first is not None
    seconds = idle.time_to_first_token_s * (1 + margin)
    text = _latency("TTFT", first, seconds, "prefill of the prompt", loose_first_token_s * (1 + margin))
    return Rejection(name, RejectionReason.TTFT_TOO_HIGH, text, seconds, first.limit_s, "s")


def in_time(refusal: Rejection, classes: Sequence[RequestClass], loads: Sequence[float]) -> Rejection:
    """With the prompts that would be served in time if a router sent no others there."""
    served = [(kind.above_tokens, kind.up_to_tokens) for kind, load in zip(classes, loads, strict=True) if load < inf]
    if not served:
        return refusal
    above, up_to = served[0]
    for start, end in served[1:]:
        up_to = end if start == up_to else up_to
    prompts = f"above {above:,} and up to {up_to:,}" if above else f"up to {up_to:,}"
    return replace(refusal, message=f"{refusal.message}; prompts of {prompts} tokens alone are served in time")


def _latency(what: str, target: LatencyTarget, seconds: float, bottleneck: str, passing_s: float) -> str:
    missed = f"{what} p{target.percentile} {milliseconds(seconds)} > {milliseconds(target.limit_s)}"
    passing = milliseconds(rounded_up(passing_s))
    return f"{missed} even when idle, margin included: {bottleneck}; would pass at {passing}"
