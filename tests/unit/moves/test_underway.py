"""What a move under way ends with: what is begun is finished while it can be, and not longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from deepseek_planner.snapshot import Policy, RebalancingMode
from deepseek_planner.underway import end_of_move
from support.fleets import NOW, group, snapshot

POLICY = Policy()
OLD, NEW = "chat-h100-a", "chat-t4-a"


def end(*groups, last, **asked):
    seen = snapshot(*groups, last_move_groups=last, **asked)
    return end_of_move(seen, seen.deployments[0], POLICY)


def starting(replicas, **changes):
    return group(replicas, "t4", "2", ready=0, starting=replicas, **changes)


def test_engines_that_start_in_place_of_others_are_what_the_move_ends_with():
    assert end(group(2), starting(3), last={NEW: 3}) == {NEW: 3}
    assert end(group(1), group(3, "t4", "2"), last={NEW: 3}) == {NEW: 3}, "while the old ones drain"
    assert end(group(3), starting(3), last={OLD: 1, NEW: 3}) == {OLD: 1, NEW: 3}, "a shift between both"


def test_a_move_that_is_over_or_that_nobody_noted_is_none():
    assert end(group(3, "t4", "2"), last={NEW: 3}) == {}
    assert end(group(0), group(3, "t4", "2"), last={NEW: 3}) == {}
    assert end(group(2), starting(3), last={}) == {}
    assert end(group(2), last={OLD: 2, NEW: 0}) == {}


def test_what_is_not_all_asked_for_yet_may_turn_out_to_have_no_room():
    assert end(group(2), starting(2), last={NEW: 3}) == {}
    assert end(group(2), last={NEW: 3}) == {}


def test_engines_are_waited_for_as_long_as_their_patience_lasts():
    patience_s = POLICY.patience * POLICY.engine_start_s
    for waited_s, expected in ((patience_s - 1, {NEW: 3}), (patience_s + 1, {})):
        since = NOW - timedelta(seconds=waited_s)
        assert end(group(2), starting(3, unready_since=since), last={NEW: 3}) == expected


@pytest.mark.parametrize("mode", [RebalancingMode.RECOMMEND, RebalancingMode.OFF])
def test_nothing_goes_on_by_itself_unless_the_mode_is_auto(mode):
    assert end(group(2), starting(3), last={NEW: 3}, mode=mode) == {}


def test_an_edit_asks_for_something_else_than_the_move_did():
    seen = snapshot(group(2), starting(3), last_move_groups={NEW: 3})
    edited = replace(seen.deployments[0], generation=seen.deployments[0].generation + 1)
    assert end_of_move(seen, edited, POLICY) == {}
    assert end_of_move(seen, replace(seen.deployments[0], paused=True), POLICY) == {}
