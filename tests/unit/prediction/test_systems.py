"""Accelerators of the prediction: every row has a source, and agrees with the planner's catalogue."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from deepseek_planner.catalog import load
from deepseek_planner.prediction.systems import system, systems

SAME = {
    "t4": "t4",
    "v100": "v100",
    "l4": "l4",
    "a10g": "a10g",
    "l40s": "l40s",
    "a100-40gb": "a100_sxm_40gb",
    "a100-40gb-pcie": "a100_pcie_40gb",
    "a100-80gb": "a100_sxm",
    "a100-80gb-pcie": "a100_pcie",
    "h100": "h100_sxm",
    "h200": "h200_sxm",
    "b200": "b200_sxm",
}


@pytest.mark.parametrize("name", sorted({one.name for one in systems().values()}))
def test_every_row_says_what_was_read_and_when(name):
    assert re.search(r"(read|measured) 20\d\d-\d\d-\d\d", system(name).source)
    assert ("not confirmed" in system(name).source) == bool(system(name).not_confirmed)


@pytest.mark.parametrize(("accelerator", "name"), SAME.items())
def test_both_tables_of_accelerators_agree(accelerator, name):
    listed, facts = load().accelerator(accelerator), system(name)
    assert facts.bandwidth_bytes_per_s == pytest.approx(listed.bandwidth_bytes_per_s, rel=0.02)
    assert facts.memory_bytes == pytest.approx(listed.memory_bytes, rel=0.08)
    for precision, rate in listed.flops_per_s.items():
        key = "bf16" if precision.value == "fp16" else precision.value
        if key in facts.flops_per_s:
            assert facts.flops_per_s[key] == pytest.approx(rate, rel=0.01), key


def test_every_architecture_says_what_was_read():
    document = json.loads(files("deepseek_planner").joinpath("data/architectures.json").read_text(encoding="utf-8"))
    for name, facts in document.items():
        assert re.search(r"(read|measured) 20\d\d-\d\d-\d\d", facts["source"]), name
        assert set(facts.get("unconfirmed", ())) <= {name, *facts["aliases"]}, name
        assert ("not confirmed" in facts["source"]) == bool(facts.get("unconfirmed")), name


def test_an_unknown_system_names_the_known_ones():
    with pytest.raises(ValueError, match=r"system 'abacus' is not known; known are a100_pcie, .*v100"):
        system("abacus")
