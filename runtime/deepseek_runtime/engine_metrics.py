"""What vLLM says about itself: its counters read, and the few series that are shown on under the pod's labels."""

from __future__ import annotations

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
_OURS = frozenset({"engine", "model_name"})
_PROMPT, _COMPUTED, _OUTPUT = (
    "vllm:request_prompt_tokens_sum",
    "vllm:request_prefill_kv_computed_tokens_sum",
    "vllm:request_generation_tokens_sum",
)


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

    def relay(self, labels: Mapping[str, str]) -> Iterator[Metric]:
        """The shown series, several engines of one replica added up, with ``labels`` in place of vLLM's own."""
        for name, rule in RELAYED.items():
            if family := self._families.get(name):
                yield _relabel(family, labels, rule)


def _relabel(family: Metric, labels: Mapping[str, str], rule: str) -> Metric:
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for sample in family.samples:
        if sample.name.endswith("_created"):
            continue
        kept = tuple((name, value) for name, value in sample.labels.items() if name not in _OURS)
        before = values.get((sample.name, kept))
        combined = [sample.value] if before is None else [before, sample.value]
        values[sample.name, kept] = max(combined) if rule == "max" else sum(combined)
    relabelled = Metric(family.name, family.documentation, family.type)
    for (name, kept), value in values.items():
        relabelled.add_sample(name, {**labels, **dict(kept)}, value)
    return relabelled


def histogram_samples(
    bounds: Sequence[float], counts: Iterable[float], total: float
) -> tuple[list[tuple[str, float]], float]:
    """(cumulative buckets as the text format wants them, sum)."""
    cumulative, buckets = 0.0, []
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        cumulative += count
        buckets.append((bound, cumulative))
    return buckets, total
