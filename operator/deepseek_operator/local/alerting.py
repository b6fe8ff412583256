"""The planner's Signals judged here, where there is no Prometheus: the same definitions, on our own measurements."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from deepseek_operator.alerts import Hint
from deepseek_operator.local.measurements import Measurements
from deepseek_operator.reconcile import DeploymentReport, Report
from deepseek_planner import forecast, signals
from deepseek_planner.signals import Readings, Signal, Windows
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey

_Samples = deque[tuple[float, bool]]


@dataclass(slots=True)
class LocalAlerts:
    """Which signals fire, remembered from judgement to judgement."""

    measurements: Measurements
    windows: Windows
    _samples: dict[tuple[DeploymentKey, str], _Samples] = field(default_factory=dict)
    _firing: dict[tuple[DeploymentKey, str], str] = field(default_factory=dict)
    """Since when."""

    def judge(self, report: Report, *, now: datetime) -> Iterator[Hint]:
        """The alerts that began or ended to fire since the last judgement."""
        inputs = {item.key: item for item in report.snapshot.deployments}
        for item in report.deployments:
            if item.key in inputs:
                seen = self._readings(inputs[item.key], item, now)
                for signal in signals.SIGNALS:
                    yield from self._judge(item.key, signal, seen, now)

    def _readings(self, deployment: DeploymentInput, item: DeploymentReport, now: datetime) -> Readings:
        # A window that is not full yet shows how the load began, not how it is.
        measured = forecast.covered(self.measurements.measured(deployment, now=now))
        if measured is None:
            return Readings()
        return signals.readings(
            measured,
            deployment.objectives,
            capacity_tokens_per_s=capacity_tokens_per_s(item),
            planned_usd_per_million_tokens=item.plan.usd_per_million_tokens if item.plan is not None else None,
        )

    def _judge(self, key: DeploymentKey, signal: Signal, seen: Readings, now: datetime) -> Iterator[Hint]:
        about, now_s = (key, str(signal.name)), now.timestamp()
        samples = self._samples.setdefault(about, deque())
        samples.append((now_s, signal.is_active(seen)))
        oldest_s = now_s - signal.for_s(self.windows) - self.windows.keep_firing_s
        while len(samples) > 2 and samples[1][0] < oldest_s:
            samples.popleft()
        firing = signal.is_firing(tuple(samples), self.windows, now_s=now_s)
        if firing and about not in self._firing:
            self._firing[about] = now.isoformat()
            yield self._hint(about, "firing", self._firing[about])
        elif not firing and about in self._firing:
            yield self._hint(about, "resolved", self._firing.pop(about))

    def _hint(self, about: tuple[DeploymentKey, str], status: str, since: str) -> Hint:
        key, name = about
        return Hint(alert=name, status=status, key=key, starts_at=since, fingerprint=f"{key}/{name}")


def capacity_tokens_per_s(item: DeploymentReport) -> float | None:
    """What the ready engines can serve: the plan's capacity, scaled to how many of its replicas are ready."""
    if item.plan is None or item.plan.prediction is None:
        return None
    planned = sum(placement.replicas for placement in item.plan.placements)
    ready = sum(group.ready for group in item.groups)
    return item.plan.prediction.capacity_tokens_per_s * ready / planned if planned and ready else None
