"""What is derived from traces: on small ones of our own, and on the public ones where DEEPSEEK_DATA names them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import spot_traces
from bench.spot_traces import Trace
from deepseek_planner.risk import FACTS

HOUR = 3600


def trace(*changes: tuple[float, int], zone: str = "us-east-1a", target: int = 4, hours: float = 10) -> Trace:
    seconds = tuple((int(at * HOUR), count) for at, count in changes)
    return Trace("t", "campaign", "preemption", zone, "p3.2xlarge", target, int(hours * HOUR), seconds)


class TestDeriving:
    def test_rates_are_per_hour_that_a_node_was_there(self):
        one = trace((0, 4), (5, 2), (6, 4), (8, 3))
        assert one.falls == [(5 * HOUR, 2), (8 * HOUR, 1)]
        assert one.node_hours == 4 * 5 + 2 * 1 + 4 * 2 + 3 * 2
        assert one.losses_per_node_day == pytest.approx(24 * 3 / 36)

    def test_losses_within_five_minutes_are_shared(self):
        together = trace((0, 4), (1, 3), (1.05, 2), (5, 1))
        assert spot_traces.shared([together]) == pytest.approx(2 / 3)
        assert spot_traces.shared([trace((0, 4), (1, 0))]) == 1.0

    def test_a_drought_lasts_until_a_node_is_there_again_or_the_trace_ends(self):
        assert spot_traces.dry_s([trace((0, 4), (1, 0), (2, 4), (8, 0))]) == 1.5 * HOUR

    def test_halves_together_are_the_whole(self):
        one = trace((0, 4), (4, 0), (7, 4))
        first, second = one.half(second=False), one.half(second=True)
        assert (first.changes, second.changes) == (((0, 4), (4 * HOUR, 0)), ((0, 0), (2 * HOUR, 4)))
        assert first.node_hours + second.node_hours == one.node_hours

    def test_zones_that_are_dry_together_correlate(self):
        other = trace((0, 4), (4, 0), (7, 4), zone="us-east-1b")
        far = trace((0, 0), (4, 4), (7, 0), zone="us-west-2a")
        traces = [trace((0, 4), (4, 0), (7, 4)), other, far]
        assert spot_traces.correlation(traces, same_region=True) == (pytest.approx(1.0), 1)
        assert spot_traces.correlation(traces, same_region=False) == (pytest.approx(-1.0), 2)

    def test_a_model_that_is_told_the_rate_of_such_a_zone_is_right_about_it(self):
        steady = trace(*((hour, 0 if hour % 10 == 9 else 4) for hour in range(1000)), hours=1000)
        (case,) = (item for item in spot_traces.backtest([steady]) if item.fleet.endswith("1/4 of its nodes"))
        assert case.observed == pytest.approx(0.9)
        assert case.told_error < 0.01 < case.independent_error


@pytest.fixture(scope="module")
def public() -> list[Trace]:
    folder = Path(os.environ.get("DEEPSEEK_DATA", "")) / "spot_traces"
    if not (folder / "traces_index.csv").is_file():  # without a licence, they may not lie in here; CI has them
        pytest.skip("DEEPSEEK_DATA names no folder with spot_traces/ in it")
    return spot_traces.read(folder)


class TestPublic:
    def test_the_shipped_facts_are_those_of_the_traces(self, public):
        several = [item for item in public if item.kind == "preemption" and item.target > 1]
        assert spot_traces.shared(several) == pytest.approx(FACTS.shared, abs=0.01)
        assert spot_traces.dry_s(public) == pytest.approx(FACTS.dry_s, rel=0.02)
        assert spot_traces.correlation(public, same_region=True)[0] == pytest.approx(FACTS.regional, abs=0.02)

    def test_fleets_fare_as_predicted_on_the_average(self, public):
        cases = spot_traces.backtest(public)
        fleets = sum(case.fleets for case in cases)
        means = {
            name: sum(getattr(case, name) * case.fleets for case in cases) / fleets
            for name in ("observed", "predicted", "told_error", "independent_error")
        }
        assert means["predicted"] == pytest.approx(means["observed"], abs=0.05)
        assert means["told_error"] < 0.05
        assert means["told_error"] < 0.6 * means["independent_error"]
