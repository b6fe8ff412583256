"""Signals: what may call for another fleet, defined once.

One definition makes the alert rule (``expression``), the judgement on the same numbers without Prometheus
(``value``), the text of condition and Event (``message``) and the wake-up. A signal decides nothing.

A latency signal is a burn rate. An objective "p95 <= 1 s" leaves 5 % of the requests for being slower; a burn rate
of 2 spends that twice as fast, so that 10 % are slower: exactly when the 90th percentile is above the limit. So
burning is a comparison of one lower percentile with the limit, over a long window (it matters) and a short one (it
still goes on), and no histogram needs a bucket at the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from deepseek_planner.demand import LatencyTarget, Measured, Objectives
from deepseek_planner.units import MICRO_PER_USD, MicroUsd

INFO, WARNING = "info", "warning"

# Series that the rules read: from the engines, and from the operator.
TOKENS = "deepseek_tokens_total"
SPEND = "deepseek_spend_usd_total"
PLAN_CAPACITY = "deepseek_plan_capacity_tokens_per_second"
PLAN_USD_PER_MILLION_TOKENS = "deepseek_plan_usd_per_million_tokens"
OBJECTIVE_SECONDS = "deepseek_objective_seconds"
"""The limit of a latency objective; labels ``namespace name objective percentile``."""

TIME_TO_FIRST_TOKEN = "TimeToFirstToken"
TIME_PER_OUTPUT_TOKEN = "TimePerOutputToken"
"""Values of the label ``objective``."""

BURN_RATES = {50: 1.2, 90: 2.0, 95: 2.0, 99: 5.0}
"""By percentile of the objective: how many times too many slow requests are a burn."""

UTILIZATION_TOO_LOW = 0.30
UTILIZATION_TOO_HIGH = 0.85
COST_RATIO_TOO_HIGH = 1.25
"""Dollars per million tokens, as a multiple of the plan's."""


class SignalName(StrEnum):
    """Names are API: alerts, conditions, Events and the ``deepseek_signal_active`` metric show them."""

    UTILIZATION_LOW = "UtilizationLow"
    UTILIZATION_HIGH = "UtilizationHigh"
    COST_PER_TOKEN_HIGH = "CostPerTokenHigh"
    TIME_TO_FIRST_TOKEN_BURN = "TimeToFirstTokenBurn"
    TIME_PER_OUTPUT_TOKEN_BURN = "TimePerOutputTokenBurn"


@dataclass(frozen=True, slots=True)
class LatencyReading:
    """The percentile that :func:`burn_quantile` names, over both windows, against the objective's limit. Seconds."""

    limit_s: float
    long_s: float | None
    short_s: float | None

    @property
    def ratio(self) -> float | None:
        """Above 1 while the objective burns."""
        if self.long_s is None or self.short_s is None or self.limit_s <= 0:
            return None
        return min(self.long_s, self.short_s) / self.limit_s


@dataclass(frozen=True, slots=True)
class Readings:
    """What is known about one deployment; None where nothing is, which is not zero."""

    tokens_per_s: float | None = None
    capacity_tokens_per_s: float | None = None
    usd_per_million_tokens: float | None = None
    planned_usd_per_million_tokens: float | None = None
    time_to_first_token: LatencyReading | None = None
    time_per_output_token: LatencyReading | None = None

    @property
    def utilization(self) -> float | None:
        """Served tokens over those that the ready fleet could serve; 1 is full."""
        return _ratio(self.tokens_per_s, self.capacity_tokens_per_s)

    @property
    def cost_ratio(self) -> float | None:
        return _ratio(self.usd_per_million_tokens, self.planned_usd_per_million_tokens)


