"""Efficiency curves: how long one operation takes, in forms of two or three coefficients.

The coefficients come from measured per-operation tables (``calibrate fit``) and ship in ``data/curves.json``, each
with the table it was fitted to, the number of points and the spread. A system without tables uses the common set.

Every form takes work (flops, bytes) in units of the system's peaks, so that a better peak never makes it slower.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import sqrt
from typing import Any

COMMON = "common"


@dataclass(frozen=True, slots=True)
class Curve:
    """``latency_s``, and the parts of the peaks at which it computes (``compute``) and moves (``memory``).

    Matrix products overlap both, so that they take the soft maximum; experts and prefill attention take their sum.
    """

    latency_s: float
    compute: float
    memory: float
    quantize: float = 0.0
    """Passes over the activations, at full bandwidth, that quantizing them takes."""


@dataclass(frozen=True, slots=True)
class LinkCurve:
    """A collective: latency, a middle range that grows with the root of the message, and the wire."""

    latency_s: float
    root_s: float
    """Per square root of a byte."""
    s_per_byte: float

    def seconds(self, message_bytes: float) -> float:
        return self.latency_s + self.root_s * sqrt(message_bytes) + self.s_per_byte * message_bytes


@dataclass(frozen=True, slots=True)
class CurveSet:
    """Curves of one system under one engine, by ``operation:format``, and all-reduces by number of ranks."""

    curves: Mapping[str, Curve]
    links: Mapping[int, LinkCurve]

    def __getitem__(self, key: str) -> Curve:
        return self.curves[key]

    def __contains__(self, key: str) -> bool:
        return key in self.curves


@cache
def _shipped() -> Mapping[str, Any]:
    text = files("deepseek_planner").joinpath("data/curves.json").read_text(encoding="utf-8")
    document: Mapping[str, Any] = json.loads(text)
    return document


@cache
def curve_set(system: str, engine: str) -> CurveSet:
    """Curves of ``system`` under ``engine``: its own, else the engine's common ones, else any engine's."""
    return select(_shipped()["curves"], system=system, engine=engine)


def select(document: Mapping[str, Any], *, system: str, engine: str) -> CurveSet:
    """Lay the sets over one another, most general first, so that the nearest measurement wins."""
    merged: dict[str, Curve] = {}
    links: dict[int, LinkCurve] = {}
    base_engine = engine.partition("@")[0]
    layers = [(COMMON, "vllm"), (COMMON, base_engine), (system, "vllm"), (system, base_engine), (system, engine)]
    for where, who in layers:
        for key, (latency_us, first, second, third, *_) in document.get(where, {}).get(who, {}).items():
            name, _, detail = key.partition(":")
            if name == "all_reduce":
                links[int(detail)] = LinkCurve(latency_us * 1e-6, first * 1e-9, second * 1e-12)
            else:
                merged[key] = Curve(latency_us * 1e-6, first, second, third)
    return CurveSet(merged, links)
