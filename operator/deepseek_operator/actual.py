"""``status.actual``: what is measured, written rarely enough that an idle deployment makes no writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from deepseek_operator.view import fleet_usd_per_hour
from deepseek_planner.explain import duration
from deepseek_planner.snapshot import DeploymentInput, EngineGroup
from deepseek_planner.units import MicroUsd, format_usd

_WORTH_WRITING = 0.05
_WORTH_WRITING_LATER = 0.01
"""Below 1 % a value is the same: rates jitter while nothing happens."""


def actual(
    previous: Mapping[str, Any], item: DeploymentInput | None, groups: Sequence[EngineGroup], *, is_due: bool
) -> Mapping[str, Any] | None:
    """The measured part of the status: the new one when it moved by 5 %, or by 1 % and a write is due, else the old."""
    before: Mapping[str, Any] | None = previous.get("actual")
    if item is None or item.measured is None:
        return before
    after = _document(item, groups)
    if before is None:
        return after
    moved = _moved_by(before, after)
    return after if moved >= _WORTH_WRITING or (is_due and moved >= _WORTH_WRITING_LATER) else before


def _document(item: DeploymentInput, groups: Sequence[EngineGroup]) -> dict[str, Any]:
    measured, objectives = item.measured, item.objectives
    assert measured is not None
    document: dict[str, Any] = {"window": _window(measured.window_s)}
    # What idles costs what it holds, exactly; its sampled rate would only add noise, and a write for it.
    sampled = measured.usd_per_hour if measured.tokens_per_s > 0 else None
    per_hour = sampled if sampled is not None else fleet_usd_per_hour(groups)
    if per_hour is not None:
        document["usdPerHour"] = format_usd(per_hour)
    if measured.usd_per_million_tokens is not None:
        document["usdPerMillionTokens"] = format_usd(MicroUsd(measured.usd_per_million_tokens))
    pairs = (
        ("timeToFirstToken", objectives.time_to_first_token, measured.time_to_first_token_s),
        ("timePerOutputToken", objectives.time_per_output_token, measured.time_per_output_token_s),
    )
    for name, target, value in pairs:
        if target is not None and value is not None:
            document[name] = {f"p{target.percentile}": duration(value)}
    return document


def _moved_by(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Largest relative change of any value; infinite where one appeared or went."""
    old, new = dict(_numbers(before)), dict(_numbers(after))
    if old.keys() != new.keys():
        return float("inf")
    changes = (abs(new[name] - old[name]) / max(abs(old[name]), 1e-9) for name in old)
    return max(changes, default=0.0)


def _numbers(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, _number(str(value))))
    return found


def _number(text: str) -> float:
    for unit, scale in (("ms", "0.001"), ("h", "3600"), ("m", "60"), ("s", "1")):
        if text.endswith(unit):
            return float(Decimal(text.removesuffix(unit)) * Decimal(scale))
    return float(text)


def _window(seconds: float) -> str:
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
