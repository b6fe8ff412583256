"""What must be served, and how well, and for how much."""

from __future__ import annotations

from dataclasses import dataclass
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
    """Load as declared: requests per minute, and how long prompts and answers are."""

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
    availability_percent: float = 99.0
    """Chance, at a random moment, that the capacity left by lost spot nodes carries the planned rate."""