@dataclass(frozen=True, slots=True)
class Windows:
    """Time spans of the rules, in seconds. Demos and tests shorten them all."""

    window_s: float = 900.0
    """Over which utilization and cost are averaged; a burn's two windows are made of it."""
    waste_for_s: float = 900.0
    """How long money must be wasted: a whole window, since a rate over one that is not full yet is too low."""
    harm_for_s: float = 120.0
    """How long requests must suffer."""
    keep_firing_s: float = 300.0

    @property
    def burn_long_s(self) -> float:
        return 4 * self.window_s

    @property
    def burn_short_s(self) -> float:
        return max(self.window_s / 3, 10.0)


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal: a ratio, its threshold, and how long it must stand; in PromQL and in Python."""

    name: SignalName
    severity: str
    """``info``: money; ``warning``: requests suffer, or soon will."""
    summary: str
    message: str
    """With ``{value}``, the ratio in percent: for conditions, Events and the alert's description."""
    threshold: float
    is_below: bool
    """Whether the signal is active below the threshold; else above."""
    ratio: Callable[[Readings], float | None]
    expression: Callable[[Windows], str]
    """PromQL that has the ratio as its value while the signal is active; labels ``namespace name`` say for whom."""

    @property
    def is_harm(self) -> bool:
        return self.severity == WARNING

    def is_active(self, seen: Readings) -> bool:
        """Whether the ratio is beyond the threshold now. What is unknown is not active."""
        value = self.ratio(seen)
        return value is not None and (value < self.threshold if self.is_below else value > self.threshold)

    def for_s(self, windows: Windows) -> float:
        """How long the signal must be active before it fires."""
        return windows.harm_for_s if self.is_harm else windows.waste_for_s

    def text(self, seen: Readings) -> str:
        """What a condition or an Event says."""
        value = self.ratio(seen)
        return self.message.format(value="unknown" if value is None else f"{100 * value:.3g} %")

    def is_firing(self, samples: Sequence[tuple[float, bool]], windows: Windows, *, now_s: float) -> bool:
        """Whether an alert on it would fire: active for so long, or lately so. ``samples`` (seconds, active) ascend."""
        since_s: float | None = None
        until_s: float | None = None
        for at_s, is_active in samples:
            since_s = (at_s if since_s is None else since_s) if is_active else None
            if since_s is not None and at_s - since_s >= self.for_s(windows):
                until_s = at_s
        return until_s is not None and now_s - until_s <= windows.keep_firing_s


def windows(
    *, window_s: float | None = None, for_s: float | None = None, keep_firing_s: float | None = None
) -> Windows:
    """The default windows, with what is given in place of theirs; ``for_s`` stands for both durations."""
    default = Windows()
    return Windows(
        window_s=default.window_s if window_s is None else window_s,
        waste_for_s=default.waste_for_s if for_s is None else for_s,
        harm_for_s=default.harm_for_s if for_s is None else for_s,
        keep_firing_s=default.keep_firing_s if keep_firing_s is None else keep_firing_s,
    )


def burn_quantile(percentile: int) -> float:
    """The quantile that is above the limit exactly while the objective burns at its :data:`BURN_RATES`."""
    return round(1 - BURN_RATES[percentile] * (100 - percentile) / 100, 6)


def active(seen: Readings) -> tuple[Signal, ...]:
    """The signals that these numbers raise."""
    return tuple(signal for signal in SIGNALS if signal.is_active(seen))


def readings(
    measured: Measured,
    objectives: Objectives,
    *,
    capacity_tokens_per_s: float | None,
    planned_usd_per_million_tokens: MicroUsd | None,
) -> Readings:
    """What a window of measurements says.

    It carries the objective's own percentile over one window, which stands for both windows of a burn: beyond its
    limit the objective is missed, which comes before it burns.
    """

    def latency(target: LatencyTarget | None, seen_s: float | None) -> LatencyReading | None:
        return None if target is None else LatencyReading(target.limit_s, seen_s, seen_s)

    return Readings(
        tokens_per_s=measured.tokens_per_s,
        capacity_tokens_per_s=capacity_tokens_per_s,
        usd_per_million_tokens=_usd(measured.usd_per_million_tokens),
        planned_usd_per_million_tokens=_usd(planned_usd_per_million_tokens),
        time_to_first_token=latency(objectives.time_to_first_token, measured.time_to_first_token_s),
        time_per_output_token=latency(objectives.time_per_output_token, measured.time_per_output_token_s),
    )


def duration(seconds: float) -> str:
    """Seconds as PromQL and rule files write them: ``15m``, ``90s``, ``1500ms``."""
    ms = max(1, round(seconds * 1000))
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def _usd(amount: MicroUsd | None) -> float | None:
    return None if amount is None else amount / MICRO_PER_USD


