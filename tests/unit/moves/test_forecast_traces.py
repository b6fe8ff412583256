"""The forecast on public traces, where they are at hand: it covers rises that simpler rules miss."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.forecast_traces import RULES, TRACES, made, score, trace

FOLDER = Path(os.environ.get("DEEPSEEK_DATA", "")) / "request_traces"
OURS, BEFORE = "level, rise and noise (the planner's)", "busiest minute + 1.645 √"


# Others' traces, hundreds of thousands of requests: named and not shipped. CI has them.
@pytest.mark.skipif(not FOLDER.is_dir(), reason="DEEPSEEK_DATA names no folder with request_traces/ in it")
@pytest.mark.parametrize(("name", "least"), [("Azure 2023, conversation", 0.65), ("Mooncake 2025, conversation", 0.95)])
def test_real_conversations_are_covered_more_often_than_before_for_little_more(name, least):
    minutes = trace(FOLDER / TRACES[name])
    ours, before = (score(minutes, RULES[rule], 16) for rule in (OURS, BEFORE))
    assert ours.covered >= max(least, before.covered)
    assert ours.planned <= before.planned + 0.25


@pytest.mark.parametrize("ahead", [1, 6, 11, 16])
def test_steady_and_daily_loads_are_covered_as_asked(ahead):
    loads = dict(made())
    for name in ("made: steady, 200 a minute", "made: a day's wave, 100 to 700 a minute"):
        found = score(loads[name], RULES[OURS], ahead)
        assert found.covered >= 0.95
        assert found.planned <= 1.2


def test_a_slow_rise_is_followed_where_the_busiest_minute_alone_is_late():
    rising = dict(made())["made: up 2 % a minute, from 100"]
    ours, before = (score(rising, RULES[rule], 11) for rule in (OURS, BEFORE))
    assert ours.covered >= 0.8
    assert before.covered <= 0.1
