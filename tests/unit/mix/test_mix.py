"""Mixed fleets in stories: one question each, small enough to be worked out by hand."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from deepseek_planner.allocation import Ask, Offer, PoolRoom, Problem, Solution
from deepseek_planner.hardware import CapacityType
from deepseek_planner.mix import compete, solve
from deepseek_planner.snapshot import DeploymentKey, Routing
from deepseek_planner.units import MicroUsd
from support import mixes

DOLLAR = 1_000_000
SPOT, ON_DEMAND, RESERVED = CapacityType.SPOT, CapacityType.ON_DEMAND, CapacityType.RESERVED


def offer(pool: str, dollars: int, capacity: float, **changed: Any) -> Offer:
    values: dict[str, Any] = {"option": 0, "capacity_type": ON_DEMAND, "accelerators": 1, "nodes": 1, "rank": (0,)}
    values |= {"expected_usd_per_hour": MicroUsd(dollars * DOLLAR)} | changed
    return Offer(pool=pool, usd_per_hour=MicroUsd(dollars * DOLLAR), capacity_per_s=capacity, **values)


def ask(name: str, rate: float, *offers: Offer, **changed: Any) -> Ask:
    values: dict[str, Any] = {
        "class_rates_per_s": (),
        "routing": Routing.EVEN,
        "min_replicas": 1,
        "max_replicas": 64,
        "max_usd_per_hour": MicroUsd(1000 * DOLLAR),
        "max_spot_percent": 100,
        "priority": 0,
    } | changed
    return Ask(key=DeploymentKey("team", name), requests_per_s=rate, offers=offers, **values)


def room(pool: str, *free: int, gpus: int = 8) -> PoolRoom:
    return PoolRoom(pool, gpus, free)


def replicas(solution: Solution, name: str = "a") -> dict[int, int]:
    return {part.offer: part.replicas for part in solution.allotments[DeploymentKey("team", name)].parts}


def one(asked: Ask, *rooms: PoolRoom) -> dict[int, int]:
    problem = Problem((asked,), rooms)
    solution = solve(problem)
    mixes.check(problem, solution)
    assert solution.gap == 0
    return replicas(solution)


def test_what_the_cheap_pool_has_no_room_for_goes_to_the_next() -> None:
    small, large = offer("cheap", 1, 1.0), offer("dear", 3, 1.0, option=1)

    assert one(ask("a", 5.0, small, large), room("cheap", 3), room("dear", 8)) == {0: 3, 1: 2}


def test_even_traffic_fills_no_replica_beyond_what_it_can() -> None:
    """A strong replica beside weak ones gets no more than they do: it takes four replicas whatever joins them."""
    weak, strong = offer("weak", 2, 1.0), offer("strong", 3, 4.0, option=1)

    assert one(ask("a", 4.0, weak, strong), room("weak", 8), room("strong", 8)) == {1: 1}
    crowded = strong._replace(usd_per_hour=MicroUsd(100 * DOLLAR), expected_usd_per_hour=MicroUsd(100 * DOLLAR))
    assert one(ask("a", 4.0, weak, crowded), room("weak", 8), room("strong", 8)) == {0: 4}


def test_long_prompts_go_where_they_are_cheap_to_serve() -> None:
    """By length: the small card takes the short prompts, one large card the long ones that it cannot hold at all."""
    small = offer("small", 1, 0.0, loads=(0.25, math.inf))
    large = offer("large", 8, 4.0, option=1, loads=(0.2, 0.5))
    asked = ask("a", 9.0, small, large, routing=Routing.BY_LENGTH, class_rates_per_s=(8.0, 1.0))
    problem = Problem((asked,), (room("small", 8), room("large", 8)))
    solution = solve(problem)
    mixes.check(problem, solution)
    parts = {part.offer: part for part in solution.allotments[asked.key].parts}

    assert {index: part.replicas for index, part in parts.items()} == {0: 2, 1: 1}
    assert parts[0].shares[1] == 0
    assert parts[1].shares[1] == pytest.approx(1)
    # All by large cards takes three of them: 24 dollars instead of 10.
    assert solution.expected_usd_per_hour == 10 * DOLLAR


def parts(solution: Solution) -> dict[int, tuple[float, ...]]:
    return {part.offer: part.shares for part in solution.allotments[DeploymentKey("team", "a")].parts}


def shared_out(small: tuple[float, float], large: tuple[float, float]) -> dict[int, tuple[float, ...]]:
    """A small and a large card for one short and one long prompt per second, neither of which serves both alone."""
    one, other = offer("small", 1, 0.0, loads=small), offer("large", 8, 0.0, option=1, loads=large)
    asked = ask("a", 2.0, one, other, routing=Routing.BY_LENGTH, class_rates_per_s=(1.0, 1.0), max_replicas=2)
    return parts(solve(Problem((asked,), (room("small", 1, gpus=1), room("large", 1, gpus=1)))))


def test_a_sliver_of_a_class_goes_where_the_rest_of_it_has_room() -> None:
    """Evened out, the small card would get 2 % of the long prompts, and have to be set up for them."""
    assert shared_out((0.85, 5.0), (0.2, 0.95)) == {0: (1.0, 0.0), 1: (0.0, 1.0)}


def test_what_evens_loads_out_by_much_is_shared() -> None:
    assert shared_out((0.2, 2.0), (0.1, 0.95))[0] == pytest.approx((1.0, 0.75 / 2.95))


def test_a_sliver_stays_where_the_others_have_no_room_for_it() -> None:
    assert shared_out((0.8, 3.0), (0.3, 1.04))[0] == pytest.approx((1.0, 0.24 / 4.04))


def test_spot_keeps_its_share_of_the_replicas() -> None:
    spot, firm = offer("spot", 1, 1.0, capacity_type=SPOT), offer("firm", 4, 1.0)

    assert one(ask("a", 5.0, spot, firm, max_spot_percent=50), room("spot", 8), room("firm", 8)) == {0: 2, 1: 3}


def test_a_fleet_that_must_bear_losses_is_spread_or_larger() -> None:
    first = offer("s1", 1, 1.0, capacity_type=SPOT)
    second, firm = first._replace(pool="s2", option=1), offer("firm", 10, 1.0, option=2)
    asked = ask("a", 2.0, first, second, firm)
    asked = replace(asked, holds=mixes.Survives(asked.offers, 2))

    # Either spot pool may go: each must carry the rate alone, which is cheaper than anything firm.
    assert one(asked, room("s1", 8), room("s2", 8), room("firm", 8)) == {0: 2, 1: 2}


@pytest.mark.parametrize(
    ("weaker", "changed"), [(1.0, {"min_replicas": 2}), (1.5, {"spare_per_s": 3.0})], ids=["at least two", "headroom"]
)
def test_what_is_left_of_a_fleet_is_as_strong_as_its_weakest(weaker: float, changed: dict[str, Any]) -> None:
    """Two of either spot offer serve; but beside a weak one, what is left when spot is lost carries too little."""
    weak, strong = offer("spot", 1, weaker, capacity_type=SPOT), offer("spot", 2, 2.0, option=1, capacity_type=SPOT)
    firm = offer("firm", 4, 2.0, option=2)
    asked = ask("a", 2.0, weak, strong, firm, **changed)

    rooms = room("spot", 8), room("firm", 8)
    assert one(replace(asked, holds=mixes.Carries(asked.offers, 2.0)), *rooms) == {1: 1, 2: 1}


def test_reserved_capacity_is_taken_first_and_counted_in_full() -> None:
    paid = offer("ours", 9, 1.0, capacity_type=RESERVED, expected_usd_per_hour=MicroUsd(9000))
    rented = offer("theirs", 1, 1.0)
    solution = solve(Problem((ask("a", 1.0, paid, rented),), (room("ours", 8), room("theirs", 8))))

    assert replicas(solution) == {0: 1}
    assert solution.allotments[DeploymentKey("team", "a")].usd_per_hour == 9 * DOLLAR


def test_replicas_over_two_nodes_take_them_whole() -> None:
    wide = offer("p", 5, 1.0, accelerators=16, nodes=2)
    small = offer("p", 1, 1.0, option=1)
    problem = Problem((ask("a", 1.0, wide), ask("b", 1.0, small)), (room("p", 8, 8),))
    solution = solve(problem)
    mixes.check(problem, solution)

    served = {key.name: item.served for key, item in solution.allotments.items()}
    assert sorted(served.values()) == [0.0, 1.0]


def test_the_higher_priority_is_served_and_the_other_told_by_whom() -> None:
    only = offer("p", 1, 1.0)
    high, low = ask("high", 2.0, only, priority=5), ask("low", 2.0, only)
    solution = solve(Problem((low, high), (room("p", 3),)))
    got = solution.allotments[low.key]

    assert solution.allotments[high.key].served == 1.0
    assert (got.served, got.short_of, got.lost_to) == (0.5, "p", (high.key,))
    assert replicas(solution, "low") == {0: 1}


def test_equals_share_what_there_is() -> None:
    """Two that want four each of six: three quarters for both is fairer than all for one and half for the other."""
    only = offer("p", 1, 1.0)
    solution = solve(Problem((ask("a", 4.0, only), ask("b", 4.0, only)), (room("p", 6),)))

    assert {item.served for item in solution.allotments.values()} == {0.75}


@pytest.mark.parametrize("name", ["a", "b"])
def test_of_equals_the_one_that_runs_goes_on(name: str) -> None:
    only = offer("p", 1, 1.0, accelerators=8)
    asks = [ask(each, 1.0, only, running={0: 1} if each == name else {}) for each in "ab"]
    solution = solve(Problem(tuple(asks), (room("p", 8),)))

    assert {key.name: item.served for key, item in solution.allotments.items() if item.served} == {name: 1.0}


def test_the_clusters_budget_is_short_like_a_pool() -> None:
    only = offer("p", 4, 1.0)
    first, second = ask("a", 1.0, only, priority=1), ask("b", 1.0, only)
    solution = solve(Problem((first, second), (room("p", 8),), MicroUsd(7 * DOLLAR)))

    assert solution.allotments[second.key].short_of == "budget"
    assert solution.allotments[second.key].lost_to == (first.key,)
    assert solution.allotments[first.key].usd_per_hour == 4 * DOLLAR


def test_who_cannot_be_served_even_alone_is_not_short_and_takes_nothing() -> None:
    only = offer("p", 1, 1.0)
    large, small = ask("large", 20.0, only, priority=9), ask("small", 2.0, only)
    solution = solve(Problem((large, small), (room("p", 8),)))

    assert (solution.allotments[large.key].served, solution.allotments[large.key].short_of) == (0.0, "")
    assert solution.allotments[small.key].served == 1.0


def test_what_runs_may_stay_without_the_headroom_that_its_successor_needs() -> None:
    runs, cheaper = offer("now", 5, 1.0), offer("new", 4, 1.0, option=1)
    asked = ask("a", 2.0, runs, cheaper, spare_per_s=2.5)

    assert one(asked, room("now", 8), room("new", 8)) == {1: 3}
    assert one(replace(asked, running={0: 2}), room("now", 8), room("new", 8)) == {0: 2}


def test_a_move_under_way_ends_as_it_began_while_its_end_carries_the_rate() -> None:
    """Something cheaper with headroom has come up meanwhile; it is judged when the move is over."""
    begun, cheap = offer("begun", 4, 2.0), offer("cheap", 3, 2.0, option=1)
    old = offer("old", 5, 1.0, option=2)
    rooms = room("begun", 8), room("cheap", 8), room("old", 8)
    under_way = {"spare_per_s": 2.2, "running": {0: 1, 2: 3}, "ends": {0: 1}}

    asked = ask("a", 1.9, begun, cheap, old, **under_way)
    assert one(asked, *rooms) == {0: 1}
    assert one(replace(asked, ends={}), *rooms) == {1: 2}
    assert one(replace(asked, requests_per_s=2.1), *rooms) == {1: 2}, "its end is too small by now"
    assert one(replace(asked, holds=lambda counts: 0 not in counts), *rooms) == {1: 2}, "it would not bear losses"
    assert one(asked, *rooms[1:]) == {1: 2}, "its pool is gone"


def test_a_move_under_way_takes_nothing_of_what_others_are_served_with() -> None:
    begun, cheap = offer("shared", 4, 1.0), offer("own", 3, 1.0, option=1)
    moving = ask("a", 1.0, begun, cheap, spare_per_s=1.1, running={0: 2}, ends={0: 2})
    other = ask("b", 2.0, offer("shared", 4, 1.0))
    solution = solve(Problem((moving, other), (room("shared", 2), room("own", 8))))

    assert replicas(solution, "a") == {1: 2}
    assert replicas(solution, "b") == {0: 2}


def test_headroom_is_not_asked_for_where_there_is_no_room_for_it() -> None:
    asked = ask("a", 2.0, offer("p", 1, 1.0), spare_per_s=2.5)

    assert one(asked, room("p", 2)) == {0: 2}


def test_no_solver_is_loaded_while_everybody_gets_what_is_best() -> None:
    script = (
        "import sys\n"
        "from unit.mix.test_mix import ask, offer, one, room\n"
        "sys.modules.pop('highspy', None)\n"
        "from deepseek_planner.mix import solve\n"
        "from deepseek_planner.allocation import Problem\n"
        "solve(Problem((ask('a', 3.0, offer('p', 1, 1.0)), ask('b', 3.0, offer('p', 1, 1.0))), (room('p', 8),)))\n"
        "sys.exit('highspy' in sys.modules)\n"
    )
    paths = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{script}"], capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr


def crowd(count: int) -> Problem:
    """Asks that all like the same pool best, which has room for a third of them; sizes of replicas differ."""
    asks = tuple(
        ask(
            f"d{number:03}",
            1.0 + number % 4,
            offer("best", 2, 1.0 + number % 3 / 2, accelerators=1 << number % 3),
            offer("next", 3, 1.0, option=1),
            offer("last", 5 + number % 3, 2.0, option=2, accelerators=2),
        )
        for number in range(count)
    )
    third = count * 2 // 8
    return Problem(asks, (room("best", *[8] * third), room("next", *[8] * third), room("last", *[8] * count)))


def test_a_crowd_is_planned_within_a_proven_percent() -> None:
    problem = crowd(90)
    solution = solve(problem)
    mixes.check(problem, solution)

    assert all(item.served == 1 for item in solution.allotments.values())
    assert solution.gap <= 0.01
    assert 0 < solution.lower_bound_usd_per_hour <= solution.expected_usd_per_hour


def test_a_crowd_in_need_is_served_as_far_as_it_goes() -> None:
    problem = crowd(40)
    tight = replace(problem, rooms=tuple(replace(item, free_by_node=(8, 8)) for item in problem.rooms))
    solution = solve(tight)
    mixes.check(tight, solution)

    assert any(item.served < 1 for item in solution.allotments.values())
    assert all(bool(item.short_of) == (item.served < 1) for item in solution.allotments.values())


def shapes(of: Offer, count: int) -> list[Offer]:
    """Ways to run on the same accelerators of a pool: the faster the dearer, by less than they are faster."""
    return [
        of._replace(
            option=10 * of.option + number,
            capacity_per_s=of.capacity_per_s * (1 + number / count),
            usd_per_hour=MicroUsd(of.usd_per_hour + number),
            expected_usd_per_hour=MicroUsd(of.expected_usd_per_hour + number),
        )
        for number in range(count)
    ]


def test_a_crowd_in_need_that_must_bear_losses_is_planned_within_a_proven_percent() -> None:
    """Few of many get what they ask for, what is cheap is lost now and then, and there are many ways to run it."""
    problem = crowd(65)
    asks = []
    for number, each in enumerate(problem.asks):
        kinds = {"best": SPOT, "next": ON_DEMAND, "last": SPOT}
        offers = tuple(way._replace(capacity_type=kinds[way.pool]) for item in each.offers for way in shapes(item, 8))
        holds = mixes.Carries(offers, 5 * each.requests_per_s)
        asks.append(
            replace(each, offers=offers, requests_per_s=5 * each.requests_per_s, holds=holds, priority=number % 3)
        )
    rooms = [replace(item, free_by_node=(8,) * nodes) for item, nodes in zip(problem.rooms, (4, 5, 4), strict=True)]
    tight = Problem(tuple(asks), tuple(rooms))
    solution = solve(tight)
    mixes.check(tight, solution)

    assert sum(item.served < 1 for item in solution.allotments.values()) > 30
    assert solution.gap <= 0.01


@pytest.mark.parametrize("count", [5, 8])
def test_generated_and_listed_fleets_lead_to_the_same_plan(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = crowd(count)
    listed = solve(problem)
    monkeypatch.setattr(compete, "MOST_ASKS", 0)
    generated = solve(problem)

    assert generated.gap == listed.gap == 0
    assert generated.expected_usd_per_hour == listed.expected_usd_per_hour
