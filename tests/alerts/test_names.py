"""Rules, dashboard and measurements read only series that somebody exports."""

from __future__ import annotations

import re
from pathlib import Path

from deepseek_operator import alert_rules, dashboard, prometheus
from deepseek_planner import signals

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = ("_total", "_bucket", "_sum", "_count")


def exported():
    """Names as they stand in the code of the two exporters; a counter is named there with or without its suffix."""
    code = (ROOT / "operator/deepseek_operator/metrics.py").read_text()
    code += (ROOT / "runtime/deepseek_runtime/exposition.py").read_text()
    code += (ROOT / "runtime/deepseek_runtime/engine_metrics.py").read_text()
    named = set(re.findall(r'"((?:deepseek_|vllm:)[a-z_]+)"', code))
    # The operator takes these names from the signals themselves.
    for name in ("PLAN_USD_PER_MILLION_TOKENS", "PLAN_CAPACITY", "OBJECTIVE_SECONDS"):
        if f"signals.{name}" in code:
            named.add(getattr(signals, name))
    return {_base(name) for name in named}


def _base(name):
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def read():
    texts = [*prometheus.expressions(900.0).values(), dashboard.text(), *(map(str, prometheus.HISTOGRAMS.values()))]
    texts += [rule["expr"] for rule in alert_rules.rule_file()["groups"][0]["rules"]]
    return {_base(name) for text in texts for name in re.findall(r"(?:deepseek_|vllm:)[a-z_]+", text)}


def test_every_series_that_is_read_is_exported():
    assert len(read()) > 15
    assert read() <= exported()
