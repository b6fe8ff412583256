"""Models known by their Hugging Face id, from ``data/architectures.json``: compact configurations with sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from deepseek_planner.prediction.architecture import Architecture, architecture


@cache
def _document() -> Mapping[str, Mapping[str, Any]]:
    text = files("deepseek_planner").joinpath("data/architectures.json").read_text(encoding="utf-8")
    document: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return document


@cache
def _names() -> Mapping[str, str]:
    names: dict[str, str] = {}
    for name, facts in _document().items():
        for alias in (name, *facts["aliases"]):
            names[alias.lower()] = name
            names.setdefault(alias.rpartition("/")[2].lower(), name)
    return names


def known_models() -> tuple[str, ...]:
    """Canonical ids, in the order of the file."""
    return tuple(_document())


def canonical(model: str) -> str:
    """The canonical id of a model, from its id, an alias or the last part of either.

    Raises ValueError: the remedy is to give the model's config.json.
    """
    found = _names().get(model.strip().lower()) or _names().get(model.rpartition("/")[2].strip().lower())
    if found is None:
        raise ValueError(f"model {model!r} is not known; give its config.json, or one of: {', '.join(known_models())}")
    return found


@cache
def known_architecture(model: str) -> Architecture:
    """Architecture of a known model."""
    return architecture(_document()[canonical(model)]["config"])


def is_confirmed(model: str) -> bool:
    """Whether a configuration of a known model was read under this name, or its shapes only taken to be the same."""
    facts = _document()[canonical(model)]
    last = model.strip().lower().rpartition("/")[2]
    return last not in {name.lower().rpartition("/")[2] for name in facts.get("unconfirmed", ())}
