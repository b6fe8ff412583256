"""Pure: how the planned KV cache becomes vLLM flags."""

from __future__ import annotations

from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.launchspec import LaunchSpec

FORMATS = ("auto", "fp8", "fp8_ds_mla")


def arguments(spec: LaunchSpec) -> list[str]:
    """Size, prefix reuse and format of the cache."""
    engine = spec.engine
    if engine.kv_cache_dtype not in FORMATS:
        raise _refused(spec, f"this runtime knows {', '.join(FORMATS)}; use operator and runtime of one release")
    if spec.accelerator == "cpu" and engine.kv_cache_dtype != "auto":
        # The engine would start, and fail the first request.
        raise _refused(spec, "attention on CPU takes a 16-bit cache only; plan auto")
    flags = ["--kv-cache-memory-bytes", str(engine.kv_cache_bytes)]
    flags += ["--enable-prefix-caching" if engine.prefix_caching else "--no-enable-prefix-caching"]
    return flags if engine.kv_cache_dtype == "auto" else [*flags, "--kv-cache-dtype", engine.kv_cache_dtype]


def _refused(spec: LaunchSpec, why: str) -> Failure:
    return Failure(
        Reason.INVALID_LAUNCH_SPEC,
        f"engine.kv_cache_dtype: {spec.engine.kv_cache_dtype!r} on {spec.accelerator}: {why}",
    )
