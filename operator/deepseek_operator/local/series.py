"""Samples over time and the few functions of PromQL that the loop's numbers need, over ring buffers.

``increase`` adds up what a counter gained between its samples and counts a fall as a restart from
zero; unlike Prometheus it does not extrapolate to the window's edges, so sums are of tokens that were.
``quantile`` interpolates linearly inside a bucket, as ``histogram_quantile`` does.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Points = deque[tuple[float, float]]
"""(seconds, value), ascending in time."""


@dataclass(slots=True)
class Series:
    """All series seen, each no longer than ``keep_s`` seconds."""

    keep_s: float
    totals: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    """What each counter gained since the beginning, by its name and the labels ``namespace`` and ``name``. A new
    series began at zero."""
    _points: dict[str, dict[Labels, Points]] = field(default_factory=lambda: defaultdict(dict))

    def record(self, text: str, *, at_s: float, labels: Mapping[str, str]) -> None:
        """Add one scrape in Prometheus' text format; ``labels`` name the target."""
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = frozenset({**sample.labels, **labels}.items())
                points = self._points[sample.name].setdefault(key, deque())
                if family.type == "counter":
                    last = points[-1][1] if points else 0.0
                    about = (sample.name, sample.labels.get("namespace", ""), sample.labels.get("name", ""))
                    self.totals[about] += sample.value - last if sample.value >= last else sample.value
                points.append((at_s, float(sample.value)))
        self._forget(at_s - self.keep_s)

    def names(self) -> frozenset[str]:
        """Names of all series that have samples."""
        return frozenset(self._points)

    def increase(
        self, name: str, match: Mapping[str, str], *, since_s: float, until_s: float = math.inf
    ) -> float | None:
        """What the matching counters gained together in the time span; None when none has two samples in it."""
        gains = [_gain(points, since_s, until_s) for _, points in self._matching(name, match)]
        known = [gain for gain in gains if gain is not None]
        return sum(known) if known else None

    def rate(self, name: str, match: Mapping[str, str], *, since_s: float, until_s: float = math.inf) -> float | None:
        """The increase per second, over the time between the first and the last sample in the time span."""
        gained = self.increase(name, match, since_s=since_s, until_s=until_s)
        span_s = self._span_s(name, match, since_s, until_s)
        return gained / span_s if gained is not None and span_s > 0 else None

    def slope(self, name: str, match: Mapping[str, str], *, since_s: float, until_s: float = math.inf) -> float | None:
        """What the matching gauges grew by together, per second; below zero where they fell."""
        inside = [
            [value for at_s, value in points if since_s <= at_s <= until_s] for _, points in self._matching(name, match)
        ]
        span_s = self._span_s(name, match, since_s, until_s)
        return sum(values[-1] - values[0] for values in inside if values) / span_s if span_s > 0 else None

    def _span_s(self, name: str, match: Mapping[str, str], since_s: float, until_s: float) -> float:
        found = (points for _, points in self._matching(name, match))
        times = [at_s for points in found for at_s, _ in points if since_s <= at_s <= until_s]
        return max(times) - min(times) if times else 0.0

    def first_s(self, name: str, match: Mapping[str, str], *, since_s: float, above: float = -math.inf) -> float | None:
        """Time of the earliest sample in the time span with a value beyond ``above``."""
        found = (points for _, points in self._matching(name, match))
        times = [at_s for points in found for at_s, value in points if at_s >= since_s and value > above]
        return min(times, default=None)

    def latest(self, name: str, match: Mapping[str, str], *, since_s: float) -> float | None:
        """Sum of the newest values that are not older than ``since_s``; None when there is none."""
        newest = [points[-1] for _, points in self._matching(name, match) if points]
        values = [value for at_s, value in newest if at_s >= since_s]
        return sum(values) if values else None

    def quantile(self, q: float, histogram: str, match: Mapping[str, str], *, since_s: float) -> float | None:
        """Quantile ``q`` (0..1) of what a histogram saw in the time span; None when it saw nothing."""
        gained: dict[float, float] = defaultdict(float)
        for labels, points in self._matching(f"{histogram}_bucket", match):
            bound = float(dict(labels)["le"])
            gained[bound] += _gain(points, since_s, math.inf) or 0.0
        return histogram_quantile(q, sorted(gained.items()))

    def _matching(self, name: str, match: Mapping[str, str]) -> Iterator[tuple[Labels, Points]]:
        wanted = frozenset(match.items())
        return ((labels, points) for labels, points in self._points.get(name, {}).items() if wanted <= labels)

    def _forget(self, before_s: float) -> None:
        for name in list(self._points):
            for labels, points in list(self._points[name].items()):
                while points and points[0][0] < before_s:
                    points.popleft()
                if not points:
                    del self._points[name][labels]
            if not self._points[name]:
                del self._points[name]


def histogram_quantile(q: float, cumulative: Iterable[tuple[float, float]]) -> float | None:
    """Quantile of cumulative buckets (upper bound, count); the last finite bound where it lies in the open one."""
    buckets = list(cumulative)
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank = q * buckets[-1][1]
    low, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            if math.isinf(bound):
                return low
            return low + (bound - low) * max(0.0, rank - below) / (count - below)
        low, below = (bound, count) if math.isfinite(bound) else (low, below)
    return low


def _gain(points: Points, since_s: float, until_s: float) -> float | None:
    values = [value for at_s, value in points if since_s <= at_s <= until_s]
    if len(values) < 2:
        return None
    return sum(after - before if after >= before else after for before, after in itertools.pairwise(values))
