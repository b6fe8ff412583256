"""Reads the per-operation tables of ``aiconfigurator-core`` and mines them into curves.

The tables are a tool of the fit: pyarrow and the tables are needed here only, never to plan or to predict.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepseek_planner.prediction import mining
from deepseek_planner.prediction.systems import System, system

SOURCE = "PyPI aiconfigurator-core 0.12.0 (Apache-2.0), measured per-operation tables"
SYSTEMS = ("h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200", "a100_sxm", "l40s")
ENGINES = ("vllm", "sglang", "trtllm")
GEMM_TYPES = {"bfloat16": "bf16", "fp8": "fp8", "nvfp4": "fp4"}
EXPERT_TYPES = {  # table -> (stored, computed, bytes per weight)
    "bfloat16": ("bf16", "bf16", 2.0),
    "fp8": ("fp8", "fp8", 1.0),
    "fp8_block": ("fp8_block", "fp8", 1.0),
    "nvfp4": ("fp4", "fp4", 0.5625),
    "int4_wo": ("int4", "bf16", 0.53125),
    "w4a16_mxfp4": ("int4", "bf16", 0.53125),
}
FUSING = {"vllm": ("fp8",), "trtllm": ("fp8", "fp4")}
"""Formats that engines quantize to inside the norm or the activation before, and replay graphs of kernels: the tables
time the quantization and its launch with every product (70b_fp8_b200_docker.sh of InferenceX @bb4c7f93 asks vLLM for
the fusion; TensorRT-LLM always does it, to 4 bits too). Block scales keep their own pass.
"""
FUSED_LINKS = ("b200_sxm", "b300_sxm", "gb200")
"""Where vLLM reduces with the kernels that TensorRT-LLM has (enable_fi_allreduce_fusion there, fuse_allreduce_rms in
kimik2.5_fp4_b200.sh @1cb92d21), instead of its own."""
CACHES = {"": "bfloat16", ":fp8": "fp8"}
"""Suffix of attention curves by format of the cache."""
MODULE = "mla_generation_module_perf"
"""Tables of latent attention with its projections, for decodes."""
EXPERT_KERNELS: dict[str, dict[str, tuple[str, ...]]] = {
    "trtllm": {"nvfp4": ("min_latency",), "bfloat16": ("cutlass",), "fp8": ("cutlass",)},
    "sglang": {
        "bfloat16": ("flashinfer_trtllm", "fused_moe_triton"),
        "fp8_block": ("flashinfer_trtllm", "fused_moe_triton"),
    },
}
"""Where a table mixes kernels, the one that engines choose: the others are up to three times slower."""


class NoTablesError(ValueError):
    """The directory holds no tables, or pyarrow is not installed to read them."""


def mine(root: Path) -> dict[str, Any]:
    """Curves of every system and engine that has tables under ``root`` (``.../aiconfigurator_core/systems/data``)."""
    curves: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name in SYSTEMS:
        for engine in ENGINES:
            found = _mine_engine(root / name, engine, system(name))
            for key, rows in found.items():
                curves.setdefault(name, {})[key] = rows
    if not curves:
        raise NoTablesError(f"{root} holds no tables; give the directory systems/data of aiconfigurator-core 0.12.0")
    curves["common"] = _common(curves)
    return {"source": SOURCE, "columns": "latency_us first second third error_percent points", "curves": curves}


def _common(curves: dict[str, dict[str, dict[str, list[float]]]]) -> dict[str, dict[str, list[float]]]:
    result: dict[str, dict[str, list[float]]] = {}
    for engine in ENGINES:
        keys = sorted({key for sets in curves.values() for key in sets.get(engine, {})})
        for key in keys:
            # Host-staged collectives and consumer memory systems would pull a common curve off.
            rows = [
                sets[engine][key] for name, sets in curves.items() if name != "l40s" and key in sets.get(engine, {})
            ]
            if rows:
                result.setdefault(engine, {})[key] = mining.common(rows)
    return result


def _mine_engine(base: Path, engine: str, facts: System) -> dict[str, dict[str, list[float]]]:
    rows: dict[str, list[float]] = {}
    versions: dict[str, dict[str, list[float]]] = {}
    if (table := _latest(base / "gemm" / engine, "gemm_perf")) is not None:
        for dtype, precision in GEMM_TYPES.items():
            if (part := _where(table, "gemm_dtype", dtype)) is not None:
                _put(rows, f"gemm:{precision}", mining.gemm, part, facts, precision)
    for precision in FUSING.get(engine, ()):
        if f"gemm:{precision}" in rows and "gemm:bf16" in rows:
            rows[f"gemm:{precision}_static"] = _fused(rows[f"gemm:{precision}"], rows["gemm:bf16"])
    folder = base / "moe" / engine
    paths = (
        sorted(folder.glob("*/moe_perf.parquet"), key=lambda path: _version(path.parent.name))
        if folder.is_dir()
        else []
    )
    for path in paths:
        fitted = _experts(_read(path), engine, facts)
        if engine == "vllm" and _version(path.parent.name) < (0, 20):
            # Its 4-bit experts are of a kernel that takes five times as long as the one that serves, then and later.
            versions[f"{engine}@0.19"] = {key: row for key, row in fitted.items() if key != "experts:int4"}
        else:
            rows.update(fitted)
    rows.update(_attention(base, engine, facts))
    reduces = "trtllm" if engine == "vllm" and facts.name in FUSED_LINKS else engine
    link = _latest(base / "comm" / reduces, "custom_allreduce_perf")
    if link is not None and "backend" in link:
        link = _where(link, "backend", f"{reduces}_graph") or link
    if link is not None:
        for ranks in (2, 4, 8):
            _put(rows, f"all_reduce:{ranks}", mining.all_reduce, link, ranks)
    return {key: value for key, value in {engine: rows, **versions}.items() if value}


def _fused(narrow: list[float], wide: list[float]) -> list[float]:
    """An 8-bit product whose input comes in 8 bits from the operation before: no launch and no pass to quantize it."""
    return [min(narrow[0], wide[0]), *narrow[1:3], 0.0, *narrow[4:]]


def _experts(table: dict[str, Any], engine: str, facts: System) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {}
    for dtype, (stored, computed, weight) in EXPERT_TYPES.items():
        part = _where(table, "moe_dtype", dtype)
        if part is None or f"experts:{stored}" in rows:
            continue
        kernels = EXPERT_KERNELS.get(engine, {}).get(dtype, ("",))
        chosen = (_where(part, "kernel_source", kernel, contains=True) for kernel in kernels)
        part = next((one for one in chosen if one is not None), None)
        if part is None:
            continue
        _put(rows, f"experts:{stored}", mining.experts, part, facts, computed, weight)
    return rows


def _put(rows: dict[str, list[float]], key: str, fit: Callable[..., mining.Fitted], *arguments: Any) -> None:
    """Fit and keep; a table with too few points of a kind gives no curve, and the common one stands in."""
    try:
        rows[key] = fit(*arguments).row()
    except mining.TooFewPointsError:
        return


def _attention(base: Path, engine: str, facts: System) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {}
    for key, family, name, fit in (
        ("decode", "attention", "generation_attention_perf", mining.grouped_decode),
        ("prefill", "attention", "context_attention_perf", mining.grouped_prefill),
        ("mla_decode", "mla", "generation_mla_perf", mining.latent_decode),
        ("mla_prefill", "mla", "context_mla_perf", mining.latent_prefill),
    ):
        # vLLM's tables time whole MLA modules; TensorRT-LLM's time the attention alone, and modules, too. Its modules
        # take 40 to 60 us less per layer on Hopper and as long on B200; elsewhere launches from the host bind vLLM's.
        # SGLang's prompts on Hopper are timed absorbed, 3.4 times the arithmetic that it does there.
        borrows = engine == "vllm" or (engine == "sglang" and key == "mla_prefill" and facts.generation == "hopper")
        source = "trtllm" if family == "mla" and borrows else engine
        if (table := _latest(base / family / source, name)) is not None:
            if key == "mla_decode" and engine == "vllm" and facts.generation == "hopper":
                own, other = (_latest(base / family / one, MODULE) for one in (engine, source))
                table = mining.beside_modules(table, own, other) if own and other else table
            for suffix, cache in CACHES.items():
                _put(rows, f"{key}{suffix}", fit, table, facts, cache)
    if (table := _latest(base / "linear_attention" / engine, "gdn_perf")) is not None:
        _put(rows, "linear_decode", mining.linear, table, facts, "generation")
        _put(rows, "linear_prefill", mining.linear, table, facts, "context")
    return rows


def _version(text: str) -> tuple[int, ...]:
    digits = "".join(letter if letter.isdigit() else " " for letter in text).split()
    return tuple(int(part) for part in digits)


def _latest(folder: Path, name: str) -> dict[str, Any] | None:
    paths = sorted(folder.glob(f"*/{name}.parquet"), key=lambda path: _version(path.parent.name))
    return _read(paths[-1]) if paths else None


def _read(path: Path) -> dict[str, Any]:
    try:
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise NoTablesError("reading the tables needs pyarrow: pip install pyarrow") from None
    table = parquet.read_table(path)
    return {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names}


def _where(table: dict[str, Any], column: str, value: str, *, contains: bool = False) -> dict[str, Any] | None:
    import numpy as np  # noqa: PLC0415

    text = np.asarray(table[column]).astype(str)
    chosen = np.char.find(text, value) >= 0 if contains else text == value
    return {name: np.asarray(values)[chosen] for name, values in table.items()} if chosen.any() else None
