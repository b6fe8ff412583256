"""What callers ask: the latency and throughput of a run, what stands behind them, and service at a rate.

``predict`` answers for a closed loop, as benchmarks are run. ``serve`` answers for requests that arrive at random:
it finds the concurrency at which the engine keeps up with the rate, and adds queueing at the asked percentile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp, isfinite, log, sqrt

from deepseek_planner.plan import Confidence
from deepseek_planner.prediction.corrections import Corrections, keys, shipped
from deepseek_planner.prediction.runs import Run
from deepseek_planner.prediction.systems import system
from deepseek_planner.prediction.terms import Term, Terms, terms

MARGIN_PERCENT: Mapping[Confidence, int] = {
    Confidence.CALIBRATED: 15,
    Confidence.SAME_MODEL_OTHER_ACCELERATOR: 25,
    Confidence.OTHER_MODEL: 35,
    Confidence.ROOFLINE_ONLY: 60,
    Confidence.UNVERIFIED: 60,
}
"""What to size with on top. Wider than the TPOT and TTFT errors that cross-validation of vLLM's runs shows by class."""
DEFAULT_ENGINE = "vllm"
MAX_CONCURRENCY = 4096.0
PART_BOUND = {
    "gemm": "weights and arithmetic",
    "experts": "experts",
    "decode_attention": "KV cache",
    "prefill_attention": "prompts",
    "collective": "network",
    "elementwise": "bandwidth",
    "layer": "latency",
    "step": "latency",
    "sequence": "latency",
}


@dataclass(frozen=True, slots=True)
class Predicted:
    """Central TTFT and TPOT in milliseconds, output tokens per second and accelerator, and what they rest on."""

    ttft_ms: float
    tpot_ms: float
    tok_s_gpu: float
    confidence: Confidence
    group: str
    margin_percent: int
    bottleneck: str
    running: float
    """Sequences that run at once; below the concurrency where the cache is full."""
    is_cache_bound: bool


@dataclass(frozen=True, slots=True)
class Served:
    """Service of one replica at a rate. Latencies are at the asked percentile, in seconds."""

    ttft_s: float
    tpot_s: float
    concurrency: float
    utilization: float
    """Share of the highest rate that the replica can keep up with."""
    capacity_requests_per_s: float


def predict(run: Run, known: Mapping[str, Corrections] | None = None) -> Predicted:
    """The centre of TTFT and TPOT of a run, by the shipped corrections unless others are given.

    Raises ValueError when the system or the precision is not known.
    """
    corrections = _corrections(run, known)
    found, groups = terms(run), keys(run)
    tpot_ms = corrections.seconds(found.tpot, groups) * 1e3
    ttft_ms = corrections.seconds(found.ttft, groups) * 1e3
    confidence, group = corrections.confidence(run)
    if run.engine != corrections.engine:
        confidence, group = Confidence.UNVERIFIED, f"{group} ({run.engine} has no measured runs)"
    elif reasons := _doubts(run, found):
        confidence, group = Confidence.UNVERIFIED, f"{group} ({', '.join(reasons)})"
    return Predicted(
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms,
        tok_s_gpu=run.throughput(ttft_ms, tpot_ms),
        confidence=confidence,
        group=group,
        margin_percent=MARGIN_PERCENT[confidence],
        bottleneck=bottleneck(found.tpot, corrections, groups),
        running=found.mix.running,
        is_cache_bound=found.mix.is_cache_bound,
    )


def _doubts(run: Run, found: Terms) -> list[str]:
    """Why no measured run can stand behind a prediction, whatever its group."""
    reasons = []
    if not run.has_concurrency:
        reasons.append("concurrency not given")
    if found.cache_tokens < run.load.input_tokens:
        reasons.append("the weights leave no room for a request")
    if run.doubt:
        reasons.append(run.doubt)
    if missing := system(run.system).not_confirmed:
        reasons.append(f"{run.system}: {missing} not confirmed")
    return reasons


def bottleneck(parts: tuple[Term, ...], corrections: Corrections, groups: tuple[str, ...]) -> str:
    """What most of the time per output token goes to."""
    spent: dict[str, float] = {}
    for term in parts:
        name = PART_BOUND.get(term[0][-1].partition(".")[0], "latency")
        spent[name] = spent.get(name, 0.0) + corrections.seconds((term,), groups)
    return max(sorted(spent), key=lambda name: spent[name])


def _corrections(run: Run, known: Mapping[str, Corrections] | None) -> Corrections:
    available = shipped() if known is None else known
    return available.get(run.engine) or available[DEFAULT_ENGINE]


