"""Measured against numbers worked out by hand from the scrapes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from deepseek_operator.local.measurements import Measurements
from deepseek_operator.local.store import Store
from deepseek_planner.demand import (
    AccuracyClass,
    Demand,
    LatencyTarget,
    LengthBucket,
    LengthDistribution,
    Objectives,
)
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey
from deepseek_planner.units import micro_usd

START = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = 'namespace="demo",name="chat"'


def deployment():
    lengths = LengthDistribution((LengthBucket(100, 50, 1.0),))
    objectives = Objectives(
        LatencyTarget(50, 1.0), LatencyTarget(95, 0.1), AccuracyClass.CRITICAL, micro_usd("1"), None
    )
    return DeploymentInput(
        DeploymentKey("demo", "chat"), 1, "deepseek-tiny", Demand(60, 120, lengths, lengths), objectives
    )


def scrape(measurements, second, *, tokens=0, requests=0, in_flight=0, spend=0.0, ready=1, pod="a", labels=LABELS):
    text = f"""# TYPE deepseek_tokens counter
deepseek_tokens_total{{{labels},direction="input"}} {tokens * 0.75}
deepseek_tokens_total{{{labels},direction="output"}} {tokens * 0.25}
# TYPE deepseek_requests counter
deepseek_requests_total{{{labels},outcome="succeeded"}} {requests}
# TYPE deepseek_requests_in_flight gauge
deepseek_requests_in_flight{{{labels}}} {in_flight}
# TYPE deepseek_spend_usd counter
deepseek_spend_usd_total{{{labels}}} {spend}
# TYPE deepseek_engine_ready gauge
deepseek_engine_ready{{{labels}}} {ready}
# TYPE deepseek_time_to_first_token_seconds histogram
deepseek_time_to_first_token_seconds_bucket{{{labels},le="0.5"}} {requests * 0.5}
deepseek_time_to_first_token_seconds_bucket{{{labels},le="1.0"}} {requests}
deepseek_time_to_first_token_seconds_bucket{{{labels},le="+Inf"}} {requests}
# TYPE vllm:request_prompt_tokens histogram
vllm:request_prompt_tokens_sum{{{labels}}} {tokens * 0.75}
vllm:request_prompt_tokens_count{{{labels}}} {requests}
"""
    at_s = (START + timedelta(seconds=second)).timestamp()
    measurements.series.record(text, at_s=at_s, labels={"pod": pod})


@pytest.fixture
def measurements():
    return Measurements(Store(), http=None, window_s=60.0)


def at(second):
    return START + timedelta(seconds=second)


def test_rates_costs_and_lengths_are_of_the_window(measurements):
    # 1 request of 100 tokens a second, at 3.60 dollars an hour.
    for second in range(0, 121, 10):
        scrape(measurements, second, tokens=100 * second, requests=second, spend=0.001 * second)
    measured = measurements.measured(deployment(), now=at(120))

    assert measured.requests_per_min == pytest.approx(60)
    assert measured.tokens_per_s == pytest.approx(100)
    assert measured.usd_per_hour == 3_600_000
    assert measured.usd_per_million_tokens == 10_000_000
    assert measured.mean_input_tokens == pytest.approx(75)
    assert measured.mean_output_tokens is None
    assert measured.time_to_first_token_s == pytest.approx(0.5)
    assert measured.time_per_output_token_s is None
    assert (measured.window_s, measured.covered_s) == (60.0, 60.0)


def test_the_peak_is_the_busiest_stretch(measurements):
    requests = 0
    for second in range(0, 61, 5):
        scrape(measurements, second, requests=requests)
        requests += 20 if 20 <= second < 50 else 1
    measured = measurements.measured(deployment(), now=at(60))

    assert measured.peak_requests_per_min == pytest.approx(240, rel=0.02)
    assert len(measured.minutes) >= 14
    assert measured.minutes[0] < measured.minutes[-1] < max(measured.minutes) == measured.peak_requests_per_min
    assert measured.requests_per_min == pytest.approx((6 * 20 + 6) * 60 / 60)


def test_a_cold_start_covers_nothing(measurements):
    for second in range(0, 101, 5):
        scrape(measurements, second, ready=0)
    assert measurements.measured(deployment(), now=at(100)) is None

    for second in range(105, 126, 5):
        scrape(measurements, second, requests=second - 105)
    measured = measurements.measured(deployment(), now=at(125))
    assert measured.covered_s == pytest.approx(20)
    assert measured.requests_per_min == pytest.approx(60)


def test_a_full_window_stays_full_when_an_engine_goes(measurements):
    for second in range(0, 101, 5):
        scrape(measurements, second, requests=second, pod="a")
        if second <= 60:
            scrape(measurements, second, requests=second, pod="b")
    measured = measurements.measured(deployment(), now=at(100))

    assert measured.covered_s == 60.0
    assert measured.requests_per_min == pytest.approx((60 + 20) * 60 / 60)


def test_other_deployments_do_not_count(measurements):
    for second in (0, 30, 60):
        scrape(measurements, second, requests=second, labels='namespace="demo",name="other"')

    assert measurements.measured(deployment(), now=at(60)) is None


def test_no_load_is_zero_and_not_absent(measurements):
    for second in range(0, 61, 10):
        scrape(measurements, second, spend=0.001 * second)
    measured = measurements.measured(deployment(), now=at(60))

    assert measured.requests_per_min == 0
    assert measured.usd_per_hour == 3_600_000
    assert measured.usd_per_million_tokens is None
    assert measured.time_to_first_token_s is None


def test_engines_that_cannot_keep_up_do_not_look_like_less_demand(measurements):
    # Two requests a second arrive, one a second is finished.
    for second in range(0, 61, 5):
        scrape(measurements, second, requests=second, in_flight=second)
    measured = measurements.measured(deployment(), now=at(60))

    assert measured.requests_per_min == pytest.approx(120)
    assert measured.peak_requests_per_min == pytest.approx(120)
