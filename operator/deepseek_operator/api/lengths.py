"""Lengths as declared -> buckets for the planner: deterministic, and true to every number that was declared.

From ``mean``, ``p90`` and ``max``: nine tenths of the requests have between the shared prefix (or one token)
and ``p90`` tokens, one tenth between ``p90`` and ``max``. Inside each part, lengths follow a power law
``low + (high - low) * u ** (1/k)``, ``u`` uniform: the one-parameter family whose mean can be anywhere between
its ends. The tail's mean lies a quarter of the way from ``p90`` to ``max``, or lower where the body would
otherwise hold less than half of all tokens (where that is below ``p90``: halfway to what leaves the body
nothing); the body's mean is then what makes the whole come out at ``mean``.
Cut points: 50, 75, 90, 95, 99 and 100 percent of the requests.

How prompts and answers go together is what ``outputMean`` says of each bucket of prompts. A histogram of answers has no
mean of its own: with ``outputMean`` it gets the one that follows from it.
"""

from __future__ import annotations

from math import ceil

from deepseek_operator.api.workload import Bucket, Lengths, PromptBucket, Workload
from deepseek_planner.demand import LengthBucket, LengthDistribution, with_mean

_BODY = 0.9
_TAIL = 0.1
_BODY_CUTS = (0.5, 0.75, 0.9)
_TAIL_CUTS = (0.95, 0.99, 1.0)


def distributions(load: Workload) -> tuple[LengthDistribution, LengthDistribution]:
    """Of prompts, with what they say of their answers, and of all answers."""
    inputs = distribution(load.input_tokens, shared_prefix_tokens=load.shared_prefix_tokens)
    outputs = distribution(load.output_tokens)
    means = [bucket.answer_tokens * bucket.share for bucket in inputs.buckets if bucket.answer_tokens is not None]
    if means and load.output_tokens.histogram is not None:
        outputs = with_mean(outputs, sum(means))
    return inputs, outputs


def distribution(lengths: Lengths, *, shared_prefix_tokens: int = 0) -> LengthDistribution:
    """The buckets of lengths that passed their rules; no prompt is shorter than what all begin with."""
    if lengths.histogram is not None:
        return LengthDistribution(_from_histogram(lengths.histogram))
    assert lengths.mean is not None
    assert lengths.p90 is not None
    assert lengths.max is not None
    return LengthDistribution(_from_summary(lengths.mean, lengths.p90, lengths.max, shared_prefix_tokens))


def _from_histogram(histogram: tuple[Bucket, ...]) -> tuple[LengthBucket, ...]:
    """Requests of a bucket spread evenly between its ends."""
    found, low = [], 0
    for bucket in histogram:
        mean = (low + 1 + bucket.up_to) / 2
        answers = bucket.output_mean if isinstance(bucket, PromptBucket) else None
        found.append(LengthBucket(bucket.up_to, mean, bucket.percent / 100, answers))
        low = bucket.up_to
    return tuple(found)


def _from_summary(mean: int, p90: int, longest: int, shared_prefix_tokens: int) -> tuple[LengthBucket, ...]:
    if p90 == longest:
        shortest = max(1, min(shared_prefix_tokens, mean))
        return _merged(_part(shortest, longest, mean, 0.0, (*_BODY_CUTS, *_TAIL_CUTS)))
    # A tenth of the requests has p90 tokens or more: what is left of the mean bounds the others from below.
    shortest = max(1, min(shared_prefix_tokens, (10 * mean - p90) // 9))
    ceiling = (mean - _BODY * shortest) / _TAIL
    tail_mean = min(p90 + (longest - p90) / 4, max(5 * mean, (p90 + ceiling) / 2), ceiling)
    body_mean = (mean - _TAIL * tail_mean) / _BODY
    body = _part(shortest, p90, body_mean, 0.0, _BODY_CUTS)
    return _merged(body + _part(p90, longest, tail_mean, _BODY, _TAIL_CUTS))


def _part(low: int, high: int, mean: float, begin: float, cuts: tuple[float, ...]) -> list[LengthBucket]:
    """Buckets of the requests between two shares of all requests, whose lengths average ``mean``."""
    width, end = high - low, cuts[-1]
    level = 0.0 if width == 0 else min(1.0, max(0.0, (mean - low) / width))
    if level in {0.0, 1.0}:
        return [LengthBucket(up_to_tokens=high if level else low, mean_tokens=mean, share=end - begin)] + (
            [] if level or low == high else [LengthBucket(up_to_tokens=high, mean_tokens=float(high), share=0.0)]
        )
    power = (1 - level) / level  # 1/k
    found, before = [], 0.0
    for cut in cuts:
        after = 1.0 if cut == end else (cut - begin) / (end - begin)
        span = after - before
        inner = level * (after ** (power + 1) - before ** (power + 1)) / span
        found.append(
            LengthBucket(
                up_to_tokens=high if cut == end else low + max(1, ceil(width * after**power)),
                mean_tokens=low + width * inner,
                share=(end - begin) * span,
            )
        )
        before = after
    return found


def _merged(buckets: list[LengthBucket]) -> tuple[LengthBucket, ...]:
    """One bucket per upper end; an empty last one stays, since it says how long a request may be."""
    found: list[LengthBucket] = []
    for bucket in buckets:
        if found and found[-1].up_to_tokens >= bucket.up_to_tokens:
            last = found.pop()
            share = last.share + bucket.share
            mean = last.mean_tokens
            if share > 0:
                mean = (last.share * last.mean_tokens + bucket.share * bucket.mean_tokens) / share
            found.append(LengthBucket(up_to_tokens=last.up_to_tokens, mean_tokens=mean, share=share))
        else:
            found.append(bucket)
    return tuple(found)
