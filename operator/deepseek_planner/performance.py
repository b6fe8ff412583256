"""Step times of a shape: a roofline per operation and rank, corrected by what was measured.

An engine step passes every layer once: one token for each running request, and, when prompts wait, a chunk of
prompt tokens beside them. An operation takes the longer of its arithmetic and its memory traffic; what kernels
lose against that, and what launching them costs, is the calibration's. Service (TTFT, TPOT) is in :mod:`service`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from deepseek_planner.calibration import Correction
from deepseek_planner.hardware import Accelerator, InterNode, IntraNode
from deepseek_planner.memory import Shard, kv_bytes_per_token, shard
from deepseek_planner.models import CompressedAttention, GroupedAttention, LatentAttention, ModelSpec, Precision
from deepseek_planner.plan import Shape
from deepseek_planner.precision import PrecisionChoice

# What a link gives of its nominal rate, and one collective's latency.
INTRA_NODE: dict[IntraNode, tuple[float, float]] = {
    IntraNode.NVLINK: (0.8, 12e-6),
    IntraNode.PCIE_P2P: (0.7, 25e-6),
    IntraNode.PCIE: (0.35, 40e-6),
}
# Bytes per second and accelerator between nodes, and latency: 400 Gb/s adapters per accelerator, 100 Gb/s per node.
INTER_NODE: dict[InterNode, tuple[float, float]] = {
    InterNode.INFINIBAND: (40e9, 25e-6),
    InterNode.EFA: (35e9, 40e-6),
    InterNode.ETHERNET: (1.2e9, 100e-6),
}
EXPERT_IMBALANCE = 1.15
"""The busiest rank's share of the experts' work over the mean, with whole experts per rank."""

COMMUNICATION = "communication"


class Op(NamedTuple):
    """One operation of a step, summed over the layers of a stage, in seconds of the roofline."""

    name: str
    seconds: float
    bound: str
    """What binds it: ``memory``, ``compute`` or ``link``."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step of one pipeline stage and data-parallel rank works on."""

    sequences: float
    """Requests that get a token."""
    context: float
    """Tokens each of them attends to."""
    prefill_tokens: float = 0.0
    prefill_context: float = 0.0
    """Tokens that a prompt token attends to, on average."""


@dataclass(frozen=True, slots=True)
class Wires:
    """How a shape's accelerators reach one another."""

    intra_node: IntraNode
    inter_node: InterNode


class StepModel:
    """Step times of one replica of a shape."""

    def __init__(
        self,
        *,
        model: ModelSpec,
        shape: Shape,
        choice: PrecisionChoice,
        accelerator: Accelerator,
        wires: Wires,
        correction: Correction,
    ) -> None:
        self.model, self.shape, self.correction = model, shape, correction
        self._weights: Shard = shard(model, shape)
        self._bandwidth = accelerator.bandwidth_bytes_per_s
        rates = accelerator.flops_per_s
        wide = rates.get(Precision.BF16) or rates[Precision.FP16]
        self._wide = wide
        self._peak = rates[choice.compute]
        # V3's and V4's fp4 checkpoints keep attention in bf16 and fp8: it never runs at the fp4 rate.
        self._attention_peak = self._peak if choice.compute is not Precision.FP4 else rates[Precision.FP8]
        self._stage_layers = math.ceil(model.layers / shape.pipeline_parallel)
        self._stage = self._stage_layers / model.layers
        self._link, self._latency = _collective(shape, accelerator, wires)
        self._attention_parameters = self._stage_layers * model.attention_parameters / shape.tensor_parallel
        dense = model.dense_layers * model.dense_parameters * self._stage
        experts = model.experts
        self._expert_layers = (model.layers - model.dense_layers) * self._stage
        shared = 0.0 if experts is None else self._expert_layers * experts.shared * model.expert_parameters
        self._dense_parameters = (dense + shared) / shape.tensor_parallel
        self._dense_bytes = self._weights.dense + self._weights.shared
        # Only the last stage has a head: its share of every stage, so that all stages in turn have it once.
        self._head_parameters = model.vocabulary_parameters / shape.tensor_parallel / shape.pipeline_parallel
        self._kv_bytes = kv_bytes_per_token(model, shape)

    def step_s(self, batch: Batch) -> float:
        """Seconds until a step's tokens are out: all stages in turn."""
        row = self.correction.calibration
        roofline = sum(max(memory, compute) for _, memory, compute in self._ops(batch))
        if batch.prefill_tokens > 0:
            time = row.prefill_k * roofline + row.mixed_step_s + row.mixed_layer_s * self._stage_layers
        else:
            time = row.decode_k * roofline + row.step_s + row.layer_s * self._stage_layers
        time += row.sequence_s * batch.sequences + row.token_s * batch.prefill_tokens
        return time * self.shape.pipeline_parallel

    def ops(self, batch: Batch) -> list[Op]:
        """The operations of one stage's step."""
        return [
            Op(name, max(memory, compute), _bound(name, memory, compute)) for name, memory, compute in self._ops(batch)
        ]

    def _ops(self, batch: Batch) -> list[tuple[str, float, float]]:
        """(name, seconds of memory traffic, seconds of arithmetic) of each operation."""
        bandwidth, weights = self._bandwidth, self._weights
        tokens = batch.sequences + batch.prefill_tokens
        ops = [
            (
                "attention projections",
                weights.attention / bandwidth,
                2 * tokens * self._attention_parameters / self._attention_peak,
            ),
            self._attention(batch),
            ("feed-forward", self._dense_bytes / bandwidth, 2 * tokens * self._dense_parameters / self._peak),
            (
                "head",
                2 * self._head_parameters / bandwidth,
                2 * batch.sequences * self._head_parameters / self._wide,
            ),
        ]
        if self.model.experts is not None:
            ops.append(self._experts(tokens))
        if self.shape.accelerators > 1:
            ops.append((COMMUNICATION, self._communication_s(tokens), 0.0))
        return ops

    def _experts(self, tokens: float) -> tuple[str, float, float]:
        """Routed experts: a step reads those that at least one of its tokens was sent to."""
        experts, shape = self.model.experts, self.shape
        assert experts is not None
        # Ranks of a data-parallel group bring their tokens together for the experts.
        together = tokens * shape.data_parallel
        hit = 1.0 - (1.0 - experts.top_k / experts.routed) ** together
        ways = shape.tensor_parallel * shape.data_parallel
        imbalance = EXPERT_IMBALANCE if shape.expert_parallel > 1 else 1.0
        flops = 2 * together * experts.top_k * self.model.expert_parameters * self._expert_layers / ways * imbalance
        return "routed experts", self._weights.routed * min(1.0, hit * imbalance) / self._bandwidth, flops / self._peak

    def _attention(self, batch: Batch) -> tuple[str, float, float]:
        flops, bytes_ = _decode_attention(self.model, self.shape, batch.context, self._kv_bytes)
        flops *= batch.sequences * self._stage
        if batch.prefill_tokens:
            prefill = _prefill_flops(self.model, self.shape, batch.prefill_context) * self._stage
            flops += prefill * batch.prefill_tokens
        return "attention", bytes_ * batch.sequences / self._bandwidth, flops / self._wide

    def _communication_s(self, tokens: float) -> float:
        shape, hidden = self.shape, self.model.hidden
        seconds = 0.0
        if shape.tensor_parallel > 1:
            ways = shape.tensor_parallel
            moved = 2 * (ways - 1) / ways * tokens * hidden * 2.0
            seconds += 2 * self._stage_layers * (moved / self._link + self._latency)
        if shape.data_parallel > 1:
            # Gather all ranks' tokens before the experts, scatter the sums after: the engine's default.
            moved = 2 * (shape.data_parallel - 1) * tokens * hidden * 2.0
            seconds += self._expert_layers * (moved / self._link + 2 * self._latency)
        if shape.pipeline_parallel > 1:
            seconds += tokens * hidden * 2.0 / self._link + self._latency
        return seconds


