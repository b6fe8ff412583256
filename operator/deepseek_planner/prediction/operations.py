"""What one rank does in one engine step, and how long that takes: a roofline per operation.

:class:`StepModel` is compiled once per (architecture, sharding, formats, system) into flat tuples, so that a step
costs microseconds to evaluate. Seconds come out by class of operation; :mod:`corrections` weighs the classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import hypot
from typing import Any, TypeVar

from deepseek_planner.prediction.architecture import (
    Architecture,
    Attention,
    Compressed,
    FeedForward,
    Grouped,
    Latent,
    Linear,
)
from deepseek_planner.prediction.curves import Curve, CurveSet, LinkCurve
from deepseek_planner.prediction.formats import Formats
from deepseek_planner.prediction.systems import System

ACTIVATION_BYTES = 2.0
PADDED_ROWS_PER_EXPERT = 8
"""A tile of the grouped product is filled up to so many rows on average: assumed; the curves are fitted with it."""
SCALE_BLOCK = 128
"""Rows and columns that share a scale in block-quantized fp8."""
ELEMENTWISE_PASSES = 10
"""Reads and writes of the hidden state per layer by norms, residuals, rotary embedding and activation."""
ELEMENTWISE_EFFICIENCY = 0.6
"""Of the bandwidth; assumed, corrected by the fit like every part."""
EAGER_LINK_EFFICIENCY = 0.6
EAGER_LINK_LATENCY_S = 18e-6
"""Where no collective was measured (PCIe, other numbers of ranks): assumed, no run checks it."""
HOST_STAGED_LATENCY_S = 120e-6
"""Of an all-reduce through host memory: Qwen2-7B on two A100 without peer access decodes a token in 13.0 ms, on one
in 13.5 ms (dennislee22/vLLM-benchmarking @b474d1e, vLLM 0.10)."""
WEIGHT_ONLY_COMPUTE = 0.85
"""Share of the 16-bit peak that is left when weights are expanded on the fly (4-bit and 8-bit weight-only): assumed,
no run checks it."""


class Part(IntEnum):
    """Classes of work in a step: seconds of operations, then counts of what only overheads know."""

    GEMM = 0
    EXPERTS = 1
    DECODE_ATTENTION = 2
    PREFILL_ATTENTION = 3
    COLLECTIVE = 4
    ELEMENTWISE = 5


Amount = TypeVar("Amount", float, Any)
"""A number, or an array of numbers when tables are mined."""
Seconds = tuple[float, ...]


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
    tokens each after ``history`` earlier ones.
    """

    decodes: float
    context: float
    prompts: float = 0.0
    chunk: float = 0.0
    history: float = 0.0

    @property
    def tokens(self) -> float:
        return self.decodes + self.prompts * self.chunk


@dataclass(frozen=True, slots=True)
class _Product:
    """A matrix product over the step's tokens: coefficients of time per token and per call."""

    calls: float
    latency_s: float
    compute_s_per_token: float
    memory_s: float
    memory_s_per_token: float
    quantize_s_per_token: float

    def seconds(self, tokens: float) -> float:
        return self.calls * (
            self.latency_s
            + self.quantize_s_per_token * tokens
            + hypot(self.compute_s_per_token * tokens, self.memory_s + self.memory_s_per_token * tokens)
        )


@dataclass(frozen=True, slots=True)
class _Experts:
    """Routed experts: weights of the distinct experts hit, products padded to tiles, and token traffic."""

    calls: float
    latency_s: float
    local: float
    """Experts on this rank."""
    miss: float
    """Chance that one token leaves a given expert alone."""
    memory_s_per_expert: float
    compute_s_per_row: float
    rows_per_token: float
    traffic_s_per_row: float
    tokens_factor: float
    """Tokens of all data-parallel ranks per token of this one."""

    def seconds(self, tokens: float) -> float:
        total = tokens * self.tokens_factor
        hit = self.local * (1.0 - float(self.miss**total))
        rows = total * self.rows_per_token
        return self.calls * (
            self.latency_s
            + hit * (self.memory_s_per_expert + PADDED_ROWS_PER_EXPERT * self.compute_s_per_row)
            + rows * (self.compute_s_per_row + self.traffic_s_per_row)
        )


