"""The Grafana dashboard: what is paid, what for, and how well it serves; made from the names that the rules use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_planner import signals
from deepseek_planner.signals import SIGNALS, Windows, duration

FILE = "deepseek.json"
_WHO = 'namespace=~"$namespace", name=~"$name"'
_SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 24


@dataclass(frozen=True, slots=True)
class _Panel:
    """One chart: lines by legend, in Grafana's name of a unit."""

    title: str
    description: str
    unit: str
    lines: Mapping[str, str]
    kind: str = "timeseries"
    limits: tuple[float, ...] = ()
    stacked: bool = False


def dashboard(windows: Windows) -> dict[str, Any]:
    """The dashboard as Grafana's JSON model."""
    return {
        "uid": "deepseek-operator",
        "title": "DeepSeek serving",
        "tags": ["deepseek", "cost"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": [_panel(index, panel) for index, panel in enumerate(_panels(windows))],
    }


def text(windows: Windows | None = None) -> str:
    """The same as text, byte for byte the same each time."""
    return json.dumps(dashboard(windows if windows is not None else Windows()), indent=2) + "\n"


def _variables() -> Sequence[Mapping[str, Any]]:
    def label(name: str, where: str) -> Mapping[str, Any]:
        query = f"label_values({signals.TOKENS}{where}, {name})"
        return {
            "name": name,
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        }

    source = {"name": "DS_PROMETHEUS", "type": "datasource", "query": "prometheus", "current": {}}
    return [source, label("namespace", ""), label("name", '{namespace=~"$namespace"}')]


def _panel(index: int, panel: _Panel) -> Mapping[str, Any]:
    columns = _COLUMNS // _WIDTH
    place = {"x": index % columns * _WIDTH, "y": index // columns * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
    steps = [{"color": "transparent", "value": None}, *({"color": "red", "value": limit} for limit in panel.limits)]
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 20 if panel.stacked else 0}}
    if panel.stacked:
        defaults["custom"]["stacking"] = {"mode": "normal"}
    if panel.limits:
        defaults["custom"]["thresholdsStyle"] = {"mode": "line"}
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
        for number, (legend, expression) in enumerate(panel.lines.items())
    ]
    return {
        "id": index + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": targets,
    }


def _panels(windows: Windows) -> Sequence[_Panel]:
    window = duration(windows.window_s)

    def rate(series: str, by: str = "namespace, name", more: str = "") -> str:
        return f"sum by ({by}) (rate({series}{{{_WHO}{more}}}[{window}]))"

    def planned(series: str) -> str:
        return f"max by (namespace, name) ({series}{{{_WHO}}})"

    def latency(histogram: str, q: float) -> str:
        return f"histogram_quantile({q:g}, {rate(f'{histogram}_bucket', 'namespace, name, le')})"

    def limit(objective: str) -> str:
        matched = f'{_WHO}, objective="{objective}"'
        return f"max by (namespace, name, percentile) ({signals.OBJECTIVE_SECONDS}{{{matched}}})"

    who = "{{namespace}}/{{name}}"
    placed = "namespace, name, accelerator, precision, capacity_type, pool"
    ttft, tpot = "deepseek_time_to_first_token_seconds", "deepseek_time_per_output_token_seconds"
    names = "|".join(str(signal.name) for signal in SIGNALS)
    served = rate(signals.TOKENS)
    alerts = f'max by (alertname, namespace, name) (ALERTS{{{_WHO}, alertname=~"{names}"}})'
    return (
        _Panel(
            "Dollars per hour",
            "What the plan costs, and what is spent: idle, starting and draining engines are paid for.",
            "currencyUSD",
            {
                f"{who} planned": (
                    f"sum by (namespace, name) (max by ({placed}) (deepseek_plan_usd_per_hour{{{_WHO}}}))"
                ),
                f"{who} spent": f"3600 * {rate(signals.SPEND)}",
            },
        ),
        _Panel(
            "Dollars per million tokens",
            "Input and output tokens served. High at low load means too much runs, never too little.",
            "currencyUSD",
            {
                f"{who} planned": planned(signals.PLAN_USD_PER_MILLION_TOKENS),
                f"{who} spent": f"1e6 * {rate(signals.SPEND)} / ({served} > 0)",
            },
        ),
        _Panel(
            "Utilization",
            "Tokens served, of what the ready engines can serve within the objectives.",
            "percentunit",
            {who: f"{served} / ({planned(signals.PLAN_CAPACITY)} > 0)"},
            limits=(signals.UTILIZATION_TOO_LOW, signals.UTILIZATION_TOO_HIGH),
        ),
        _Panel(
            "Signals",
            "Alerts that wait to fire, or fire.",
            "none",
            {f"{{{{alertname}}}} {who}": alerts},
            kind="state-timeline",
        ),
        _Panel(
            "Time to first token",
            "At the front door of the engines, streamed requests; with the objective.",
            "s",
            {
                f"{who} p50": latency(ttft, 0.5),
                f"{who} p95": latency(ttft, 0.95),
                f"{who} limit of p{{{{percentile}}}}": limit(signals.TIME_TO_FIRST_TOKEN),
            },
        ),
        _Panel(
            "Time per output token",
            "At the front door of the engines, streamed requests; with the objective.",
            "s",
            {
                f"{who} p50": latency(tpot, 0.5),
                f"{who} p95": latency(tpot, 0.95),
                f"{who} limit of p{{{{percentile}}}}": limit(signals.TIME_PER_OUTPUT_TOKEN),
            },
        ),
        _Panel(
            "Tokens per second",
            "Served, by direction; cached prompt tokens cost no computation.",
            "short",
            {f"{who} {{{{direction}}}}": rate(signals.TOKENS, "namespace, name, direction")},
            stacked=True,
        ),
        _Panel(
            "Requests per second",
            "By how they ended.",
            "reqps",
            {f"{who} {{{{outcome}}}}": rate("deepseek_requests_total", "namespace, name, outcome")},
            stacked=True,
        ),
        _Panel(
            "Engines",
            "Ready replicas by what they run on.",
            "short",
            {
                f"{who} {{{{accelerator}}}} {{{{precision}}}} {{{{capacity_type}}}} {{{{pool}}}}": (
                    f"sum by ({placed}) (deepseek_engine_ready{{{_WHO}}})"
                )
            },
            stacked=True,
        ),
        _Panel(
            "Accelerators by what they do",
            "Accelerator seconds per second: useful, idle, cold_start, draining, lost.",
            "short",
            {"{{state}}": rate("deepseek_gpu_seconds_total", "state")},
            stacked=True,
        ),
        _Panel(
            "Cold starts",
            "Phases of the engines' starts.",
            "s",
            {f"{who} {{{{phase}}}}": f"max by (namespace, name, phase) (deepseek_cold_start_seconds{{{_WHO}}})"},
        ),
        _Panel(
            "Moves",
            "Rebalances that ended, by reason and outcome.",
            "short",
            {
                f"{who} {{{{reason}}}} {{{{outcome}}}}": (
                    f"sum by (namespace, name, reason, outcome) (increase(deepseek_moves_total{{{_WHO}}}[{window}]))"
                )
            },
        ),
    )
