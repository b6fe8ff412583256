"""What was proven under other prices: always a bound, and never a reason not to search where prices have changed."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_planner.mix.lattice import Column
from deepseek_planner.mix.proofs import CLOSE, Offered, Proofs

KEY = 0, 1
counts = st.tuples(*[st.integers(0, 3)] * 3).filter(any)
prices = st.lists(st.sampled_from([0.0, 1.0, 1.0 + 1e-8, 2.0, 2.5, 40.0]), min_size=3, max_size=3)


def fleet(replicas: tuple[int, ...]) -> Column:
    return Column(0, 1, replicas, 0, 0, 0, ())


class Search:
    """Of a list of fleets, all of which are looked at."""

    def __init__(self, fleets: list[tuple[int, ...]], *, gives_up: bool = False) -> None:
        self.fleets, self.gives_up, self.times = fleets, gives_up, 0

    def least(self, weights: list[float]) -> float:
        return min((float(np.dot(item, weights)) for item in self.fleets), default=math.inf)

    def at(self, proofs: Proofs, weights: list[float]) -> Offered:
        def search() -> Offered:
            self.times += 1
            if self.gives_up or not self.fleets:
                return Offered(None, self.least(weights) / 2)
            return Offered(fleet(min(self.fleets, key=lambda item: np.dot(item, weights))), self.least(weights))

        return proofs.cheapest(KEY, np.array(weights), search)


@settings(max_examples=300, deadline=None)
@given(fleets=st.lists(counts, min_size=1, max_size=5), asked=st.lists(prices, min_size=1, max_size=6))
def test_what_is_known_is_as_good_as_a_new_search(fleets: list[tuple[int, ...]], asked: list[list[float]]) -> None:
    proofs, search = Proofs(), Search(fleets)
    for weights in asked:
        offered = search.at(proofs, weights)
        assert offered.column is not None
        cost = float(np.dot(offered.column.counts, weights))
        assert offered.bound <= search.least(weights) * (1 + 1e-12)
        assert cost * (1 - CLOSE) <= offered.bound + 1e-12


@settings(max_examples=300, deadline=None)
@given(fleets=st.lists(counts, min_size=1, max_size=5), asked=st.lists(prices, min_size=1, max_size=6))
def test_a_search_that_gave_up_bounds_and_is_tried_again(
    fleets: list[tuple[int, ...]], asked: list[list[float]]
) -> None:
    proofs, search = Proofs(), Search(fleets, gives_up=True)
    for weights in asked:
        times = search.times
        offered = search.at(proofs, weights)
        assert offered.bound <= search.least(weights) * (1 + 1e-12)
        assert search.times > times or offered.bound >= search.least(weights) / 2 * (1 - CLOSE)


def test_the_same_prices_are_searched_once_and_others_anew() -> None:
    proofs, search = Proofs(), Search([(1, 0, 0), (0, 1, 0)])
    taken = [search.at(proofs, weights).column for weights in ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [4.0, 2.0, 3.0])]

    assert taken == [fleet((1, 0, 0)), fleet((1, 0, 0)), fleet((0, 1, 0))]
    assert search.times == 2


def test_what_cannot_be_had_is_not_searched_again() -> None:
    proofs, search = Proofs(), Search([])

    assert [search.at(proofs, [price] * 3).bound for price in (1.0, 9.0)] == [math.inf, math.inf]
    assert search.times == 1
