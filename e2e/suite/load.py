"""OpenAI-API requests from a Job in the cluster to the deployment's Service."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from suite.install import await_job, indented
from suite.suite import WORK, Suite


@dataclass(frozen=True, slots=True)
class Load:
    """A Job that sends ``requests`` requests at ``rate`` per second."""

    suite: Suite
    name: str
    requests: int
    rate: float

    def start(self) -> None:
        text = self.suite.fill(
            "load.yaml", name=self.name, requests=self.requests, trace=indented(trace(self.requests, self.rate), 4)
        )
        self.suite.cluster.apply(text)

    def result(self) -> dict[str, Any]:
        """The summary of the load generator, when it is done."""
        log = await_job(self.suite, self.name, seconds=self.requests / self.rate + 180)
        (line,) = [line for line in log.splitlines() if line.startswith("SUMMARY ")]
        summary: dict[str, Any] = json.loads(line.removeprefix("SUMMARY "))
        return summary

    def remove(self) -> None:
        self.suite.cluster.kubectl("-n", WORK, "delete", "job,configmap", self.name, "--wait=false")


def trace(requests: int, rate: float) -> str:
    """Arrivals at even distances; lengths vary, and repeat after 35 requests."""
    rows = [f"{number / rate:.3f},{24 + 8 * (number % 7)},{8 + 4 * (number % 5)}" for number in range(requests)]
    return "\n".join(["timestamp_s,input_tokens,output_tokens", *rows])


def all_answered(suite: Suite, summary: dict[str, Any], least: int) -> None:
    """Every request answered 2xx and every stream whole."""
    seen = {key: summary[key] for key in ("requests", "good", "non_2xx", "unanswered", "cut")}
    clean = summary["requests"] >= least and summary["good"] == summary["requests"]
    suite.progress.check(f"at least {least} requests, 0 non-2xx, 0 cut streams", clean, f"{seen} {summary['errors']}")
