from __future__ import annotations

from itertools import pairwise

import pytest

from deepseek_planner.monotone import between

RISING = (0.0, 1.0, 2.5, 3.0, 7.0), (1.0, 1.0, 2.0, 9.0, 9.5)


def test_it_goes_through_the_points() -> None:
    xs, ys = RISING
    assert [between(xs, ys, x) for x in xs] == pytest.approx(list(ys))


def test_it_never_falls_where_the_points_rise_and_stays_between_neighbours() -> None:
    xs, ys = RISING
    steps = [between(xs, ys, 7.0 * place / 700) for place in range(701)]
    assert all(later >= early - 1e-12 for early, later in pairwise(steps))
    assert all(1.0 <= value <= 9.5 for value in steps)
    assert max(steps[:101]) == pytest.approx(1.0)


def test_a_line_stays_a_line_and_a_curve_is_met_better_than_by_lines() -> None:
    assert between((0.0, 1.0, 4.0), (2.0, 4.0, 10.0), 3.0) == pytest.approx(8.0)
    assert between((0.0, 2.0), (1.0, 5.0), 0.5) == pytest.approx(2.0)
    xs = tuple(1.5**place for place in range(8))
    ys = tuple(1 / (20 - x) for x in xs)
    x = 10.0
    line = ys[5] + (x - xs[5]) / (xs[6] - xs[5]) * (ys[6] - ys[5])
    assert abs(between(xs, ys, x) - 1 / (20 - x)) < 0.3 * abs(line - 1 / (20 - x))
