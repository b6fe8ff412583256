"""Scrapes the engines and computes what Prometheus would: same series, same definitions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import aiohttp

from deepseek_operator import prometheus
from deepseek_operator.local import pods
from deepseek_operator.local.keeper import LOOPBACK
from deepseek_operator.local.series import Series
from deepseek_operator.local.store import Store
from deepseek_operator.world import Kind, Object
from deepseek_planner.demand import LatencyTarget, Measured
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey
from deepseek_planner.units import MICRO_PER_USD, SECONDS_PER_HOUR, MicroUsd

logger = logging.getLogger(__name__)

TOKENS = "deepseek_tokens_total"
SPEND = "deepseek_spend_usd_total"
REQUESTS = "deepseek_requests_total"
IN_FLIGHT = "deepseek_requests_in_flight"
READY = "deepseek_engine_ready"
# The front door's clock where requests were streamed, else the engine's.
FIRST_TOKEN = prometheus.HISTOGRAMS["time_to_first_token"]
PER_TOKEN = prometheus.HISTOGRAMS["time_per_output_token"]

MINUTE_S = 60.0
STEPS = 15
"""How many minutes of the window are looked at."""
_SPARE_S = 60.0
"""Samples are kept so much longer than the window, so that a full window is seen as full."""


@dataclass(slots=True)
class Measurements:
    """Samples of all engines, and what they say about each deployment."""

    store: Store
    http: aiohttp.ClientSession
    window_s: float
    series: Series = field(init=False)

    def __post_init__(self) -> None:
        self.series = Series(keep_s=self.window_s + _SPARE_S)

    async def follow(self, interval_s: float) -> None:
        """Scrape all engines every ``interval_s`` seconds until cancelled."""
        while True:
            running = [pod for pod in self.store.objects(Kind.POD) if pods.ports_of(pod) is not None]
            await asyncio.gather(*(self._scrape(pod) for pod in running))
            await asyncio.sleep(interval_s)

    async def _scrape(self, pod: Object) -> None:
        ports = pods.ports_of(pod)
        if ports is None:
            return
        url = f"http://{LOOPBACK}:{ports[1]}/metrics"
        plain = {"Accept-Encoding": "identity"}
        # An engine that starts or ends does not answer: its series have a gap then, as in Prometheus.
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self.http.get(url, headers=plain, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                text = await answer.text()
                if answer.status == 200:
                    labels = {"pod": pod["metadata"]["name"]}
                    self.series.record(text, at_s=self.store.now().timestamp(), labels=labels)

    def measured(self, deployment: DeploymentInput, *, now: datetime) -> Measured | None:
        """Load and service over the window; None before any engine of the deployment could serve.

        What is covered begins with the first engine that was ready: while all are still starting, nobody could
        send a request, and that says nothing about the demand.
        """
        match = labels_of(deployment.key)
        now_s = now.timestamp()
        since_s = now_s - self.window_s
        first_s = self.series.first_s(READY, match, since_s=since_s - _SPARE_S, above=0.0)
        if first_s is None:
            return None
        since_s = max(since_s, first_s)
        tokens_per_s = self.series.rate(TOKENS, match, since_s=since_s)
        requests_per_s = self._arrivals_per_s(match, since_s, now_s)
        if tokens_per_s is None or requests_per_s is None:
            return None
        usd_per_s = self.series.rate(SPEND, match, since_s=since_s)
        usd_per_token = usd_per_s / tokens_per_s if usd_per_s is not None and tokens_per_s > 0 else None
        objectives = deployment.objectives
        minutes = self._minutes(match, since_s, now_s)
        return Measured(
            window_s=self.window_s,
            covered_s=min(self.window_s, now_s - first_s),
            requests_per_min=requests_per_s * MINUTE_S,
            peak_requests_per_min=max(minutes, default=0.0),
            mean_input_tokens=self._mean("vllm:request_prompt_tokens", match, since_s),
            mean_output_tokens=self._mean("vllm:request_generation_tokens", match, since_s),
            tokens_per_s=tokens_per_s,
            usd_per_hour=_micro(usd_per_s, SECONDS_PER_HOUR),
            usd_per_million_tokens=_micro(usd_per_token, 1e6),
            time_to_first_token_s=self._quantile(FIRST_TOKEN, objectives.time_to_first_token, match, since_s),
            time_per_output_token_s=self._quantile(PER_TOKEN, objectives.time_per_output_token, match, since_s),
            minutes=minutes,
        )

    def total(self, name: str, key: DeploymentKey) -> float:
        """What a counter of all engines of a deployment gained since the beginning."""
        return self.series.totals.get((name, key.namespace, key.name), 0.0)

    def _minutes(self, match: Mapping[str, str], since_s: float, now_s: float) -> tuple[float, ...]:
        """Requests per minute of each minute, oldest first; of half the window where that is shorter."""
        minute_s = min(MINUTE_S, self.window_s / 2)
        step_s = max(1.0, self.window_s / STEPS)
        ends = (now_s - index * step_s for index in reversed(range(STEPS)) if now_s - index * step_s > since_s)
        rates = (self._arrivals_per_s(match, max(since_s, end - minute_s), end) for end in ends)
        return tuple(rate * MINUTE_S for rate in rates if rate is not None)

    def _arrivals_per_s(self, match: Mapping[str, str], since_s: float, until_s: float) -> float | None:
        """Requests that came: those that ended, and those that wait more than did before.

        Engines that cannot keep up finish fewer requests than arrive; that must never look like less demand.
        """
        ended = self.series.rate(REQUESTS, match, since_s=since_s, until_s=until_s)
        waiting = self.series.slope(IN_FLIGHT, match, since_s=since_s, until_s=until_s)
        return max(0.0, ended + (waiting or 0.0)) if ended is not None else None

    def _mean(self, histogram: str, match: Mapping[str, str], since_s: float) -> float | None:
        count = self.series.increase(f"{histogram}_count", match, since_s=since_s)
        total = self.series.increase(f"{histogram}_sum", match, since_s=since_s)
        return total / count if count and total is not None else None

    def _quantile(
        self, histograms: Sequence[str], target: LatencyTarget | None, match: Mapping[str, str], since_s: float
    ) -> float | None:
        if target is None:
            return None
        q = target.percentile / 100
        found = (self.series.quantile(q, name, match, since_s=since_s) for name in histograms)
        return next((value for value in found if value is not None), None)


def labels_of(key: DeploymentKey) -> Mapping[str, str]:
    """Labels that all series of a deployment carry."""
    return {"namespace": key.namespace, "name": key.name}


def _micro(dollars: float | None, factor: float) -> MicroUsd | None:
    return MicroUsd(round(dollars * factor * MICRO_PER_USD)) if dollars is not None else None
