from __future__ import annotations

import pytest

from deepseek_operator.api.rules import (
    AMOUNT,
    AVAILABILITY,
    DURATION,
    DURATION_OR_ZERO,
    MONEY,
    duration_ms,
    format_duration,
    quoted,
)


@pytest.mark.parametrize(("text", "milliseconds"), [("800ms", 800), ("15m", 900_000), ("1h30m", 5_400_000), ("0s", 0)])
def test_durations(text, milliseconds):
    assert duration_ms(text) == milliseconds
    assert DURATION_OR_ZERO.holds(text)


@pytest.mark.parametrize("text", ["", "15", "1.5s", "1d", "-1s", "1s ", "m", "1m\n"])
def test_what_is_no_duration(text):
    assert not DURATION_OR_ZERO.holds(text)
    with pytest.raises(ValueError, match="is not a duration"):
        duration_ms(text)


@pytest.mark.parametrize("text", ["0s", "0h0m", "0ms"])
def test_a_duration_of_nothing(text):
    assert not DURATION.holds(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.62, "620ms"), (0, "0ms"), (1.5, "1500ms"), (45, "45s"), (900, "15m"), (5400, "1h30m"), (3661, "1h1m1s")],
)
def test_durations_as_people_write_them(seconds, text):
    assert format_duration(seconds) == text
    assert duration_ms(text) == seconds * 1000


@pytest.mark.parametrize("amount", ["1.50", 60, "0.000001", "0.50", "999999999", 1])
def test_money(amount):
    assert MONEY.holds(amount)


@pytest.mark.parametrize(
    "amount", ["0", "0.00", 0, -1, "-1", "1e3", "$1", "1,5", "01", "", "1.", ".5", 10**9, "1.1234567"]
)
def test_what_is_no_money(amount):
    assert not MONEY.holds(amount)


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
