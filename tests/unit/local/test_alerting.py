from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from deepseek_operator.local.alerting import LocalAlerts, capacity_tokens_per_s
from deepseek_planner.demand import AccuracyClass, Demand, LengthBucket, LengthDistribution, Measured, Objectives
from deepseek_planner.signals import Windows
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey
from deepseek_planner.units import micro_usd

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = DeploymentKey("demo", "chat")
WINDOWS = Windows(window_s=15, waste_for_s=10, harm_for_s=10, keep_firing_s=5)


def measured(tokens_per_s, covered_s=15):
    return Measured(15, covered_s, 60, 60, 100, 10, tokens_per_s, micro_usd("0.1"), micro_usd("0.02"), None, None)


def report(ready=2):
    lengths = LengthDistribution((LengthBucket(100, 50, 1.0),))
    objectives = Objectives(None, None, AccuracyClass.CRITICAL, micro_usd("1"), None)
    deployment = DeploymentInput(KEY, 1, "deepseek-tiny", Demand(60, 120, lengths, lengths), objectives)
    plan = SimpleNamespace(
        prediction=SimpleNamespace(capacity_tokens_per_s=1000.0),
        placements=(SimpleNamespace(replicas=2),),
        usd_per_million_tokens=micro_usd("0.02"),
    )
    item = SimpleNamespace(key=KEY, plan=plan, groups=(SimpleNamespace(ready=ready),))
    return SimpleNamespace(snapshot=SimpleNamespace(deployments=(deployment,)), deployments=(item,))


class Meter:
    def __init__(self):
        self.tokens_per_s = 900.0
        self.covered_s = 15

    def measured(self, _, *, now):
        return measured(self.tokens_per_s, self.covered_s) if self.tokens_per_s is not None else None


def judge(alerts, second):
    return [(hint.alert, hint.status) for hint in alerts.judge(report(), now=START + timedelta(seconds=second))]


def test_an_alert_fires_after_its_time_once_and_is_resolved_when_it_is_over():
    meter = Meter()
    alerts = LocalAlerts(meter, WINDOWS)
    meter.tokens_per_s = 10.0
    said = {second: judge(alerts, second) for second in range(16)}
    meter.tokens_per_s = 500.0
    said |= {second: judge(alerts, second) for second in range(16, 30)}

    spoken = {second: hints for second, hints in said.items() if hints}
    assert spoken == {10: [("UtilizationLow", "firing")], 21: [("UtilizationLow", "resolved")]}


def test_without_measurements_nothing_fires():
    meter = Meter()
    meter.tokens_per_s = None
    alerts = LocalAlerts(meter, WINDOWS)

    assert [judge(alerts, second) for second in range(0, 60, 5)] == [[]] * 12


def test_a_window_that_is_not_full_yet_fires_nothing():
    meter = Meter()
    meter.tokens_per_s, meter.covered_s = 10.0, 14
    alerts = LocalAlerts(meter, WINDOWS)

    assert [judge(alerts, second) for second in range(0, 60, 5)] == [[]] * 12


@pytest.mark.parametrize(("ready", "capacity"), [(2, 1000.0), (1, 500.0), (0, None)])
def test_capacity_is_that_of_the_engines_that_are_ready(ready, capacity):
    assert capacity_tokens_per_s(report(ready).deployments[0]) == capacity
