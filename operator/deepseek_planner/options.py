"""One replica: every shape of a model on an accelerator, legal, fitting and fast enough, or refused with numbers.

Pools and prices do not enter here, so shapes are weighed once however many pools offer the accelerator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from deepseek_planner.calibration import Correction, correction
from deepseek_planner.catalog import Catalog
from deepseek_planner.hardware import Accelerator, InterNode, IntraNode
from deepseek_planner.memory import CACHE_UNIT_BYTES, GB, Fit, fit
from deepseek_planner.models import ModelSpec, Precision
from deepseek_planner.performance import Batch, StepModel, Wires
from deepseek_planner.plan import DeploymentInput, EngineParameters, Rejection, RejectionReason, Shape
from deepseek_planner.precision import PrecisionChoice, PrecisionRefusal, choices
from deepseek_planner.service import Lengths, Limits, Replica, Service, lengths
from deepseek_planner.shapes import shapes

CPU_SEQUENCES, GPU_SEQUENCES = 16, 256
BATCHED_TOKENS = {7: 2048, 8: 4096, 9: 8192, 10: 8192}
"""Token budget of a step by compute capability's major number: newer ones prefill faster."""
CPU_BATCHED_TOKENS = 512

LOSSY = (Precision.BF16, Precision.FP16, Precision.FP8, Precision.INT8, Precision.FP4, Precision.INT4)
"""Formats by how much they usually lose, least first."""

MOST_GPUS_NAMED = 64
"""Larger replicas are no remedy that anybody would follow."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What of a pool bears on shapes: two pools of equal wiring have the same options."""

    accelerator: str
    gpus_per_node: int
    intra_node: IntraNode
    inter_node: InterNode


@dataclass(frozen=True, slots=True)
class Option:
    """A shape that serves, with what one replica of it sustains."""

    shape: Shape
    choice: PrecisionChoice
    engine: EngineParameters
    correction: Correction
    replica: Replica
    steps: StepModel
    capacity: Service
    """At the highest rate that keeps the targets with the margin."""
    loss_rank: int
    """How much quality the precision may cost: 0 for the native one."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of one replica, whatever pool it is on."""

    model: ModelSpec
    demand: Lengths
    declared: Lengths
    longest_tokens: int
    limits: Limits
    deployment: DeploymentInput


def request(deployment: DeploymentInput, catalog: Catalog, *, is_measured: bool) -> Request:
    """The demand's lengths are measured ones once the rate is; the engine's settings follow from declared ones."""
    demand = deployment.demand
    declared = lengths(demand)
    return Request(
        model=catalog.model(deployment.model),
        demand=lengths(demand, deployment.measured) if is_measured else declared,
        declared=declared,
        longest_tokens=demand.input_tokens.max_tokens + demand.output_tokens.max_tokens,
        limits=Limits(deployment.objectives.time_to_first_token, deployment.objectives.time_per_output_token),
        deployment=deployment,
    )


Refusal = tuple[Rejection, Shape | None]
"""A rejection and the shape it is about; None where it is about a whole precision."""

Gate = Callable[[Shape], Rejection | None]
"""Whether a shape is worth a closer look: asked after it fits and before its service is worked out."""


@dataclass(frozen=True, slots=True)
class _Setting:
    """One accelerator and its wiring, with the precisions that are legal there."""

    asked: Request
    accelerator: Accelerator
    wiring: Wiring
    legal: tuple[PrecisionChoice, ...]
    catalog: Catalog
    gate: Gate


Known = dict[tuple[Shape, IntraNode, InterNode | None], "Option | Rejection"]
"""What is known of shapes already: nodes of other sizes offer the same ones again."""


def options(
    asked: Request, wiring: Wiring, catalog: Catalog, *, multi_node: bool, gate: Gate, known: Known
) -> tuple[list[Option], list[Refusal]]:
    """All shapes on one wiring."""
    accelerator = catalog.accelerator(wiring.accelerator)
    found: list[Option] = []
    refused: list[Refusal] = []
    wanted = asked.deployment.objectives.accuracy_class
    weighed = choices(asked.model, accelerator, wanted, own_weights=asked.deployment.own_weights)
    for choice in weighed:
        if isinstance(choice, PrecisionRefusal):
            name = f"{accelerator.name}-{choice.precision}-*"
            refused.append((Rejection(name, choice.reason, choice.message), None))
    legal = tuple(choice for choice in weighed if isinstance(choice, PrecisionChoice))
    setting = _Setting(asked, accelerator, wiring, legal, catalog, gate)
    for choice in legal:
        candidates, illegal = shapes(
            asked.model,
            accelerator.name,
            choice.precision,
            gpus_per_node=wiring.gpus_per_node,
            intra_node=wiring.intra_node,
            inter_node=wiring.inter_node,
            multi_node=multi_node,
        )
        refused += [(Rejection(item.shape.name, item.reason, item.message), item.shape) for item in illegal]
        for shape in candidates:
            key = (shape, wiring.intra_node, wiring.inter_node if shape.nodes_per_replica > 1 else None)
            if key not in known:
                known[key] = _option(setting, choice, shape)
            outcome = known[key]
            if isinstance(outcome, Option):
                found.append(outcome)
            else:
                refused.append((outcome, shape))
    return found, refused


