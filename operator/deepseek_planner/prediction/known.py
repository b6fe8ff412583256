"""Models known by their Hugging Face id, from ``data/architectures.json``: compact configurations with sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from deepseek_planner.prediction.architecture import Architecture, architecture
from deepseek_planner.prediction.spellings import layers_of


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


@cache
def _layers() -> Mapping[str, str]:
    """Names without editions, of those that stand for the layers of one model alone."""
    found: dict[str, set[str]] = {}
    for alias, name in _names().items():
        for short in layers_of(alias):
            found.setdefault(short, set()).add(name)
    return {short: names.pop() for short, names in found.items() if len(names) == 1}


def known_models() -> tuple[str, ...]:
    """Canonical ids, in the order of the file."""
    return tuple(_document())


def canonical(model: str) -> str:
    """The canonical id of a model, from its id, an alias, the last part of either, or that without its edition.

    Raises ValueError: the remedy is to give the model's config.json.
    """
    name = model.strip().lower()
    found = _names().get(name) or _names().get(name.rpartition("/")[2])
    found = found or next(filter(None, map(_layers().get, layers_of(name))), None)
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
    return layers_of(model)[0] not in {layers_of(name)[0] for name in facts.get("unconfirmed", ())}
