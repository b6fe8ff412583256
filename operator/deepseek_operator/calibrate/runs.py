"""Reads files of runs: the columns of the calibration data, one run per row."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from deepseek_planner.prediction import runs
from deepseek_planner.prediction.architecture import Architecture, architecture
from deepseek_planner.prediction.known import canonical, known_architecture


class Models:
    """Architectures by model id: the known ones, and those given as ``config.json`` files."""

    def __init__(self, given: Sequence[str] = ()) -> None:
        """``given``: ``MODEL=PATH`` each.

        Raises ValueError when one cannot be read.
        """
        self._given: dict[str, Architecture] = {}
        for item in given:
            model, separator, path = item.partition("=")
            if not separator:
                raise ValueError(f"--config {item!r} must be MODEL=PATH of its config.json")
            try:
                self._given[model] = architecture(json.loads(Path(path).read_text(encoding="utf-8")))
            except (OSError, json.JSONDecodeError) as error:
                raise ValueError(f"--config {item!r}: {error}") from None

    def find(self, model: str) -> tuple[str, Architecture]:
        """Canonical id and architecture.

        Raises ValueError when the model is neither known nor given.
        """
        if model in self._given:
            return model, self._given[model]
        return canonical(model), known_architecture(model)


def rows(stream: TextIO, name: str) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows.

    Raises ValueError when a needed column is missing.
    """
    reader = csv.DictReader(stream)
    columns = list(reader.fieldnames or ())
    missing = [column for column in ("model", "system", "isl", "osl") if column not in columns]
    if missing:
        raise ValueError(f"{name} has no column {', '.join(missing)}")
    return columns, list(reader)


def parse(row: Mapping[str, str], models: Models) -> runs.Run:
    """One run.

    Raises ValueError naming what cannot be used.
    """
    model, shape = models.find(row.get("model") or "")
    return runs.parse(row, shape, model)


def read(path: Path, models: Models) -> Iterator[runs.Run]:
    """All runs of a file.

    Raises ValueError naming the row.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        _, found = rows(stream, str(path))
        for number, row in enumerate(found, start=2):
            try:
                yield parse(row, models)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None
