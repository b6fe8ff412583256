"""Who gets less is told of what, who has it, and how much more would do."""

from __future__ import annotations

from dataclasses import replace

from deepseek_planner.allocation import Allotment, Ask, PoolRoom, Problem
from deepseek_planner.mix import solve
from deepseek_planner.units import MicroUsd
from unit.mix.test_mix import DOLLAR, ask, offer, room


def short(problem: Problem, asked: Ask) -> Allotment:
    return solve(problem).allotments[asked.key]


def test_dollars_are_short_where_another_pool_has_room_that_they_do_not_reach() -> None:
    cheap, dear = offer("cheap", 4, 1.0), offer("dear", 6, 1.0, option=1)
    high, low = ask("high", 1.0, cheap, dear, priority=5), ask("low", 1.0, cheap, dear)
    problem = Problem((high, low), (room("cheap", 1), room("dear", 1)), MicroUsd(9 * DOLLAR))
    got = short(problem, low)

    assert (got.served, got.short_of, got.lost_to) == (0.0, "budget", (high.key,))
    assert (got.would_do_usd_per_hour, got.would_do_nodes) == (10 * DOLLAR, ())
    assert short(replace(problem, max_usd_per_hour=MicroUsd(10 * DOLLAR)), low).served == 1.0


def test_a_pool_is_short_where_more_dollars_would_buy_nothing() -> None:
    only = offer("p", 4, 1.0)
    high, low = ask("high", 1.0, only, priority=5), ask("low", 2.0, only)
    problem = Problem((high, low), (room("p", 1, 1, gpus=1),), MicroUsd(9 * DOLLAR))
    got = short(problem, low)

    assert (got.short_of, got.would_do_nodes, got.would_do_usd_per_hour) == ("p", (("p", 1),), 12 * DOLLAR)
    more = replace(problem, rooms=(room("p", 1, 1, 1, gpus=1),))
    assert short(more, low).served < 1.0
    assert short(replace(more, max_usd_per_hour=MicroUsd(12 * DOLLAR)), low).served == 1.0


def test_what_would_do_for_one_serves_those_that_come_before_it_and_its_equals_too() -> None:
    only = offer("p", 1, 1.0, accelerators=4)
    asks = [ask(name, 3.0, only, priority=priority) for name, priority in (("a", 2), ("b", 1), ("c", 1), ("d", 0))]

    def problem(nodes: int) -> Problem:
        return Problem(tuple(asks), (PoolRoom("p", 8, (8,) * nodes),))

    assert short(problem(2), asks[0]).served == 1.0
    got = [short(problem(2), item).would_do_nodes for item in asks[1:]]
    assert got == [(("p", 3),), (("p", 3),), (("p", 4),)]  # 9 and 12 halves of nodes
    assert [short(problem(5), item).served for item in asks] == [1.0, 1.0, 1.0, 0.25]
    assert short(problem(6), asks[3]).served == 1.0


def test_coming_first_is_named_where_it_would_do() -> None:
    only = offer("p", 4, 1.0)
    high, low = ask("high", 1.0, only, priority=5), ask("low", 2.0, only)

    def would_do(nodes: int, dollars: int) -> bool:
        rooms, limit = (room("p", *(1,) * nodes, gpus=1),), MicroUsd(dollars * DOLLAR)
        first = short(Problem((high, replace(low, priority=9)), rooms, limit), low)
        found = short(Problem((high, low), rooms, limit), low)
        assert (first.served == 1.0) == found.would_do_first
        return found.would_do_first

    assert would_do(2, 9)
    assert not would_do(2, 7)  # alone, two of them cost 8
    assert not would_do(1, 9)  # and need two nodes


def test_equals_share_and_nobody_of_them_comes_first() -> None:
    only = offer("p", 1, 1.0)
    one, other, first = ask("a", 4.0, only), ask("b", 4.0, only), ask("c", 1.0, only, priority=1)
    got = short(Problem((one, other, first), (room("p", 7),)), one)

    assert (got.lost_to, got.shared_with) == ((first.key,), (other.key,))
