from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from deepseek_operator.local import demo_summary
from deepseek_operator.local.demo_summary import Course, Reading
from deepseek_operator.local.load import Outcome, summarize
from deepseek_planner.demand import Measured
from deepseek_planner.units import micro_usd


def reading(engines, per_hour, per_million):
    measured = Measured(15, 15, 60, 60, 100, 10, 123.4, micro_usd(per_hour), micro_usd(per_million), 0.1, 0.02)
    return Reading(measured, engines)


def course(**changes):
    plan = SimpleNamespace(
        placements=(SimpleNamespace(replicas=2),),
        prediction=SimpleNamespace(time_to_first_token_s=0.09, time_per_output_token_s=0.013),
        planned_requests_per_min=360,
        usd_per_hour=micro_usd("0.1159"),
        usd_per_million_tokens=micro_usd("0.0344"),
    )
    whole = Course(
        plan=plan,
        high=reading(2, "0.1159", "0.03"),
        before=reading(2, "0.1159", "0.17"),
        after=reading(1, "0.058", "0.085"),
        requests=summarize([Outcome(0, True, 200, 100, 10, 0.1, 0.02)]),
        tokens=110,
        usd=0.001,
    )
    return replace(whole, **changes)


def test_a_whole_run_breaks_nothing_and_fits_the_screen():
    assert demo_summary.broken(course()) == []
    assert max(map(len, demo_summary.lines(course()))) < 100
    assert any("$0.1159/h -> $0.0580/h" in line for line in demo_summary.lines(course()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"requests": summarize([Outcome(0, True, 200, cut=True, error="cut")])}, "not every request"),
        ({"requests": summarize([Outcome(0, True, 500)])}, "not every request"),
        ({"requests": summarize([])}, "not every request"),
        ({"tokens": 0}, "no tokens"),
        ({"usd": 0}, "no dollars"),
        ({"before": reading(1, "0.1159", "0.17")}, "from 2 to 1"),
        ({"after": reading(1, "0.1159", "0.085")}, "per hour did not fall"),
        ({"after": reading(1, "0.058", "0.17")}, "per million tokens did not fall"),
    ],
)
def test_every_broken_promise_is_named(changes, said):
    assert any(said in text for text in demo_summary.broken(course(**changes)))
