"""What one rank does in one engine step, and how long that takes: a roofline per operation.

:class:`StepModel` is compiled once per (architecture, sharding, formats, system) into flat tuples, so that a step
costs microseconds to evaluate. Seconds come out by class of operation; :mod:`corrections` weighs the classes.

The formulas are in :mod:`formulas`; :mod:`stack` evaluates those of many step models at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepseek_planner.prediction.architecture import (
    Architecture,
    Attention,
    Compressed,
    FeedForward,
    Grouped,
    Latent,
    Linear,
)
from deepseek_planner.prediction.curves import CurveSet, LinkCurve
from deepseek_planner.prediction.formats import Formats
from deepseek_planner.prediction.formulas import (
    PADDED_ROWS_PER_EXPERT,
    Amount,
    Attending,
    Batch,
    Collective,
    Experts,
    Part,
    Product,
    Seconds,
    Sharding,
)
from deepseek_planner.prediction.systems import System

__all__ = [
    "PADDED_ROWS_PER_EXPERT",
    "Batch",
    "Part",
    "Sharding",
    "StepModel",
    "expert_row_bytes",
    "linear_prefill_bytes",
    "link_curve",
]

ACTIVATION_BYTES = 2.0
SCALE_BLOCK = 128
"""Rows and columns that share a scale in block-quantized fp8."""
ELEMENTWISE_PASSES = 10
"""Reads and writes of the hidden state per layer by norms, residuals, rotary embedding and activation."""
ELEMENTWISE_EFFICIENCY = 0.6
"""Of the bandwidth; assumed, corrected by the fit like every part."""
EAGER_LINK_EFFICIENCY = 0.6
EAGER_LINK_LATENCY_S = 18e-6
"""Where no collective was measured (PCIe, other numbers of ranks): assumed, no run checks it."""
HOST_STAGED_LATENCY_S = 45e-6
"""Of an all-reduce through host memory: Qwen2-7B and Qwen2.5-32B on two A100 without peer access decode a single
request's token in 8.8 and 29.2 ms, of which 56 and 128 reductions take what weights and overheads leave
(dennislee22/vLLM-benchmarking @b474d1e, vLLM 0.10)."""
WEIGHT_ONLY_COMPUTE = 0.85
"""Share of the 16-bit peak that is left when weights are expanded on the fly (4-bit and 8-bit weight-only): assumed,
no run checks it."""


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
        self._cached = ":fp8" if formats.kv_bytes <= 1.0 else ""
        self._products: list[Product] = []
        self._experts: list[Experts] = []
        self._attending: list[Attending] = []
        self._collectives: list[Collective] = []
        self.layers = architecture.layers / sharding.pipeline
        for group in architecture.groups:
            calls = group.count / sharding.pipeline
            self._add_attention(group.attention, calls)
            self._add_network(group.network, calls)
        self._add_sends()
        self._products, self._attending = _merged(self._products), _merged(self._attending)
        self._experts, self._collectives = _merged(self._experts), _merged(self._collectives)
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
        return (
            sum([product.seconds(tokens) for product in self._products]) + self._head.seconds(batch.sampled),
            sum([experts.seconds(tokens * batch.level) for experts in self._experts]),
            sum([one.decode_seconds(batch.decodes, batch.context, batch.width) for one in self._attending]),
            sum([one.prefill_seconds(batch.prompts, batch.chunk, batch.history) for one in self._attending]),
            sum([one.seconds(tokens, batch.level) for one in self._collectives]),
            self._elementwise_s * tokens,
        )

    def bound(self, part: Part, batch: Batch) -> str:
        """What binds a class of operations in this step: ``compute``, ``bandwidth``, ``KV``, ``network``."""
        tokens = batch.tokens
        if part is Part.GEMM:
            compute = sum(one.calls * one.compute_s_per_token for one in self._products) * tokens
            moved = sum(one.calls * (one.memory_s + one.memory_s_per_token * tokens) for one in self._products)
            return "compute" if compute > moved else "bandwidth"
        if part is Part.EXPERTS:
            compute = sum(
                one.calls * tokens * one.tokens_factor * one.rows_per_token * one.compute_s_per_row
                for one in self._experts
            )
            return "compute" if compute > 0.5 * self.step(batch)[part] else "bandwidth"
        return {
            Part.DECODE_ATTENTION: "KV",
            Part.PREFILL_ATTENTION: "compute",
            Part.COLLECTIVE: "network",
        }.get(part, "bandwidth")

    @property
    def operations(self) -> tuple[Sequence[tuple[float, ...]], ...]:
        """Products, experts, attention, collectives, the head and the elementwise work: what :mod:`stack` stacks."""
        elementwise = ((self._elementwise_s,),)
        return self._products, self._experts, self._attending, self._collectives, (self._head,), elementwise

    # -- compiling ---------------------------------------------------------------------------------

    def _product(self, k: float, n: float, stored: str, *, calls: float) -> Product:
        formats, system = self._formats, self._system
        computed = formats.computed(stored, system)
        # No int8 product was measured: the units are as wide as those of fp8.
        key = "gemm:fp8" if computed == "int8" else f"gemm:{computed}"
        curve = self._curves[f"{key}_static" if f"{key}_static" in self._curves and not formats.is_block else key]
        efficiency = curve.compute * (WEIGHT_ONLY_COMPUTE if formats.is_expanded(stored, system) else 1.0)
        bandwidth = system.bandwidth_bytes_per_s * curve.memory
        activation = 1.0 if computed in {"fp8", "int8"} else 0.5 if computed == "fp4" else ACTIVATION_BYTES
        return Product(
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
            shared = 1.0 if copies > 1 else 0.0
            self._collectives.append(
                Collective(calls, link.latency_s, link.root_s, link.s_per_byte, size, shared=shared)
            )

    def _add_sends(self) -> None:
        """Hidden states from one pipeline stage to the next: each tensor rank sends its part."""
        if self._sharding.pipeline > 1:
            link = send_curve(self._system, self._sharding.ranks)
            size = self._architecture.hidden * ACTIVATION_BYTES / self._sharding.tensor
            self._collectives.append(Collective(1.0, link.latency_s, link.root_s, link.s_per_byte, size, shared=0.0))

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

    def _grouped(self, gqa: Grouped, kv_heads: float, calls: float) -> Attending:
        rate, bandwidth = self._attention_rates()
        entry = 2.0 * kv_heads * gqa.head_dim * self._formats.kv_bytes
        flops = 4.0 * gqa.heads / self._sharding.tensor * gqa.head_dim
        io = 2.0 * (gqa.heads / self._sharding.tensor + kv_heads) * gqa.head_dim * ACTIVATION_BYTES
        decode, prefill = self._curves[f"decode{self._cached}"], self._curves[f"prefill{self._cached}"]
        return Attending(
            calls=calls,
            decode_latency_s=decode.latency_s,
            decode_memory_s=entry / (bandwidth * decode.memory),
            decode_compute_s=flops / (rate * decode.compute),
            prefill_latency_s=prefill.latency_s,
            prefill_memory_s=io / (bandwidth * prefill.memory),
            prefill_compute_s=flops / (rate * prefill.compute),
            reach=float(gqa.window) if gqa.window else float("inf"),
        )

    def _latent(self, mla: Latent, heads: float, calls: float) -> Attending:
        rate, bandwidth = self._attention_rates()
        width = mla.kv_lora_rank + mla.rope_dim
        index_rate = self._system.compute_rate("fp8")
        index_flops = 2.0 * mla.index_heads * mla.index_dim
        decode, prefill = self._curves[f"mla_decode{self._cached}"], self._curves[f"mla_prefill{self._cached}"]
        io = 2.0 * heads * (mla.nope_dim + mla.v_dim) * ACTIVATION_BYTES
        return Attending(
            calls=calls,
            decode_latency_s=decode.latency_s,
            decode_memory_s=width * self._formats.kv_bytes / (bandwidth * decode.memory),
            decode_compute_s=2.0 * heads * (mla.kv_lora_rank + width) / (rate * decode.compute),
            prefill_latency_s=prefill.latency_s,
            prefill_memory_s=io / (bandwidth * prefill.memory),
            prefill_compute_s=2.0 * heads * (mla.nope_dim + mla.rope_dim + mla.v_dim) / (rate * prefill.compute),
            reach=float(mla.index_top_k) if mla.index_top_k else float("inf"),
            index_s=mla.index_dim / bandwidth + index_flops / index_rate if mla.index_heads else 0.0,
            index_pair_s=index_flops / (0.6 * index_rate),
        )

    def _compressed(self, v4: Compressed, heads: float, calls: float) -> Attending:
        rate, bandwidth = self._attention_rates()
        is_indexed = 0 < v4.ratio <= 4
        flops = 4.0 * heads * v4.head_dim
        index_rate = self._system.compute_rate("fp8")
        index_flops = 2.0 * v4.index_heads * v4.index_dim if is_indexed else 0.0
        decode, prefill = self._curves[f"mla_decode{self._cached}"], self._curves[f"mla_prefill{self._cached}"]
        io = 2.0 * heads * v4.head_dim * ACTIVATION_BYTES
        scored = 1.0 / max(v4.ratio, 1)
        return Attending(
            calls=calls,
            decode_latency_s=decode.latency_s,
            decode_memory_s=v4.head_dim * self._formats.kv_bytes / (bandwidth * decode.memory),
            decode_compute_s=flops / (rate * decode.compute),
            prefill_latency_s=prefill.latency_s,
            prefill_memory_s=io / (bandwidth * prefill.memory),
            prefill_compute_s=flops / (rate * prefill.compute),
            density=1.0 / v4.ratio if v4.ratio else 0.0,
            reach=float(v4.index_top_k) if is_indexed else float("inf"),
            window=0.0 if v4.ratio == 1 else float(v4.window),
            index_s=scored * (v4.index_dim / bandwidth + index_flops / index_rate) if is_indexed else 0.0,
            index_pair_s=scored * index_flops / (0.6 * index_rate),
        )

    def _linear(self, gdn: Linear, calls: float) -> Attending:
        _, bandwidth = self._attention_rates()
        heads = gdn.value_heads / self._sharding.tensor
        keys = gdn.key_heads / self._sharding.tensor * gdn.key_dim
        values = heads * gdn.value_dim
        decode, prefill = self._curves["linear_decode"], self._curves["linear_prefill"]
        return Attending(
            calls=calls,
            decode_latency_s=decode.latency_s,
            decode_memory_s=0.0,
            decode_compute_s=0.0,
            prefill_latency_s=prefill.latency_s,
            prefill_memory_s=0.0,
            prefill_compute_s=0.0,
            state_s=2.0 * 4.0 * heads * gdn.key_dim * gdn.value_dim / (bandwidth * decode.memory),
            state_prefill_s=linear_prefill_bytes(keys, values) / (bandwidth * prefill.memory),
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

    def _routed(self, network: FeedForward, calls: float) -> Experts:
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
        return Experts(
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
    passes = 2.0 * (ranks - 1) / ranks
    if ranks > system.node_size:
        return LinkCurve(system.far_latency_s, 0.0, passes / system.far_bytes_per_s)
    if ranks in curves.links and (system.curves == system.name or system.interconnect == "nvlink"):
        return curves.links[ranks]
    latency = EAGER_LINK_LATENCY_S * (1.0 + 0.5 * (ranks - 2) / 6.0)
    if system.interconnect == "pcie":
        # Without peer access every message goes through host memory.
        passes, latency = 2.0 * passes, HOST_STAGED_LATENCY_S
    return LinkCurve(latency, 0.0, passes / (system.link_bytes_per_s * EAGER_LINK_EFFICIENCY))


def send_curve(system: System, ranks: int) -> LinkCurve:
    """One rank's message to its peer in the next pipeline stage, which is on another node where a node is too small."""
    if ranks > system.node_size:
        return LinkCurve(system.far_latency_s, 0.0, 1.0 / system.far_bytes_per_s)
    passes, latency = (2.0, HOST_STAGED_LATENCY_S) if system.interconnect == "pcie" else (1.0, EAGER_LINK_LATENCY_S)
    return LinkCurve(latency, 0.0, passes / (system.link_bytes_per_s * EAGER_LINK_EFFICIENCY))


def _merged(operations: list[Any]) -> list[Any]:
    """Operations that are alike but for how often they are called, once each."""
    alike: dict[tuple[float, ...], Any] = {}
    for one in operations:
        known = alike.get(one[1:])
        alike[one[1:]] = one if known is None else known._replace(calls=known.calls + one.calls)
    return list(alike.values())
