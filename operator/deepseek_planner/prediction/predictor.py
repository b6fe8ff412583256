"""What callers ask: the latency and throughput of a run, and what stands behind them.

``predict`` answers for a closed loop, as benchmarks are run. For requests that arrive at random see :mod:`serving`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from deepseek_planner.plan import Confidence
from deepseek_planner.prediction.bounds import least_tpot_s
from deepseek_planner.prediction.corrections import Corrections, keys, shipped
from deepseek_planner.prediction.factors import MARGIN_PERCENT
from deepseek_planner.prediction.runs import Run
from deepseek_planner.prediction.systems import system
from deepseek_planner.prediction.terms import Term, Terms, terms

DEFAULT_ENGINE = "vllm"
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


class Predicted(NamedTuple):
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


def predict(run: Run, known: Mapping[str, Corrections] | None = None) -> Predicted:
    """The centre of TTFT and TPOT of a run, by the shipped corrections unless others are given.

    Raises ValueError when the system or the precision is not known.
    """
    corrections = _corrections(run, known)
    found, groups = terms(run), keys(run)
    tpot_ms = max(corrections.seconds(found.tpot, groups), least_tpot_s(run)) * 1e3
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
