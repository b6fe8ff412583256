from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_planner.risk import Odds
from deepseek_planner.surviving import Lot, availability, weights
from support.mixes import spreads


def odds(alone: float, *, zone_dry: float = 0.0, name: str = "") -> Odds:
    return Odds(kind=("gpu" + name, "region"), zone="zone" + name, region_dry=0.0, zone_dry=zone_dry, alone=alone)


def exact(lots: list[Lot], rates: list[float]) -> float:
    """By trying every loss of replicas that are lost one by one, with a linear program for each."""
    chance = 0.0
    for left in itertools.product(*(range(lot.replicas + 1) for lot in lots)):
        part = 1.0
        for lot, count in zip(lots, left, strict=True):
            here = math.comb(lot.replicas, count) * (1 - lot.odds.alone) ** count
            part *= here * lot.odds.alone ** (lot.replicas - count)
        if part and spreads(rates, [lot.loads for lot in lots], list(left)):
            chance += part
    return chance


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[Lot], list[float]]:
    rates = [draw(st.floats(0.2, 2.0)) for _ in range(draw(st.integers(1, 3)))]
    lots = []
    for number in range(draw(st.integers(1, 3))):
        loads = [draw(st.floats(0.1, 1.0)) for _ in rates]
        reach = draw(st.integers(0, len(rates))) if number else len(rates)
        lots.append(
            Lot(
                odds(draw(st.sampled_from([0.0, 0.05, 0.3])), name=str(number)),
                draw(st.integers(1, 3)),
                0.0,
                tuple(load if place < reach else math.inf for place, load in enumerate(loads)),
            )
        )
    return lots, rates


@settings(deadline=None)
@given(fleets())
def test_it_is_never_too_bold(fleet: tuple[list[Lot], list[float]]) -> None:
    lots, rates = fleet
    if not spreads(rates, [lot.loads for lot in lots], [lot.replicas for lot in lots]):
        return  # the search gives nobody such a fleet
    assert availability(lots, rates, weights([lot.loads for lot in lots])) <= exact(lots, rates) + 1e-6


@settings(deadline=None)
@given(fleets(), st.integers(0, 2))
def test_more_replicas_never_lower_it(fleet: tuple[list[Lot], list[float]], which: int) -> None:
    lots, rates = fleet
    work = weights([lot.loads for lot in lots])
    more = [replace(lot, replicas=lot.replicas + (number == which % len(lots))) for number, lot in enumerate(lots)]
    assert availability(more, rates, work) >= availability(lots, rates, work) - 1e-9


def test_short_prompts_make_up_for_nothing_that_long_ones_need() -> None:
    """Two large replicas take all, and one alone all long prompts; any number of small ones helps with short ones."""
    rates = [4.0, 1.0]
    large = Lot(odds(0.1), 2, 0.0, (0.1, 0.6))
    small = Lot(odds(0.0, name="small"), 4, 0.0, (0.2, math.inf))
    work = weights([large.loads, small.loads])
    found = availability([large, small], rates, work)

    # One of the large ones must be left; together with the small ones it carries the rest.
    assert found == pytest.approx(1 - 0.1**2)
    assert found == pytest.approx(exact([large, small], rates))
    assert availability([large, replace(small, replicas=40)], rates, work) == pytest.approx(found)
    assert availability([small], rates, work) == 1.0, "nothing of it is ever lost: the search has seen to the rest"
    assert availability([replace(small, odds=odds(0.1))], rates, work) == 0.0


def test_what_carries_the_whole_mix_counts_by_that() -> None:
    """Classes apart can look heavier than they are together."""
    full = Lot(odds(0.1), 2, 5.0, (0.15, 0.6))
    found = availability([full], [4.0, 1.0], weights([(0.1, 0.1)]))

    assert found == pytest.approx(0.99)
