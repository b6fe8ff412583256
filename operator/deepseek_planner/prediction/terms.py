"""A prediction as a sum of terms, each a product of named factors and of seconds known beforehand.

TPOT and TTFT are both linear in the seconds of a few steps, and those in the seconds of the parts of a step and
in a few overheads. So a prediction is ``sum(product(factors) * seconds)``, where the factors are what
``calibrate fit`` learns: one code for fitting and for predicting, and a derivative that is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from deepseek_planner.prediction import batching
from deepseek_planner.prediction.architecture import Architecture, attention_parameters
from deepseek_planner.prediction.batching import Mix
from deepseek_planner.prediction.curves import CurveSet, curve_set
from deepseek_planner.prediction.formats import Formats, formats
from deepseek_planner.prediction.operations import Batch, Part, Sharding, StepModel
from deepseek_planner.prediction.runs import Run, scheduler
from deepseek_planner.prediction.systems import System, system

MEMORY_SHARE = 0.9
"""Of the accelerator's memory that the engine takes."""
WORKSPACE_BYTES = 4e9
OLD_EXPERTS_BEFORE = (0, 20)
"""vLLM's measured expert tables differ between 0.19 and 0.20: runs of earlier versions, and those that do not say,
use the curves of 0.19. That the change came with 0.20 and not between is inferred.
"""

CurveLookup = Callable[[str, str], CurveSet]
"""Curves by system and engine."""
Term = tuple[tuple[str, ...], float]
"""Names of factors, and seconds (or, for overheads, how often they occur)."""

PACE = "pace"
"""Factor of everything an engine does: how a model, a release or a setup differs as a whole."""

SPECULATION = "speculation"
"""Factor of steps where drafts are made and checked, and of how many hold."""

COLD_START, COLD_STALL = "cold_start", "cold_stall"
"""Seconds that a request waits for its first token, and for the others, while a kernel is compiled."""

SLOW_PREFILL = "slow_prefill"
"""Factor of attention of prompts where an engine lacks the kernel for it."""
PREFILL = "prefill_attention.mixed"

PART_NAMES = tuple(part.name.lower() for part in Part)


class Terms(NamedTuple):
    """Terms of time per output token and of time to first token, and the mix they come from."""

    tpot: tuple[Term, ...]
    ttft: tuple[Term, ...]
    mix: Mix
    cache_tokens: float


def curves_engine(run: Run) -> str:
    """Name of the curves for the run's engine and version."""
    if run.engine == "vllm" and (not run.version or _version(run.version) < OLD_EXPERTS_BEFORE):
        return "vllm@0.19"
    return run.engine


def _version(text: str) -> tuple[int, ...]:
    digits = "".join(letter if letter.isdigit() else " " for letter in text).split()
    return tuple(int(part) for part in digits[:2])


@lru_cache(maxsize=4096)
def _model(
    architecture: Architecture,
    sharding: Sharding,
    stored: Formats,
    *,
    facts_name: str,
    engine: str,
    lookup: CurveLookup,
) -> StepModel:
    facts = system(facts_name)
    return StepModel(architecture, sharding, stored, facts, lookup(facts.curves, engine))


def cache_tokens(architecture: Architecture, sharding: Sharding, stored: Formats, facts: System) -> float:
    """Tokens that the KV cache of one replica holds; not above zero when the weights leave no room."""
    weights = weight_bytes(architecture, sharding, stored)
    free = MEMORY_SHARE * facts.memory_bytes - weights - WORKSPACE_BYTES
    per_token = architecture.kv_bytes_per_token(sharding.tensor, stored.kv_bytes) / sharding.pipeline
    return free / per_token * sharding.data if per_token else float("inf")


def weight_bytes(architecture: Architecture, sharding: Sharding, stored: Formats) -> float:
    """Weights on one rank."""
    hidden = architecture.hidden
    # The embedding is on the first pipeline stage, the head on the last.
    ends = 2.0 if sharding.pipeline == 1 else 1.0
    total = ends * 2.0 * architecture.vocabulary * hidden / sharding.tensor
    for group in architecture.groups:
        network = group.network
        width = (network.intermediate + network.shared_intermediate) / sharding.tensor
        ways = sharding.expert_tensor * sharding.expert_parallel
        layer = attention_parameters(group.attention, hidden) / sharding.tensor * stored.bytes_of(stored.attention)
        layer += 3.0 * hidden * width * stored.bytes_of(stored.dense)
        experts = 3.0 * hidden * network.experts * network.expert_intermediate / ways
        total += group.count / sharding.pipeline * (layer + experts * stored.bytes_of(stored.experts))
    return total


