"""How long one kind of operation takes in a step: formulas over coefficients that :mod:`operations` compiles.

Each works on numbers and on arrays alike, so that many step models are evaluated at once (:mod:`stack`) by the same
code. Nothing here needs numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

PADDED_ROWS_PER_EXPERT = 8
"""A tile of the grouped product is filled up to so many rows on average: assumed; the curves are fitted with it."""


class Part(IntEnum):
    """Classes of work in a step: seconds of operations, then counts of what only overheads know."""

    GEMM = 0
    EXPERTS = 1
    DECODE_ATTENTION = 2
    PREFILL_ATTENTION = 3
    COLLECTIVE = 4
    ELEMENTWISE = 5


Amount = TypeVar("Amount", float, Any)
"""A number, or an array of numbers."""
Seconds = tuple[Any, ...]
"""By :class:`Part`; numbers, or arrays of one shape."""


def smaller(first: Any, second: Any) -> Any:
    """The lesser of two, element by element where one is an array."""
    if isinstance(first, (int, float)):
        return min(first, second) if isinstance(second, (int, float)) else second.clip(max=first)
    return first.clip(max=second)


@dataclass(frozen=True, slots=True)
class Sharding:
    """How one replica is cut. Experts: ``expert_tensor * expert_parallel`` ranks; attention: tensor x data."""

    tensor: int = 1
    data: int = 1
    expert_tensor: int = 1
    expert_parallel: int = 1
    pipeline: int = 1

    @property
    def ranks(self) -> int:
        return self.tensor * self.data * self.pipeline


@dataclass(frozen=True, slots=True)
class Batch:
    """One step of one rank: ``decodes`` sequences at ``context`` tokens, and ``prompts`` chunks of ``chunk`` new
    tokens each after ``history`` earlier ones. Numbers, or arrays that broadcast to (batches, models).
    """

    decodes: Any
    context: Any
    prompts: Any = 0.0
    chunk: Any = 0.0
    history: Any = 0.0
    level: Any = 1.0
    """Tokens of the mean data-parallel rank over those of this one: a prompt reaches one rank, not all."""
    width: Any = 1.0
    """Tokens that are computed per decode: above one where drafts are checked."""

    @property
    def tokens(self) -> Any:
        return self.decodes * self.width + self.prompts * self.chunk

    @property
    def sampled(self) -> Any:
        return self.decodes * self.width + self.prompts


class Product(NamedTuple):
    """A matrix product over the step's tokens: coefficients of time per token and per call."""

    calls: Any
    latency_s: Any
    compute_s_per_token: Any
    memory_s: Any
    memory_s_per_token: Any
    quantize_s_per_token: Any

    def seconds(self, tokens: Any) -> Any:
        return self.calls * (
            self.latency_s
            + self.quantize_s_per_token * tokens
            + _soft_maximum(self.compute_s_per_token * tokens, self.memory_s + self.memory_s_per_token * tokens)
        )


class Experts(NamedTuple):
    """Routed experts: weights of the distinct experts hit, products padded to tiles, and token traffic."""

    calls: Any
    latency_s: Any
    local: Any
    """Experts on this rank."""
    miss: Any
    """Chance that one token leaves a given expert alone."""
    memory_s_per_expert: Any
    compute_s_per_row: Any
    rows_per_token: Any
    traffic_s_per_row: Any
    tokens_factor: Any
    """Tokens of all data-parallel ranks per token of the mean one."""

    def seconds(self, tokens: Any) -> Any:
        total = tokens * self.tokens_factor
        hit = self.local * (1.0 - self.miss**total)
        rows = total * self.rows_per_token
        return self.calls * (
            self.latency_s
            + hit * (self.memory_s_per_expert + PADDED_ROWS_PER_EXPERT * self.compute_s_per_row)
            + rows * (self.compute_s_per_row + self.traffic_s_per_row)
        )


class Attending(NamedTuple):
    """Attention of ``calls`` layers; per cached entry read or per pair of tokens computed, efficiencies included.

    Entries attended: ``context * density``, at most ``reach``, and those of a window beside them.
    """

    calls: Any
    decode_latency_s: Any
    decode_memory_s: Any
    """Per cached entry read."""
    decode_compute_s: Any
    prefill_latency_s: Any
    prefill_memory_s: Any
    """Per token of the chunk and of its history."""
    prefill_compute_s: Any
    """Per (query, key) pair."""
    state_s: Any = 0.0
    """Per sequence: a state of fixed size that is read, and written once per token of the step."""
    state_prefill_s: Any = 0.0
    """Per prompt token, where a state replaces the pairs."""
    density: Any = 1.0
    """Entries per token of context: below one where the past is compressed, zero where only the window is kept."""
    reach: Any = float("inf")
    window: Any = 0.0
    index_s: Any = 0.0
    """Per token of context that the sparse indexer scores, per sequence."""
    index_pair_s: Any = 0.0

    def entries(self, context: Any) -> Any:
        return smaller(context * self.density, self.reach) + smaller(context, self.window)

    def decode_seconds(self, sequences: Any, context: Any, width: Any) -> Any:
        read = sequences * self.entries(context)
        moved = read * self.decode_memory_s + sequences * (self.state_s * (0.5 + 0.5 * width))
        attend = _soft_maximum(read * width * self.decode_compute_s, moved)
        index = sequences * context * self.index_s
        return self.calls * (self.decode_latency_s * (sequences > 0.0) + attend + index)

    def prefill_seconds(self, prompts: Any, chunk: Any, history: Any) -> Any:
        tokens = prompts * chunk
        mean_context = history + (chunk + 1.0) / 2.0
        pairs = tokens * self.entries(mean_context)
        read = tokens + prompts * history
        attend = pairs * self.prefill_compute_s + read * self.prefill_memory_s + tokens * self.state_prefill_s
        index = tokens * mean_context * self.index_pair_s
        return self.calls * (self.prefill_latency_s * (tokens > 0.0) + attend + index)


class Collective(NamedTuple):
    """Messages between ranks: latency, a middle range that grows with the root of the message, and the wire."""

    calls: Any
    latency_s: Any
    root_s: Any
    s_per_byte: Any
    bytes_per_token: Any
    shared: Any
    """1 where the tokens of all data-parallel ranks travel, 0 where only this rank's do."""

    def seconds(self, tokens: Any, level: Any) -> Any:
        message = self.bytes_per_token * tokens * (1.0 + self.shared * (level - 1.0))
        return self.calls * (self.latency_s + self.root_s * message**0.5 + self.s_per_byte * message)


def _soft_maximum(first: Any, second: Any) -> Any:
    return (first * first + second * second) ** 0.5
