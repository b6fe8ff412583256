"""Facts that contradict each other. Each check returns its problems; none stops the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from deepseek_planner.hardware import Accelerator
from deepseek_planner.models import CompressedAttention, ModelSpec, Precision

PARAMETER_TOLERANCE = 0.03
"""Published parameter counts are rounded; V4-Pro's 1600 billion by 2 %."""


def problems(models: Sequence[ModelSpec], accelerators: Sequence[Accelerator]) -> list[str]:
    """Every contradiction in the given rows."""
    found = [problem for model in models for problem in _model(model)]
    found += [problem for accelerator in accelerators for problem in _accelerator(accelerator)]
    found += _repeated("models", (model.name for model in models))
    names = [name.lower() for item in accelerators for name in (item.name, *item.aliases)]
    found += _repeated("accelerators (names and aliases)", names)
    return found


def _repeated(where: str, names: Iterable[str]) -> list[str]:
    return [f"{where}: {name} stands {count} times" for name, count in Counter(names).items() if count > 1]


def _model(model: ModelSpec) -> Iterator[str]:
    where = f"models: {model.name}"
    if model.name != model.name.lower():
        yield f"{where}: names are lower case"
    yield from _checkpoints(model, where)
    counted = model.counted_parameters
    if abs(counted / model.total_parameters - 1) > PARAMETER_TOLERANCE:
        yield (
            f"{where}: the architecture adds up to {counted / 1e9:.1f} billion parameters, "
            f"total_parameters says {model.total_parameters / 1e9:.1f}"
        )
    if model.active_parameters > model.total_parameters:
        yield f"{where}: more active than total parameters"
    if isinstance(model.attention, CompressedAttention):
        layers = sum(count for _, count in model.attention.layers_by_ratio)
        if layers != model.layers:
            yield f"{where}: layers_by_ratio counts {layers} layers of {model.layers}"
    for quality in (*model.quality.values(), *([model.fp8_cache] if model.fp8_cache else ())):
        if not quality.source:
            yield f"{where}: a quality without a source; cite it or leave it out (it then shows Unmeasured)"


def _checkpoints(model: ModelSpec, where: str) -> Iterator[str]:
    if model.native_precision not in model.checkpoints:
        yield f"{where}: its native precision {model.native_precision} is not among its checkpoints"
    for precision in (*model.repositories, *model.quality):
        if precision not in model.checkpoints:
            yield f"{where}: {precision} has a repository or quality, but is not among its checkpoints"
    for precision in model.elsewhere:
        if precision in model.checkpoints:
            yield f"{where}: {precision} is among its checkpoints and elsewhere too"


def _accelerator(accelerator: Accelerator) -> Iterator[str]:
    where = f"accelerators: {accelerator.name}"
    numbers = {
        "memory_gb": accelerator.memory_bytes,
        "bandwidth_gb_per_s": accelerator.bandwidth_bytes_per_s,
        "link_gb_per_s": accelerator.link_bytes_per_s,
        **{f"tflops.{name}": value for name, value in accelerator.flops_per_s.items()},
    }
    for name, value in numbers.items():
        if value <= 0:
            yield f"{where}: {name} must be above 0"
    capability = accelerator.compute_capability
    if capability is not None and capability < (8, 0) and Precision.BF16 in accelerator.flops_per_s:
        yield f"{where}: bf16 needs compute capability 8.0, this is {capability[0]}.{capability[1]}"
    if capability is not None and capability < (8, 9) and Precision.FP8 in accelerator.flops_per_s:
        yield f"{where}: fp8 arithmetic needs compute capability 8.9, this is {capability[0]}.{capability[1]}"
