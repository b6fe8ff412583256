from __future__ import annotations

from datetime import date, timedelta

import pytest

from deepseek_operator.api.rules import (
    AMOUNT,
    AVAILABILITY,
    DAY_PATTERN,
    DURATION,
    DURATION_OR_ZERO,
    MONEY,
    duration_s,
    found,
    quoted,
)
from deepseek_planner.explain import duration
from deepseek_planner.slowest import milliseconds, rounded_up
from deepseek_planner.units import micro_usd, written_usd


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("800ms", 0.8),
        ("15m", 900.0),
        ("1h30m", 5400.0),
        ("1m30s", 90.0),
        ("0s", 0.0),
        ("1.42s", 1.42),
        ("3.4ms", 0.0034),
        ("1500us", 0.0015),
        ("0.5s", 0.5),
        ("1.5h", 5400.0),
        ("0.000001us", 1e-12),
    ],
)
def test_durations(text, seconds):
    assert duration_s(text) == seconds
    assert DURATION_OR_ZERO.holds(text)
    assert DURATION.holds(text) is (seconds > 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "15",
        "1.5",
        "1d",
        "1ns",
        "-1s",
        "1s ",
        "1 s",
        "1S",
        "m",
        "1m\n",
        ".5s",
        "1.s",
        "1.2.3s",
        "1,5s",
        "1e3s",
        "1_000s",
        "\N{FULLWIDTH DIGIT ONE}s",
        "1234567s",
        "1.1234567s",
        "1s1s1s1s1s",
    ],
)
def test_what_is_no_duration(text):
    assert not DURATION.holds(text)
    assert not DURATION_OR_ZERO.holds(text)
    with pytest.raises(ValueError, match="is not a duration"):
        duration_s(text)


@pytest.mark.parametrize("text", ["0s", "0h0m", "0ms", "0.0s", "0.000us"])
def test_a_duration_of_nothing(text):
    assert not DURATION.holds(text)
    assert DURATION_OR_ZERO.holds(text)


@pytest.mark.parametrize("seconds", [0.00034, 0.0034, 0.0341, 0.62, 0.997, 1.4, 1.42, 9.94, 9.96, 12.0, 130.0])
def test_a_latency_as_printed_can_be_typed_back(seconds):
    """In the status, and in the smallest change that would do (a limit rounded up to two digits)."""
    printed = duration(seconds)
    assert DURATION.holds(printed)
    assert duration_s(printed) == pytest.approx(seconds, rel=0.01, abs=5e-5)
    limit = rounded_up(seconds)
    assert duration_s(milliseconds(limit).replace(" ", "")) == pytest.approx(limit, rel=1e-9)


@pytest.mark.parametrize("amount", ["1.50", 60, "0.000001", "0.50", "999999999", 1])
def test_money(amount):
    assert MONEY.holds(amount)
    if isinstance(amount, str):
        assert written_usd(amount) == micro_usd(amount) > 0


@pytest.mark.parametrize(
    "amount",
    [
        "1_000",
        "\N{FULLWIDTH DIGIT ONE}",
        "1\n",
        "nan",
        "0",
        "0.00",
        0,
        -1,
        "-1",
        "1e3",
        "$1",
        "1,5",
        "01",
        "",
        "1.",
        ".5",
        10**9,
        "1.1234567",
    ],
)
def test_what_is_no_money(amount):
    assert not MONEY.holds(amount)
    if isinstance(amount, str):
        with pytest.raises(ValueError, match="is not an amount of US dollars above 0"):
            written_usd(amount)


def test_days_are_those_of_the_calendar():
    first = date(2000, 1, 1)
    written = {(first + timedelta(days=n)).isoformat() for n in range(36525)}
    every = {f"20{year:02}-{month:02}-{day:02}" for year in range(100) for month in range(14) for day in range(33)}
    assert {text for text in every if found(DAY_PATTERN, text)} == written


def test_an_amount_may_be_nothing():
    assert AMOUNT.holds(0)
    assert AMOUNT.holds("0")
    assert AMOUNT.holds("0.4")
    assert not AMOUNT.holds("-0.4")


@pytest.mark.parametrize("percent", [50, 99, "50", "99", "99.9", "99.99", "75.5"])
def test_availability(percent):
    assert AVAILABILITY.holds(percent)


@pytest.mark.parametrize("percent", [49, 100, "49.99", "100", "99.999", "9.9", "", "99.", "-99", "0099"])
def test_what_is_no_availability(percent):
    assert not AVAILABILITY.holds(percent)


def test_cel_literals_keep_backslashes_and_quotes():
    assert quoted(r"a\.'b'") == r"'a\\.\'b\''"
