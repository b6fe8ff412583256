"""A run: what is asked of a prediction, and what a benchmark measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite

from deepseek_planner.prediction import published, spellings
from deepseek_planner.prediction.architecture import Architecture
from deepseek_planner.prediction.batching import Load, Scheduler
from deepseek_planner.prediction.formats import STORED_BYTES
from deepseek_planner.prediction.operations import Sharding
from deepseek_planner.prediction.published import Harness
from deepseek_planner.prediction.systems import system

UNMEASURED = float("nan")
NOMINAL_LENGTHS = frozenset({1024.0, 8192.0})
INFERENCEX_SPREAD = 0.2
"""InferenceX asks for lengths between 0.8 and 1.0 of the nominal ones (RANDOM_RANGE_RATIO 0.8 in the README of its
repository, read 2026-11-22 in the copy jyothisambolu/InferenceMAX).
"""
DOUBLED_NAME = re.compile(r"(.+)(?<!_gap_analysis)_\1_")
"""Inferred from the runs, not stated by a publisher: those whose identifiers carry the model's name twice fit fixed
lengths in lock-step, and their lengths are mostly not InferenceX's; those named gap analysis fit like InferenceX's.
"""
CACHED_SHARE = {"nvidia_llama_3_1_8b_instruct_fp8": 0.9}
"""Inferred from the runs, not stated by a publisher: at the full prompt their rates would need more arithmetic than
the accelerator has, so most of the prompt must come from a cache. The share is the one that fits.
"""
DEFAULT_CONCURRENCY = 8.0
DEFAULT_REQUESTS_PER_SLOT = 10.0
CURRENT_VLLM = "0.32.0"
"""What a row is predicted for that names neither a published run nor a release: the one that plans are made for."""
ENGINES = ("sglang", "trtllm", "vllm")
"""Those that runs were measured of."""
LOOSE_SPREAD = 0.02
"""Inferred from the runs, not stated by a publisher: SGLang's requests of one length do not stay in lock-step. In step,
their prompts would need more arithmetic than the accelerator has: 20 of 8000 tokens at once had their first tokens
after 0.7 s on average on one H200, and its peak in 8 bits is 1.3 s for all of them.
"""


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
    harness: Harness = field(default_factory=Harness)
    doubt: str = ""
    """What of the model is not confirmed; a prediction with a doubt is unverified."""
    ttft_ms: float = UNMEASURED
    tpot_ms: float = UNMEASURED
    publisher: str = ""
    """Who reported the run; empty: it comes from a file of runs."""

    @property
    def is_measured(self) -> bool:
        """Whether a fit can learn from the run; its TTFT may be missing all the same."""
        return isfinite(self.tpot_ms) and self.has_concurrency and self.is_sound

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
    """A cell as a number; one that says nothing (empty, ``nan``, ``None``) or is absent is ``default``.

    Raises ValueError naming the column when the cell is something else.
    """
    text = (row.get(column) or "").strip()
    if spellings.is_absent(text):
        return default
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{column} {text!r} is not a number") from None
    if not isfinite(value):
        raise ValueError(f"{column} {text!r} is not a finite number")
    if value < 0:
        raise ValueError(f"{column} {text!r} must not be negative")
    return value


NEEDED = ("isl", "osl")
COUNTS = ("tp", "attn_dp", "moe_ep", "gpus")
MEASURED = ("measured_ttft_ms", "measured_tpot_ms")
SHARES = ("length_spread", "cached_share")


def problems(row: Mapping[str, str]) -> Iterator[str]:
    """Everything in a row, but for its model, that cannot be used: column, value and what would be right."""
    for column in (*NEEDED, *COUNTS, "concurrency", "requests_per_slot", *SHARES, *MEASURED):
        try:
            value = number(row, column, UNMEASURED)
        except ValueError as error:
            yield str(error)
            continue
        if column in NEEDED and not value > 0:
            yield f"{column} must be a number of tokens above 0"
        if column in COUNTS and isfinite(value) and value != int(value):
            yield f"{column} {row[column]!r} must be a whole number"
        if column in SHARES and value >= 1:
            yield f"{column} {row[column]!r} must be below 1"
    try:
        system(row.get("system") or "")
    except ValueError as error:
        yield str(error)
    if not spellings.is_absent(row.get("pp") or "") and row["pp"].strip() not in {"1", "1.0"}:
        yield f"pp {row['pp']!r} must be 1: only plan weighs pipelines"
    if (stored := spellings.number_format(row.get("precision") or "")) and stored not in STORED_BYTES:
        yield f"precision {row['precision']!r} is not known; known are {', '.join(sorted(STORED_BYTES))}"
    if spellings.engine(row.get("backend") or "") not in ENGINES:
        yield f"backend {row['backend']!r} is not known; known are {', '.join(ENGINES)}"


def precision_of(row: Mapping[str, str], architecture: Architecture) -> str:
    """Weight format; where the cell says none, the one that the model's name says, else its configuration."""
    said = spellings.number_format(row.get("precision") or "") or spellings.checkpoint_format(row.get("model") or "")
    own = architecture.quantization
    return said or ("fp8" if own == "fp8_block" else own)


