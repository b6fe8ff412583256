"""The load as declared, and the objectives: how much, how well and for how much."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import Field, StrictInt

from deepseek_operator.api.base import (
    Availability,
    Duration,
    Money,
    Positive,
    Resource,
    Tokens,
)
from deepseek_operator.api.rules import Rule, exactly_one
from deepseek_planner.demand import AccuracyClass

PERCENTILES = ("p50", "p90", "p95", "p99")


class RequestRate(Resource):
    """Requests per minute."""

    expected: Positive = Field(description="Requests per minute on an ordinary day; $/M tokens is predicted at it.")
    peak: Positive | None = Field(
        default=None, description="Requests per minute that must still be served well; `expected` when left out."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.peak) || self.peak >= self.expected",
            holds=lambda rate: rate.peak is None or rate.peak >= rate.expected,
            message="peak is below expected",
            remedy="raise peak to at least expected, or leave it out",
            field="peak",
        ),
    )


class Bucket(Resource):
    """Requests with up to so many tokens."""

    up_to: Tokens = Field(description="Most tokens of a request in this bucket.")
    percent: Annotated[StrictInt, Ge(1), Le(100)] = Field(description="Share of all requests, in percent.")


class PromptBucket(Bucket):
    """Prompts with up to so many tokens, and the answers to them."""

    output_mean: Tokens | None = Field(
        default=None,
        description="Tokens of the answers to these prompts, on average; in every bucket or in none. Without it, "
        "answers are as long to short prompts as to long ones.",
    )


class Lengths(Resource):
    """How many tokens a request has: mean, p90 and max, or a histogram."""

    mean: Tokens | None = Field(default=None, description="Tokens on average.")
    p90: Tokens | None = Field(default=None, description="Nine of ten requests have at most so many tokens.")
    max: Tokens | None = Field(
        default=None, description="No request has more tokens; longer ones are refused by the engine."
    )
    histogram: Annotated[tuple[Bucket, ...], MinLen(1), MaxLen(32)] | None = Field(
        default=None, description="Instead of mean, p90 and max: buckets by ascending upTo, percents adding up to 100."
    )

    # An empty histogram breaks no rule: that it has too few entries says it all.
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.histogram) ? !has(self.mean) && !has(self.p90) && !has(self.max) "
            ": has(self.mean) && has(self.p90) && has(self.max)",
            holds=lambda it: {it.mean is None, it.p90 is None, it.max is None} == {it.histogram is not None},
            message="lengths are given incompletely or twice",
            remedy="set mean, p90 and max, or histogram alone",
        ),
        Rule(
            cel="!has(self.p90) || !has(self.max) || self.p90 <= self.max",
            holds=lambda it: it.p90 is None or it.max is None or it.p90 <= it.max,
            message="p90 is above max",
            remedy="lower p90 or raise max",
            field="p90",
        ),
        Rule(
            cel="!has(self.mean) || !has(self.p90) || self.mean <= self.p90",
            holds=lambda it: it.mean is None or it.p90 is None or it.mean <= it.p90,
            message="mean is above p90",
            remedy="raise p90, or describe the lengths with histogram",
            field="mean",
        ),
        Rule(
            cel="!has(self.mean) || !has(self.p90) || !has(self.max) || self.p90 == self.max "
            "|| self.mean * 10 >= self.p90 + 9",
            holds=lambda it: (
                it.mean is None or it.p90 is None or it.max is None or it.p90 == it.max or it.mean * 10 >= it.p90 + 9
            ),
            message="mean is too small for this p90: one request in ten is longer than p90",
            remedy="raise mean to at least a tenth of p90, or lower p90",
            field="mean",
        ),
        Rule(
            cel="!has(self.histogram) || size(self.histogram) == 0 "
            "|| self.histogram.map(bucket, bucket.percent).sum() == 100",
            holds=lambda it: not it.histogram or sum(bucket.percent for bucket in it.histogram) == 100,
            message="the percents do not add up to 100",
            remedy="make them the shares of all requests",
            field="histogram",
        ),
        Rule(
            cel="!has(self.histogram) || (self.histogram.map(bucket, bucket.upTo).isSorted() "
            "&& self.histogram.all(bucket, self.histogram.exists_one(other, other.upTo == bucket.upTo)))",
            holds=lambda it: (
                it.histogram is None
                or [bucket.up_to for bucket in it.histogram] == sorted({bucket.up_to for bucket in it.histogram})
            ),
            message="the buckets do not ascend",
            remedy="order them by upTo and name each upTo once",
            field="histogram",
        ),
    )


class PromptLengths(Lengths):
    """How many tokens a prompt has, and what that says of its answer."""

    histogram: Annotated[tuple[PromptBucket, ...], MinLen(1), MaxLen(32)] | None = Field(
        default=None,
        description="Instead of mean, p90 and max: buckets by ascending upTo, percents adding up to 100; with "
        "outputMean where long prompts get longer answers, or shorter ones.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        *Lengths.rules,
        Rule(
            cel="!has(self.histogram) || self.histogram.all(bucket, has(bucket.outputMean)) "
            "|| self.histogram.all(bucket, !has(bucket.outputMean))",
            holds=lambda it: not it.histogram or len({bucket.output_mean is None for bucket in it.histogram}) == 1,
            message="some buckets have outputMean and some have not",
            remedy="set it in every bucket, or in none",
            field="histogram",
        ),
    )


def _output_means(load: Workload) -> list[tuple[int, int]]:
    """By bucket of prompts: percent, and mean tokens of the answers; empty where they are not stated."""
    buckets = load.input_tokens.histogram or ()
    return [(bucket.percent, bucket.output_mean) for bucket in buckets if bucket.output_mean is not None]


def _is_within_tenth(load: Workload) -> bool:
    means = _output_means(load)
    if load.output_tokens.mean is None or len(means) < len(load.input_tokens.histogram or ()) or not means:
        return True
    total, stated = sum(percent * mean for percent, mean in means), load.output_tokens.mean
    return 90 * stated <= total <= 110 * stated


def _is_never_longest(load: Workload) -> bool:
    outputs = load.output_tokens
    longest = outputs.max if outputs.histogram is None else outputs.histogram[-1].up_to
    return longest is None or all(mean <= longest for _, mean in _output_means(load))


class Workload(Resource):
    """The load to be served, as declared."""

    requests_per_minute: RequestRate = Field(description="How many requests.")
    input_tokens: PromptLengths = Field(
        default=PromptLengths.model_construct(mean=1000, p90=3000, max=8192),
        description="How long prompts are, shared prefix included.",
    )
    output_tokens: Lengths = Field(
        default=Lengths.model_construct(mean=300, p90=800, max=2048), description="How long answers are."
    )
    shared_prefix_tokens: Annotated[StrictInt, Ge(0), Le(10_000_000)] = Field(
        default=0, description="Tokens with which all prompts begin (a system prompt); they are computed once."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.inputTokens.mean) ? self.sharedPrefixTokens <= self.inputTokens.mean "
            ": !has(self.inputTokens.histogram) || size(self.inputTokens.histogram) == 0 "
            "|| self.inputTokens.histogram.exists(bucket, bucket.upTo >= self.sharedPrefixTokens)",
            holds=lambda load: (
                load.shared_prefix_tokens <= load.input_tokens.mean
                if load.input_tokens.mean is not None
                else not load.input_tokens.histogram
                or any(bucket.up_to >= load.shared_prefix_tokens for bucket in load.input_tokens.histogram)
            ),
            message="the shared prefix is longer than the prompts that begin with it",
            remedy="lower sharedPrefixTokens, or raise inputTokens.mean: it includes the prefix",
            field="sharedPrefixTokens",
        ),
        Rule(
            cel="!has(self.inputTokens.histogram) || !has(self.outputTokens.mean) "
            "|| !self.inputTokens.histogram.all(bucket, has(bucket.outputMean)) "
            "|| (self.inputTokens.histogram.map(bucket, bucket.percent * bucket.outputMean).sum() "
            ">= 90 * self.outputTokens.mean "
            "&& self.inputTokens.histogram.map(bucket, bucket.percent * bucket.outputMean).sum() "
            "<= 110 * self.outputTokens.mean)",
            holds=_is_within_tenth,
            message="is more than a tenth away from what outputMean of inputTokens.histogram averages",
            remedy="say in outputTokens how long all answers are: their mean is that of outputMean by the percents of "
            "the buckets; or correct outputMean",
            field="outputTokens.mean",
        ),
        Rule(
            cel="!has(self.inputTokens.histogram) || self.inputTokens.histogram.all(bucket, !has(bucket.outputMean) "
            "|| (has(self.outputTokens.max) ? bucket.outputMean <= self.outputTokens.max "
            ": !has(self.outputTokens.histogram) || size(self.outputTokens.histogram) == 0 "
            "|| self.outputTokens.histogram.exists(other, bucket.outputMean <= other.upTo)))",
            holds=_is_never_longest,
            message="an outputMean is above the longest answer of outputTokens",
            remedy="lower outputMean, or say in outputTokens how long answers get",
            field="inputTokens.histogram",
        ),
    )


class LatencyObjective(Resource):
    """A limit at one percentile of the requests."""

    p50: Duration | None = Field(default=None, description="Half of the requests stay within it.")
    p90: Duration | None = Field(default=None, description="Nine of ten requests stay within it.")
    p95: Duration | None = Field(default=None, description="95 of 100 requests stay within it.")
    p99: Duration | None = Field(default=None, description="99 of 100 requests stay within it.")

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one(PERCENTILES, "names no percentile or more than one", "set exactly one of p50, p90, p95 and p99"),
    )


class Objectives(Resource):
    """How well, and for how much."""

    time_to_first_token: LatencyObjective = Field(
        default=LatencyObjective.model_construct(p95="2s"),
        description="From the whole request received to the first token sent, queueing included.",
    )
    time_per_output_token: LatencyObjective = Field(
        default=LatencyObjective.model_construct(p95="100ms"),
        description="(Last token - first token) / (tokens - 1) of a request.",
    )
    accuracy_class: AccuracyClass = Field(
        default=AccuracyClass.BALANCED,
        description="Critical: the checkpoint's native precision. Balanced: also bf16, fp16, fp8, int8. "
        "Economy: also int4, fp4.",
    )
    max_usd_per_hour: Money | None = Field(
        default=None, description="Required: the budget in dollars per hour, surge during a move included."
    )
    max_usd_per_million_tokens: Money | None = Field(
        default=None,
        description="Most dollars per million tokens (input + output) at the expected load; no limit by default.",
    )
    priority: Annotated[StrictInt, Ge(-1000), Le(1000)] = Field(
        default=0,
        description="Who gets less first when capacity is short: the lowest. What runs gives way to a higher one.",
    )
    availability_percent: Availability = Field(
        default="95",
        description="Chance that, at a random moment, the engines that lost spot nodes leave carry the planned load: "
        "what decides how many spare ones run, and how many of them on demand.",
    )
