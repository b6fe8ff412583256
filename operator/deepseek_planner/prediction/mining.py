"""Measured per-operation tables -> curves of two or three coefficients.

The tables are those of PyPI's ``aiconfigurator-core`` 0.12.0 (Apache-2.0): milliseconds by GPU, operation, engine
and shape. They are read by the caller; here each becomes arrays of work at the peaks and a robust fit of the form
that :mod:`curves` evaluates. Needs numpy; used by ``calibrate fit`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepseek_planner.prediction.least_squares import minimize
from deepseek_planner.prediction.operations import (
    ACTIVATION_BYTES,
    PADDED_ROWS_PER_EXPERT,
    expert_row_bytes,
    linear_prefill_bytes,
)
from deepseek_planner.prediction.systems import System

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[Any]

Table = Mapping[str, Any]
"""Column name -> array; equal lengths."""
MAX_POINTS = 6000
MIN_POINTS = 12
MAX_TOKENS = 16384
HUBER = 0.35
"""Residuals of the logarithm beyond this count linearly: tables hold host-bound outliers."""


MOST_EFFICIENT = 1.3
"""Of the peaks: caches can serve a part of what a form counts as moved, but a table that asks for more is bound by
something that its form does not know."""


class TooFewPointsError(ValueError):
    """A table has hardly any row of the kind asked for."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Latency in microseconds, three coefficients, mean error in percent, and the number of points."""

    latency_us: float
    first: float
    second: float
    third: float
    error_percent: float
    points: int

    def row(self) -> list[float]:
        coefficients = (self.latency_us, self.first, self.second, self.third)
        return [*map(_short, coefficients), round(self.error_percent, 1), self.points]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _fit(
    form: Callable[[Vector], Vector],
    measured_s: Vector,
    start: tuple[float, ...],
    weights: Vector | None = None,
    most: float = float("inf"),
) -> Fitted:
    """Fit logarithms of the coefficients to logarithms of the times; ``form`` takes [latency_s, first, ...].

    ``most``: of the first two coefficients, where they are efficiencies.
    """
    import numpy as np  # noqa: PLC0415

    if len(measured_s) < MIN_POINTS:
        raise TooFewPointsError(f"{len(measured_s)} points are too few to fit a curve; {MIN_POINTS} are needed")
    target = np.log(measured_s)
    share = np.ones(len(target)) if weights is None else weights / weights.mean()

    def capped(logs: Vector) -> Vector:
        values: Vector = np.exp(logs)
        values[1:3] = np.minimum(values[1:3], most)
        return values

    def residuals(logs: Vector) -> Vector:
        gap = np.log(np.maximum(form(capped(logs)), 1e-12)) - target
        size = np.abs(gap)
        robust = np.where(size <= HUBER, size, np.sqrt(np.maximum(2 * HUBER * size - HUBER**2, 0.0)))
        prior = 0.05 * (logs - np.log(start))
        return np.concatenate([np.sign(gap) * robust * np.sqrt(share / len(gap)), prior / np.sqrt(50.0)])

    best = capped(minimize(residuals, np.log(np.array(start))))
    error = float(np.average(np.abs(form(best) / measured_s - 1.0), weights=share) * 100.0)
    third = float(best[3]) if len(best) > 3 else 0.0
    return Fitted(float(best[0] * 1e6), float(best[1]), float(best[2]), third, error, len(measured_s))


def _by_octave(tokens: Vector) -> Vector:
    """Weights that give every octave of ``tokens`` the same say."""
    import numpy as np  # noqa: PLC0415

    octave = np.floor(np.log2(np.maximum(tokens, 1.0)))
    _, index, counts = np.unique(octave, return_inverse=True, return_counts=True)
    weights: Vector = 1.0 / counts[index]
    return weights


