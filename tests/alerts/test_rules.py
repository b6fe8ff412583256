"""Every alert against ``promtool``, and the same numbers against the signals' own judgement in Python."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deepseek_operator import alert_rules
from deepseek_operator.local.series import histogram_quantile
from deepseek_planner.signals import (
    SIGNALS,
    LatencyReading,
    Readings,
    SignalName,
    active,
    burn_quantile,
    windows,
)
from support.prometheus_programs import promtool

pytestmark = pytest.mark.prometheus

ROOT = Path(__file__).resolve().parents[2]
WHO = 'namespace="team-a", name="chat"'
BOUNDS = (0.1, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Load:
    """A steady load on one deployment, and what was planned for it."""

    tokens_per_s: float | None = 500.0
    capacity: float | None = 1000.0
    usd_per_hour: float = 3.6
    planned_usd_per_million: float | None = 2.0
    percentile: int = 95
    slow: float = 0.0
    """Share of the requests whose first token and whose tokens come late: between 1 and 2 s; the rest below 0.1 s."""
    limit_s: float = 1.0
    fires: frozenset[str] = field(default_factory=frozenset)

    def readings(self) -> Readings:
        seen_s = histogram_quantile(burn_quantile(self.percentile), self.buckets())
        latency = LatencyReading(self.limit_s, seen_s, seen_s)
        cost = self.usd_per_hour / 3600 / self.tokens_per_s * 1e6 if self.tokens_per_s else None
        return Readings(self.tokens_per_s, self.capacity, cost, self.planned_usd_per_million, latency, latency)

    def buckets(self) -> list[tuple[float, float]]:
        counts = [1 - self.slow] * 3 + [1.0] * 2
        return [*zip(BOUNDS, counts, strict=True), (float("inf"), 1.0)]

    def series(self) -> dict[str, tuple[float, bool]]:
        """By series: a value, and whether it is a rate per second of a counter."""
        found: dict[str, tuple[float, bool]] = {
            f"deepseek_spend_usd_total{{{WHO}, pool='a'}}": (self.usd_per_hour / 3600, True)
        }
        if self.tokens_per_s is not None:
            for direction in ("input", "output"):
                found[f'deepseek_tokens_total{{{WHO}, direction="{direction}"}}'] = (self.tokens_per_s / 2, True)
        if self.capacity is not None:
            found[f"deepseek_plan_capacity_tokens_per_second{{{WHO}, pod='old'}}"] = (self.capacity, False)
            found[f"deepseek_plan_capacity_tokens_per_second{{{WHO}, pod='new'}}"] = (self.capacity, False)
        if self.planned_usd_per_million is not None:
            planned = f'deepseek_plan_usd_per_million_tokens{{{WHO}, model="deepseek-v3"}}'
            found[planned] = (self.planned_usd_per_million, False)
        for objective, histogram in (
            ("TimeToFirstToken", "deepseek_time_to_first_token_seconds"),
            ("TimePerOutputToken", "deepseek_time_per_output_token_seconds"),
        ):
            limit = f'{WHO}, objective="{objective}", percentile="{self.percentile}"'
            found[f"deepseek_objective_seconds{{{limit}}}"] = (self.limit_s, False)
            for bound, share in self.buckets():
                le = "+Inf" if bound == float("inf") else f"{bound:g}"
                found[f'{histogram}_bucket{{{WHO}, le="{le}"}}'] = (share, True)
        return found


BURNS = frozenset({"TimeToFirstTokenBurn", "TimePerOutputTokenBurn"})
LOADS = {
    "as planned": Load(),
    "low load": Load(tokens_per_s=290, usd_per_hour=1.0, fires=frozenset({"UtilizationLow"})),
    "at the low threshold": Load(tokens_per_s=310, usd_per_hour=2.0),
    "no load": Load(tokens_per_s=0.0, fires=frozenset({"UtilizationLow"})),
    "low load, dear": Load(tokens_per_s=100, fires=frozenset({"UtilizationLow", "CostPerTokenHigh"})),
    "dear": Load(usd_per_hour=4.6, fires=frozenset({"CostPerTokenHigh"})),
    "a little dear": Load(usd_per_hour=4.4),
    "high load": Load(tokens_per_s=860, fires=frozenset({"UtilizationHigh"})),
    "high, not too high": Load(tokens_per_s=840),
    "more than the objectives allow": Load(tokens_per_s=1200, fires=frozenset({"UtilizationHigh"})),
    "absent tokens": Load(tokens_per_s=None),
    "absent capacity": Load(capacity=None, tokens_per_s=1.0, planned_usd_per_million=None),
    "no capacity": Load(capacity=0.0),
    "p95 burns": Load(slow=0.11, fires=BURNS),
    "p95 missed, not burning": Load(slow=0.09),
    "p99 burns": Load(percentile=99, slow=0.06, fires=BURNS),
    "p99 not burning": Load(percentile=99, slow=0.04),
    "p90 burns": Load(percentile=90, slow=0.21, fires=BURNS),
    "p90 not burning": Load(percentile=90, slow=0.19),
    "p50 burns": Load(percentile=50, slow=0.61, fires=BURNS),
    "p50 not burning": Load(percentile=50, slow=0.59),
}


def samples(value: float, *, counts: bool, minutes: int, start: float = 0.0) -> str:
    return f"{start:.9f}+{value * 60:.9f}x{minutes}" if counts else f"{value:.9f}x{minutes}"


def check(tmp_path: Path, series: dict[str, str], expected: dict[int, frozenset[str]], **more: object) -> None:
    """Run promtool: at each minute exactly these alerts fire, each once and with its labels."""
    (tmp_path / "rules.yaml").write_text(alert_rules.text())
    severities = {str(signal.name): signal.severity for signal in SIGNALS}
    tests = []
    for minute, names in expected.items():
        labels = (f'alertname="{name}", {WHO}, severity="{severities[name]}"' for name in names)
        firing = [{"labels": f'ALERTS{{{text}, alertstate="firing"}}', "value": 1} for text in labels]
        tests.append({"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{minute}m", "exp_samples": firing})
    steady = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": steady, "promql_expr_test": tests, **more}
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(json.dumps(document))
    command = [promtool(), "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", LOADS)
def test_a_steady_load_fires_what_it_should_in_promql_and_in_python(tmp_path, name):
    load = LOADS[name]
    steady = {key: samples(value, counts=counts, minutes=90) for key, (value, counts) in load.series().items()}
    check(tmp_path, steady, {1: frozenset(), 85: load.fires})
    assert {str(signal.name) for signal in active(load.readings())} == load.fires


def test_every_alert_fires_in_one_load_and_is_silent_in_another():
    fired = frozenset[str]().union(*(load.fires for load in LOADS.values()))
    assert fired == {str(name) for name in SignalName}
    assert not LOADS["as planned"].fires


def test_waste_must_last_and_a_fired_alert_stays_for_a_while(tmp_path):
    load = Load(tokens_per_s=100, usd_per_hour=0.3)
    series = {key: samples(value, counts=counts, minutes=90) for key, (value, counts) in load.series().items()}
    for direction in ("input", "output"):
        # 50 tokens/s for 40 minutes, then 500: the 15-minute average leaves the threshold after 5 minutes at most.
        low = samples(50, counts=True, minutes=40)
        high = samples(500, counts=True, minutes=50, start=50 * 60 * 41)
        series[f'deepseek_tokens_total{{{WHO}, direction="{direction}"}}'] = f"{low} {high}"
    low = frozenset({"UtilizationLow"})
    # It is active from the first rate (1 min), fires 15 min later, ends when the load is back and 5 min have passed.
    check(tmp_path, series, {15: frozenset(), 17: low, 40: low, 45: low, 52: frozenset()})


def test_a_load_that_has_just_begun_is_not_taken_for_a_low_one(tmp_path):
    load = Load(tokens_per_s=350, usd_per_hour=1.5)
    steady = {key: samples(value, counts=counts, minutes=90) for key, (value, counts) in load.series().items()}
    check(tmp_path, steady, {minute: frozenset() for minute in range(1, 30)})


def test_an_alert_says_who_what_and_where_to_read_on(tmp_path):
    load = LOADS["low load"]
    steady = {key: samples(value, counts=counts, minutes=90) for key, (value, counts) in load.series().items()}
    alert = {
        "exp_labels": {"severity": "info", "namespace": "team-a", "name": "chat"},
        "exp_annotations": {
            "summary": "Most of what is paid for is not used: team-a/chat",
            "description": "team-a/chat: 29% of the ready engines' capacity is used",
            "runbook_url": "docs/runbooks/UtilizationLow.md",
        },
    }
    wanted = {"eval_time": "85m", "alertname": "UtilizationLow", "exp_alerts": [alert]}
    check(tmp_path, steady, {}, alert_rule_test=[wanted])


def test_promtool_accepts_the_shipped_rules_and_those_with_short_windows(tmp_path):
    short = tmp_path / "short.yaml"
    short.write_text(alert_rules.text(windows(window_s=2.5, for_s=1, keep_firing_s=1)))
    for path in (ROOT / "charts/deepseek-operator/rules/deepseek.yaml", short):
        done = subprocess.run(
            [promtool(), "check", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert f"{len(SIGNALS)} rules found" in done.stdout
