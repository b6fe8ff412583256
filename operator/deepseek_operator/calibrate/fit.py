"""``calibrate fit``: measured runs and tables in, shipped coefficients out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepseek_operator.calibrate import reports as report_files
from deepseek_operator.calibrate import runs as files
from deepseek_operator.calibrate import tables as table_files
from deepseek_planner.prediction.corrections import FORMAT, Corrections, Group, by_group
from deepseek_planner.prediction.curves import CurveSet, curve_set, select
from deepseek_planner.prediction.fitting import Problem, evidence
from deepseek_planner.prediction.terms import CurveLookup


def fit(*, runs: Path, reports: Path | None, tables: Path | None, out: Path, source: str) -> Iterator[str]:
    """Write ``curves.json`` (when tables are given) and ``corrections.json`` into ``out``; yields what was done.

    Raises ValueError when a run or the tables cannot be used.
    """
    lookup: CurveLookup = curve_set
    found = files.read(runs, files.Models())
    if reports is not None:
        reported, left_out = report_files.read(reports, files.Models())
        found += reported
        yield f"reports: {len(reported)} of {len(reported) + left_out.total()} runs can be fitted to"
    out.mkdir(parents=True, exist_ok=True)
    if tables is not None:
        document = table_files.mine(tables)
        (out / "curves.json").write_text(_lines(document, 2), encoding="utf-8")
        mined = document["curves"]

        def mined_set(system: str, engine: str) -> CurveSet:
            return select(mined, system=system, engine=engine)

        lookup = mined_set
        count = sum(len(rows) for engines in document["curves"].values() for rows in engines.values())
        yield f"curves.json: {count} curves"
    engines: dict[str, Any] = {}
    for engine in sorted({run.engine for run in found}):
        problem = Problem([run for run in found if run.engine == engine], lookup=lookup)
        if not problem.runs:
            continue
        chosen = range(len(problem.runs))
        fitted = problem.fit(chosen)
        cells = evidence(problem, fitted, chosen)
        engines[engine] = _engine(fitted, cells, source)
        yield f"{engine}: {len(problem.runs)} runs in {len(cells)} groups"
    document = {"format": FORMAT, "engines": engines}
    (out / "corrections.json").write_text(_lines(document, 3), encoding="utf-8")


def _engine(fitted: Corrections, cells: dict[str, Group], source: str) -> dict[str, Any]:
    return {
        "source": source,
        "base": dict(sorted(fitted.base.items())),
        "deviations": by_group(fitted.deviations),
        "evidence": {
            cell: {
                "points": group.points,
                "tpot_error_percent": group.tpot_error_percent,
                "ttft_error_percent": group.ttft_error_percent,
                "versions": list(group.versions),
            }
            for cell, group in cells.items()
        },
    }


def _lines(document: dict[str, Any], depth: int) -> str:
    """JSON with one line per entry down to ``depth``, so that a change of coefficients reads as a diff."""
    return _write(document, depth, 0) + "\n"


def _write(value: Any, depth: int, level: int) -> str:
    if not isinstance(value, dict) or depth < 0 or not value:
        return json.dumps(value, separators=(", ", ": "))
    pad = " " * (level + 1)
    entries = (f"{pad}{json.dumps(key)}: {_write(item, depth - 1, level + 1)}" for key, item in value.items())
    return "{\n" + ",\n".join(entries) + "\n" + " " * level + "}"