def _option(setting: _Setting, choice: PrecisionChoice, shape: Shape) -> Option | Rejection:
    asked, accelerator, wiring = setting.asked, setting.accelerator, setting.wiring
    model = asked.model
    if asked.longest_tokens > model.max_context_tokens:
        return _context_too_long(asked, shape)
    memory = fit(
        model,
        shape,
        accelerator,
        batched_tokens=_batched_tokens(accelerator),
        sequences=CPU_SEQUENCES if accelerator.compute_capability is None else GPU_SEQUENCES,
    )
    if memory.cache < max(memory.sequence_bytes(asked.longest_tokens), CACHE_UNIT_BYTES):
        return _does_not_fit(setting, shape, memory)
    if (refusal := setting.gate(shape)) is not None:
        return refusal
    engine = engine_parameters(asked, accelerator, choice, memory)
    applied = correction(setting.catalog.calibrations, model, accelerator, choice, shape)
    steps = StepModel(
        model=model,
        shape=shape,
        choice=choice,
        accelerator=accelerator,
        wires=Wires(wiring.intra_node, wiring.inter_node),
        correction=applied,
    )
    replica = Replica(steps, engine, asked.demand, asked.limits, max_running=_max_running(asked, engine, memory, shape))
    margin = applied.margin_percent / 100
    capacity = replica.capacity(margin)
    if capacity is None:
        return _too_slow(asked, replica, margin)
    loss = 0 if shape.precision is model.native_precision else 1 + LOSSY.index(shape.precision)
    return Option(shape, choice, engine, applied, replica, steps, capacity, loss)


def _context_too_long(asked: Request, shape: Shape) -> Rejection:
    return Rejection(
        shape.name,
        RejectionReason.CONTEXT_TOO_LONG,
        f"longest request {asked.longest_tokens} tokens > {asked.model.max_context_tokens} the model takes; "
        "lower inputTokens.max or outputTokens.max",
        asked.longest_tokens,
        asked.model.max_context_tokens,
        "tokens",
    )


def _batched_tokens(accelerator: Accelerator) -> int:
    capability = accelerator.compute_capability
    return CPU_BATCHED_TOKENS if capability is None else BATCHED_TOKENS[capability[0]]


def engine_parameters(
    asked: Request, accelerator: Accelerator, choice: PrecisionChoice, memory: Fit
) -> EngineParameters:
    """Engine settings, from what was declared alone: a change in load restarts nothing."""
    is_cpu = accelerator.compute_capability is None
    typical = memory.sequence_bytes(asked.declared.input_mean + asked.declared.output_mean)
    cache, most = memory.cache_budget_bytes, CPU_SEQUENCES if is_cpu else GPU_SEQUENCES
    if is_cpu:
        # Memory is shared with everything else on the machine: take what the longest requests need, no more.
        needed = math.ceil(most * memory.sequence_bytes(asked.longest_tokens) / CACHE_UNIT_BYTES) * CACHE_UNIT_BYTES
        cache = min(cache, needed)
    sequences = min(most, max(1, int(cache / typical)))
    return EngineParameters(
        max_model_len_tokens=asked.longest_tokens,
        max_num_seqs=sequences,
        # Without AMX the CPU build takes a prompt in one piece, so a step must hold the longest.
        max_num_batched_tokens=max(_batched_tokens(accelerator), asked.longest_tokens if is_cpu else 0),
        kv_cache_bytes=cache,
        prefix_caching=True,
        data_type=choice.data_type,
    )


def _max_running(asked: Request, engine: EngineParameters, memory: Fit, shape: Shape) -> float:
    each = memory.sequence_bytes(asked.demand.input_mean + asked.demand.output_mean)
    # Every data-parallel rank has a cache and a scheduler of its own.
    return shape.data_parallel * min(float(engine.max_num_seqs), engine.kv_cache_bytes / each)


