"""Pure: how a planned precision becomes vLLM flags, given what the checkpoint itself is."""

from __future__ import annotations

from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.launchspec import LaunchSpec

# Formats of `quantization_config` in config.json, by precision. The engine reads them without a flag.
_IN_CHECKPOINT = {
    "fp8": ("fp8", "fbgemm_fp8", "compressed-tensors", "modelopt"),
    "int8": ("compressed-tensors", "int8", "quark", "bitsandbytes"),
    "int4": ("compressed-tensors", "awq", "gptq", "auto-round"),
    "fp4": ("fp8", "deepseek_v4_fp8", "mxfp4", "compressed-tensors", "modelopt", "modelopt_fp4"),
}
# What the engine can make of a bf16 checkpoint while it loads it: (GPU, CPU); "" is not possible.
_ONLINE = {"fp8": ("fp8_per_block", "fp8_per_block"), "int8": ("int8_per_channel_weight_only", "")}
_WIDE = {"bf16": "bfloat16", "fp16": "float16"}


def arguments(spec: LaunchSpec, checkpoint_format: str) -> list[str]:
    """Flags for the planned precision; ``checkpoint_format`` is the checkpoint's ``quant_method`` or ""."""
    data_type = _WIDE.get(spec.precision, spec.engine.data_type)
    flags = ["--dtype", data_type]
    if spec.accelerator == "cpu" and data_type == "float16":
        # The AMX kernel overflows in float16 and answers with NaN; the plain one does not.
        flags += ["--attention-backend", "CPU_MLA"]
    if spec.precision in _WIDE:
        if checkpoint_format:
            raise _unsupported(spec, checkpoint_format, f"name one in {spec.precision}, or plan its own precision")
        return flags
    if checkpoint_format:
        if checkpoint_format not in _IN_CHECKPOINT.get(spec.precision, ()):
            raise _unsupported(spec, checkpoint_format, f"name a checkpoint in {spec.precision}")
        return flags
    gpu, cpu = _ONLINE.get(spec.precision, ("", ""))
    online = cpu if spec.accelerator == "cpu" else gpu
    if not online:
        raise _unsupported(spec, "no quantization", f"name a checkpoint quantized to {spec.precision}, or plan bf16")
    return [*flags, "--quantization", online]


def _unsupported(spec: LaunchSpec, found: str, remedy: str) -> Failure:
    return Failure(
        Reason.PRECISION_UNSUPPORTED,
        f"precision: {spec.precision!r} on {spec.accelerator}: the checkpoint has {found}; {remedy}",
    )
