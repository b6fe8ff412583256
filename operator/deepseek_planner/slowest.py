"""What takes the time of a token, in words; and numbers as messages show them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from deepseek_planner.prediction.operations import Batch, Part
from deepseek_planner.service import Replica, highest_running

FULL = 0.9
"""Part of the most requests that can run on average from which it is said that no more can."""

NAMES: Mapping[Part, str] = {
    Part.GEMM: "weights of attention and feed-forward",
    Part.EXPERTS: "routed experts",
    Part.DECODE_ATTENTION: "attention",
    Part.PREFILL_ATTENTION: "attention of prompts",
    Part.COLLECTIVE: "communication",
    Part.ELEMENTWISE: "norms and activations",
}


def slowest(replica: Replica, running: float) -> str:
    """The work that takes most of a decode step with so many requests running, and how long, or the engine's overhead.

    What binds stands in brackets: ``compute``, ``bandwidth``, ``KV`` or ``network``; the overhead is latency. Where it
    is room for more requests that is missing, that is said too.
    """
    is_full = running >= FULL * highest_running(replica.max_running)
    full = f"; KV cache and engine hold {replica.max_running:.0f} requests at once" if is_full else ""
    steps, fix = replica.compiled.steps, replica.compiled.factors
    stages = replica.compiled.setting.shape.pipeline_parallel
    batch = Batch(decodes=running / replica.ranks + 1.0, context=replica.demand.context)
    seconds = [stages * factor * part for factor, part in zip(fix.decode, steps.step(batch), strict=True)]
    overhead = stages * (fix.decode_s + fix.sequence_s * batch.decodes)
    total = sum(seconds) + overhead
    part = max(Part, key=lambda item: seconds[item])
    if overhead > seconds[part]:
        return f"engine overhead (latency) {milliseconds(overhead)} of {milliseconds(total)} a token{full}"
    bound = steps.bound(part, batch)
    return f"{NAMES[part]} ({bound}) {milliseconds(seconds[part])} of {milliseconds(total)} a token{full}"


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
