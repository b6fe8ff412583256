"""The catalogue's facts in the prediction's words: a model's layers, an accelerator in its wires, a shape's cut.

The catalogue says what one can choose; :mod:`architecture`, :mod:`systems` and :mod:`formats` say what a step does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from deepseek_planner.hardware import Accelerator, InterNode, IntraNode
from deepseek_planner.models import CompressedAttention, GroupedAttention, LatentAttention, ModelSpec, Precision
from deepseek_planner.prediction.architecture import (
    Architecture,
    Attention,
    Compressed,
    FeedForward,
    Grouped,
    Latent,
    Layers,
)
from deepseek_planner.prediction.formats import Formats, formats
from deepseek_planner.prediction.known import canonical
from deepseek_planner.prediction.operations import Sharding
from deepseek_planner.prediction.systems import System, system
from deepseek_planner.snapshot import Shape

WIRES: Mapping[IntraNode, str] = {
    IntraNode.NVLINK: "nvlink",
    IntraNode.PCIE_P2P: "pcie_p2p",
    IntraNode.PCIE: "pcie",
}
SLOT_BYTES_PER_S: Mapping[str, float] = {"volta": 15.75e9, "turing": 15.75e9, "hopper": 63e9, "blackwell": 63e9}
"""What a x16 slot carries one way, by generation (PCIe 3, 5); others have PCIe 4."""
SLOT_4_BYTES_PER_S = 31.5e9

FAR: Mapping[InterNode, tuple[float, float]] = {
    InterNode.INFINIBAND: (40e9, 25e-6),
    InterNode.EFA: (35e9, 40e-6),
    InterNode.ETHERNET: (1.2e9, 100e-6),
}
"""Bytes per second and accelerator between nodes, and latency: adapters of 400 Gb/s per accelerator at 0.8 (0.7: EFA),
100 Gb/s per node of eight. Assumed, no run checks it."""
FAR_OF_AMPERE: Mapping[InterNode, tuple[float, float]] = {
    InterNode.INFINIBAND: (20e9, 25e-6),
    InterNode.EFA: (5e9, 40e-6),
    InterNode.ETHERNET: (1.2e9, 100e-6),
}
"""Nodes of A100 have adapters of 200 Gb/s per accelerator, on AWS of 400 Gb/s per node."""


def architecture_of(model: ModelSpec) -> Architecture:
    """The model's layers as shapes."""
    return Architecture(
        family=model.family,
        hidden=model.hidden,
        vocabulary=model.vocabulary,
        tied_embeddings=False,
        groups=tuple(_groups(model)),
        max_context_tokens=model.max_context_tokens,
        mtp_layers=model.mtp_layers,
        quantization=str(model.native_precision),
        attention_quantized=True,
    )


def _groups(model: ModelSpec) -> Iterator[Layers]:
    if isinstance(model.attention, CompressedAttention):
        # Where attention differs by layer, all layers have experts.
        for ratio, count in model.attention.layers_by_ratio:
            yield Layers(count, _compressed(model, model.attention, ratio), _routed(model))
        return
    attention = _attention(model)
    if model.dense_layers:
        yield Layers(model.dense_layers, attention, FeedForward(intermediate=model.dense_intermediate))
    if model.experts is not None:
        yield Layers(model.layers - model.dense_layers, attention, _routed(model))


def _attention(model: ModelSpec) -> Attention:
    facts = model.attention
    if isinstance(facts, GroupedAttention):
        return Grouped(heads=model.heads, kv_heads=facts.kv_heads, head_dim=facts.head_dim)
    assert isinstance(facts, LatentAttention)
    return Latent(
        heads=model.heads,
        q_lora_rank=facts.q_lora_rank or 0,
        kv_lora_rank=facts.kv_lora_rank,
        nope_dim=facts.nope_dim,
        rope_dim=facts.rope_dim,
        v_dim=facts.v_dim,
        index_heads=facts.index_heads,
        index_dim=facts.index_dim,
        index_top_k=facts.index_top_k,
    )


def _compressed(model: ModelSpec, facts: CompressedAttention, ratio: int) -> Compressed:
    return Compressed(
        heads=model.heads,
        head_dim=facts.head_dim,
        rope_dim=facts.rope_dim,
        q_lora_rank=facts.q_lora_rank,
        o_lora_rank=facts.o_lora_rank,
        o_groups=facts.o_groups,
        window=facts.sliding_window,
        ratio=ratio,
        index_heads=facts.index_heads,
        index_dim=facts.index_dim,
        index_top_k=facts.index_top_k,
    )


def _routed(model: ModelSpec) -> FeedForward:
    experts = model.experts
    assert experts is not None
    return FeedForward(
        experts=experts.routed,
        top_k=experts.top_k,
        expert_intermediate=experts.intermediate,
        shared_intermediate=experts.shared * experts.intermediate,
    )


def published_name(model: ModelSpec) -> str:
    """The id under which runs of the model are known, or the catalogue's own name."""
    for name in (model.repository, model.name):
        try:
            return canonical(name)
        except ValueError:
            continue
    return model.name


def formats_of(model: ModelSpec, architecture: Architecture, precision: Precision, kv_cache_dtype: str) -> Formats:
    """How a checkpoint of that precision stores its parts: fp4 of V4 is its experts only, of V3 all but attention."""
    if isinstance(model.attention, CompressedAttention):
        entry = model.attention.entry_bytes / model.attention.head_dim
        return Formats(attention="fp8", dense="fp8", experts="fp4", head="bf16", kv_bytes=entry)
    stored = formats(architecture, str(precision), kv_bytes=1.0 if kv_cache_dtype.startswith("fp8") else 2.0)
    # The int4 checkpoints of the catalogue quantize attention too.
    return replace(stored, attention="int4") if precision is Precision.INT4 else stored


def sharding_of(shape: Shape) -> Sharding:
    """The shape's cut: experts that are not spread whole are cut like everything else."""
    ways = shape.tensor_parallel * shape.data_parallel
    return Sharding(
        tensor=shape.tensor_parallel,
        data=shape.data_parallel,
        expert_tensor=ways // shape.expert_parallel,
        expert_parallel=shape.expert_parallel,
        pipeline=shape.pipeline_parallel,
    )


def system_of(accelerator: Accelerator, intra_node: IntraNode, inter_node: InterNode, gpus_per_node: int) -> System:
    """The accelerator in nodes of that size and with those wires.

    Raises ValueError when no row of ``systems.toml`` carries the accelerator's name.
    """
    base = system(accelerator.name)
    wires = WIRES[intra_node]
    far = (FAR_OF_AMPERE if base.generation == "ampere" else FAR)[inter_node]
    link, curves = base.link_bytes_per_s, base.curves
    if wires != base.interconnect:
        # Its collectives were measured, if at all, on other wires.
        curves = ""
        if base.interconnect == "nvlink":
            link = SLOT_BYTES_PER_S.get(base.generation, SLOT_4_BYTES_PER_S)
    return replace(
        base,
        interconnect=wires,
        curves=curves,
        link_bytes_per_s=link,
        node_size=gpus_per_node,
        far_bytes_per_s=far[0],
        far_latency_s=far[1],
    )
