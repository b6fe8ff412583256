"""Even routing: which offers are worth a look in fleets of how many replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deepseek_planner.allocation import Ask, PoolRoom
from deepseek_planner.mix import even
from deepseek_planner.mix.asks import FULL
from deepseek_planner.mix.packing import Rows
from support import mixes
from unit.mix.test_mix import SPOT, ask, offer, room


def looked_at(asked: Ask, *rooms: PoolRoom, level: int = FULL) -> Mapping[int, set[int]]:
    """Offers by number of replicas."""
    items, modes = even.found(asked, Rows(rooms, asked.offers))
    return {mode.need: {items[place].index for place in mode.allowed} for mode in modes[level - 1]}


def test_the_cheapest_that_does_of_each_pool_is_enough() -> None:
    """The strong one is for fleets of one; where two are needed anyway, only the weak one is."""
    weak, strong = offer("p", 1, 1.0), offer("p", 3, 2.0, option=1)

    assert looked_at(ask("a", 2.0, weak, strong), room("p", 8)) == {1: {1}, 2: {0}}
    assert looked_at(ask("a", 2.0, weak, strong._replace(pool="q")), room("p", 8), room("q", 8)) == {1: {1}, 2: {0, 1}}


def test_what_takes_less_of_the_pool_is_looked_at_beside_what_costs_less() -> None:
    small, large = offer("p", 3, 1.0), offer("p", 2, 1.0, option=1, accelerators=2)

    assert looked_at(ask("a", 2.0, small, large), room("p", 8)) == {2: {0, 1}}
    assert looked_at(ask("a", 2.0, small._replace(pool="q"), large), room("q", 8), room("p", 8)) == {2: {0, 1}}
    dear = large._replace(usd_per_hour=small.usd_per_hour, expected_usd_per_hour=small.expected_usd_per_hour)
    assert looked_at(ask("a", 2.0, small, dear), room("p", 8)) == {2: {0}}


def test_more_replicas_than_are_allowed_are_not_looked_at() -> None:
    weak, strong = offer("p", 1, 1.0), offer("p", 3, 2.0, option=1)

    assert looked_at(ask("a", 4.0, weak, strong, max_replicas=3), room("p", 8)) == {2: {1}}


def test_what_runs_is_looked_at_whatever_is_cheaper() -> None:
    cheap, dear = offer("p", 1, 1.0), offer("p", 3, 1.0, option=1)

    assert looked_at(ask("a", 2.0, cheap, dear), room("p", 8)) == {2: {0}}
    assert looked_at(ask("a", 2.0, cheap, dear, running={1: 1}), room("p", 8)) == {2: {0, 1}}


def test_what_is_stronger_is_kept_only_where_something_must_be_left() -> None:
    """With at least two replicas both serve; without one of them only the strong one does, if that is asked."""
    weak = offer("spot", 1, 1.0, capacity_type=SPOT)
    strong = weak._replace(option=1, capacity_per_s=2.0, usd_per_hour=offer("spot", 2, 1.0).usd_per_hour)
    asked = ask("a", 2.0, weak, strong, min_replicas=2)

    assert looked_at(asked, room("spot", 8)) == {2: {0}}
    bearing = replace(asked, holds=mixes.Carries(asked.offers, 2.0))
    assert looked_at(bearing, room("spot", 8)) == {2: {0, 1}}
    assert looked_at(bearing, room("spot", 8), level=FULL - 1) == {2: {0}}