@dataclass(frozen=True, slots=True)
class _Attending:
    """Attention of ``calls`` layers; per cached token read or per pair of tokens computed.

    Tokens attended: ``min(context, reach)`` after dividing the context by ``ratio``, plus a window.
    """

    calls: float
    decode: Curve
    prefill: Curve
    decode_memory_s: float
    """Per cached entry read."""
    decode_compute_s: float
    prefill_memory_s: float
    """Per token of the chunk and of its history."""
    prefill_compute_s: float
    """Per (query, key) pair."""
    state_s: float = 0.0
    """Per sequence: a state of fixed size that is read and written."""
    state_prefill_s: float = 0.0
    """Per prompt token, where a state replaces the pairs."""
    window: float = 0.0
    ratio: float = 1.0
    reach: float = float("inf")
    index_s: float = 0.0
    """Per cached entry that the sparse indexer scores, per sequence."""
    index_pair_s: float = 0.0

    def entries(self, context: float) -> float:
        if self.ratio == 0.0:
            return min(context, self.window)
        compressed = min(context / self.ratio, self.reach)
        return compressed + min(context, self.window) if self.ratio > 1.0 else compressed

    def decode_seconds(self, sequences: float, context: float) -> float:
        if sequences <= 0.0:
            return 0.0
        if self.state_s:
            return self.calls * self.decode.soft_maximum(0.0, sequences * self.state_s)
        read = sequences * self.entries(context)
        attend = self.decode.soft_maximum(read * self.decode_compute_s, read * self.decode_memory_s)
        index = sequences * context / max(self.ratio, 1.0) * self.index_s
        return self.calls * (attend + index)

    def prefill_seconds(self, prompts: float, chunk: float, history: float) -> float:
        tokens = prompts * chunk
        if tokens <= 0.0:
            return 0.0
        if self.state_prefill_s:
            return self.calls * self.prefill.soft_maximum(0.0, tokens * self.state_prefill_s)
        mean_context = history + (chunk + 1.0) / 2.0
        pairs = tokens * self.entries(mean_context)
        read = tokens + prompts * history
        attend = self.prefill.total(pairs * self.prefill_compute_s, read * self.prefill_memory_s)
        index = tokens * mean_context / max(self.ratio, 1.0) * self.index_pair_s
        return self.calls * (attend + index)


@dataclass(frozen=True, slots=True)
class _Collective:
    calls: float
    link: LinkCurve
    bytes_per_token: float

    def seconds(self, tokens: float) -> float:
        return self.calls * self.link.seconds(self.bytes_per_token * tokens)


