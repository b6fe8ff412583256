from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_planner.demand import LengthBucket, LengthDistribution, Measured, answers, classes, narrowed, with_mean
from support.planning import CHAT_INPUT, CHAT_OUTPUT, demand


@st.composite
def distributions(draw: st.DrawFn) -> LengthDistribution:
    ends = sorted(draw(st.sets(st.integers(1, 100_000), min_size=1, max_size=9)))
    weights = draw(st.lists(st.integers(0, 20), min_size=len(ends), max_size=len(ends)).filter(any))
    below, buckets = 0, []
    for end, weight in zip(ends, weights, strict=True):
        mean = below + (end - below) * draw(st.floats(0.1, 1.0))
        buckets.append(LengthBucket(end, mean, weight / sum(weights)))
        below = end
    return LengthDistribution(tuple(buckets))


@given(
    inputs=distributions(),
    outputs=distributions(),
    mean=st.one_of(st.none(), st.floats(1, 50_000)),
    joint=st.booleans(),
)
def test_classes_are_all_requests_once(inputs, outputs, mean, joint):
    asked = demand(input_tokens=inputs, output_tokens=outputs)
    measured = Measured(900, 900, 60, 60, mean, None, 0, None, None, None, None)
    found = classes(asked, measured, most_outputs=2 if joint else 1)

    assert 1 <= len(found) <= (8 if joint else 4)
    assert sum(one.share for one in found) == pytest.approx(1)
    assert all(one.share > 0 for one in found)
    if mean is None:
        assert sum(one.share * one.input_mean for one in found) == pytest.approx(inputs.mean_tokens)
        assert sum(one.share * one.output_mean for one in found) == pytest.approx(outputs.mean_tokens)
    assert found[0].above_tokens == 0
    assert found[-1].up_to_tokens == inputs.max_tokens
    borders = sorted({(one.above_tokens, one.up_to_tokens) for one in found})
    assert all(first[1] == second[0] for first, second in pairwise(borders))
    for one in found:
        assert one.input_mean <= one.up_to_tokens * (1 + 1e-9)
        assert sum(bucket.share for bucket in one.input_tokens.buckets) == pytest.approx(1)


def test_lengths_that_nobody_has_are_no_class():
    buckets = (LengthBucket(10, 5.0, 0.0), LengthBucket(20, 15.0, 1.0), LengthBucket(30, 25.0, 0.0))
    found = classes(demand(input_tokens=LengthDistribution(buckets)))

    assert [(one.share, one.above_tokens, one.up_to_tokens) for one in found] == [(1.0, 0, 30)]


def test_long_prompts_are_few_and_hold_as_many_tokens():
    found = classes(demand(input_tokens=CHAT_INPUT, output_tokens=CHAT_OUTPUT))

    assert [(one.above_tokens, one.up_to_tokens) for one in found] == [(0, 1200), (1200, 4000), (4000, 16384)]
    assert found[0].share == pytest.approx(0.5)
    assert found[-1].output_mean == pytest.approx(CHAT_OUTPUT.mean_tokens)


def test_measured_means_move_the_borders():
    measured = Measured(900, 900, 60, 60, CHAT_INPUT.mean_tokens / 2, None, 0, None, None, None, None)
    found = classes(demand(), measured)

    assert [one.up_to_tokens for one in found] == [600, 2000, 16384]
    assert sum(one.share * one.input_mean for one in found) == pytest.approx(CHAT_INPUT.mean_tokens / 2)


@given(inputs=distributions(), outputs=distributions(), data=st.data())
def test_a_demand_narrowed_to_its_classes_is_their_lengths(inputs, outputs, data):
    whole = demand(600, 900, input_tokens=inputs, output_tokens=outputs)
    found = classes(whole)
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(found) - 1)] * 2)))
    part = narrowed(whole, found[first].above_tokens, found[last].up_to_tokens)
    share = sum(one.share for one in found[first : last + 1])

    assert part.input_tokens.max_tokens == found[last].up_to_tokens
    assert part.input_tokens.mean_tokens * share == pytest.approx(
        sum(one.share * one.input_mean for one in found[first : last + 1])
    )
    assert part.expected_requests_per_min == pytest.approx(600 * share)
    assert narrowed(whole, 0, inputs.max_tokens) is whole


def test_a_bucket_beyond_the_end_of_a_part_is_cut_there():
    part = narrowed(demand(input_tokens=CHAT_INPUT), 500, 2000)

    assert part.input_tokens.max_tokens == 2000
    assert all(500 <= bucket.mean_tokens <= 2000 for bucket in part.input_tokens.buckets)


@given(outputs=distributions(), mean=st.floats(1, 100_000))
def test_answers_get_a_mean_and_no_longer_ends(outputs, mean):
    found = with_mean(outputs, mean)

    assert found.mean_tokens == pytest.approx(min(mean, outputs.max_tokens), rel=1e-6)
    assert found.max_tokens == outputs.max_tokens
    assert sum(bucket.share for bucket in found.buckets) == pytest.approx(1)
    served = {bucket.up_to_tokens for bucket in outputs.buckets if bucket.share}
    # Unless only answers longer than anybody's have that mean.
    assert {bucket.up_to_tokens for bucket in found.buckets if bucket.share} <= served | {outputs.max_tokens}


@given(inputs=distributions(), outputs=distributions(), data=st.data())
def test_classes_have_answers_of_their_own_that_average_as_all_do(inputs, outputs, data):
    means = [data.draw(st.floats(0.5, 2.0)) for _ in inputs.buckets]
    buckets = zip(inputs.buckets, means, strict=True)
    joint = LengthDistribution(tuple(replace(bucket, answer_tokens=mean) for bucket, mean in buckets))
    found = classes(demand(input_tokens=joint, output_tokens=outputs))
    all_of_them = sum(bucket.share * mean for bucket, mean in zip(inputs.buckets, means, strict=True))

    for one in found:
        here = sum(bucket.share * (bucket.answer_tokens or 0.0) for bucket in one.input_tokens.buckets)
        wanted = outputs.mean_tokens * here / all_of_them
        assert one.output_mean == pytest.approx(min(outputs.max_tokens, wanted), rel=1e-6)
    plain = classes(demand(input_tokens=inputs, output_tokens=outputs))
    assert [one.share for one in found] == pytest.approx([one.share for one in plain])


def test_equal_answers_to_all_prompts_change_nothing():
    joint = LengthDistribution(tuple(replace(bucket, answer_tokens=7.0) for bucket in CHAT_INPUT.buckets))

    assert answers(joint, joint, CHAT_OUTPUT) == CHAT_OUTPUT
    plain, same = classes(demand(input_tokens=CHAT_INPUT)), classes(demand(input_tokens=joint))
    assert [one.output_tokens for one in same] == [one.output_tokens for one in plain]


def test_measured_means_leave_the_ratios_between_prompts_as_declared():
    first, *others = CHAT_INPUT.buckets
    joint = LengthDistribution(
        (replace(first, answer_tokens=100.0), *(replace(o, answer_tokens=400.0) for o in others))
    )
    measured = Measured(900, 900, 60, 60, CHAT_INPUT.mean_tokens, 150.0, 0, None, None, None, None)
    found = classes(demand(input_tokens=joint, output_tokens=CHAT_OUTPUT), measured)

    assert sum(one.share * one.output_mean for one in found) == pytest.approx(150.0)
    assert found[1].output_mean == pytest.approx(4 * found[0].output_mean)
