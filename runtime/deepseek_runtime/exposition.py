"""What the pod shows at /metrics: its own meter, the front door's latencies, and the engine's relayed series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from deepseek_runtime import shared_state as slots
from deepseek_runtime.engine_metrics import EngineMetrics, Relay, histogram_samples
from deepseek_runtime.launchspec import LaunchSpec
from deepseek_runtime.metering import DIRECTIONS, STATES, Meter, Tokens
from deepseek_runtime.shared_state import SharedState

_OUTCOMES = {
    "succeeded": slots.SUCCEEDED,
    "failed": slots.FAILED,
    "rejected": slots.REJECTED,
    "aborted": slots.ABORTED,
}


def labels(spec: LaunchSpec) -> dict[str, str]:
    """The labels that every series of an engine carries."""
    return {
        "namespace": spec.namespace,
        "name": spec.name,
        "model": spec.model,
        "accelerator": spec.accelerator,
        "precision": spec.precision,
        "capacity_type": spec.capacity_type,
        "pool": spec.pool,
    }


class Exposition:
    """A prometheus_client collector over what the supervisor knows."""

    def __init__(self, spec: LaunchSpec, meter: Meter, state: SharedState, cold_start: Mapping[str, float]) -> None:
        self._labels = labels(spec)
        self._meter, self._state, self._cold_start = meter, state, cold_start
        self._relay = Relay(self._labels)
        self.engine: EngineMetrics | None = None
        self.ready = False
        self.follows = False
        """Part of a replica whose leader shows everything."""

    def asked_ourselves(self, tokens: Tokens) -> None:
        """A request of the pod's own: it is neither served nor demand."""
        self._meter.asked_ourselves(tokens)
        self._relay.asked_ourselves(tokens)

    def describe(self) -> list[Metric]:
        """Nothing in advance: names are fixed, and collecting needs a scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        if self.follows:
            return
        yield from self._served()
        yield from self._paid()
        yield self._gauge("deepseek_engine_ready", "1 while the engine takes new requests.", float(self.ready))
        cold = self._family(GaugeMetricFamily, "deepseek_cold_start_seconds", "Start of this engine by phase.", "phase")
        for phase, seconds in self._cold_start.items():
            self._add(cold, phase, seconds)
        yield cold
        if self.engine is not None:
            yield from self._relay.show(self.engine)

    def _served(self) -> Iterator[Metric]:
        text = "Tokens of finished requests: input computed, cached prompt tokens, output. Served is their sum."
        tokens = self._family(CounterMetricFamily, "deepseek_tokens", text, "direction")
        for direction in DIRECTIONS:
            self._add(tokens, direction, getattr(self._meter.tokens, direction))
        yield tokens
        requests = self._family(CounterMetricFamily, "deepseek_requests", "Requests by how they ended.", "outcome")
        for outcome, slot in _OUTCOMES.items():
            self._add(requests, outcome, self._state.get(slot))
        yield requests
        in_flight = self._state.get(slots.IN_FLIGHT)
        yield self._gauge("deepseek_requests_in_flight", "Requests at the front door now.", in_flight)
        yield self._histogram(
            "deepseek_time_to_first_token_seconds",
            "Streamed requests: whole request received to first token sent.",
            slots.TTFT,
            slots.TTFT_BOUNDS,
        )
        yield self._histogram(
            "deepseek_time_per_output_token_seconds",
            "Streamed requests: (last token - first token) / (n - 1).",
            slots.TPOT,
            slots.TPOT_BOUNDS,
        )

    def _paid(self) -> Iterator[Metric]:
        text = "Accelerator seconds paid for, by what they were for."
        seconds = self._family(CounterMetricFamily, "deepseek_gpu_seconds", text, "state")
        for state in STATES:
            self._add(seconds, state, self._meter.seconds[state])
        yield seconds
        if not self._meter.priced:
            return
        spend = CounterMetricFamily("deepseek_spend_usd", "Dollars spent on this replica.", labels=list(self._labels))
        spend.add_metric(list(self._labels.values()), float(self._meter.usd))
        yield spend
        if (hourly := self._meter.usd_per_hour) is not None:
            yield self._gauge("deepseek_actual_usd_per_hour", "Dollars per hour over the window.", float(hourly))
        if (per_million := self._meter.usd_per_million_tokens) is not None:
            text = "Dollars per million tokens served over the window; absent where none were."
            yield self._gauge("deepseek_actual_usd_per_million_tokens", text, float(per_million))

    def _family(self, kind: type[Metric], name: str, text: str, label: str) -> Metric:
        return kind(name, text, labels=[*self._labels, label])  # type: ignore[call-arg]

    def _add(self, family: Metric, value: str, amount: float) -> None:
        family.add_metric([*self._labels.values(), value], amount)  # type: ignore[attr-defined]

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        gauge = GaugeMetricFamily(name, text, labels=list(self._labels))
        gauge.add_metric(list(self._labels.values()), value)
        return gauge

    def _histogram(self, name: str, text: str, base: int, bounds: tuple[float, ...]) -> Metric:
        counts, total = self._state.histogram(base, bounds)
        buckets, total = histogram_samples(bounds, counts, total)
        family = HistogramMetricFamily(name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), buckets, total)
        return family