def _does_not_fit(setting: _Setting, shape: Shape, memory: Fit) -> Rejection:
    longest = memory.sequence_bytes(setting.asked.longest_tokens)
    room = memory.usable - memory.workspace
    remedies = list(_remedies(setting, shape, memory))
    remedy = f"; {' or '.join(remedies)} would fit" if remedies else ""
    unit = "slot" if setting.accelerator.compute_capability is None else "GPU"
    what = f"weights need {memory.weights / GB:.1f} GB per {unit}"
    if memory.weights <= room:
        what += f" and the longest request's cache {longest / GB:.1f} GB"
    return Rejection(
        shape.name,
        RejectionReason.DOES_NOT_FIT,
        f"{what}, {max(0.0, room) / GB:.1f} usable{remedy}",
        memory.weights + longest,
        room,
        "bytes",
    )


def _remedies(setting: _Setting, shape: Shape, memory: Fit) -> Iterator[str]:
    """More accelerators, or a smaller format: each checked by the same arithmetic."""
    accelerator, model = setting.accelerator, setting.asked.model
    if accelerator.compute_capability is None:
        return
    least = max(memory.sequence_bytes(setting.asked.longest_tokens), CACHE_UNIT_BYTES)
    room = memory.usable - memory.workspace - least
    total = memory.weights * shape.accelerators
    count = shape.accelerators
    while room > 0 and total / count > room and count < MOST_GPUS_NAMED:
        count *= 2
    if count > shape.accelerators and total / count <= room:
        yield f"{count} GPUs"
    for choice in setting.legal:
        tokens = _batched_tokens(accelerator)
        smaller = replace(shape, precision=choice.precision)
        other = fit(model, smaller, accelerator, batched_tokens=tokens, sequences=GPU_SEQUENCES)
        if other.cache >= least and other.weights < memory.weights:
            yield str(choice.precision)


def _too_slow(asked: Request, replica: Replica, margin: float) -> Rejection:
    """Even an idle replica misses a target: which one, by how much, and what takes the time."""
    idle, name = replica.idle(), replica.steps.shape.name
    first, per = asked.limits.time_to_first_token, asked.limits.time_per_output_token
    if per is not None and (idle is None or idle.time_per_output_token_s * (1 + margin) > per.limit_s):
        seconds = math.inf if idle is None else idle.time_per_output_token_s * (1 + margin)
        bottleneck = slowest(replica.steps, Batch(1.0, asked.demand.context))
        text = _latency("TPOT", per.percentile, seconds, per.limit_s, bottleneck)
        return Rejection(name, RejectionReason.TPOT_TOO_HIGH, text, seconds, per.limit_s, "s")
    assert first is not None
    seconds = math.inf if idle is None else idle.time_to_first_token_s * (1 + margin)
    text = _latency("TTFT", first.percentile, seconds, first.limit_s, "prefill of the prompt")
    return Rejection(name, RejectionReason.TTFT_TOO_HIGH, text, seconds, first.limit_s, "s")


def _latency(what: str, percentile: int, seconds: float, limit: float, bottleneck: str) -> str:
    return (
        f"{what} p{percentile} {milliseconds(seconds)} > {milliseconds(limit)} even when idle, margin included: "
        f"{bottleneck}; would pass at {milliseconds(rounded_up(seconds))}"
    )


def slowest(steps: StepModel, batch: Batch) -> str:
    """The operation that takes most of a step, and how long, or the engine's own overhead where that is more."""
    operations = steps.ops(batch)
    total = steps.step_s(batch)
    factor = steps.correction.calibration.decode_k * steps.shape.pipeline_parallel
    op = max(operations, key=lambda item: item.seconds)
    overhead = total - factor * sum(item.seconds for item in operations)
    if overhead > factor * op.seconds:
        return f"engine overhead {milliseconds(overhead)} of {milliseconds(total)} a token"
    return f"{op.name} ({op.bound}) {milliseconds(factor * op.seconds)} of {milliseconds(total)} a token"


def milliseconds(seconds: float) -> str:
    """``620 ms``, ``1.4 s``, ``12 s``: two or three digits."""
    if not math.isfinite(seconds):
        return "without end"
    if seconds >= 9.95:
        return f"{seconds:.0f} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def rounded_up(seconds: float) -> float:
    """Up to two digits: a limit that surely passes."""
    if not math.isfinite(seconds) or seconds <= 0:
        return seconds
    unit = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return math.ceil(seconds / unit - 1e-9) * unit
