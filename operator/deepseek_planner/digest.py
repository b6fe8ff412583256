"""The canonical form of a plan: equal plans, equal text, equal digest, on every machine and in every run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

from deepseek_planner.plan import DeploymentPlan

DIGITS = 9
"""Significant digits kept of measured quantities: enough for anybody, too few for the last bits of a sum."""


def canonical_json(planned: DeploymentPlan) -> str:
    """Sorted keys, no spaces, numbers of nine digits. Left out: the digest itself, and what only explains the plan."""
    content = asdict(replace(planned, candidates=()))
    for name in ("digest", "candidates", "warnings"):
        del content[name]
    for placement in content["placements"]:
        del placement["engine_reasons"]
    return json.dumps(_plain(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(planned: DeploymentPlan) -> str:
    """SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical_json(planned).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
