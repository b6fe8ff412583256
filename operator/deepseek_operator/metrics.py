"""Every metric that the operator exports. Names and labels are API.

Gauges are made from the last report when they are read, so what is gone from the cluster is gone from
them. Dollars are what runs times its price, from the moment an engine is scheduled until it is gone:
engines that start or drain are paid for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from deepseek_operator.alerts import Outcome
from deepseek_operator.reconcile import DeploymentReport, Report
from deepseek_operator.view import fleet_usd_per_hour, held
from deepseek_planner import signals
from deepseek_planner.plan import Placement
from deepseek_planner.snapshot import EngineGroup
from deepseek_planner.units import MicroUsd, usd

_DEPLOYMENT = ("namespace", "name", "model")
_PLACED = (*_DEPLOYMENT, "accelerator", "precision", "capacity_type", "pool")
_CYCLE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._report: Report | None = None
        self._moves = Counter(
            "deepseek_moves_total",
            "Moves that ended, by reason and outcome.",
            ("namespace", "name", "reason", "outcome"),
            registry=self.registry,
        )
        self._cycles = Histogram(
            "deepseek_cycle_seconds",
            "Duration of one cycle of the loop.",
            buckets=_CYCLE_BUCKETS,
            registry=self.registry,
        )
        self._failures = Counter(
            "deepseek_cycle_failures_total", "Cycles that ended in a fault of ours.", registry=self.registry
        )
        self._alerts = Counter(
            "deepseek_alerts_total", "Alerts received, by what became of them.", ("outcome",), registry=self.registry
        )
        self.registry.register(_Reported(self))

    def alert(self, outcome: Outcome) -> None:
        """Count one alert."""
        self._alerts.labels(outcome).inc()

    def observe(self, report: Report, *, seconds: float) -> None:
        """Take in one cycle."""
        self._report = report
        self._cycles.observe(seconds)
        for item in report.ended:
            self._moves.labels(item.key.namespace, item.key.name, item.move.reason, item.outcome).inc()
        self._forget_gone(report)

    def failed(self) -> None:
        """Count a cycle that ended in a fault."""
        self._failures.inc()

    def expose(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)

    @property
    def report(self) -> Report | None:
        return self._report

    def _forget_gone(self, report: Report) -> None:
        kept = {(item.key.namespace, item.key.name) for item in report.deployments}
        seen = {
            (sample.labels["namespace"], sample.labels["name"])
            for family in self._moves.collect()
            for sample in family.samples
        }
        for namespace, name in seen - kept:
            self._moves.remove_by_labels({"namespace": namespace, "name": name})


class _Reported(Collector):
    """Gauges of the last report."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        report = self._metrics.report
        if report is not None:
            yield from _plans(report.deployments)
            yield from _actuals(report)
            yield _signals(report)
            yield _objectives(report)
            yield _pools(report)


def _plans(reports: Iterable[DeploymentReport]) -> Iterator[Metric]:
    per_hour = GaugeMetricFamily(
        "deepseek_plan_usd_per_hour", "Dollars per hour of the plan, by placement.", labels=_PLACED
    )
    per_million = GaugeMetricFamily(
        signals.PLAN_USD_PER_MILLION_TOKENS,
        "Dollars per million tokens of the plan, at its demand.",
        labels=_DEPLOYMENT,
    )
    capacity = GaugeMetricFamily(
        signals.PLAN_CAPACITY,
        "Input and output tokens per second that the engines that are ready serve within the objectives.",
        labels=("namespace", "name"),
    )
    for item in reports:
        if item.plan is None or not item.plan.is_feasible:
            continue
        key = [item.key.namespace, item.key.name, item.plan.model]
        _add_placed(per_hour, key, ((placement, placement.usd_per_hour) for placement in item.plan.placements))
        per_million.add_metric(key, _dollars(item.plan.usd_per_million_tokens))
        if (tokens_per_s := _capacity(item)) is not None:
            capacity.add_metric(key[:2], tokens_per_s)
    yield from (per_hour, per_million, capacity)


