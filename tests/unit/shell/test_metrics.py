"""What Prometheus reads: from the last report, and gone when its subject is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deepseek_operator.api.convert import deployment_input
from deepseek_operator.memory import EndedMove, Outcome
from deepseek_operator.metrics import Metrics
from deepseek_operator.reconcile import DeploymentReport, Report
from deepseek_operator.server import Health
from deepseek_operator.settings import Settings
from deepseek_planner.demand import Measured
from deepseek_planner.hardware import CapacityType
from deepseek_planner.models import Precision
from deepseek_planner.moves import Move, MoveReason
from deepseek_planner.plan import Confidence, DeploymentPlan, Placement, Prediction
from deepseek_planner.snapshot import DeploymentKey, EngineGroup, Snapshot
from deepseek_planner.units import micro_usd
from support.objects import deployment
from support.shells import CATALOG, CPU, ENGINE, offering

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = DeploymentKey("team-a", "chat")
PLACEMENT = Placement(CPU, "machines", CapacityType.SPOT, 2, 100, micro_usd("0.25"), ENGINE)
PLAN = DeploymentPlan(
    key=KEY,
    model="deepseek-tiny",
    placements=(PLACEMENT,),
    usd_per_hour=micro_usd("0.50"),
    usd_per_million_tokens=micro_usd("1.00"),
    prediction=Prediction(0.1, 0.01, 50.0, 400.0, 200.0, Confidence.CALIBRATED, 10, "memory"),
    demand_source="declared",
    planned_requests_per_min=60.0,
    alternatives=(),
    rejections=(),
)
GROUP = EngineGroup(KEY, "g", "h", CPU, "machines", CapacityType.SPOT, 2, 2, 0, 0, micro_usd("0.25"))
NAMED = {"namespace": "team-a", "name": "chat"}
PLACED = {"accelerator": "cpu", "precision": "bf16", "capacity_type": "Spot", "pool": "machines"}


def report(*, groups=(GROUP,), plan=PLAN, measured=None, ended=(), present=True):
    item = replace(deployment_input(deployment(), catalog=CATALOG), measured=measured)
    status = {"modelName": "deepseek-tiny"}
    one = DeploymentReport(KEY, plan, groups, None, None, is_converged=True, status=status)
    snapshot = Snapshot(NOW, (item,) if present else (), (offering(),))
    return Report(snapshot, (one,) if present else (), ended, is_busy=False)


def read(metrics):
    """Samples as {name: {labels: value}}."""
    found = {}
    for family in text_string_to_metric_families(metrics.expose().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def value(samples, series, /, **labels):
    return samples[series][frozenset(labels.items())]


@pytest.fixture
def metrics():
    return Metrics()


def test_engines_that_share_all_labels_are_one_sample(metrics):
    """Prometheus refuses a scrape in which a series stands twice: in a mixed fleet, and in the middle of a move."""
    wide = replace(CPU, tensor_parallel=2)
    plan = replace(PLAN, placements=(PLACEMENT, replace(PLACEMENT, shape=wide, replicas=1)))
    metrics.observe(report(plan=plan, groups=(GROUP, replace(GROUP, name="new", desired=1, ready=1))), seconds=0.2)
    text = metrics.expose().decode().splitlines()
    series = [line.rsplit(" ", 1)[0] for line in text if not line.startswith("#")]
    assert len(series) == len(set(series))
    found = read(metrics)
    assert value(found, "deepseek_plan_usd_per_hour", **NAMED, model="deepseek-tiny", **PLACED) == 0.75
    assert value(found, "deepseek_actual_usd_per_hour", **NAMED, model="deepseek-tiny", **PLACED) == 0.75


def test_precisions_and_variants_are_apart(metrics):
    int8 = replace(PLACEMENT, shape=replace(CPU, precision=Precision.INT8), model="deepseek-v2-lite")
    groups = (GROUP, replace(GROUP, name="v", shape=int8.shape, model=int8.model, ready=1, desired=1))
    metrics.observe(report(plan=replace(PLAN, placements=(PLACEMENT, int8)), groups=groups), seconds=0.2)
    found = read(metrics)
    other = PLACED | {"precision": "int8"}
    assert value(found, "deepseek_plan_usd_per_hour", **NAMED, model="deepseek-v2-lite", **other) == 0.5
    assert value(found, "deepseek_actual_usd_per_hour", **NAMED, model="deepseek-v2-lite", **other) == 0.25
    assert value(found, "deepseek_actual_usd_per_hour", **NAMED, model="deepseek-tiny", **PLACED) == 0.5


def test_capacity_counts_each_engine_as_what_it_is(metrics):
    def predicted(tokens_per_s):
        return replace(PLAN.prediction, capacity_tokens_per_s=tokens_per_s)

    small = replace(PLACEMENT, prediction=predicted(100.0))
    large = replace(PLACEMENT, shape=replace(CPU, tensor_parallel=2), replicas=1, prediction=predicted(300.0))
    plan = replace(PLAN, placements=(small, large), prediction=predicted(400.0))
    groups = (replace(GROUP, ready=1), replace(GROUP, name="l", shape=large.shape, ready=1, desired=1))
    metrics.observe(report(plan=plan, groups=groups), seconds=0.2)
    assert value(read(metrics), "deepseek_plan_capacity_tokens_per_second", **NAMED) == 350.0


def test_plan_and_fleet_in_dollars(metrics):
    metrics.observe(report(groups=(replace(GROUP, draining=1, starting=1, unscheduled=1),)), seconds=0.2)
    samples = read(metrics)
    model = {**NAMED, "model": "deepseek-tiny"}
    assert value(samples, "deepseek_plan_usd_per_hour", **model, **PLACED) == 0.5
    assert value(samples, "deepseek_plan_usd_per_million_tokens", **model) == 1.0
    assert value(samples, "deepseek_actual_usd_per_hour", **model, **PLACED) == 0.75
    assert value(samples, "deepseek_pool_usd_per_node_hour", pool="machines") == 2.0
    assert value(samples, "deepseek_cycle_seconds_count") == 1
    assert value(samples, "deepseek_objective_seconds", **NAMED, objective="TimeToFirstToken", percentile="95") == 5


@pytest.mark.parametrize(("ready", "expected"), [(2, 400.0), (1, 200.0), (3, 600.0)])
def test_the_capacity_is_that_of_the_engines_that_are_ready(metrics, ready, expected):
    metrics.observe(report(groups=(replace(GROUP, ready=ready),)), seconds=0.1)
    assert value(read(metrics), "deepseek_plan_capacity_tokens_per_second", **NAMED) == expected


def test_engines_that_only_start_have_no_capacity_to_leave_idle(metrics):
    metrics.observe(report(groups=(replace(GROUP, ready=0),)), seconds=0.1)
    assert "deepseek_plan_capacity_tokens_per_second" not in read(metrics)


def measured(tokens_per_s):
    return Measured(900, 900, 60, 60, 100.0, 30.0, tokens_per_s, None, None, 0.1, 0.01)


def test_signals_and_cost_need_measurements(metrics):
    metrics.observe(report(), seconds=0.1)
    assert "deepseek_signal_active" not in read(metrics)
    assert "deepseek_actual_usd_per_million_tokens" not in read(metrics)
    metrics.observe(report(measured=measured(40.0)), seconds=0.1)
    samples = read(metrics)
    assert value(samples, "deepseek_signal_active", **NAMED, signal="UtilizationLow") == 1
    assert value(samples, "deepseek_signal_active", **NAMED, signal="UtilizationHigh") == 0
    cost = value(samples, "deepseek_actual_usd_per_million_tokens", **NAMED, model="deepseek-tiny")
    assert cost == pytest.approx(0.50 * 1e6 / (40.0 * 3600))


def test_what_is_gone_is_gone_from_the_metrics(metrics):
    move = Move(KEY, (), MoveReason.DEMAND_LOW, required=False, saves_usd_per_hour=micro_usd("1"), message="")
    docs = replace(move, key=DeploymentKey("team-a", "docs"))
    ended = (EndedMove(docs.key, docs, Outcome.COMPLETED), EndedMove(KEY, move, Outcome.COMPLETED))
    metrics.observe(report(), seconds=0.1)
    metrics.observe(report(ended=ended), seconds=0.1)
    labels = {**NAMED, "reason": "DemandLow", "outcome": "Completed"}
    assert "docs" not in metrics.expose().decode()
    assert value(read(metrics), "deepseek_moves_total", **labels) == 1
    metrics.observe(report(present=False), seconds=0.1)
    text = metrics.expose().decode()
    assert "team-a" not in text
    assert 'pool="machines"' in text


def test_an_infeasible_plan_has_no_price(metrics):
    metrics.observe(report(plan=replace(PLAN, placements=(), prediction=None)), seconds=0.1)
    assert "deepseek_plan_usd_per_hour" not in read(metrics)


# Health


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_loop_that_stands_still_is_unhealthy_only_where_it_leads():
    clock = Clock()
    health = Health(Settings(resync_s=60.0, relist_s=300.0), clock)
    clock.now = 10_000
    assert health.problems() == []
    assert health.shortcomings() == []
    health.is_leader = True
    assert health.problems() == ["no cycle for 10000 s"]
    health.turned()
    assert health.problems() == []
    assert health.shortcomings() == ["the cluster is not read yet", "no news of the cluster for 10000 s"]
    health.heard()
    health.is_complete = True
    assert health.shortcomings() == []
