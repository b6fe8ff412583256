"""Reads files of runs: the columns of the calibration data, one run per row."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from deepseek_planner.prediction import runs
from deepseek_planner.prediction.architecture import Architecture, architecture
from deepseek_planner.prediction.known import canonical, is_confirmed, known_architecture

SURPLUS = "(surplus)"
"""Where cells beyond the named columns go."""
NEEDED = ("model", "system", "isl", "osl")
NEEDED_TO_FIT = (*NEEDED, "backend", "concurrency", "measured_ttft_ms", "measured_tpot_ms")


class Models:
    """Architectures by model id: the known ones, and those given as ``config.json`` files."""

    def __init__(self, given: Sequence[str] = ()) -> None:
        """``given``: ``MODEL=PATH`` each.

        Raises ValueError when a file cannot be read. A configuration that is read but cannot be predicted is
        remembered: :meth:`find` says so for the runs that ask for it.
        """
        self._given: dict[str, Architecture] = {}
        self._refused: dict[str, str] = {}
        for item in given:
            model, separator, path = item.partition("=")
            if not separator:
                raise ValueError(f"--config {item!r} must be MODEL=PATH of its config.json")
            try:
                document = json.loads(Path(path).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ValueError(f"--config {item!r}: {error}") from None
            try:
                self._given[model] = architecture(document)
            except ValueError as error:
                self._refused[model] = f"model {model!r} cannot be predicted: {error}"

    def find(self, model: str) -> tuple[str, Architecture]:
        """Canonical id and architecture.

        Raises ValueError when the model is neither known nor given, or was given and cannot be predicted.
        """
        if model in self._refused:
            raise ValueError(self._refused[model])
        if model in self._given:
            return model, self._given[model]
        return canonical(model), known_architecture(model)

    def doubt(self, model: str) -> str:
        """What is not confirmed of a model that :meth:`find` finds."""
        return "" if model in self._given or is_confirmed(model) else f"the shapes of {model} are not confirmed"


class Row(dict[str, str]):
    """A row of a CSV file by its columns, and the number of its last line."""

    def __init__(self, cells: Mapping[str, str], *, line: int) -> None:
        super().__init__(cells)
        self.line = line


def rows(stream: TextIO, name: str, needed: Sequence[str] = NEEDED) -> tuple[list[str], list[Row]]:
    """Columns and rows.

    Raises ValueError when a needed column is missing or the text is no CSV.
    """
    reader = csv.DictReader(stream, restkey=SURPLUS)
    try:
        # Some programs begin a file with a byte-order mark, and some put spaces after the commas.
        columns = [column.lstrip("\ufeff").strip() for column in reader.fieldnames or ()]
        reader.fieldnames = columns
        found = [Row(row, line=reader.line_num) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{name} is no CSV text in UTF-8: {error}") from None
    missing = [column for column in needed if column not in columns]
    if missing:
        raise ValueError(f"{name} has no column {', '.join(missing)}; its first line must name the columns")
    return columns, found


def parse(row: Mapping[str, str], models: Models) -> runs.Run:
    """One run.

    Raises ValueError naming everything that cannot be used.
    """
    name = row.get("model") or ""
    try:
        model, shape = models.find(name)
    except ValueError as error:
        raise ValueError("; ".join([str(error), *runs.problems(row)])) from None
    if SURPLUS in row:
        raise ValueError("the row has more cells than the first line has columns")
    return runs.parse(row, shape, model, doubt=models.doubt(name))


def read(path: Path, models: Models) -> list[runs.Run]:
    """All runs of a file, some of them measured.

    Raises ValueError naming every row that cannot be used.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        _, found = rows(stream, str(path), NEEDED_TO_FIT)
    result, problems = [], []
    for row in found:
        try:
            result.append(parse(row, models))
        except ValueError as error:
            problems.append(f"{path}:{row.line}: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    if not any(run.is_measured for run in result):
        raise ValueError(f"{path} has no measured run; give rows with concurrency, gpus and both measured times")
    return result
