"""What must be served, and how well, and for how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from deepseek_planner.units import MicroUsd


class AccuracyClass(StrEnum):
    """Which precisions may serve: ``api.md`` of the docs defines them."""

    CRITICAL = "Critical"
    BALANCED = "Balanced"
    ECONOMY = "Economy"


@dataclass(frozen=True, slots=True)
class LengthBucket:
    """Requests with up to so many tokens: ``share`` of all (0..1), ``mean_tokens`` on average."""

    up_to_tokens: int
    mean_tokens: float
    share: float
    answer_tokens: float | None = None
    """Of prompts: how long the answers to these are on average; None: as long as to any. Only ratios between buckets
    count: :func:`answers` makes them average what all answers do."""


@dataclass(frozen=True, slots=True)
class LengthDistribution:
    """Token counts of requests: buckets by ascending length, shares summing to one."""

    buckets: tuple[LengthBucket, ...]

    @property
    def mean_tokens(self) -> float:
        return sum(bucket.share * bucket.mean_tokens for bucket in self.buckets)

    @property
    def max_tokens(self) -> int:
        return self.buckets[-1].up_to_tokens

    def at_percentile(self, percentile: int) -> float:
        """Tokens that ``percentile`` percent of the requests stay within; linear inside a bucket."""
        below, share = 0.0, 0.0
        for bucket in self.buckets:
            if bucket.share > 0 and share + bucket.share >= percentile / 100 - 1e-9:
                inside = (percentile / 100 - share) / bucket.share
                return below + inside * (bucket.up_to_tokens - below)
            below, share = float(bucket.up_to_tokens), share + bucket.share
        return float(self.max_tokens)


@dataclass(frozen=True, slots=True)
class Demand:
    """Load as declared: requests per minute, how long prompts and answers are, and in the prompts' buckets how they go
    together.
    """

    expected_requests_per_min: float
    peak_requests_per_min: float
    input_tokens: LengthDistribution
    output_tokens: LengthDistribution
    shared_prefix_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """Load and service as measured over the last ``window_s`` seconds; None where nothing was seen.

    ``covered_s`` is how much of the window has data: below the window, the declared demand stands.
    """

    window_s: float
    covered_s: float
    requests_per_min: float
    peak_requests_per_min: float
    """The highest rate of any minute in the window."""
    mean_input_tokens: float | None
    mean_output_tokens: float | None
    tokens_per_s: float
    """Input and output tokens served."""
    usd_per_hour: MicroUsd | None
    usd_per_million_tokens: MicroUsd | None
    time_to_first_token_s: float | None
    """At the percentile of the objective."""
    time_per_output_token_s: float | None
    minutes: tuple[float, ...] = ()
    """Requests per minute in each minute of the window, oldest first; in each fifteenth of it where the window is
    shorter. Empty: only mean and peak are known."""


@dataclass(frozen=True, slots=True)
class LatencyTarget:
    """``percentile`` (50, 90, 95 or 99) of requests must stay within ``limit_s`` seconds."""

    percentile: int
    limit_s: float


@dataclass(frozen=True, slots=True)
class Objectives:
    """Targets of one deployment. Dollars are micro-dollars per hour and per million tokens."""

    time_to_first_token: LatencyTarget | None
    time_per_output_token: LatencyTarget | None
    accuracy_class: AccuracyClass
    max_usd_per_hour: MicroUsd
    max_usd_per_million_tokens: MicroUsd | None
    priority: int = 0
    availability_percent: float = 95.0
    """Chance, at a random moment, that the capacity left by lost spot nodes carries the planned rate."""


@dataclass(frozen=True, slots=True)
class RequestClass:
    """Requests of similar lengths: ``share`` of all, with prompts above and up to so many tokens."""

    share: float
    input_tokens: LengthDistribution
    output_tokens: LengthDistribution
    above_tokens: int
    up_to_tokens: int

    @property
    def input_mean(self) -> float:
        return self.input_tokens.mean_tokens

    @property
    def output_mean(self) -> float:
        return self.output_tokens.mean_tokens


MOST_INPUT_CLASSES = 4
"""More would each hold too few requests to fill replicas of their own."""
TILTS_AT_MOST, HALVINGS = 1e6, 64
"""How far shares of answers are tilted towards one of their ends, and how exactly that is found."""


def classes(
    demand: Demand, measured: Measured | None = None, *, most_inputs: int = MOST_INPUT_CLASSES, most_outputs: int = 1
) -> tuple[RequestClass, ...]:
    """Requests by length, shortest prompts first: groups of about equal shares of all tokens; shares sum to one.

    Answers are those to the prompts of a class. A router sees a prompt and not the answer to come: several classes of
    answers (``most_outputs``) are for comparisons, not for routing.
    """
    inputs = _scaled(demand.input_tokens, measured.mean_input_tokens if measured else None)
    outputs = _scaled(demand.output_tokens, measured.mean_output_tokens if measured else None)
    found: list[RequestClass] = []
    above = 0
    for group in _groups(inputs.buckets, most_inputs):
        share, prompts = _whole(group)
        for lengths in _groups(answers(prompts, inputs, outputs).buckets, most_outputs):
            part, written = _whole(lengths)
            found.append(RequestClass(share * part, prompts, written, above, prompts.max_tokens))
        above = prompts.max_tokens
    return tuple(found)


def narrowed(demand: Demand, above_tokens: int, up_to_tokens: int) -> Demand:
    """The part of it whose prompts have more than so many and up to so many tokens: of a bucket that reaches beyond
    either end, as much as if all of it were between them. All of it where nothing is said of such prompts.
    """
    prompts, below = [], 0
    for bucket in demand.input_tokens.buckets:
        if below < up_to_tokens and bucket.up_to_tokens > above_tokens:
            end = min(bucket.up_to_tokens, up_to_tokens)
            mean = min(max(bucket.mean_tokens, above_tokens), end)
            prompts.append(replace(bucket, up_to_tokens=end, mean_tokens=mean))
        below = bucket.up_to_tokens
    if tuple(prompts) == demand.input_tokens.buckets or not any(bucket.share for bucket in prompts):
        return demand
    share, inputs = _whole(prompts)
    return replace(
        demand,
        expected_requests_per_min=demand.expected_requests_per_min * share,
        peak_requests_per_min=demand.peak_requests_per_min * share,
        input_tokens=inputs,
        output_tokens=answers(inputs, demand.input_tokens, demand.output_tokens),
    )


def answers(prompts: LengthDistribution, inputs: LengthDistribution, outputs: LengthDistribution) -> LengthDistribution:
    """Lengths of the answers to some ``prompts`` of all ``inputs``, where all answers together are ``outputs``.

    Buckets of prompts say how long their answers are on average; around it they are spread as little unlike all answers
    as can be: each bucket of them weighs ``e ** (tilt * tokens)`` times as much.
    """
    here, all_of_them = _answer_mean(prompts), _answer_mean(inputs)
    if here is None or all_of_them is None or math.isclose(here, all_of_them):
        return outputs
    return with_mean(outputs, outputs.mean_tokens * here / all_of_them)


def _answer_mean(prompts: LengthDistribution) -> float | None:
    """None where the answers do not depend on the prompts."""
    total = 0.0
    for bucket in prompts.buckets:
        if bucket.answer_tokens is None:
            return None
        total += bucket.share * bucket.answer_tokens
    return total


def with_mean(distribution: LengthDistribution, mean_tokens: float) -> LengthDistribution:
    """The same buckets with other shares, so that this is their mean; at the ends one bucket alone."""
    served = [bucket for bucket in distribution.buckets if bucket.share > 0]
    longest = distribution.max_tokens
    mean = min(float(longest), mean_tokens)
    if mean >= served[-1].mean_tokens:
        return LengthDistribution((LengthBucket(longest, mean, 1.0),))
    if mean <= served[0].mean_tokens:
        first, last = LengthBucket(served[0].up_to_tokens, mean, 1.0), replace(distribution.buckets[-1], share=0.0)
        return LengthDistribution((first, last) if first.up_to_tokens < longest else (first,))
    low, high = -TILTS_AT_MOST, TILTS_AT_MOST
    for _ in range(HALVINGS):
        tilt = (low + high) / 2
        weights = _weights(distribution, tilt)
        found = sum(weight * bucket.mean_tokens for weight, bucket in zip(weights, distribution.buckets, strict=True))
        low, high = (tilt, high) if found < mean else (low, tilt)
    return LengthDistribution(
        tuple(replace(bucket, share=weight) for bucket, weight in zip(distribution.buckets, weights, strict=True))
    )


def _weights(distribution: LengthDistribution, tilt: float) -> list[float]:
    """Shares, summing to one; ``tilt`` is per longest request."""
    longest, buckets = distribution.max_tokens, distribution.buckets
    # Nothing overflows, as none of them is above zero.
    most = max(tilt * bucket.mean_tokens / longest for bucket in buckets if bucket.share > 0)
    raw = [
        bucket.share * math.exp(tilt * bucket.mean_tokens / longest - most) if bucket.share > 0 else 0.0
        for bucket in buckets
    ]
    total = sum(raw)
    return [weight / total for weight in raw]


def _scaled(distribution: LengthDistribution, mean_tokens: float | None) -> LengthDistribution:
    """With that mean, and nothing longer than before."""
    if not mean_tokens:
        return distribution
    scale, longest = mean_tokens / distribution.mean_tokens, distribution.max_tokens
    buckets: list[LengthBucket] = []
    for bucket in distribution.buckets:
        end = min(longest, max(1, round(bucket.up_to_tokens * scale)))
        moved = LengthBucket(end, min(float(end), bucket.mean_tokens * scale), bucket.share, bucket.answer_tokens)
        if buckets and buckets[-1].up_to_tokens >= end:
            moved = _joined([buckets.pop(), moved])
        buckets.append(moved)
    buckets[-1] = replace(buckets[-1], up_to_tokens=longest)
    return LengthDistribution(tuple(buckets))


def _joined(buckets: Sequence[LengthBucket]) -> LengthBucket:
    share = sum(bucket.share for bucket in buckets)
    tokens = sum(bucket.share * bucket.mean_tokens for bucket in buckets)
    if not share:
        return replace(buckets[-1], share=share)
    known = [bucket.share * bucket.answer_tokens for bucket in buckets if bucket.answer_tokens is not None]
    return LengthBucket(buckets[-1].up_to_tokens, tokens / share, share, sum(known) / share if known else None)


def _groups(buckets: Sequence[LengthBucket], most: int) -> list[list[LengthBucket]]:
    """Neighbours together, so that each group holds about as many tokens, and requests at all."""
    total = sum(bucket.share * bucket.mean_tokens for bucket in buckets)
    groups: dict[int, list[LengthBucket]] = {}
    before, number = 0.0, -1
    empty: list[LengthBucket] = []
    for bucket in buckets:
        if bucket.share <= 0:
            # Nobody there: it only says how far the next ones reach, or the last ones.
            (groups[number] if number >= 0 else empty).append(bucket)
            continue
        tokens = bucket.share * bucket.mean_tokens
        number = min(most - 1, int((before + tokens / 2) / total * most))
        before += tokens
        groups.setdefault(number, []).append(bucket)
    first = next(iter(groups.values()))
    first[:0] = empty
    return list(groups.values())


def _whole(buckets: Sequence[LengthBucket]) -> tuple[float, LengthDistribution]:
    """The share of all, and the distribution of these alone."""
    share = sum(bucket.share for bucket in buckets)
    return share, LengthDistribution(tuple(replace(bucket, share=bucket.share / share) for bucket in buckets))