class StepModel:
    """Seconds of one engine step of one rank, by :class:`Part`."""

    def __init__(
        self, architecture: Architecture, sharding: Sharding, formats: Formats, system: System, curves: CurveSet
    ) -> None:
        self._architecture = architecture
        self._sharding = sharding
        self._formats = formats
        self._system = system
        self._curves = curves
        self._products: list[_Product] = []
        self._experts: list[_Experts] = []
        self._attending: list[_Attending] = []
        self._collectives: list[_Collective] = []
        self.layers = architecture.layers / sharding.pipeline
        for group in architecture.groups:
            calls = group.count / sharding.pipeline
            self._add_attention(group.attention, calls)
            self._add_network(group.network, calls)
        self._head = self._product(
            architecture.hidden, architecture.vocabulary / sharding.tensor, formats.head, calls=1.0 / sharding.pipeline
        )
        self._elementwise_s = (
            self.layers
            * ELEMENTWISE_PASSES
            * architecture.hidden
            * ACTIVATION_BYTES
            / (system.bandwidth_bytes_per_s * ELEMENTWISE_EFFICIENCY)
        )

    def step(self, batch: Batch) -> Seconds:
        """Seconds by :class:`Part`."""
        tokens = batch.tokens
        sampled = batch.decodes + batch.prompts
        return (
            sum([product.seconds(tokens) for product in self._products]) + self._head.seconds(sampled),
            sum([experts.seconds(tokens) for experts in self._experts]),
            sum([one.decode_seconds(batch.decodes, batch.context) for one in self._attending]),
            sum([one.prefill_seconds(batch.prompts, batch.chunk, batch.history) for one in self._attending]),
            sum([one.seconds(tokens) for one in self._collectives]),
            self._elementwise_s * tokens,
        )

    # -- compiling ---------------------------------------------------------------------------------

    def _product(self, k: float, n: float, stored: str, *, calls: float) -> _Product:
        formats, system = self._formats, self._system
        computed = formats.computed(stored, system)
        curve = self._curves[f"gemm:{computed}"]
        efficiency = curve.compute * (WEIGHT_ONLY_COMPUTE if formats.is_expanded(stored, system) else 1.0)
        bandwidth = system.bandwidth_bytes_per_s * curve.memory
        activation = 1.0 if computed in {"fp8", "int8"} else 0.5 if computed == "fp4" else ACTIVATION_BYTES
        return _Product(
            calls=calls,
            latency_s=curve.latency_s,
            compute_s_per_token=2.0 * k * n / (system.compute_rate(computed) * efficiency),
            memory_s=k * n * formats.bytes_of(stored) / bandwidth,
            memory_s_per_token=(k * activation + n * ACTIVATION_BYTES) / bandwidth,
            quantize_s_per_token=curve.quantize * k * (ACTIVATION_BYTES + activation) / system.bandwidth_bytes_per_s,
        )

    def _add_product(self, k: float, n: float, stored: str, calls: float) -> None:
        self._products.append(self._product(k, n, stored, calls=calls))

    def _all_reduce(self, calls: float, ranks: int, copies: int = 1) -> None:
        """Sum the hidden states over ``ranks``; ``copies``: of so many data-parallel ranks at once."""
        if ranks > 1:
            link = link_curve(self._curves, self._system, ranks)
            size = self._architecture.hidden * ACTIVATION_BYTES * copies
            self._collectives.append(_Collective(calls, link, size))

    def _add_attention(self, attention: Attention, calls: float) -> None:
        hidden, tensor, stored = self._architecture.hidden, self._sharding.tensor, self._formats.attention
        match attention:
            case Grouped() as gqa:
                kv_heads = max(gqa.kv_heads / tensor, 1.0)
                query = gqa.heads / tensor * gqa.head_dim
                self._add_product(hidden, query * (2 if gqa.gated else 1) + 2 * kv_heads * gqa.head_dim, stored, calls)
                self._add_product(query, hidden, stored, calls)
                self._attending.append(self._grouped(gqa, kv_heads, calls))
            case Latent() as mla:
                heads = mla.heads / tensor
                down = mla.q_lora_rank + mla.kv_lora_rank + mla.rope_dim
                self._add_product(hidden, down, stored, calls)
                self._add_product(mla.q_lora_rank or hidden, heads * (mla.nope_dim + mla.rope_dim), stored, calls)
                # Up-projection of prompts and the absorbed products of decodes cost the same per token.
                self._add_product(mla.kv_lora_rank, heads * (mla.nope_dim + mla.v_dim), "bf16", calls)
                self._add_product(heads * mla.v_dim, hidden, stored, calls)
                if mla.index_heads:
                    self._add_product(mla.q_lora_rank or hidden, mla.index_heads * mla.index_dim, stored, calls)
                self._attending.append(self._latent(mla, heads, calls))
            case Compressed() as v4:
                heads = v4.heads / tensor
                self._add_product(hidden, v4.q_lora_rank + 3 * v4.head_dim, stored, calls)
                self._add_product(v4.q_lora_rank, heads * v4.head_dim, stored, calls)
                self._add_product(
                    heads * v4.head_dim / v4.o_groups * tensor, v4.o_groups * v4.o_lora_rank / tensor, stored, calls
                )
                self._add_product(v4.o_groups * v4.o_lora_rank / tensor, hidden, stored, calls)
                if 0 < v4.ratio <= 4:
                    self._add_product(v4.q_lora_rank, v4.index_heads * v4.index_dim, stored, calls)
                self._attending.append(self._compressed(v4, heads, calls))
            case Linear() as gdn:
                keys, values = gdn.key_heads / tensor * gdn.key_dim, gdn.value_heads / tensor * gdn.value_dim
                self._add_product(hidden, 2 * keys + 2 * values + 2 * gdn.value_heads / tensor, stored, calls)
                self._add_product(values, hidden, stored, calls)
                self._attending.append(self._linear(gdn, calls))
        self._all_reduce(calls, tensor)

    def _grouped(self, gqa: Grouped, kv_heads: float, calls: float) -> _Attending:
        rate, bandwidth = self._attention_rates()
        entry = 2.0 * kv_heads * gqa.head_dim * self._formats.kv_bytes
        flops = 4.0 * gqa.heads / self._sharding.tensor * gqa.head_dim
        io = 2.0 * (gqa.heads / self._sharding.tensor + kv_heads) * gqa.head_dim * ACTIVATION_BYTES
        return _Attending(
            calls=calls,
            decode=self._curves["decode"],
            prefill=self._curves["prefill"],
            decode_memory_s=entry / bandwidth,
            decode_compute_s=flops / rate,
            prefill_memory_s=io / bandwidth,
            prefill_compute_s=flops / rate,
            reach=float(gqa.window) if gqa.window else float("inf"),
        )

    def _latent(self, mla: Latent, heads: float, calls: float) -> _Attending:
        rate, bandwidth = self._attention_rates()
        width = mla.kv_lora_rank + mla.rope_dim
        index_rate = self._system.compute_rate("fp8")
        index_flops = 2.0 * mla.index_heads * mla.index_dim
        return _Attending(
            calls=calls,
            decode=self._curves["mla_decode"],
            prefill=self._curves["mla_prefill"],
            decode_memory_s=width * self._formats.kv_bytes / bandwidth,
            decode_compute_s=2.0 * heads * (mla.kv_lora_rank + width) / rate,
            prefill_memory_s=2.0 * heads * (mla.nope_dim + mla.v_dim) * ACTIVATION_BYTES / bandwidth,
            prefill_compute_s=2.0 * heads * (mla.nope_dim + mla.rope_dim + mla.v_dim) / rate,
            reach=float(mla.index_top_k) if mla.index_top_k else float("inf"),
            index_s=mla.index_dim / bandwidth + index_flops / index_rate if mla.index_heads else 0.0,
            index_pair_s=index_flops / (0.6 * index_rate),
        )

    def _compressed(self, v4: Compressed, heads: float, calls: float) -> _Attending:
        rate, bandwidth = self._attention_rates()
        is_indexed = 0 < v4.ratio <= 4
        flops = 4.0 * heads * v4.head_dim
        index_rate = self._system.compute_rate("fp8")
        index_flops = 2.0 * v4.index_heads * v4.index_dim if is_indexed else 0.0
        return _Attending(
            calls=calls,
            decode=self._curves["mla_decode"],
            prefill=self._curves["mla_prefill"],
            decode_memory_s=v4.head_dim * self._formats.kv_bytes / bandwidth,
            decode_compute_s=flops / rate,
            prefill_memory_s=2.0 * heads * v4.head_dim * ACTIVATION_BYTES / bandwidth,
            prefill_compute_s=flops / rate,
            window=float(v4.window),
            ratio=float(v4.ratio),
            reach=float(v4.index_top_k) if is_indexed else float("inf"),
            index_s=(v4.index_dim / bandwidth + index_flops / index_rate) if is_indexed else 0.0,
            index_pair_s=index_flops / (0.6 * index_rate),
        )

    def _linear(self, gdn: Linear, calls: float) -> _Attending:
        _, bandwidth = self._attention_rates()
        heads = gdn.value_heads / self._sharding.tensor
        keys = gdn.key_heads / self._sharding.tensor * gdn.key_dim
        values = heads * gdn.value_dim
        return _Attending(
            calls=calls,
            decode=self._curves["linear_decode"],
            prefill=self._curves["linear_prefill"],
            decode_memory_s=0.0,
            decode_compute_s=0.0,
            prefill_memory_s=0.0,
            prefill_compute_s=0.0,
            state_s=2.0 * 4.0 * heads * gdn.key_dim * gdn.value_dim / bandwidth,
            state_prefill_s=linear_prefill_bytes(keys, values) / bandwidth,
        )

    def _attention_rates(self) -> tuple[float, float]:
        return self._system.flops_per_s["bf16"], self._system.bandwidth_bytes_per_s

    def _add_network(self, network: FeedForward, calls: float) -> None:
        hidden, sharding = self._architecture.hidden, self._sharding
        width = (network.intermediate + network.shared_intermediate) / sharding.tensor
        if width:
            self._add_product(hidden, 2 * width, self._formats.dense, calls)
            self._add_product(width, hidden, self._formats.dense, calls)
        if not network.experts:
            self._all_reduce(calls, sharding.tensor)
            return
        self._add_product(hidden, network.experts, "bf16", calls)
        self._experts.append(self._routed(network, calls))
        if sharding.data > 1:
            # Dispatch and combine between data-parallel ranks move every rank's tokens once each way.
            self._all_reduce(calls, sharding.tensor * sharding.data, copies=sharding.data)
        else:
            self._all_reduce(calls, sharding.tensor)

    def _routed(self, network: FeedForward, calls: float) -> _Experts:
        formats, system, sharding = self._formats, self._system, self._sharding
        stored = formats.experts
        computed = formats.computed(stored, system)
        curve = self._curves[formats.expert_curve(stored, system)]
        tensor, parallel = sharding.expert_tensor, sharding.expert_parallel
        if stored == "fp8_block" and (network.expert_intermediate / tensor) % SCALE_BLOCK:
            # Blocks of scales cannot be cut. That whole experts go to the ranks instead is inferred: no run says how.
            tensor, parallel = 1, tensor * parallel
        width = network.expert_intermediate / tensor
        weights = 3.0 * self._architecture.hidden * width
        activation = 1.0 if computed in {"fp8", "int8"} else 0.5 if computed == "fp4" else ACTIVATION_BYTES
        expanded = WEIGHT_ONLY_COMPUTE if formats.is_expanded(stored, system) else 1.0
        return _Experts(
            calls=calls,
            latency_s=curve.latency_s,
            local=network.experts / parallel,
            miss=1.0 - network.top_k / network.experts,
            memory_s_per_expert=weights * formats.bytes_of(stored) / (system.bandwidth_bytes_per_s * curve.memory),
            compute_s_per_row=2.0 * weights / (system.compute_rate(computed) * curve.compute * expanded),
            rows_per_token=network.top_k / parallel,
            traffic_s_per_row=expert_row_bytes(self._architecture.hidden, width, activation)
            / system.bandwidth_bytes_per_s,
            tokens_factor=float(sharding.data),
        )


