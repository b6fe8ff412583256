"""Load below what was declared -> alert -> rebalance from two engines to one, no request lost; and what it cost."""

from __future__ import annotations

import time
from typing import Any

from suite import install
from suite.load import Load, all_answered
from suite.progress import StepFailedError, wait_until
from suite.suite import TINY, WORK, Suite


def run(suite: Suite) -> None:
    """One Job of requests across the whole move."""
    options, progress = suite.options, suite.progress
    load = Load(suite, "load", options.requests, options.rate)
    with progress.step("requests begin"):
        load.start()
    # Not earlier: until here nothing was measured, so nothing was scaled down, and no alert could fire.
    install.monitoring(suite)
    with progress.step("tokens are metered"):
        wait_until("tokens", lambda: "" if _tokens(suite) else "none yet", seconds=90)
    with progress.step("Prometheus fires, Alertmanager wakes the operator"):
        wait_until("an alert about the deployment", lambda: "" if alerts(suite) else "none firing", seconds=120)
        progress.check("both engines serve until the alert", len(suite.serving()) == 2, alerts(suite))
        wait_until("the webhook took it", lambda: "" if _received(suite) else "none received", seconds=60)
    with progress.step("rebalance from two engines to one"):
        wait_until("one engine is left", lambda: suite.settled(replicas=1), seconds=120)
    move = suite.status().get("lastMove") or {}
    progress.check("the status tells of the move", bool(move) and move["from"] != move["to"], move)
    events = suite.cluster.items("events", "-n", WORK, "--field-selector", f"involvedObject.name={TINY}")
    reasons = sorted({event["reason"] for event in events})
    progress.check("Events tell of the move", {"MoveStarted", "MoveCompleted"} <= set(reasons), reasons)
    with progress.step("requests end"):
        summary = load.result()
    all_answered(suite, summary, min(500, options.requests))
    bill(suite, summary)
    load.remove()


def _tokens(suite: Suite) -> float | None:
    return suite.number(f'sum(deepseek_tokens_total{{namespace="{WORK}",name="{TINY}"}}) > 0')


def alerts(suite: Suite, name: str = TINY) -> list[str]:
    """Names of the alerts that fire about a deployment."""
    found = suite.query(f'ALERTS{{alertstate="firing",name="{name}"}}')
    return sorted({item["metric"]["alertname"] for item in found})


def _received(suite: Suite) -> float | None:
    return suite.number('sum(deepseek_alerts_total{outcome="queued"}) > 0')


def bill(suite: Suite, summary: dict[str, Any]) -> None:
    """The metered tokens are those that were sent and answered; the dollars are time times price."""
    time.sleep(5)  # the last scrape
    series = f'namespace="{WORK}",name="{TINY}"'
    tokens = {
        item["metric"]["direction"]: float(item["value"][1])
        for item in suite.query(f"sum by (direction) (max_over_time(deepseek_tokens_total{{{series}}}[15m]))")
    }
    counted = tokens.get("input", 0) + tokens.get("cached", 0)
    # The engines' own readiness checks generate tokens too, and are not billed as served.
    claim = "metered tokens are those of the requests"
    suite.progress.check(
        claim,
        counted == summary["input_tokens"] and tokens.get("output") == summary["output_tokens"],
        f"{tokens}, sent {summary['input_tokens']} in, {summary['output_tokens']} out",
    )
    spend = suite.number(f"sum(max_over_time(deepseek_spend_usd_total{{{series}}}[15m]))")
    seconds = suite.number(f"sum(max_over_time(deepseek_gpu_seconds_total{{{series}}}[15m]))")
    if spend is None or seconds is None:
        raise StepFailedError(f"no dollars are metered: {spend} USD, {seconds} GPU-seconds")
    slot = 0.23184 / 4 / 3600
    suite.progress.check(
        "metered dollars are engine seconds at the price of a slot",
        abs(spend - seconds * slot) <= 0.02 * spend,
        f"{spend:.6f} USD for {seconds:.0f} s at {slot * 3600:.4f} USD/h",
    )
    cost = suite.number(f"deepseek_actual_usd_per_million_tokens{{{series}}}")
    suite.progress.check("the operator tells $/M tokens", cost is not None and cost > 0, cost)