def _add_placed(
    family: GaugeMetricFamily, key: list[str], priced: Iterable[tuple[Placement | EngineGroup, int]]
) -> None:
    """One sample per place: shapes that differ in sharding alone, and old and new engines of a move, share one."""
    namespace, name, model = key
    sums: dict[tuple[str, ...], int] = {}
    for item, hourly in priced:
        where = (str(item.shape.precision), str(item.capacity_type), item.pool)
        labels = (namespace, name, item.model or model, item.shape.accelerator, *where)
        sums[labels] = sums.get(labels, 0) + hourly
    for place, hourly in sums.items():
        family.add_metric(place, _dollars(MicroUsd(hourly)))


def _capacity(item: DeploymentReport) -> float | None:
    """The plan's capacity, scaled to the engines that are ready: during a move they are more or fewer, or others.

    Absent while none is: an idle alert for a fleet that only starts would be wrong.
    """
    if item.plan is None or item.plan.prediction is None:
        return None
    placements = item.plan.placements
    planned, ready = sum(placement.replicas for placement in placements), sum(group.ready for group in item.groups)
    if not planned or not ready:
        return None
    mean = item.plan.prediction.capacity_tokens_per_s / planned
    known = {
        (placement.model, placement.shape): placement.prediction.capacity_tokens_per_s / placement.replicas
        for placement in placements
        if placement.prediction is not None and placement.replicas
    }
    return sum(group.ready * known.get((group.model, group.shape), mean) for group in item.groups)


def _actuals(report: Report) -> Iterator[Metric]:
    per_hour = GaugeMetricFamily(
        "deepseek_actual_usd_per_hour", "Dollars per hour of the engines that are held.", labels=_PLACED
    )
    per_million = GaugeMetricFamily(
        "deepseek_actual_usd_per_million_tokens",
        "Dollars of the fleet over tokens served in the measurement window, per million.",
        labels=_DEPLOYMENT,
    )
    measured = {item.key: item.measured for item in report.snapshot.deployments}
    for item in report.deployments:
        model = str(item.status.get("modelName", ""))
        paid = ((group, held(group) * (group.usd_per_replica_hour or 0)) for group in item.groups)
        _add_placed(
            per_hour, [item.key.namespace, item.key.name, model], ((group, each) for group, each in paid if each)
        )
        seen, spent = measured.get(item.key), fleet_usd_per_hour(item.groups)
        if seen is not None and seen.tokens_per_s > 0 and spent is not None:
            cost = seen.usd_per_million_tokens
            dollars = _dollars(cost) if cost is not None else _dollars(spent) * 1e6 / (seen.tokens_per_s * 3600)
            per_million.add_metric([item.key.namespace, item.key.name, model], dollars)
    yield from (per_hour, per_million)


def _signals(report: Report) -> Metric:
    family = GaugeMetricFamily(
        "deepseek_signal_active", "1 while what is measured raises the signal.", labels=("namespace", "name", "signal")
    )
    plans = {item.key: item for item in report.deployments}
    for item in report.snapshot.deployments:
        found = plans.get(item.key)
        if item.measured is None or found is None:
            continue
        seen = signals.readings(
            item.measured,
            item.objectives,
            capacity_tokens_per_s=_capacity(found),
            planned_usd_per_million_tokens=found.plan.usd_per_million_tokens if found.plan else None,
        )
        for signal in signals.SIGNALS:
            family.add_metric([item.key.namespace, item.key.name, signal.name], float(signal.is_active(seen)))
    return family


def _objectives(report: Report) -> Metric:
    family = GaugeMetricFamily(
        signals.OBJECTIVE_SECONDS,
        "Limit of a latency objective.",
        labels=("namespace", "name", "objective", "percentile"),
    )
    for item in report.snapshot.deployments:
        for objective, target in (
            (signals.TIME_TO_FIRST_TOKEN, item.objectives.time_to_first_token),
            (signals.TIME_PER_OUTPUT_TOKEN, item.objectives.time_per_output_token),
        ):
            if target is not None:
                labels = [item.key.namespace, item.key.name, objective, str(target.percentile)]
                family.add_metric(labels, target.limit_s)
    return family


def _pools(report: Report) -> Metric:
    family = GaugeMetricFamily(
        "deepseek_pool_usd_per_node_hour", "Dollars per node and hour in force, by pool.", labels=("pool",)
    )
    for offering in report.snapshot.offerings:
        if offering.price is not None:
            family.add_metric([offering.pool], _dollars(offering.price.usd_per_node_hour))
    return family


def _dollars(amount: MicroUsd) -> float:
    return float(usd(amount))
