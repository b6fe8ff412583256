"""Golden plans: whole answers that tell a story. ``python tests/golden/golden.py`` writes them anew."""

from __future__ import annotations

import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = load()


@pytest.mark.parametrize(("case", "output"), golden.EXPECTED, ids=lambda value: getattr(value, "stem", value))
def test_plan_is_the_expected_one(case: Path, output: str) -> None:
    _, text = golden.printed(case, output)

    assert text == golden.expected(case, output).read_text(encoding="utf-8"), (
        "the plan changed; if that is right, write it anew with: python tests/golden/golden.py"
    )


@pytest.mark.parametrize("case", golden.CASES, ids=lambda path: path.stem)
def test_exit_code_says_whether_there_is_a_plan(case: Path) -> None:
    code, text = golden.printed(case, "json")
    found = json.loads(text)
    plans = [item["plan"] for item in found] if isinstance(found, list) else [found]

    assert code == (0 if all(plan["placements"] for plan in plans) else 3)


def test_every_kind_of_gpu_offered_is_chosen_or_refused_by_name() -> None:
    _, text = golden.printed(next(case for case in golden.CASES if case.stem == "v3-cheapest"), "table")

    for kind in ("t4", "a100-80gb", "h100", "h200"):
        assert kind in text
    assert "$" in text


def test_pictures_of_the_documents_are_the_planners() -> None:
    for path, text in golden.pictures().items():
        assert text == path.read_text(encoding="utf-8"), f"{path.name} is old: python tests/golden/golden.py"
        ElementTree.fromstring(text)


def test_no_expectation_is_left_without_its_case() -> None:
    stems = {case.stem for case in golden.CASES}
    folder = golden.HERE / "cases"

    assert {path.stem for path in folder.iterdir()} == stems
    assert len(stems) >= 8
