"""The canonical form of a plan: equal plans, equal text, equal digest, on every machine and in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from json.encoder import encode_basestring
from typing import Any

from deepseek_planner.plan import DeploymentPlan

DIGITS = 9
"""Significant digits kept of measured quantities: enough for anybody, too few for the last bits of a sum."""
LEFT_OUT = frozenset({"digest", "candidates", "obstacle", "warnings", "engine_reasons"})
CONSTANTS = {None: "null", True: "true", False: "false"}
NOT_FINITE = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}


def canonical_json(planned: DeploymentPlan) -> str:
    """Sorted keys, no spaces, numbers of nine digits. Left out: the digest itself, and what only explains the plan."""
    return _text(planned)


def digest(planned: DeploymentPlan) -> str:
    """SHA-256 of the canonical form, in hex; without what was refused: a number in there makes no other plan."""
    return hashlib.sha256(_text(replace(planned, rejections=())).encode()).hexdigest()


def _text(value: object) -> str:
    """The value as JSON. Written at once: to make plain values first and sort their keys takes three times as long."""
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, int | float):
        return _constant(value)
    if isinstance(value, list | tuple):
        return f"[{','.join([_text(item) for item in value])}]"
    if isinstance(value, Mapping):
        return f"{{{','.join([f'{encode_basestring(key)}:{_text(value[key])}' for key in sorted(value)])}}}"
    kind: Any = type(value)
    # Most fields are plain text: it is written here, without another call.
    parts = [
        head + (encode_basestring(found) if type(found := getattr(value, name)) is str else _text(found))
        for head, name in _heads(kind)
    ]
    return f"{{{','.join(parts)}}}"


def _constant(value: float | None) -> str:
    if value is None or isinstance(value, bool):
        return CONSTANTS[value]
    if isinstance(value, int):
        return int.__repr__(value)
    text = repr(float(f"{value:.{DIGITS}g}"))
    return NOT_FINITE.get(text, text)


@cache
def _heads(kind: Any) -> tuple[tuple[str, str], ...]:
    """Fields of a dataclass, sorted, without those that only explain; each behind what stands before its value."""
    names = sorted(field.name for field in fields(kind) if field.name not in LEFT_OUT)
    return tuple((f"{encode_basestring(name)}:", name) for name in names)
