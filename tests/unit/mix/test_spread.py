"""Two kinds in closed form against the linear program that knows any number of them."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_planner.mix import highs, pairs

loads = st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.7, 1.3, math.inf])


@settings(max_examples=300, deadline=None)
@given(
    classes=st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 3.0]), loads, loads), min_size=1, max_size=4),
    counts=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_two_kinds_are_spread_as_well_as_can_be(
    classes: list[tuple[float, float, float]], counts: tuple[int, int]
) -> None:
    rates = [rate for rate, _, _ in classes]
    kinds = [one for _, one, _ in classes], [other for _, _, other in classes]
    if any(math.isinf(one) and math.isinf(other) and rate for rate, one, other in classes):
        return
    full, worth, parts = pairs.balance(rates, kinds, counts)

    taken = [0.0, 0.0]
    for rate, one, other, part in zip(rates, *kinds, parts, strict=True):
        assert 0 <= part <= 1
        taken[0] += rate * one * part / counts[0] if rate * part else 0.0
        taken[1] += rate * other * (1 - part) / counts[1] if rate * (1 - part) else 0.0
    assert math.isclose(max(taken), full, abs_tol=1e-12)
    assert math.isclose(full, program(rates, kinds, counts), abs_tol=1e-9)
    proof = sum(
        rate * min(price * load for price, load in zip(worth, both, strict=True) if math.isfinite(load))
        for rate, *both in classes
        if rate
    )
    assert proof >= (worth[0] * counts[0] + worth[1] * counts[1]) * full - 1e-9


def program(rates: list[float], kinds: tuple[list[float], list[float]], counts: tuple[int, int]) -> float:
    open_ = [(kind, number) for kind in (0, 1) for number, load in enumerate(kinds[kind]) if math.isfinite(load)]
    built = highs.Program([1.0] + [0.0] * len(open_), [math.inf] + [1.0] * len(open_))
    for kind in (0, 1):
        entries = [
            (column, rates[number] * kinds[kind][number] / counts[kind])
            for column, (other, number) in enumerate(open_, start=1)
            if other == kind
        ]
        built.row([(0, -1.0), *entries], -math.inf, 0.0)
    for number, rate in enumerate(rates):
        if rate:
            columns = [(column, 1.0) for column, (_, other) in enumerate(open_, start=1) if other == number]
            built.row(columns, 1.0, 1.0)
    answer = highs.solve(built)
    assert answer is not None
    return answer.objective