def _ratio(seen: float | None, reference: float | None) -> float | None:
    return None if seen is None or reference is None or reference <= 0 else seen / reference


def _burning(reading: LatencyReading | None) -> float | None:
    return None if reading is None else reading.ratio


def _rate(series: str, window_s: float) -> str:
    return f"sum by (namespace, name) (rate({series}[{duration(window_s)}]))"


def _planned(series: str) -> str:
    # Two operators export the same plan for a moment when the leader changes.
    return f"(max by (namespace, name) ({series}) > 0)"


def _utilization(windows: Windows) -> str:
    return f"{_rate(TOKENS, windows.window_s)}\n/ {_planned(PLAN_CAPACITY)}"


def _cost_ratio(windows: Windows) -> str:
    tokens = f"({_rate(TOKENS, windows.window_s)} > 0)"
    return f"1e6 * {_rate(SPEND, windows.window_s)}\n/ {tokens}\n/ {_planned(PLAN_USD_PER_MILLION_TOKENS)}"


def _burn(objective: str, histogram: str) -> Callable[[Windows], str]:
    """Any percentile may be the objective's; the series of its limit says which one it is."""

    def part(percentile: int, window_s: float) -> str:
        buckets = f"sum by (namespace, name, le) (rate({histogram}_bucket[{duration(window_s)}]))"
        limit = f'{OBJECTIVE_SECONDS}{{objective="{objective}", percentile="{percentile}"}}'
        quantile = f"histogram_quantile({burn_quantile(percentile):g}, {buckets})"
        return f"({quantile}\n/ {_planned(limit)} > 1)"

    def expression(windows: Windows) -> str:
        parts = [f"{part(p, windows.burn_long_s)}\nand {part(p, windows.burn_short_s)}" for p in BURN_RATES]
        return "\nor\n".join(parts)

    return expression


SIGNALS: tuple[Signal, ...] = (
    Signal(
        name=SignalName.UTILIZATION_LOW,
        severity=INFO,
        summary="Most of what is paid for is not used",
        message="{value} of the ready engines' capacity is used",
        threshold=UTILIZATION_TOO_LOW,
        is_below=True,
        ratio=lambda seen: seen.utilization,
        expression=lambda windows: f"{_utilization(windows)}\n< {UTILIZATION_TOO_LOW:g}",
    ),
    Signal(
        name=SignalName.UTILIZATION_HIGH,
        severity=WARNING,
        summary="The engines are close to what they can serve",
        message="{value} of the ready engines' capacity is used",
        threshold=UTILIZATION_TOO_HIGH,
        is_below=False,
        ratio=lambda seen: seen.utilization,
        expression=lambda windows: f"{_utilization(windows)}\n> {UTILIZATION_TOO_HIGH:g}",
    ),
    Signal(
        name=SignalName.COST_PER_TOKEN_HIGH,
        severity=INFO,
        summary="Tokens cost more than planned",
        message="a million tokens costs {value} of what the plan says",
        threshold=COST_RATIO_TOO_HIGH,
        is_below=False,
        ratio=lambda seen: seen.cost_ratio,
        expression=lambda windows: f"{_cost_ratio(windows)}\n> {COST_RATIO_TOO_HIGH:g}",
    ),
    Signal(
        name=SignalName.TIME_TO_FIRST_TOKEN_BURN,
        severity=WARNING,
        summary="Too many first tokens come late",
        message="slow requests spend the objective's reserve too fast: first tokens take {value} of the limit",
        threshold=1.0,
        is_below=False,
        ratio=lambda seen: _burning(seen.time_to_first_token),
        expression=_burn(TIME_TO_FIRST_TOKEN, "deepseek_time_to_first_token_seconds"),
    ),
    Signal(
        name=SignalName.TIME_PER_OUTPUT_TOKEN_BURN,
        severity=WARNING,
        summary="Too many answers are written slowly",
        message="slow requests spend the objective's reserve too fast: output tokens take {value} of the limit",
        threshold=1.0,
        is_below=False,
        ratio=lambda seen: _burning(seen.time_per_output_token),
        expression=_burn(TIME_PER_OUTPUT_TOKEN, "deepseek_time_per_output_token_seconds"),
    ),
)
