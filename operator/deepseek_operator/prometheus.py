"""Load and service as Prometheus has measured them: a handful of queries for all deployments at once.

Absent is not zero. A deployment without series is absent from the answer; when Prometheus cannot be asked, all
are, and the loop goes on with what was declared and takes nothing away.

Every series that is read is named once, in ``QUERIES``, with what it is used for. All are summed over the engines
of a deployment by the labels ``namespace`` and ``name``, which engines put on themselves: scrape with
``honor_labels: true``. Scrape at least twice a minute: the busiest minute is looked for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp

from deepseek_planner.demand import Measured
from deepseek_planner.signals import duration
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey
from deepseek_planner.units import MICRO_PER_USD, SECONDS_PER_HOUR, MicroUsd

logger = logging.getLogger(__name__)

MINUTE_S = 60.0
TIMEOUT_S = 5.0
MOST_BYTES = 16 << 20

MINUTES = "minutes"
"""The one query that is answered with a series for each deployment, not with a number."""

BY = "sum by (namespace, name)"
# Arrivals: requests that ended, however (one that was turned away is demand too), and those that wait more than did
# before. Engines that cannot keep up end fewer requests than arrive; that must never look like less demand.
_ENDED = BY + " (rate(deepseek_requests_total[{over}]))"
_WAITING = BY + " (deriv(deepseek_requests_in_flight[{over}]))"
_ARRIVALS = "clamp_min(" + _ENDED + " + (" + _WAITING + " or " + _ENDED + " * 0), 0)"
QUERIES: Mapping[str, str] = {
    # How much of the window says something about the demand: its steps for which an engine was ready shortly
    # before. While all of them start, nobody can send a request. Short gaps count as covered, since counters go on
    # counting in them.
    "covered_s": (
        "count_over_time((" + BY + " (max_over_time(deepseek_engine_ready[{gap}])) > 0)[{window}:{step}]) * {step_s}"
    ),
    "requests_per_min": _ARRIVALS.replace("{over}", "{window}") + " * 60",
    # The minutes of the window themselves: the busiest, the trend and the noise are read from them.
    MINUTES: "(" + _ARRIVALS.replace("{over}", "{minute}") + " * 60)[{window}:{step}]",
    # Tokens served, and their dollars: idle, starting and draining time is in them.
    "tokens_per_s": BY + " (rate(deepseek_tokens_total[{window}]))",
    "usd_per_s": BY + " (rate(deepseek_spend_usd_total[{window}]))",
    # Lengths, as the engine counted them.
    "mean_input_tokens": (
        BY + " (rate(vllm:request_prompt_tokens_sum[{window}])) / "
        "(" + BY + " (rate(vllm:request_prompt_tokens_count[{window}])) > 0)"
    ),
    "mean_output_tokens": (
        BY + " (rate(vllm:request_generation_tokens_sum[{window}])) / "
        "(" + BY + " (rate(vllm:request_generation_tokens_count[{window}])) > 0)"
    ),
}
_QUANTILE = "(histogram_quantile({q}, sum by (namespace, name, le) (rate({histogram}_bucket[{window}]))) >= 0)"
# The front door's clock where requests were streamed, else the engine's: it starts when the engine has the request.
HISTOGRAMS: Mapping[str, tuple[str, str]] = {
    "time_to_first_token": ("deepseek_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"),
    "time_per_output_token": (
        "deepseek_time_per_output_token_seconds",
        "vllm:request_time_per_output_token_seconds",
    ),
}
ESSENTIAL = ("covered_s", "requests_per_min", MINUTES, "tokens_per_s")
"""Without these a deployment is not measured at all."""

Values = Mapping[DeploymentKey, tuple[float, ...]]
"""By deployment: one number, or several, oldest first."""


class PrometheusError(Exception):
    """Prometheus could not be asked, or did not answer with a vector."""


@dataclass(slots=True)
class PrometheusMeasurements:
    """Measurements over the last ``window_s`` seconds, from the Prometheus at ``url``.

    Without a ``session`` it opens one of its own at first use, which :meth:`close` closes.
    """

    url: str
    window_s: float
    session: aiohttp.ClientSession | None = None
    timeout_s: float = TIMEOUT_S
    _own: aiohttp.ClientSession | None = None
    _is_failing: bool = False

    async def measured(
        self, deployments: Sequence[DeploymentInput], *, now: datetime
    ) -> Mapping[DeploymentKey, Measured]:
        """Load and service per deployment; those that nothing is known about are absent."""
        if not deployments:
            return {}
        queries = {**expressions(self.window_s), **quantiles(deployments, self.window_s)}
        try:
            async with asyncio.timeout(self.timeout_s):
                answers = await asyncio.gather(*(self._ask(query, now) for query in queries.values()))
        except (PrometheusError, aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self.timeout_s:g} s"
            log = logger.debug if self._is_failing else logger.warning
            log("nothing is measured: %s: %s", self.url, reason)
            self._is_failing = True
            return {}
        if self._is_failing:
            logger.info("%s answers again", self.url)
        self._is_failing = False
        values = dict(zip(queries, answers, strict=True))
        found = {item.key: _measured(item, values, self.window_s) for item in deployments}
        return {key: each for key, each in found.items() if each is not None}

    async def close(self) -> None:
        """Close the session that was opened here."""
        if self._own is not None:
            await self._own.close()

    async def _ask(self, query: str, now: datetime) -> Values:
        if self.session is None and self._own is None:
            self._own = aiohttp.ClientSession()
        session = self.session or self._own
        assert session is not None
        parameters = {"query": query, "time": f"{now.timestamp():.3f}", "timeout": f"{self.timeout_s:g}s"}
        async with session.post(f"{self.url}/api/v1/query", data=parameters) as answer:
            body = await answer.content.read(MOST_BYTES + 1)
            while len(body) <= MOST_BYTES and (more := await answer.content.read(MOST_BYTES)):
                body += more
            return _answered(body, answer.status)


def expressions(window_s: float) -> Mapping[str, str]:
    """The queries for a window: steps of a minute where the window has fifteen of them."""
    step_s = max(1.0, window_s / 15)
    terms = {
        "window": duration(window_s),
        "step": duration(step_s),
        "step_s": f"{round(step_s, 3):g}",
        "minute": duration(min(MINUTE_S, window_s / 2)),
        "gap": duration(min(2 * MINUTE_S, window_s / 3)),
    }
    return {name: query.format(**terms) for name, query in QUERIES.items()}


def quantiles(deployments: Sequence[DeploymentInput], window_s: float) -> Mapping[str, str]:
    """One query per objective and percentile that any deployment asks for."""
    found: dict[str, str] = {}
    for deployment in deployments:
        objectives = deployment.objectives
        targets = {
            "time_to_first_token": objectives.time_to_first_token,
            "time_per_output_token": objectives.time_per_output_token,
        }
        for name, target in targets.items():
            if target is not None:
                found[f"{name} p{target.percentile}"] = _quantile(name, target.percentile / 100, window_s)
    return found


def _quantile(name: str, q: float, window_s: float) -> str:
    parts = (_QUANTILE.format(q=f"{q:g}", histogram=each, window=duration(window_s)) for each in HISTOGRAMS[name])
    return " or ".join(parts)


def _answered(body: bytes, status: int) -> Values:
    """Prometheus' answer by deployment. NaN and infinities say nothing and are left out."""
    if len(body) > MOST_BYTES:
        raise PrometheusError(f"an answer of more than {MOST_BYTES} bytes")
    try:
        answer = json.loads(body)
        if answer["status"] != "success":
            raise PrometheusError(f"{answer.get('errorType')}: {answer.get('error')}")
        field = _FIELDS.get(answer["data"]["resultType"])
        if field is None:
            raise PrometheusError(f"a {answer['data']['resultType']} instead of a vector")
        return dict(_values(answer["data"]["result"], field))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PrometheusError(f"HTTP {status} without a readable answer ({error})") from None