def _thin(table: Table, keep: Vector) -> dict[str, Vector]:
    """The rows to keep, every n-th of them when there are too many."""
    import numpy as np  # noqa: PLC0415

    rows = np.flatnonzero(keep)
    rows = rows[:: max(1, len(rows) // MAX_POINTS)]
    return {name: np.asarray(column)[rows] for name, column in table.items()}


def _plain(table: Table) -> Vector:
    """Rows of heads of 128 without a window."""
    import numpy as np  # noqa: PLC0415

    keep: Vector = np.asarray(table["head_dim"]) == 128
    if "window_size" in table:
        keep = keep & (np.asarray(table["window_size"]) == 0)
    return keep


def gemm(table: Table, system: System, precision: str) -> Fitted:
    """Matrix products of one compute precision."""
    import numpy as np  # noqa: PLC0415

    m, n, k = (np.asarray(table[name], dtype=float) for name in "mnk")
    rows = _thin(table, (m <= MAX_TOKENS) & (n >= 512) & (k >= 512) & (n * k >= 2e6) & (n * k <= 3e8))
    m, n, k = (rows[name].astype(float) for name in "mnk")
    element = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5}[precision]
    weight = {"fp4": 0.5625}.get(precision, element)
    compute = 2.0 * m * n * k / system.compute_rate(precision)
    memory = (n * k * weight + m * k * element + m * n * ACTIVATION_BYTES) / system.bandwidth_bytes_per_s
    # Narrow formats read 16-bit activations once more to quantize them.
    quantize = m * k * (ACTIVATION_BYTES + element) / system.bandwidth_bytes_per_s
    measured, weights = rows["latency"].astype(float) * 1e-3, _by_octave(m)
    if element == ACTIVATION_BYTES:
        form = lambda c: c[0] + np.hypot(compute / c[1], memory / c[2])  # noqa: E731
        return _fit(form, measured, (5e-6, 0.7, 0.8), weights, MOST_EFFICIENT)
    form = lambda c: c[0] + np.hypot(compute / c[1], memory / c[2]) + quantize * c[3]  # noqa: E731
    return _fit(form, measured, (5e-6, 0.7, 0.8, 1.0), weights, MOST_EFFICIENT)


def experts(table: Table, system: System, computed: str, weight_bytes: float) -> Fitted:
    """Routed experts of one format, tokens spread as the table's skewed distribution has them."""
    import numpy as np  # noqa: PLC0415

    width = np.asarray(table["inter_size"], dtype=float) / np.asarray(table["moe_tp_size"], dtype=float)
    keep = (np.asarray(table["num_tokens"]) <= MAX_TOKENS) & (width >= 128)
    keep &= np.asarray(table["moe_ep_size"]) <= 8
    keep &= np.asarray(table["num_experts"]) >= 32
    keep &= np.asarray(table["distribution"]) != "power_law_1.2"
    rows = _thin(table, keep)
    tokens, hidden, top_k, total, ranks = (
        rows[name].astype(float) for name in ("num_tokens", "hidden_size", "topk", "num_experts", "moe_ep_size")
    )
    width = rows["inter_size"].astype(float) / rows["moe_tp_size"].astype(float)
    weights = 3.0 * hidden * width
    hit = total / ranks * (1.0 - (1.0 - top_k / total) ** tokens)
    rate, bandwidth = system.compute_rate(computed), system.bandwidth_bytes_per_s
    activation = {"fp8": 1.0, "fp4": 0.5}.get(computed, ACTIVATION_BYTES)
    routed = tokens * top_k / ranks
    compute = 2.0 * weights * (routed + PADDED_ROWS_PER_EXPERT * hit) / rate
    memory = hit * weights * weight_bytes / bandwidth
    traffic = routed * expert_row_bytes(hidden, width, activation) / bandwidth
    form = lambda c: c[0] + compute / c[1] + memory / c[2] + traffic  # noqa: E731
    return _fit(form, rows["latency"].astype(float) * 1e-3, (2e-5, 0.5, 0.7), _by_octave(tokens), MOST_EFFICIENT)


CACHE_BYTES = {"bfloat16": 2.0, "fp8": 1.0}


def _cached(table: Table, cache: str) -> Vector:
    """Rows whose cache is held in that format; of an 8-bit cache, those that also attend in 8 bits where there are any.

    Engines attend in the format of the cache when the kernels can.
    """
    import numpy as np  # noqa: PLC0415

    keep: Vector = np.asarray(table["kv_cache_dtype"]).astype(str) == cache
    for name in ("attn_dtype", "mla_dtype"):
        if name in table:
            alike = keep & (np.asarray(table[name]).astype(str) == cache)
            keep = alike if alike.any() else keep
    return keep


def grouped_decode(table: Table, system: System, cache: str) -> Fitted:
    """Decode attention of grouped queries over a cache in 16 or 8 bits: bound by what it reads."""
    import numpy as np  # noqa: PLC0415

    heads, kv_heads = np.asarray(table["num_heads"], dtype=float), np.asarray(table["num_key_value_heads"], dtype=float)
    batch, step = np.asarray(table["batch_size"], dtype=float), np.asarray(table["step"], dtype=float)
    keep = _plain(table) & _cached(table, cache)
    keep &= (heads <= 16 * kv_heads) & (heads >= kv_heads) & (batch <= 256) & (batch * step >= 1024) & (step >= 255)
    rows = _thin(table, keep)
    entries = rows["batch_size"].astype(float) * (rows["step"].astype(float) + 1)
    width = 2 * rows["num_key_value_heads"].astype(float) * 128
    memory = entries * width * CACHE_BYTES[cache] / system.bandwidth_bytes_per_s
    form = lambda c: c[0] + memory / c[2] + 0.0 * c[1]  # noqa: E731
    return _fit(form, rows["latency"].astype(float) * 1e-3, (8e-6, 1.0, 0.8), most=MOST_EFFICIENT)


def grouped_prefill(table: Table, system: System, cache: str) -> Fitted:
    """Prefill attention of grouped queries."""
    import numpy as np  # noqa: PLC0415

    tokens = np.asarray(table["batch_size"], dtype=float) * np.asarray(table["isl"], dtype=float)
    keep = _plain(table) & _cached(table, cache) & (tokens <= 32768) & (tokens >= 256)
    rows = _thin(table, keep)
    length = rows["isl"].astype(float)
    tokens = rows["batch_size"].astype(float) * length
    heads = rows["num_heads"].astype(float)
    kv_heads = np.minimum(rows["num_key_value_heads"].astype(float), heads)
    compute = tokens * (length + 1) / 2 * 4 * heads * 128 / system.flops_per_s["bf16"]
    memory = tokens * 2 * (heads + kv_heads) * 128 * ACTIVATION_BYTES / system.bandwidth_bytes_per_s
    form = lambda c: c[0] + compute / c[1] + memory / c[2]  # noqa: E731
    return _fit(
        form, rows["latency"].astype(float) * 1e-3, (1e-5, 0.6, 0.5), most=MOST_EFFICIENT * 2.0 / CACHE_BYTES[cache]
    )


def latent_decode(table: Table, system: System, cache: str) -> Fitted:
    """Absorbed latent attention, DeepSeek-V3's widths (512 + 64)."""
    import numpy as np  # noqa: PLC0415

    keep = _cached(table, cache)
    keep &= np.asarray(table["batch_size"]) * np.asarray(table["step"], dtype=float) >= 256
    keep &= np.asarray(table["num_heads"]) >= 8
    rows = _thin(table, keep)
    entries = rows["batch_size"].astype(float) * (rows["step"].astype(float) + 1)
    memory = entries * 576 * CACHE_BYTES[cache] / system.bandwidth_bytes_per_s
    compute = entries * 2 * rows["num_heads"].astype(float) * 1088 / system.flops_per_s["bf16"]
    form = lambda c: c[0] + np.hypot(compute / c[1], memory / c[2])  # noqa: E731
    return _fit(
        form, rows["latency"].astype(float) * 1e-3, (1e-5, 0.5, 0.7), most=MOST_EFFICIENT * 2.0 / CACHE_BYTES[cache]
    )


def latent_prefill(table: Table, system: System, cache: str) -> Fitted:
    """Unabsorbed latent attention, DeepSeek-V3's widths (192 for keys, 128 for values)."""
    import numpy as np  # noqa: PLC0415

    tokens = np.asarray(table["batch_size"], dtype=float) * np.asarray(table["isl"], dtype=float)
    keep = _cached(table, cache) & (tokens <= 32768) & (tokens >= 256)
    keep &= np.asarray(table["num_heads"]) >= 8
    rows = _thin(table, keep)
    length = rows["isl"].astype(float)
    tokens, heads = rows["batch_size"].astype(float) * length, rows["num_heads"].astype(float)
    compute = tokens * (length + 1) / 2 * 2 * heads * 320 / system.flops_per_s["bf16"]
    memory = tokens * 2 * heads * 256 * ACTIVATION_BYTES / system.bandwidth_bytes_per_s
    form = lambda c: c[0] + compute / c[1] + memory / c[2]  # noqa: E731
    return _fit(
        form, rows["latency"].astype(float) * 1e-3, (1e-5, 0.5, 0.4), most=MOST_EFFICIENT * 2.0 / CACHE_BYTES[cache]
    )


def beside_modules(alone: Table, modules: Table, reference: Table) -> dict[str, Any]:
    """Attention alone in an engine whose tables time whole modules (projections and attention) only: ``alone`` is
    another engine's attention, and what ``modules`` take longer than that engine's own (``reference``) is added.

    Rows are matched by heads, batch, prompt, context and format of the cache; the others are left out.
    """
    import numpy as np  # noqa: PLC0415

    def keys(table: Table, *, counts_own: bool) -> list[tuple[Any, ...]]:
        # A decode's own token belongs to the context of modules, and not to that of attention alone.
        step = np.asarray(table["step"], dtype=int)
        context = np.where(step > 0, step + (0 if counts_own else 1), 0)
        names = ("num_heads", "batch_size", "isl", "kv_cache_dtype")
        return list(zip(*(np.asarray(table[name]).tolist() for name in names), context.tolist(), strict=True))

    def latencies(table: Table) -> dict[tuple[Any, ...], float]:
        is_plain = np.asarray(table["gemm_type"]).astype(str) == "bfloat16"
        rows = zip(keys(table, counts_own=True), np.asarray(table["latency"], dtype=float), is_plain, strict=True)
        return {key: float(latency) for key, latency, chosen in rows if chosen}

    slow, fast = latencies(modules), latencies(reference)
    own = keys(alone, counts_own=False)
    matched = np.array([key in slow and key in fast for key in own], dtype=bool)
    more = np.array([slow[key] - fast[key] for key, is_known in zip(own, matched, strict=True) if is_known])
    found = {name: np.asarray(values)[matched] for name, values in alone.items()}
    return {**found, "latency": np.maximum(found["latency"].astype(float) + more, found["latency"].astype(float) / 2)}


def linear(table: Table, system: System, phase: str) -> Fitted:
    """Gated delta rule: the convolution and the rule are measured apart and run after one another."""
    import numpy as np  # noqa: PLC0415

    rule = np.char.find(np.asarray(table["kernel_source"]).astype(str), "conv1d") < 0
    chosen = (np.asarray(table["phase"]) == phase) & rule & (np.asarray(table["num_tokens"], dtype=float) <= 65536)
    rows = _thin(table, chosen)
    sequences = rows["batch_size"].astype(float)
    keys = rows["num_k_heads"].astype(float) * rows["head_k_dim"].astype(float)
    values = rows["num_v_heads"].astype(float) * rows["head_v_dim"].astype(float)
    if phase == "generation":
        moved = 8.0 * sequences * values * rows["head_k_dim"].astype(float)
    else:
        moved = sequences * rows["seq_len"].astype(float) * linear_prefill_bytes(keys, values)
    memory = moved / system.bandwidth_bytes_per_s
    form = lambda c: c[0] + memory / c[2] + 0.0 * c[1]  # noqa: E731
    return _fit(form, rows["latency"].astype(float) * 1e-3, (8e-6, 1.0, 0.5), most=MOST_EFFICIENT)


def all_reduce(table: Table, ranks: int) -> Fitted:
    """All-reduce: nanoseconds per root of a byte, picoseconds per byte. Message sizes are elements of 2 bytes."""
    import numpy as np  # noqa: PLC0415

    size = np.asarray(table["message_size"], dtype=float) * 2.0
    rows = _thin(table, (np.asarray(table["num_gpus"]) == ranks) & (size <= 3e8) & (size >= 1024))
    size = rows["message_size"].astype(float) * 2.0
    form = lambda c: c[0] + c[1] * np.sqrt(size) + c[2] * size  # noqa: E731
    fit = _fit(form, rows["latency"].astype(float) * 1e-3, (8e-6, 5e-9, 4e-12))
    return Fitted(fit.latency_us, fit.first * 1e9, fit.second * 1e12, 0.0, fit.error_percent, fit.points)


def common(rows: list[list[float]]) -> list[float]:
    """One curve for systems without tables: geometric means of the measured coefficients."""
    from math import exp, log  # noqa: PLC0415

    means = [exp(sum(log(max(row[i], 1e-9)) for row in rows) / len(rows)) for i in range(4)]
    return [*(_short(mean) for mean in means), 0.0, len(rows)]
