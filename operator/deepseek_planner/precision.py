"""Which precisions are legal for a model on an accelerator, which an accuracy class allows, and why not.

Kernel facts are of vLLM 0.32 (each backend's ``get_min_capability`` and platforms/cuda.py, read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from deepseek_planner.demand import AccuracyClass
from deepseek_planner.hardware import Accelerator
from deepseek_planner.models import CompressedAttention, LatentAttention, ModelSpec, Precision
from deepseek_planner.plan import RejectionReason

BALANCED = frozenset({Precision.BF16, Precision.FP16, Precision.FP8, Precision.INT8})
ECONOMY = BALANCED | {Precision.INT4, Precision.FP4}

FP16_OVERFLOW = "trained in bf16: fp16 can overflow, check the answers"

LOSSY = (Precision.BF16, Precision.FP16, Precision.FP8, Precision.INT8, Precision.FP4, Precision.INT4)
"""Formats by how much they usually lose, least first."""
SIXTEEN_BITS = (Precision.BF16, Precision.FP16)
"""Formats that quantize nothing: what they lose needs no measurement."""


class PrecisionChoice(NamedTuple):
    """A legal precision: how weights are stored and in which format the arithmetic runs."""

    precision: Precision
    compute: Precision
    data_type: str
    """What the engine is told: ``bfloat16`` or ``float16``."""
    note: str = ""

    @property
    def is_weight_only(self) -> bool:
        return self.compute is not self.precision


class PrecisionRefusal(NamedTuple):
    """Why a precision is out."""

    precision: Precision
    reason: RejectionReason
    message: str


def allowed(model: ModelSpec, accuracy_class: AccuracyClass) -> frozenset[Precision]:
    """Precisions that an accuracy class lets serve; ``Critical`` is the native one."""
    if accuracy_class is AccuracyClass.CRITICAL:
        return frozenset({model.native_precision})
    if accuracy_class is AccuracyClass.BALANCED:
        return BALANCED | {model.native_precision}
    return ECONOMY


def choices(
    model: ModelSpec,
    accelerator: Accelerator,
    accuracy_class: AccuracyClass,
    *,
    own_weights: bool = False,
    own_precision: Precision | None = None,
) -> tuple[PrecisionChoice | PrecisionRefusal, ...]:
    """Every precision of the model, legal or refused, in the order of :class:`Precision`.

    With ``own_weights`` there is the given checkpoint and nothing else: in ``own_precision`` or the native one.
    """
    own = (own_precision or model.native_precision) if own_weights else None
    return tuple(_choices(model, accelerator, allowed(model, accuracy_class), own))


def architecture_refusal(model: ModelSpec, accelerator: Accelerator) -> str:
    """Why no precision of the model runs on the accelerator; empty when one may."""
    capability = accelerator.compute_capability
    if capability is None:
        if model.is_sparse or isinstance(model.attention, CompressedAttention):
            return "sparse attention does not run on CPU in this engine"
        return ""
    sm = f"sm{capability[0]}{capability[1]}"
    if isinstance(model.attention, LatentAttention) and capability < (8, 0):
        return f"latent attention needs FlashAttention 2 for prefill, which starts at sm80; this is {sm}"
    if model.is_sparse and capability < (9, 0):
        return f"sparse attention kernels (FlashMLA) start at sm90; this is {sm}"
    return ""


def _choices(
    model: ModelSpec, accelerator: Accelerator, permitted: frozenset[Precision], own: Precision | None
) -> Iterator[PrecisionChoice | PrecisionRefusal]:
    refusal = architecture_refusal(model, accelerator)
    there = {own} if own else set(model.checkpoints)
    for precision in Precision:
        source = precision
        if precision is Precision.FP16:
            # fp16 is how a bf16 checkpoint runs where bf16 does not; elsewhere it is no choice of its own.
            source = Precision.BF16
            if _computes_bf16(accelerator) or source not in there:
                continue
        if source not in there:
            if precision in permitted:
                yield PrecisionRefusal(precision, RejectionReason.NO_CHECKPOINT, _missing(model, precision, own))
        elif refusal:
            yield PrecisionRefusal(precision, RejectionReason.PRECISION_ILLEGAL, refusal)
        elif precision not in permitted:
            names = ", ".join(sorted(permitted if own else permitted & there))
            message = f"the accuracy class allows {names} only" + (f"; the given weights are {own}" if own else "")
            yield PrecisionRefusal(precision, RejectionReason.PRECISION_NOT_ALLOWED, message)
        else:
            yield _kernels(accelerator, precision)


CONVERSIONS: Mapping[Precision, str] = {
    Precision.BF16: "cast its weights with DeepSeek's fp8_cast_bf16.py",
    Precision.FP8: "make one with llm-compressor (FP8_BLOCK)",
    Precision.INT8: "make one with llm-compressor (W8A8)",
    Precision.INT4: "make one with llm-compressor (W4A16)",
    Precision.FP4: "make one with NVIDIA ModelOpt (NVFP4)",
}
"""How a checkpoint is made offline, by tools whose output vLLM 0.32 reads (its docs on quantization, 2026-11-22)."""


def _missing(model: ModelSpec, precision: Precision, own: Precision | None) -> str:
    """Why there is no checkpoint to plan with, and how to come by one."""
    if own is not None:
        return f"the given weights are {own}; give {precision} weights, and say so in model.source.precision"
    known = model.elsewhere.get(precision)
    reason = known or f"no {precision} checkpoint of {model.name} is known that the engine can load or convert to"
    return f"{reason}; {CONVERSIONS[precision]} and name it in model.source with precision: {precision}"


def _computes_bf16(accelerator: Accelerator) -> bool:
    return Precision.BF16 in accelerator.flops_per_s


class _Kernels(NamedTuple):
    """From which compute capability the engine has kernels for a format: to compute in it, to only store it."""

    compute: tuple[int, int]
    weight_only: tuple[int, int] | None
    what: str


KERNELS = {
    Precision.BF16: _Kernels((8, 0), None, "bf16 needs sm80"),
    Precision.FP16: _Kernels((7, 0), None, "fp16 needs sm70"),
    Precision.FP8: _Kernels((8, 9), (7, 5), "fp8 weights need sm75 (Marlin), fp8 arithmetic sm89"),
    Precision.INT8: _Kernels((7, 5), None, "int8 arithmetic needs sm75"),
    Precision.INT4: _Kernels((99, 0), (7, 0), "int4 weights need sm70"),
    Precision.FP4: _Kernels((10, 0), (7, 5), "fp4 weights need sm75 (Marlin), fp4 arithmetic sm100"),
}


def _kernels(accelerator: Accelerator, precision: Precision) -> PrecisionChoice | PrecisionRefusal:
    capability = accelerator.compute_capability
    wide = Precision.BF16 if _computes_bf16(accelerator) else Precision.FP16
    data_type, note = ("bfloat16", "") if wide is Precision.BF16 else ("float16", FP16_OVERFLOW)
    if capability is None:
        if precision is Precision.BF16:
            return PrecisionChoice(precision, precision, data_type)
        message = f"{precision} on CPU needs AMX and is not offered; bf16 runs everywhere"
        return PrecisionRefusal(precision, RejectionReason.PRECISION_ILLEGAL, message)
    kernels = KERNELS[precision]
    if precision is Precision.INT8 and capability >= (10, 0):
        message = "int8 kernels are not verified from sm100 on; fp8 is as small and faster"
        return PrecisionRefusal(precision, RejectionReason.PRECISION_ILLEGAL, message)
    if capability >= kernels.compute:
        return PrecisionChoice(precision, precision, data_type, note)
    if kernels.weight_only is not None and capability >= kernels.weight_only:
        return PrecisionChoice(precision, wide, data_type, note)
    message = f"{kernels.what}; this is sm{capability[0]}{capability[1]}"
    return PrecisionRefusal(precision, RejectionReason.PRECISION_ILLEGAL, message)


def loss_rank(model: ModelSpec, precision: Precision) -> int:
    """Order of a model's formats by what they may lose: the native one, then those with a known loss, then the rest.

    What nobody measured may lose anything: it comes after all that somebody did, however little it usually loses.
    """
    if precision is model.native_precision:
        return 0
    usual = 1 + LOSSY.index(precision)
    is_known = precision in SIXTEEN_BITS or model.quality_in(precision).is_measured
    return usual if is_known else usual + len(LOSSY)