_FIELDS = {"vector": "value", "matrix": "values"}
"""Where an answer of each type has its samples."""


def _values(result: list[dict[str, Any]], field: str) -> list[tuple[DeploymentKey, tuple[float, ...]]]:
    found = []
    for item in result:
        labels, samples = item["metric"], item[field] if field == "values" else [item[field]]
        numbers = tuple(number for _, text in samples if math.isfinite(number := float(text)))
        if "namespace" in labels and "name" in labels and numbers:
            found.append((DeploymentKey(labels["namespace"], labels["name"]), numbers))
    return found


def _measured(deployment: DeploymentInput, values: Mapping[str, Values], window_s: float) -> Measured | None:
    key = deployment.key
    missing = [name for name in ESSENTIAL if key not in values[name]]
    if missing:
        logger.debug("%s is not measured: no %s", key, ", ".join(missing))
        return None
    last = {name: found[key][-1] for name, found in values.items() if key in found}
    tokens_per_s, usd_per_s = last["tokens_per_s"], last.get("usd_per_s")
    objectives = deployment.objectives
    # The engine also times the pod's own probes: without requests nobody was served late.
    served = last["requests_per_min"] > 0
    ttft = objectives.time_to_first_token if served else None
    tpot = objectives.time_per_output_token if served else None
    per_token = usd_per_s / tokens_per_s if usd_per_s is not None and tokens_per_s > 0 else None
    return Measured(
        window_s=window_s,
        covered_s=min(window_s, last["covered_s"]),
        requests_per_min=last["requests_per_min"],
        peak_requests_per_min=max(values[MINUTES][key]),
        mean_input_tokens=last.get("mean_input_tokens"),
        mean_output_tokens=last.get("mean_output_tokens"),
        tokens_per_s=tokens_per_s,
        usd_per_hour=_micro_usd(usd_per_s, SECONDS_PER_HOUR),
        usd_per_million_tokens=_micro_usd(per_token, 1e6),
        time_to_first_token_s=last.get(f"time_to_first_token p{ttft.percentile}") if ttft else None,
        time_per_output_token_s=last.get(f"time_per_output_token p{tpot.percentile}") if tpot else None,
        minutes=values[MINUTES][key],
    )


def _micro_usd(dollars: float | None, factor: float) -> MicroUsd | None:
    return None if dollars is None else MicroUsd(round(dollars * factor * MICRO_PER_USD))
