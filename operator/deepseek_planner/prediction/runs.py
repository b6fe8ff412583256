"""A run: what is asked of a prediction, and what a benchmark measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from deepseek_planner.prediction.architecture import Architecture
from deepseek_planner.prediction.batching import Load, Scheduler
from deepseek_planner.prediction.operations import Sharding

UNMEASURED = float("nan")
NOMINAL_LENGTHS = frozenset({1024.0, 8192.0})
INFERENCEX_SPREAD = 0.2
"""InferenceX sends lengths uniform between 0.8 and 1.0 of the nominal ones."""
DOUBLED_NAME = re.compile(r"(.+)(?<!_gap_analysis)_\1_")
"""NVIDIA's own runs carry the model's name twice in their identifiers; their lengths are fixed. Its gap analyses
repeat runs of InferenceX.
"""
CACHED_SHARE = {"nvidia_llama_3_1_8b_instruct_fp8": 0.9}
"""Publications whose prompts repeat: their rates would need more arithmetic than the accelerator has."""
DEFAULT_CONCURRENCY = 8.0


@dataclass(frozen=True, slots=True)
class Run:
    """One replica of an engine under a closed loop. Times in milliseconds; NaN where not measured."""

    name: str
    model: str
    architecture: Architecture
    system: str
    engine: str
    version: str
    precision: str
    sharding: Sharding
    load: Load
    nominal_input: float
    nominal_output: float
    gpus: int
    has_concurrency: bool
    is_sound: bool = True
    """Whether the row says on how many accelerators it ran; one that does not is predicted, but not fitted."""
    ttft_ms: float = UNMEASURED
    tpot_ms: float = UNMEASURED

    @property
    def is_measured(self) -> bool:
        return isfinite(self.ttft_ms) and isfinite(self.tpot_ms) and self.has_concurrency and self.is_sound

    def throughput(self, ttft_ms: float, tpot_ms: float) -> float:
        """Output tokens per second and accelerator, as the calibration data derive it."""
        per_request_s = (ttft_ms + tpot_ms * (self.nominal_output - 1.0)) / 1e3
        return self.load.concurrency * self.nominal_output / per_request_s / self.gpus


def is_inferencex(identifier: str, input_tokens: float, output_tokens: float) -> bool:
    """Whether a run was made by the InferenceX harness: its lengths, and not the other publisher's doubled names."""
    return {input_tokens, output_tokens} <= NOMINAL_LENGTHS and not DOUBLED_NAME.match(identifier)


def _cached_share(identifier: str) -> float:
    return next((share for prefix, share in CACHED_SHARE.items() if identifier.startswith(prefix)), 0.0)


def number(row: Mapping[str, str], column: str, default: float) -> float:
    """A cell as a number; empty, ``nan`` and absent ones are ``default``.

    Raises ValueError naming the column when the cell is something else.
    """
    text = (row.get(column) or "").strip()
    if not text or text.lower() == "nan":
        return default
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{column} {text!r} is not a number") from None


def parse(row: Mapping[str, str], architecture: Architecture, model: str) -> Run:
    """A row with the columns of the calibration data.

    Raises ValueError naming the column that cannot be used.
    """
    identifier = row.get("id") or ""
    tensor = max(number(row, "tp", 1.0), 1.0)
    data = max(number(row, "attn_dp", 1.0), 1.0)
    ranks = tensor * data
    expert_parallel = max(number(row, "moe_ep", 1.0), 1.0) if architecture.is_sparse else 1.0
    input_tokens, output_tokens = number(row, "isl", UNMEASURED), number(row, "osl", UNMEASURED)
    for column, value in (("isl", input_tokens), ("osl", output_tokens)):
        if not value > 0:
            raise ValueError(f"{column} must be a number of tokens above 0")
    spread = number(row, "length_spread", UNMEASURED)
    if not isfinite(spread):
        spread = INFERENCEX_SPREAD if is_inferencex(identifier, input_tokens, output_tokens) else 0.0
    concurrency = number(row, "concurrency", UNMEASURED)
    mean = 1.0 - spread / 2.0
    return Run(
        name=identifier,
        model=model,
        architecture=architecture,
        system=(row.get("system") or "").strip().lower(),
        engine=(row.get("backend") or "vllm").strip().lower(),
        version=(row.get("measured_engine_version") or "").strip(),
        precision=(row.get("precision") or "bf16").strip().lower().replace("nan", "bf16"),
        sharding=Sharding(
            tensor=int(tensor),
            data=int(data),
            expert_tensor=int(max(ranks / expert_parallel, 1.0)),
            expert_parallel=int(min(expert_parallel, ranks)),
        ),
        load=Load(
            concurrency=concurrency if isfinite(concurrency) else DEFAULT_CONCURRENCY,
            input_tokens=input_tokens * mean,
            output_tokens=output_tokens * mean,
            spread=spread,
            cached_tokens=input_tokens * mean * number(row, "cached_share", _cached_share(identifier)),
        ),
        nominal_input=input_tokens,
        nominal_output=output_tokens,
        gpus=int(max(number(row, "gpus", ranks), 1.0)) if number(row, "gpus", 0.0) > 0 else int(ranks),
        has_concurrency=isfinite(concurrency),
        is_sound=number(row, "gpus", ranks) > 0.0,
        ttft_ms=number(row, "measured_ttft_ms", UNMEASURED),
        tpot_ms=number(row, "measured_tpot_ms", UNMEASURED),
    )


POLLED_FROM = 16.0
"""Concurrency from which the InferenceX scripts for Blackwell let SGLang look for requests every 30 steps, not 10."""


def scheduler(run: Run, generation: str, cache_tokens: float) -> Scheduler:
    """The engine's scheduler as the publishers of the runs set it."""
    poll = 1.0
    if run.engine == "sglang" and run.load.spread and generation == "blackwell":
        poll = 30.0 if run.load.concurrency >= POLLED_FROM else 10.0
    return Scheduler(
        token_budget=token_budget(run), mixes=run.engine != "sglang", poll_steps=poll, cache_tokens=cache_tokens
    )


def token_budget(run: Run) -> float:
    """Most tokens per step: engine defaults and the publishers' scripts."""
    if run.engine == "vllm":
        return 8192.0 if run.load.spread else max(2048.0, run.nominal_input)
    if run.engine == "trtllm":
        # The scripts set the budget to one prompt beside the running sequences.
        return run.nominal_input + (run.load.concurrency + 64.0 if run.load.spread else 0.0)
    return 16384.0
