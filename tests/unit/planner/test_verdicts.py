"""What speaks against an alternative: the first rule of the choice by which it comes after the plan."""

from __future__ import annotations

import pytest

from deepseek_planner.units import MicroUsd, micro_usd
from deepseek_planner.verdicts import Standing, verdict

NOTHING = MicroUsd(0)
CHOSEN = Standing(
    usd_per_hour=micro_usd("40"),
    expected_usd_per_hour=micro_usd("41"),
    reserved_usd_per_hour=NOTHING,
    accelerators=8,
    is_variant=False,
    loss_rank=2,
    is_measured=True,
    margin_percent=35,
)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"usd_per_hour": micro_usd("40.01")}, "dearer than the chosen"),
        ({"usd_per_hour": micro_usd("39"), "expected_usd_per_hour": micro_usd("42")}, "cheaper, but dearer with what"),
        ({"usd_per_hour": micro_usd("39")}, "cheaper alone, but not beside the other deployments"),
        ({"expected_usd_per_hour": micro_usd("42")}, "as dear as the chosen, but dearer with what interruptions lose"),
        ({"accelerators": 16}, "as dear as the chosen, on more accelerators"),
        ({"is_variant": True}, "as dear as the chosen, but another model answers"),
        ({"loss_rank": 3}, "as dear as the chosen, but its precision usually loses more"),
        ({"loss_rank": 9, "is_measured": False}, "as dear as the chosen, but its loss in quality is unmeasured"),
        ({"margin_percent": 60}, "as dear as the chosen, but less surely predicted"),
        ({}, "as dear as the chosen, without more room"),
    ],
)
def test_the_first_rule_that_tells_them_apart_is_named(changed: dict[str, object], expected: str) -> None:
    assert verdict(CHOSEN._replace(**changed), CHOSEN).startswith(expected)


def test_reserved_capacity_comes_first_whatever_the_list_says() -> None:
    reserved = CHOSEN._replace(reserved_usd_per_hour=micro_usd("40"))
    cheaper = CHOSEN._replace(usd_per_hour=micro_usd("30"))

    assert verdict(cheaper, reserved) == "cheaper by the list: reserved capacity is paid for anyway"
    assert verdict(CHOSEN, reserved) == "as dear as the chosen by the list: reserved capacity is paid for anyway"
