"""Which number format each matrix of a model is stored and computed in."""

from __future__ import annotations

from dataclasses import dataclass

from deepseek_planner.prediction.architecture import Architecture
from deepseek_planner.prediction.systems import System

STORED_BYTES = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "fp8_block": 1.0, "int8": 1.0, "int4": 0.53125, "fp4": 0.5625}
"""Bytes per weight with its scales: groups of 128 (int4), 16 (NVFP4)."""


@dataclass(frozen=True, slots=True)
class Formats:
    """Stored formats by role; ``kv_bytes`` per cache element."""

    attention: str
    dense: str
    experts: str
    head: str
    kv_bytes: float
    is_block: bool = False
    """Whether 8-bit weights carry scales per block: their inputs are scaled as they come."""

    def bytes_of(self, stored: str) -> float:
        return STORED_BYTES[stored]

    def computed(self, stored: str, system: System) -> str:
        """Compute format of a stored one on ``system``: 16 bits where its units cannot do better."""
        wanted = "fp8" if stored == "fp8_block" else stored
        # B300 has hardly any 8-bit integer units left: weights are expanded there too.
        is_faster = system.computes_in(wanted) and system.flops_per_s[wanted] > system.flops_per_s["bf16"]
        return wanted if wanted in {"fp8", "int8", "fp4"} and is_faster else "bf16"

    def is_expanded(self, stored: str, system: System) -> bool:
        """Whether weights are expanded to 16 bits on the fly."""
        return stored not in {"bf16", "fp16"} and self.computed(stored, system) == "bf16"

    def expert_curve(self, stored: str, system: System) -> str:
        computed = self.computed(stored, system)
        if computed == "fp8":
            return f"experts:{stored}"
        if computed == "bf16" and stored in {"int4", "fp4"}:
            return "experts:int4"
        # Weights of 8 bits, integers or floats, run through the same fused kernel; of its tables, those without blocks
        # come from a release that was 3 to 5 times slower than the one before.
        return f"experts:{computed}" if computed != "int8" else "experts:fp8_block"


def formats(
    architecture: Architecture, precision: str, *, kv_bytes: float | None = None, is_block: bool = False
) -> Formats:
    """Formats of a checkpoint of ``architecture`` in ``precision`` (``bf16 fp16 fp8 int8 int4 fp4``; empty: 16 bits).

    The 4-bit checkpoints of mixture-of-experts models whose configurations were read (Qwen3.5, MiniMax-M2.5, Kimi-K2.5)
    keep attention in 16 bits; that dense ones quantize it too is assumed, and so is an 8-bit cache beside fp4 weights.
    """
    stored = precision or "bf16"
    if stored not in STORED_BYTES:
        known = ", ".join(sorted(STORED_BYTES))
        raise ValueError(f"precision {precision!r} is not known; known are {known}")
    is_block = stored == "fp8" and (is_block or architecture.is_sparse)
    keeps_attention = stored in {"fp4", "int4"} and architecture.is_sparse
    return Formats(
        attention="bf16" if keeps_attention else stored,
        dense=stored,
        experts="fp8_block" if is_block else stored,
        head="bf16",
        is_block=is_block,
        kv_bytes=kv_bytes or (1.0 if stored == "fp4" else 2.0),
    )
