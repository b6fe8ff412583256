"""Accelerators as the step model sees them: peaks, bandwidths and wires, from ``data/systems.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from deepseek_planner.prediction.spellings import accelerator


@dataclass(frozen=True, slots=True)
class System:
    """One accelerator in its usual node. Rates are dense, per accelerator and in SI units."""

    name: str
    generation: str
    """``volta turing ampere ada hopper blackwell`` or ``cpu``: corrections are shared in it."""
    memory_bytes: float
    bandwidth_bytes_per_s: float
    flops_per_s: Mapping[str, float]
    """By compute precision: ``bf16`` (16-bit floats of either kind), ``fp8``, ``int8``, ``fp4``."""
    link_bytes_per_s: float
    """Per direction between two accelerators of a node."""
    interconnect: str
    """``nvlink``, ``pcie_p2p`` or ``pcie``."""
    curves: str
    """System whose measured curves it borrows; empty: the common set."""
    source: str
    not_confirmed: str = ""
    """Facts of the row that no source states."""
    node_size: int = 2**30
    """Accelerators that the link reaches; wider messages take the far one."""
    far_bytes_per_s: float = float("inf")
    """Between nodes, per accelerator."""
    far_latency_s: float = 0.0
    overheads: Mapping[str, float] | None = None
    """Measured times of the engine beside its operations, in place of the fitted corrections: ``step`` seconds of every
    step, ``sequence`` seconds per request in it, ``first_token`` once per request. None: the corrections apply."""
    measured_models: tuple[str, ...] = ()
    """Models whose runs the overheads and rates were measured with."""

    def compute_rate(self, precision: str) -> float:
        """Peak of the path that a weight format takes: weight-only formats compute in 16 bits."""
        return self.flops_per_s.get(precision) or self.flops_per_s["bf16"]

    def computes_in(self, precision: str) -> bool:
        return precision in self.flops_per_s


@cache
def systems() -> Mapping[str, System]:
    """All systems by name and alias.

    Raises ValueError naming the row when a fact is missing.
    """
    text = files("deepseek_planner").joinpath("data/systems.toml").read_text(encoding="utf-8")
    known: dict[str, System] = {}
    for name, facts in tomllib.loads(text).items():
        try:
            system = System(
                name=name,
                generation=facts["generation"],
                memory_bytes=facts["memory_gb"] * 1e9,
                bandwidth_bytes_per_s=facts["bandwidth_gb_per_s"] * 1e9,
                flops_per_s={key: value * 1e12 for key, value in facts["tflops"].items()},
                link_bytes_per_s=facts["link_gb_per_s"] * 1e9,
                interconnect=facts["interconnect"],
                curves=facts.get("curves", name),
                source=facts["source"],
                not_confirmed=facts.get("not_confirmed", ""),
                overheads=facts.get("overheads_s"),
                measured_models=tuple(facts.get("measured_models", ())),
            )
        except KeyError as missing:
            raise ValueError(f"systems.toml: {name} has no {missing}") from None
        for key in (name, *facts.get("aliases", ())):
            known[key] = system
    return known


@cache
def _spelled() -> Mapping[str, System]:
    """The same by names without memory and socket, where one name says the same without them; the first of them."""
    found: dict[str, System] = {}
    for name, one in systems().items():
        found.setdefault(accelerator(name), one)
    return found


def system(name: str) -> System:
    """The system of that name.

    Raises ValueError with the known names.
    """
    found = systems().get(name.strip().lower()) or _spelled().get(accelerator(name))
    if found is None:
        known = ", ".join(sorted({one.name for one in systems().values()}))
        raise ValueError(f"system {name!r} is not known; known are {known}")
    return found