def serve(
    run: Run,
    requests_per_s: float,
    *,
    percentile: float,
    burstiness: float = 1.0,
    known: Mapping[str, Corrections] | None = None,
) -> Served:
    """Service of one replica when ``requests_per_s`` arrive at random (``burstiness``: variance over mean, 1 Poisson).

    The concurrency is the fixed point at which as many requests end as arrive. Waiting for prompt steps is a queue
    with one server; its tail is exponential. TPOT varies with how many prompts a request happens to meet.
    """
    corrections, groups = _corrections(run, known), keys(run)
    top = _at(run, MAX_CONCURRENCY)
    capacity = _rate(top, MAX_CONCURRENCY, corrections, groups)
    concurrency = _fixed_point(run, min(requests_per_s, 0.999 * capacity), corrections, groups)
    found = terms(_at(run, concurrency))
    mix, output = found.mix, max(run.load.output_tokens, 2.0)
    tpot = corrections.seconds(found.tpot, groups)
    decode, mixed = _step_seconds(found, corrections, groups)
    stalls = mix.mixed_weight * (output - 1.0)
    z = _normal_quantile(percentile / 100.0)
    tpot += max(z, 0.0) * sqrt(stalls * burstiness) * max(mixed - decode, 0.0) / (output - 1.0)
    steady = tuple(term for term in found.ttft if term[0][0] not in {"burst", "queue", "cache"})
    ttft = corrections.seconds(steady, groups)
    busy = min(requests_per_s * mixed * mix.own / max(mix.mixed.prompts, 1.0), 0.98)
    utilization = requests_per_s / capacity if capacity else float("inf")
    load = min(max(busy, utilization), 0.98)
    delay = mixed * mix.own * (1.0 + burstiness) / (2.0 * (1.0 - load))
    tail = max(log(load / (1.0 - percentile / 100.0)), 0.0) if load > 0 else 0.0
    ttft += delay * tail
    return Served(
        ttft_s=ttft if utilization < 1.0 else float("inf"),
        tpot_s=tpot,
        concurrency=concurrency,
        utilization=utilization,
        capacity_requests_per_s=capacity,
    )


def _at(run: Run, concurrency: float) -> Run:
    """The run at another concurrency, arriving steadily: no first burst."""
    return replace(
        run, load=replace(run.load, concurrency=concurrency, spread=run.load.spread or 0.2, requests_per_slot=1e9)
    )


def _rate(run: Run, concurrency: float, corrections: Corrections, groups: tuple[str, ...]) -> float:
    """Requests per second that end, with ``concurrency`` of them admitted at a time."""
    found = terms(_at(run, concurrency))
    steady = tuple(term for term in found.ttft if term[0][0] not in {"burst", "cache"})
    in_service = corrections.seconds(steady, groups) + run.load.output_tokens * corrections.seconds(found.tpot, groups)
    admitted = concurrency / (1.0 + found.mix.cache_wait)
    return admitted / in_service if in_service > 0 and isfinite(in_service) else 0.0


def _fixed_point(run: Run, rate: float, corrections: Corrections, groups: tuple[str, ...]) -> float:
    """The least concurrency that keeps up with ``rate``; the rate grows with it until prompts or cache saturate."""
    low, high = 0.0, log(MAX_CONCURRENCY)
    for _ in range(24):
        middle = (low + high) / 2.0
        if _rate(run, exp(middle), corrections, groups) < rate:
            low = middle
        else:
            high = middle
    return exp(high)


def _step_seconds(found: Terms, corrections: Corrections, groups: tuple[str, ...]) -> tuple[float, float]:
    """Seconds of a decode step and of a mixed one."""
    mix = found.mix
    kinds = {"decode": 0.0, "mixed": 0.0}
    kind = "decode"
    for term in found.tpot:
        name = term[0][-1]
        kind = "decode" if name.endswith(".decode") else "mixed" if name.endswith(".mixed") else kind
        kinds[kind] += corrections.seconds((term,), groups)
    decode = kinds["decode"] / mix.decode_weight if mix.decode_weight else 0.0
    mixed = kinds["mixed"] / mix.mixed_weight if mix.mixed_weight else decode
    return decode, mixed


def _normal_quantile(share: float) -> float:
    """Quantile of the standard normal distribution (Abramowitz and Stegun 26.2.23; error below 5e-4)."""
    if not 0.0 < share < 1.0:
        raise ValueError(f"percentile {share * 100:g} is not between 0 and 100")
    tail = min(share, 1.0 - share)
    t = sqrt(-2.0 * log(tail))
    value = t - (2.515517 + 0.802853 * t + 0.010328 * t * t) / (1.0 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t**3)
    return value if share > 0.5 else -value
