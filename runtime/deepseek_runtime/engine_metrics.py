"""What vLLM says about itself: its counters read, and the few series that are shown on under the pod's labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from deepseek_runtime.metering import Tokens

# Family names as the parser gives them (counters without _total) -> how engines of one replica add up.
RELAYED: Mapping[str, str] = {
    "vllm:num_requests_running": "sum",
    "vllm:num_requests_waiting": "sum",
    "vllm:kv_cache_usage_perc": "max",
    "vllm:num_preemptions": "sum",
    "vllm:request_success": "sum",
    "vllm:prompt_tokens": "sum",
    "vllm:generation_tokens": "sum",
    "vllm:time_to_first_token_seconds": "sum",
    "vllm:request_time_per_output_token_seconds": "sum",
    "vllm:inter_token_latency_seconds": "sum",
    "vllm:e2e_request_latency_seconds": "sum",
    "vllm:request_queue_time_seconds": "sum",
    "vllm:request_prompt_tokens": "sum",
    "vllm:request_generation_tokens": "sum",
}
_VLLMS_OWN = frozenset({"engine", "model_name"})
_PROMPT_LENGTHS, _OUTPUT_LENGTHS = "vllm:request_prompt_tokens", "vllm:request_generation_tokens"
_PROMPT, _OUTPUT = f"{_PROMPT_LENGTHS}_sum", f"{_OUTPUT_LENGTHS}_sum"
_COMPUTED = "vllm:request_prefill_kv_computed_tokens_sum"

_Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and those of its labels that are shown."""


class EngineMetrics:
    """One scrape of the engine's /metrics."""

    def __init__(self, text: str) -> None:
        wanted = [family for family in text_string_to_metric_families(text) if family.name.startswith("vllm:")]
        self._families = {family.name: family for family in wanted}
        self._sums: dict[str, float] = {}
        for family in wanted:
            for sample in family.samples:
                self._sums[sample.name] = self._sums.get(sample.name, 0.0) + sample.value

    @property
    def finished_tokens(self) -> Tokens:
        """Tokens of requests that finished; those aborted by the client are not among them."""
        prompt, computed = self._sums.get(_PROMPT, 0.0), self._sums.get(_COMPUTED, 0.0)
        return Tokens(input=computed, cached=max(0.0, prompt - computed), output=self._sums.get(_OUTPUT, 0.0))

    @property
    def work_done(self) -> float:
        """Grows as long as the engine computes anything."""
        return self._sums.get("vllm:prompt_tokens_total", 0.0) + self._sums.get("vllm:generation_tokens_total", 0.0)

    @property
    def requests(self) -> float:
        """Running and waiting."""
        return self._sums.get("vllm:num_requests_running", 0.0) + self._sums.get("vllm:num_requests_waiting", 0.0)

    def family(self, name: str) -> Metric | None:
        return self._families.get(name)


class Relay:
    """The shown series under the pod's labels, several engines of one replica added up.

    Demand is measured by the histograms of request lengths, so the pod's own requests are taken out of those.
    Counts never fall: a request of our own may be noted before the engine counts it, or after.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._own: dict[str, Counter[int]] = {_PROMPT_LENGTHS: Counter(), _OUTPUT_LENGTHS: Counter()}
        self._shown: dict[_Key, float] = {}

    def asked_ourselves(self, tokens: Tokens) -> None:
        """One request of our own, with what the engine counts for it."""
        self._own[_PROMPT_LENGTHS][int(tokens.input + tokens.cached)] += 1
        self._own[_OUTPUT_LENGTHS][int(tokens.output)] += 1

    def show(self, engine: EngineMetrics) -> Iterator[Metric]:
        for name, rule in RELAYED.items():
            if family := engine.family(name):
                yield self._relabel(family, rule)

    def _relabel(self, family: Metric, rule: str) -> Metric:
        relabelled = Metric(family.name, family.documentation, family.type)
        own = self._own.get(family.name)
        for key, value in _combine(family, rule).items():
            name, kept = key
            shown = value
            if own is not None:
                shown = self._shown[key] = max(self._shown.get(key, 0.0), value - _share(own, name, dict(kept)))
            relabelled.add_sample(name, {**self._labels, **dict(kept)}, shown)
        return relabelled


def _combine(family: Metric, rule: str) -> dict[_Key, float]:
    values: dict[_Key, float] = {}
    for sample in family.samples:
        key = sample.name, tuple((name, value) for name, value in sample.labels.items() if name not in _VLLMS_OWN)
        before = values.get(key)
        combined = [sample.value] if before is None else [before, sample.value]
        values[key] = max(combined) if rule == "max" else sum(combined)
    return values


def _share(own: Counter[int], sample: str, labels: Mapping[str, str]) -> float:
    """What requests of these lengths add to one sample of their histogram."""
    if sample.endswith("_sum"):
        return float(sum(length * count for length, count in own.items()))
    bound = float(labels.get("le", "inf"))
    return float(sum(count for length, count in own.items() if length <= bound))


def histogram_samples(
    bounds: Sequence[float], counts: Iterable[float], total: float
) -> tuple[list[tuple[str, float]], float]:
    """(cumulative buckets as the text format wants them, sum)."""
    cumulative, buckets = 0.0, []
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        cumulative += count
        buckets.append((bound, cumulative))
    return buckets, total