def expert_row_bytes(hidden: Amount, width: Amount, activation: float) -> Amount:
    """Bytes that one routed token moves through one expert: in, between the two products, out."""
    return hidden * (activation + ACTIVATION_BYTES) + 3.0 * width * ACTIVATION_BYTES


def linear_prefill_bytes(keys: Amount, values: Amount) -> Amount:
    """Bytes per token that the chunked delta rule moves; its few products hide behind them."""
    return 3.0 * (2.0 * keys + 2.0 * values) * ACTIVATION_BYTES


def link_curve(curves: CurveSet, system: System, ranks: int) -> LinkCurve:
    """All-reduce over ``ranks``: measured where the wires are the measured ones, else from the link's bandwidth."""
    if ranks in curves.links and (system.curves == system.name or system.interconnect == "nvlink"):
        return curves.links[ranks]
    passes = 2.0 * (ranks - 1) / ranks
    latency = EAGER_LINK_LATENCY_S * (1.0 + 0.5 * (ranks - 2) / 6.0)
    if system.interconnect == "pcie":
        # Without peer access every message goes through host memory.
        passes, latency = 2.0 * passes, HOST_STAGED_LATENCY_S
    return LinkCurve(latency, 0.0, passes / (system.link_bytes_per_s * EAGER_LINK_EFFICIENCY))
