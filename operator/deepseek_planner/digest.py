"""The canonical form of a plan: equal plans, equal text, equal digest, on every machine and in every run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any

from deepseek_planner.plan import DeploymentPlan

DIGITS = 9
"""Significant digits kept of measured quantities: enough for anybody, too few for the last bits of a sum."""

LEFT_OUT = frozenset({"digest", "candidates", "warnings", "engine_reasons"})


def canonical_json(planned: DeploymentPlan) -> str:
    """Sorted keys, no spaces, numbers of nine digits. Left out: the digest itself, and what only explains the plan."""
    return json.dumps(_plain(planned), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(planned: DeploymentPlan) -> str:
    """SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical_json(planned).encode()).hexdigest()


def _plain(value: object) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    # Not ``asdict``: it copies everything deeply, and that takes longer than the rest of a plan.
    kind: Any = type(value)
    return {name: _plain(getattr(value, name)) for name in _names(kind)}


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """Fields of a dataclass, without those that only explain."""
    return tuple(field.name for field in fields(kind) if field.name not in LEFT_OUT)