def _bound(name: str, memory: float, compute: float) -> str:
    if name == COMMUNICATION:
        return "link"
    return "memory" if memory >= compute else "compute"


def _collective(shape: Shape, accelerator: Accelerator, wires: Wires) -> tuple[float, float]:
    """Bytes per second and latency of the slowest link that the shape's layers talk over."""
    share, latency = INTRA_NODE[wires.intra_node]
    rate = accelerator.link_bytes_per_s * share
    if shape.nodes_per_replica > 1:
        between, far = INTER_NODE[wires.inter_node]
        rate, latency = min(rate, between), max(latency, far)
    return rate, latency


def _decode_attention(model: ModelSpec, shape: Shape, context: float, kv_bytes: float) -> tuple[float, float]:
    """(FLOPs over all layers, cache bytes of the stage) for one token of one request."""
    attention, heads = model.attention, model.heads / shape.tensor_parallel
    if isinstance(attention, GroupedAttention):
        return 4.0 * heads * attention.head_dim * context * model.layers, kv_bytes * context
    if isinstance(attention, LatentAttention):
        attended = min(context, attention.index_top_k) if attention.index_top_k else context
        width = 2 * attention.kv_lora_rank + attention.rope_dim
        flops = 2.0 * heads * width * attended
        flops += 2.0 * attention.index_heads * attention.index_dim * context if attention.index_top_k else 0.0
        return flops * model.layers, kv_bytes * (
            attended if not attention.index_top_k else 0.15 * context + 0.85 * attended
        )
    flops = cache = 0.0
    for ratio, layers in attention.layers_by_ratio:
        entries = _entries(attention, ratio, context)
        flops += layers * 4.0 * heads * attention.head_dim * entries
        cache += layers * entries * attention.entry_bytes
    return flops, cache / shape.pipeline_parallel


def _entries(attention: CompressedAttention, ratio: int, context: float) -> float:
    """Cache entries that a token reads in a layer: its window, and the compressed past, picked where it is long."""
    window = min(context, float(attention.sliding_window))
    if not ratio:
        return window
    return window + min(context / ratio, float(attention.index_top_k))


def _prefill_flops(model: ModelSpec, shape: Shape, context: float) -> float:
    """FLOPs of attention over all layers for one prompt token that attends to ``context`` tokens."""
    attention, heads = model.attention, model.heads / shape.tensor_parallel
    if isinstance(attention, GroupedAttention):
        return 4.0 * heads * attention.head_dim * context * model.layers
    if isinstance(attention, LatentAttention):
        attended = min(context, attention.index_top_k) if attention.index_top_k else context
        flops = 2.0 * heads * (attention.nope_dim + attention.rope_dim + attention.v_dim) * attended
        flops += 2.0 * attention.index_heads * attention.index_dim * context if attention.index_top_k else 0.0
        return flops * model.layers
    return sum(
        layers * 4.0 * heads * attention.head_dim * _entries(attention, ratio, context)
        for ratio, layers in attention.layers_by_ratio
    )