def _ranks(row: Mapping[str, str]) -> tuple[float, float]:
    """Ranks of tensor-parallel and of data-parallel attention (NaN: not said). Where there are fewer accelerators than
    their product, ``tp`` counts both kinds, as engines' own options do (``--tp 8 --dp 8`` are eight accelerators);
    where ``tp`` is not said, the accelerators are.
    """
    tensor, data, gpus = (number(row, name, 0.0) for name in ("tp", "attn_dp", "gpus"))
    parallel = max(data, 1.0)
    if not tensor:
        tensor = max(gpus // parallel, 1.0)
    elif data > 1.0 and 0.0 < gpus < tensor * data and gpus % data == 0.0:
        tensor = gpus / data
    return tensor, number(row, "attn_dp", UNMEASURED)


def parse(row: Mapping[str, str], architecture: Architecture, model: str, *, doubt: str = "") -> Run:
    """A row with the columns of the calibration data.

    Raises ValueError naming all columns that cannot be used.
    """
    found = "; ".join(problems(row))
    if found:
        raise ValueError(found)
    identifier = row.get("id") or ""
    tensor, data = _ranks(row)
    ranks = tensor * max(data if isfinite(data) else 1.0, 1.0)
    expert_parallel = max(number(row, "moe_ep", 1.0), 1.0) if architecture.is_sparse else 1.0
    input_tokens, output_tokens = number(row, "isl", UNMEASURED), number(row, "osl", UNMEASURED)
    engine, version = spellings.engine(row.get("backend") or ""), spellings.said(row.get("measured_engine_version"))
    precision, is_block = precision_of(row, architecture), spellings.is_block_scaled(row.get("precision") or "")
    # Only a run that was published may be taken for one of its publisher's scripts.
    is_published = bool(identifier)
    if engine == "vllm" and not version and not is_published:
        version = CURRENT_VLLM
    spread = number(row, "length_spread", UNMEASURED)
    if not isfinite(spread):
        is_random = not is_published or is_inferencex(identifier, input_tokens, output_tokens)
        spread = INFERENCEX_SPREAD if is_random else 0.0
    if engine == "sglang":
        spread = max(spread, LOOSE_SPREAD)
    concurrency = number(row, "concurrency", UNMEASURED)
    mean = 1.0 - spread / 2.0
    facts = system(row.get("system") or "")
    asked = published.Asked(
        engine=engine,
        version=version,
        architecture=architecture,
        generation=facts.generation,
        system=facts.name,
        precision=precision,
        is_block_scaled=is_block,
        ranks=ranks,
        expert_parallel=expert_parallel,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        concurrency=concurrency if concurrency > 0 else DEFAULT_CONCURRENCY,
        is_inferencex=spread > LOOSE_SPREAD,
        is_published=is_published,
    )
    data = published.data_parallel(asked, data, expert_parallel)
    tensor = max(ranks / data, 1.0)
    if data > 1.0:
        expert_parallel = ranks
    return Run(
        name=identifier,
        model=model,
        architecture=architecture,
        system=facts.name,
        engine=engine,
        version=version,
        precision=precision,
        sharding=Sharding(
            tensor=int(tensor),
            data=int(data),
            expert_tensor=int(max(ranks / expert_parallel, 1.0)),
            expert_parallel=int(min(expert_parallel, ranks)),
        ),
        load=Load(
            concurrency=concurrency if concurrency > 0 else DEFAULT_CONCURRENCY,
            input_tokens=input_tokens * mean,
            output_tokens=output_tokens * mean,
            spread=spread,
            cached_tokens=input_tokens * mean * number(row, "cached_share", _cached_share(identifier)),
            requests_per_slot=number(row, "requests_per_slot", DEFAULT_REQUESTS_PER_SLOT),
        ),
        nominal_input=input_tokens,
        nominal_output=output_tokens,
        gpus=int(max(number(row, "gpus", ranks), 1.0)) if number(row, "gpus", 0.0) > 0 else int(ranks),
        has_concurrency=concurrency > 0,
        is_sound=number(row, "gpus", ranks) > 0.0,
        harness=published.harness(asked, data),
        doubt=doubt,
        ttft_ms=number(row, "measured_ttft_ms", UNMEASURED),
        tpot_ms=number(row, "measured_tpot_ms", UNMEASURED),
        publisher=row.get("publisher") or "",
    )


def scheduler(run: Run, cache_tokens: float) -> Scheduler:
    """The engine's scheduler, as far as the run's harness tells it."""
    found = run.harness
    return Scheduler(
        token_budget=found.token_budget,
        mixes=run.engine != "sglang",
        poll_steps=found.poll_steps,
        held_steps=found.held_steps,
        max_sequences=found.max_sequences,
        cache_tokens=cache_tokens,
        drafted=found.drafted,
    )
