from __future__ import annotations

import math

import pytest

from deepseek_operator.local.series import Series, histogram_quantile


def scrape(series, at_s, value, name="tokens_total", pod="a"):
    series.record(f'# TYPE {name} counter\n{name}{{kind="x"}} {value}\n', at_s=at_s, labels={"pod": pod})


def test_an_increase_is_what_was_gained_between_samples():
    series = Series(keep_s=100)
    for at_s, value in ((0, 10), (10, 25), (20, 40)):
        scrape(series, at_s, value)

    assert series.increase("tokens_total", {"kind": "x"}, since_s=0) == 30
    assert series.increase("tokens_total", {"kind": "x"}, since_s=10) == 15
    assert series.increase("tokens_total", {"kind": "x"}, since_s=0, until_s=10) == 15


def test_a_fall_is_a_restart_from_zero():
    series = Series(keep_s=100)
    for at_s, value in ((0, 100), (10, 120), (20, 5), (30, 8)):
        scrape(series, at_s, value)

    assert series.increase("tokens_total", {}, since_s=0) == 20 + 5 + 3


def test_pods_add_up_and_a_pod_that_is_gone_still_counts_in_the_window():
    series = Series(keep_s=100)
    scrape(series, 0, 0, pod="a")
    scrape(series, 10, 7, pod="a")
    scrape(series, 10, 0, pod="b")
    scrape(series, 20, 5, pod="b")

    assert series.increase("tokens_total", {}, since_s=0) == 12
    assert series.increase("tokens_total", {"pod": "a"}, since_s=0) == 7


def test_absent_is_not_zero():
    series = Series(keep_s=100)
    scrape(series, 0, 3)

    assert series.increase("tokens_total", {}, since_s=0) is None
    assert series.increase("other_total", {}, since_s=0) is None
    assert series.latest("other_total", {}, since_s=0) is None
    assert series.quantile(0.5, "other", {}, since_s=0) is None


def test_samples_older_than_kept_are_forgotten():
    series = Series(keep_s=15)
    for at_s in (0, 10, 20):
        scrape(series, at_s, at_s)

    assert series.first_s("tokens_total", {}, since_s=0) == 10
    assert series.latest("tokens_total", {}, since_s=0) == 20
    assert series.latest("tokens_total", {}, since_s=21) is None


@pytest.mark.parametrize(
    ("q", "expected"),
    # 10 observations: 4 up to 0.1, 4 more up to 0.5, 2 beyond: as histogram_quantile answers.
    [(0.2, 0.05), (0.4, 0.1), (0.6, 0.3), (0.8, 0.5), (0.95, 0.5)],
)
def test_quantiles_interpolate_inside_a_bucket(q, expected):
    assert histogram_quantile(q, [(0.1, 4.0), (0.5, 8.0), (math.inf, 10.0)]) == pytest.approx(expected)


def test_a_histograms_quantile_is_of_the_time_span_and_of_all_pods():
    series = Series(keep_s=100)
    for at_s, low, high in ((0, 100, 100), (10, 102, 110)):
        for pod in ("a", "b"):
            text = f'# TYPE t histogram\nt_bucket{{le="1.0"}} {low}\nt_bucket{{le="3.0"}} {high}\n'
            series.record(f'{text}t_bucket{{le="+Inf"}} {high}\n', at_s=at_s, labels={"pod": pod})

    # In the span: 4 up to 1 s and 16 from 1 to 3 s; the median is the 10th: 6/16 into the second bucket.
    assert series.quantile(0.5, "t", {}, since_s=0) == pytest.approx(1 + 2 * 6 / 16)


def test_totals_count_from_the_beginning_whatever_is_forgotten():
    series = Series(keep_s=15)
    for at_s, value in ((0, 5), (10, 7), (20, 2), (200, 3)):
        scrape(series, at_s, value)

    # From zero to 5, to 7, a restart to 2, to 3.
    assert series.totals["tokens_total", "", ""] == 5 + 2 + 2 + 1