def terms(run: Run, lookup: CurveLookup = curve_set) -> Terms:
    """Terms of a run, with the shipped curves unless others are given.

    Raises ValueError when the system or the precision is not known.
    """
    facts = system(run.system)
    stored = formats(run.architecture, run.precision, kv_bytes=run.harness.cache_bytes, is_block=run.harness.is_block)
    model = _model(
        run.architecture, run.sharding, stored, facts_name=facts.name, engine=curves_engine(run), lookup=lookup
    )
    tokens = cache_tokens(run.architecture, run.sharding, stored, facts)
    # Where the weights alone are too large, say how fast it would be: the caller is told that it does not fit.
    usable = tokens / run.sharding.data if tokens > run.load.input_tokens else float("inf")
    mix = batching.mix(_per_rank(run), scheduler(run, usable))
    decode = _step(model, mix.decode, "decode")
    mixed = _step(model, mix.mixed, "mixed")
    burst = _step(model, mix.burst, "mixed")
    if run.harness.is_slow_prefill:
        mixed, burst = _slowed(mixed), _slowed(burst)
    if run.harness.drafted:
        decode = [((SPECULATION, *names), seconds) for names, seconds in decode]
    tpot = _weigh(mix.decode_weight, decode) + _weigh(mix.mixed_weight, mixed)
    if run.harness.is_cold:
        tpot.append(((COLD_STALL,), 1.0 / run.load.output_tokens))
    steady = 1.0 - mix.burst_share
    wait = _weigh(mix.wait_decode, decode) + _weigh(mix.wait_mixed, mixed)
    ttft: list[Term] = [(("first_token",), 1.0), (("first_token_per_token",), run.load.input_tokens)]
    ttft += _named(steady, "wait", wait)
    ttft += _named(steady, "own", _weigh(mix.own, mixed))
    ttft += _named(steady, "queue", _weigh(mix.queue, mixed))
    ttft += _named(mix.burst_share, "burst", _weigh(mix.burst_steps, burst))
    if mix.cache_wait:
        served = _weigh(mix.cache_wait * run.load.output_tokens, tpot)
        ttft += _named(1.0, "cache", served)
    if run.harness.is_cold:
        ttft.append(((COLD_START,), 1.0))
    return Terms(tuple(tpot), tuple(ttft), mix, tokens)


def _per_rank(run: Run) -> batching.Load:
    """Attention data parallelism splits the requests; everything else works on all of them."""
    if run.sharding.data == 1:
        return run.load
    load = run.load
    return batching.Load(
        concurrency=max(load.concurrency / run.sharding.data, 1.0),
        input_tokens=load.input_tokens,
        output_tokens=load.output_tokens,
        spread=load.spread,
        requests_per_slot=load.requests_per_slot,
    )


def _step(model: StepModel, batch: Batch, kind: str) -> list[Term]:
    seconds = model.step(batch)
    found: list[Term] = [
        ((PACE, f"{name}.{kind}"), value) for name, value in zip(PART_NAMES, seconds, strict=True) if value > 0.0
    ]
    found.append(((PACE, f"layer.{kind}"), model.layers))
    found.append(((PACE, f"step.{kind}"), 1.0))
    found.append(((PACE, "sequence"), batch.decodes + batch.prompts))
    return found


def _slowed(parts: list[Term]) -> list[Term]:
    return [((SLOW_PREFILL, *names) if names[-1] == PREFILL else names, seconds) for names, seconds in parts]


def _weigh(weight: float, parts: list[Term]) -> list[Term]:
    return [(names, weight * seconds) for names, seconds in parts] if weight > 0.0 else []


def _named(weight: float, name: str, parts: list[Term]) -> list[Term]:
    return [((name, *names), weight * seconds) for names, seconds in parts] if weight > 0.0 else []
