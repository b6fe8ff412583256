"""The mixed-fleet search against trial of everything, on worlds small enough for that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_planner.allocation import Ask, Offer, PoolRoom, Problem, Solution
from deepseek_planner.mix import compete, solve
from deepseek_planner.mix.lattice import dollars, prices, ties
from deepseek_planner.mix.packing import chain, room_for
from deepseek_planner.mix.world import World
from deepseek_planner.units import MicroUsd
from support import mixes

LAW = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def reached(problem: Problem, solution: Solution, asks: list[Ask]) -> list[int]:
    """Levels of service, from the fleets themselves."""
    found = []
    for ask in asks:
        allotment = solution.allotments[ask.key]
        counts = mixes.counts_of(ask, allotment)
        alone = mixes.fleets(problem, ask)
        top = max(level for level in alone if level >= mixes.FULL)
        own = [level for level in mixes.levels(ask, counts) if allotment.served]
        found.append(mixes.CONTENT if top in own else max(own, default=0))
    return found


@LAW
@given(problem=mixes.problems())
def test_nothing_that_can_be_tried_is_better(problem: Problem) -> None:
    solution = solve(problem)
    mixes.check(problem, solution)

    keys, best = mixes.best_value(problem)
    asks = [ask for ask in sorted(problem.asks, key=lambda item: item.key) if ask.key in keys]
    plan = [mixes.counts_of(ask, solution.allotments[ask.key]) for ask in asks]
    assert mixes.value(asks, reached(problem, solution, asks), plan) == best
    assert solution.gap == 0
    for ask in problem.asks:
        allotment = solution.allotments[ask.key]
        if ask.key not in keys:
            assert not allotment.parts
            assert not allotment.short_of
        assert bool(allotment.short_of) == (ask.key in keys and allotment.served < 1)
        assert set(allotment.lost_to) <= {other.key for other in problem.asks if other.priority >= ask.priority}


@LAW
@given(problem=mixes.problems(most_asks=1), worth=st.lists(st.integers(0, 9_000_000), min_size=6, max_size=6))
def test_no_fleet_is_cheaper_when_pools_have_a_price_of_their_own(problem: Problem, worth: list[int]) -> None:
    """As under the prices at which asks compete: what is cheap on the bill is dear, and budgets and losses bind."""
    world = World(problem)
    (seeker,) = world.seekers
    tried = mixes.fleets(problem, seeker.ask)

    def price(offer: Offer) -> int:
        seat = world.rows.seat(offer)
        assert seat is not None
        return offer.expected_usd_per_hour + sum(worth[row] * amount for row, amount in seat.uses)

    for level in seeker.levels:
        own = prices([price(item.offer) for item in seeker.items], ties(seeker))
        walk = world.walk(seeker, level, own, most_nodes=10**6)
        found = next((dollars(paid) for paid, _ in walk), None)
        if not walk.is_complete:
            continue
        costs = [
            sum(count * price(offer) for offer, count in zip(seeker.ask.offers, counts, strict=True) if count)
            for counts in tried.get(mixes.ENDING if level == seeker.ending else level, [])
        ]
        assert found == min(costs, default=None)


@LAW
@given(problem=mixes.problems(), random=st.randoms(use_true_random=False))
def test_the_order_of_asks_offers_and_pools_never_shows(problem: Problem, random: object) -> None:
    def shuffled(items: tuple[object, ...]) -> list[int]:
        order = list(range(len(items)))
        random.shuffle(order)  # type: ignore[attr-defined]
        return order

    asks, orders = [], {}
    for number in shuffled(problem.asks):
        ask = problem.asks[number]
        order = shuffled(ask.offers)
        orders[ask.key] = order
        holds = ask.holds
        asks.append(
            replace(
                ask,
                offers=tuple(ask.offers[index] for index in order),
                running={order.index(index): count for index, count in ask.running.items()},
                ends={order.index(index): count for index, count in ask.ends.items()},
                holds=holds
                and (lambda counts, order=order, holds=holds: holds({order[index]: n for index, n in counts.items()})),
            )
        )
    other = replace(problem, asks=tuple(asks), rooms=tuple(problem.rooms[index] for index in shuffled(problem.rooms)))
    one, two = solve(problem), solve(other)

    assert (one.expected_usd_per_hour, one.lower_bound_usd_per_hour) == (
        two.expected_usd_per_hour,
        two.lower_bound_usd_per_hour,
    )
    for ask in problem.asks:
        first, second = one.allotments[ask.key], two.allotments[ask.key]
        named = sorted(((ask.offers[part.offer], part.replicas, part.shares) for part in first.parts), key=repr)
        same = sorted(
            ((ask.offers[orders[ask.key][part.offer]], part.replicas, part.shares) for part in second.parts), key=repr
        )
        assert repr(named) == repr(same)
        assert replace(first, parts=()) == replace(second, parts=())
    assert list(one.allotments) == list(two.allotments)


@settings(max_examples=400, deadline=None)
@given(
    free=st.lists(st.integers(0, 8), min_size=1, max_size=4),
    wanted=st.lists(st.sampled_from([(1, 1), (2, 1), (4, 1), (8, 1), (16, 2)]), min_size=1, max_size=7),
)
def test_replicas_of_dividing_sizes_fit_exactly_when_every_row_holds(
    free: list[int], wanted: list[tuple[int, int]]
) -> None:
    parts = [8 if nodes > 1 else size for size, nodes in wanted for _ in range(nodes)]
    rows = all(sum(part // size for part in parts if part >= size) <= room_for(free, size) for size in (1, 2, 4, 8))
    tried = mixes.packs(tuple(sorted(free)), 8, tuple(sorted(wanted, key=lambda item: (-item[1], -item[0]))))

    assert rows == tried


@settings(max_examples=400, deadline=None)
@given(
    free=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    wanted=st.lists(st.integers(1, 12), min_size=1, max_size=6),
)
def test_sizes_that_do_not_divide_one_another_are_never_promised_too_much(free: list[int], wanted: list[int]) -> None:
    counted = chain(wanted)
    parts = [counted[size] for size in wanted]
    if all(sum(part // size for part in parts if part >= size) <= room_for(free, size) for size in set(parts)):
        assert mixes.packs(tuple(sorted(free)), 12, tuple((size, 1) for size in sorted(wanted, reverse=True)))


@LAW
@given(problem=mixes.problems(most_asks=2), percent=st.integers(1, 99), which=st.integers(0, 7))
def test_a_cheaper_offer_never_costs_more_and_serves_no_less(problem: Problem, percent: int, which: int) -> None:
    pools = [room.pool for room in problem.rooms]
    pool = pools[which % len(pools)]

    def cheaper(ask: Ask) -> Ask:
        return replace(
            ask,
            offers=tuple(
                offer._replace(
                    usd_per_hour=MicroUsd(offer.usd_per_hour * percent // 100),
                    expected_usd_per_hour=MicroUsd(offer.expected_usd_per_hour * percent // 100),
                )
                if offer.pool == pool
                else offer
                for offer in ask.offers
            ),
        )

    # Without budgets, or what becomes affordable changes who is served at all.
    free = replace(
        problem,
        max_usd_per_hour=None,
        asks=tuple(replace(ask, max_usd_per_hour=MicroUsd(10**12)) for ask in problem.asks),
    )
    before, after = solve(free), solve(replace(free, asks=tuple(cheaper(ask) for ask in free.asks)))

    assert sorted(item.served for item in before.allotments.values()) == sorted(
        item.served for item in after.allotments.values()
    )
    assert after.expected_usd_per_hour <= before.expected_usd_per_hour


@LAW
@given(problem=mixes.problems(most_asks=1))
def test_a_mix_is_never_dearer_than_the_best_fleet_of_one_option(problem: Problem) -> None:
    (ask,) = problem.asks
    whole = solve(problem).allotments[ask.key]
    for option in {offer.option for offer in ask.offers}:
        alone = replace(
            ask, offers=tuple(offer for offer in ask.offers if offer.option == option), running={}, ends={}, holds=None
        )
        both = solve(replace(problem, asks=(replace(ask, running={}, ends={}, holds=None),))).allotments[ask.key]
        single = solve(replace(problem, asks=(alone,))).allotments[ask.key]
        if single.served == 1 and ask.spare_per_s <= ask.requests_per_s:
            assert both.served == 1
            assert both.expected_usd_per_hour <= single.expected_usd_per_hour
    assert whole.usd_per_hour <= ask.max_usd_per_hour


@LAW
@given(problem=mixes.problems())
def test_fleets_that_are_generated_are_as_good_as_all_that_there_are(problem: Problem) -> None:
    listed = solve(problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compete, "MOST_ASKS", 0)
        generated = solve(problem)

    mixes.check(problem, generated)
    served = {key: item.served for key, item in listed.allotments.items()}
    if served == {key: item.served for key, item in generated.allotments.items()}:
        assert generated.lower_bound_usd_per_hour <= listed.expected_usd_per_hour <= generated.expected_usd_per_hour
    if all(item.served == 1 or not item.short_of for item in listed.allotments.values()):
        assert generated.expected_usd_per_hour == listed.expected_usd_per_hour
        assert generated.gap == 0


def test_nobody_asks_for_anything() -> None:
    assert solve(Problem((), (PoolRoom("a", 8, (8,)),))).allotments == {}
