from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.api.check import check
from deepseek_operator.api.lengths import distribution, distributions
from deepseek_operator.api.workload import Lengths, Workload


def lengths(mean: int, p90: int, longest: int) -> Lengths:
    found = Lengths(mean=mean, p90=p90, max=longest)
    assert all(rule.holds(found) for rule in Lengths.rules)
    return found


@st.composite
def summaries(draw: st.DrawFn) -> tuple[int, int, int, int]:
    longest = draw(st.integers(1, 200_000))
    p90 = draw(st.integers(1, longest))
    least = 1 if p90 == longest else -(-(p90 + 9) // 10)
    mean = draw(st.integers(least, p90))
    return mean, p90, longest, draw(st.integers(0, mean))


@given(summaries())
def test_every_declared_number_comes_back(summary):
    mean, p90, longest, prefix = summary
    found = distribution(lengths(mean, p90, longest), shared_prefix_tokens=prefix)
    assert found.mean_tokens == pytest.approx(mean, rel=1e-9)
    assert found.max_tokens == longest
    assert sum(bucket.share for bucket in found.buckets) == pytest.approx(1)
    within_p90 = sum(bucket.share for bucket in found.buckets if bucket.up_to_tokens <= p90)
    assert within_p90 >= 0.9 - 1e-9


@given(summaries())
def test_one_in_ten_is_longer_than_p90(summary):
    mean, p90, longest, _ = summary
    if p90 == longest or mean * 10 < p90 + 20:  # hardly any token is left for the others
        return
    buckets = distribution(lengths(mean, p90, longest)).buckets
    assert sum(bucket.share for bucket in buckets if bucket.up_to_tokens > p90) == pytest.approx(0.1)


@given(summaries())
def test_buckets_ascend_and_hold_their_means(summary):
    mean, p90, longest, prefix = summary
    buckets = distribution(lengths(mean, p90, longest), shared_prefix_tokens=prefix).buckets
    ends = [bucket.up_to_tokens for bucket in buckets]
    assert ends == sorted(set(ends))
    low = 1.0
    for bucket in buckets:
        assert bucket.share >= 0
        assert low * (1 - 1e-9) - 1e-6 <= bucket.mean_tokens <= bucket.up_to_tokens * (1 + 1e-9)
        low = min(bucket.mean_tokens, float(bucket.up_to_tokens))


def test_no_prompt_is_shorter_than_what_all_begin_with():
    found = distribution(lengths(1200, 4000, 16384), shared_prefix_tokens=600)
    assert found.buckets[0].mean_tokens > 600


def test_the_same_numbers_give_the_same_buckets():
    assert distribution(lengths(1200, 4000, 16384)) == distribution(lengths(1200, 4000, 16384))


def test_equal_lengths_are_one_bucket():
    found = distribution(lengths(100, 100, 100))
    assert [(item.up_to_tokens, item.mean_tokens) for item in found.buckets] == [(100, pytest.approx(100.0))]


def test_a_histogram_is_taken_as_it_is():
    found = distribution(
        Lengths.model_validate({"histogram": [{"upTo": 512, "percent": 40}, {"upTo": 4096, "percent": 60}]})
    )
    assert [(item.up_to_tokens, item.share) for item in found.buckets] == [(512, 0.4), (4096, 0.6)]
    assert found.buckets[1].mean_tokens == (513 + 4096) / 2


BUCKETS = [{"upTo": 512, "percent": 80, "outputMean": 200}, {"upTo": 16384, "percent": 20, "outputMean": 1000}]


def load(outputs: dict[str, Any], buckets: list[dict[str, int]] = BUCKETS) -> Workload:
    written = {"requestsPerMinute": {"expected": 1}, "inputTokens": {"histogram": buckets}, "outputTokens": outputs}
    found, problems = check(Workload, written, "spec.workload", in_cluster=True)
    assert found is not None, problems
    return found


def test_prompts_say_how_long_their_answers_are():
    inputs, outputs = distributions(load({"mean": 360, "p90": 900, "max": 2048}))

    assert [bucket.answer_tokens for bucket in inputs.buckets] == [200, 1000]
    assert outputs == distribution(lengths(360, 900, 2048)), "all answers are what they were declared to be"


def test_a_histogram_of_answers_gets_the_mean_that_prompts_say():
    outputs = {"histogram": [{"upTo": 256, "percent": 50}, {"upTo": 2048, "percent": 50}]}
    plain = [{name: bucket[name] for name in ("upTo", "percent")} for bucket in BUCKETS]

    assert distributions(load(outputs, plain))[1].mean_tokens == pytest.approx((128.5 + 1152.5) / 2)
    found = distributions(load(outputs))[1]
    assert found.mean_tokens == pytest.approx(360)
    assert [bucket.up_to_tokens for bucket in found.buckets] == [256, 2048]


@pytest.mark.parametrize(("mean", "holds"), [(323, False), (328, True), (400, True), (401, False)])
def test_both_means_of_answers_agree_but_for_rounding(mean: int, holds: bool):
    written = load({"mean": 360, "p90": 900, "max": 2048})
    changed = written.model_copy(update={"output_tokens": Lengths(mean=mean, p90=900, max=2048)})
    assert all(rule.holds(changed) for rule in Workload.rules) is holds
