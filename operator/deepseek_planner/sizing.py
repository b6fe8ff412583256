"""The highest rate of a replica within its targets, and what a lower rate sees, for many replicas at once.

Concurrencies from idle to the most that fits are looked at together, then some around the highest that keeps the
targets, nearer with each pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from deepseek_planner.monotone import between
from deepseek_planner.service import Replica, Service, engines, highest_running

GRID = 12
"""Concurrencies looked at, from idle to the most that fit, before those around the highest that keeps the targets."""
NEARER = ((-0.25, 0.0, 0.25), (-0.15, 0.0, 0.15), (-0.05, -0.005))
"""Then looked at, pass by pass: so far from where a straight line between the last that keeps the targets and the first
that misses one meets the limit, in parts of their distance. It ends within one percent below, but where a latency bends
as sharply as a step."""
TINY = 1e-12
INSIDE = 0.005
"""Part of that distance at either end where nothing is looked at."""
IDLE_RUNNING, LEAST_RUNNING = 0.02, 0.25
"""Requests running on average on a replica that is called idle, and at the first concurrency above."""
MEASURES = ("time_to_first_token_s", "time_per_output_token_s", "running", "prefill_share")
SIZED_TOGETHER = 512
"""Replicas whose arrays fit the processor's caches."""


class Sized:
    """What sizing found: service of an idle replica, and at rates up to its capacity; none: it misses a target."""

    __slots__ = ("_column", "_points", "_table", "capacity")

    def __init__(self, table: _Table, column: int, capacity: Service | None = None) -> None:
        self.capacity = capacity
        """At the highest rate that keeps the targets; None: even an idle replica misses one."""
        self._table, self._column = table, column
        self._points: tuple[Service, ...] = ()

    @property
    def idle(self) -> Service:
        """Of a replica that serves next to nothing."""
        return self._table.service(0, self._column)

    @property
    def points(self) -> tuple[Service, ...]:
        """From idle to the highest rate that keeps the targets."""
        if not self._points and self.capacity is not None:
            kept = int(self._table.kept[self._column])
            found = [*(self._table.service(row, self._column) for row in range(kept)), self.capacity]
            rising = [found[0]]
            rising += [later for early, later in pairwise(found) if later.rate_per_s > early.rate_per_s]
            self._points = tuple(one._replace(utilization=one.rate_per_s / found[-1].rate_per_s) for one in rising)
        return self._points

    def at_rate(self, rate_per_s: float) -> Service:
        """Service at a rate, between the points; at the capacity where the rate is higher."""
        points = self.points
        highest = points[-1].rate_per_s
        if rate_per_s >= highest:
            return points[-1]
        if rate_per_s <= points[0].rate_per_s:
            return points[0]._replace(rate_per_s=rate_per_s, utilization=rate_per_s / highest)
        rates = [point.rate_per_s for point in points]
        first, token, running, share = (
            between(rates, [getattr(point, name) for point in points], rate_per_s) for name in MEASURES
        )
        return Service(rate_per_s, first, token, running, share, rate_per_s / highest)


def size(replicas: Sequence[Replica]) -> list[Sized]:
    """For each replica the highest rate within its limits, margin included, and the rates below."""
    # Side by side the model with the most operations of a kind decides how many are worked out for all.
    order = sorted(range(len(replicas)), key=lambda place: replicas[place].compiled.rows.counts)
    found: dict[int, Sized] = {}
    for start in range(0, len(order), SIZED_TOGETHER):
        places = order[start : start + SIZED_TOGETHER]
        found |= zip(places, _sized([replicas[place] for place in places]), strict=True)
    return [found[place] for place in range(len(replicas))]


def _sized(replicas: Sequence[Replica]) -> list[Sized]:
    """Of few enough."""
    everyone = _Sizing(replicas)
    idle = everyone.table(0, 1)
    able = np.flatnonzero(idle.strain[0] <= 1.0).tolist()
    sized = [Sized(idle, column) for column in range(len(replicas))]
    if able:
        rest = everyone if len(able) == len(replicas) else everyone.of(able)
        below = idle.of(able).and_more(rest.table(1, GRID))
        for column, (place, capacity) in enumerate(zip(able, rest.highest(below), strict=True)):
            sized[place] = Sized(below, column, capacity)
    return sized


class _Table(NamedTuple):
    """Service at concurrencies, lowest first: arrays of shape (concurrencies, replicas)."""

    running: Any
    rate_per_s: Any
    first_token_s: Any
    per_token_s: Any
    prefill_share: Any
    strain: Any
    """The highest of what is predicted, margin included, over its limit: up to one all are kept."""

    @property
    def kept(self) -> Any:
        """How many concurrencies of each replica keep the targets before the first that misses one."""
        return (self.strain <= 1.0).cumprod(axis=0).sum(axis=0)

    def of(self, columns: Sequence[int]) -> _Table:
        """Of some of the replicas."""
        return _Table(*(field[:, columns] for field in self))

    def and_more(self, higher: _Table) -> _Table:
        """With higher concurrencies. More decodes read more of the experts, so that a prompt beside them adds less:
        nobody is promised that gain.
        """
        joined = _Table(*(np.concatenate(pair) for pair in zip(self, higher, strict=True)))
        rising = (np.maximum.accumulate(field) for field in (joined.first_token_s, joined.per_token_s, joined.strain))
        first, token, strain = rising
        return joined._replace(first_token_s=first, per_token_s=token, strain=strain)

    def at(self, rows: Any) -> _Table:
        """One concurrency of each replica."""
        columns = np.arange(self.running.shape[1])
        return _Table(*(field[rows, columns][None, :] for field in self))

    def services(self) -> list[Service]:
        """Of each replica at the first concurrency."""
        fields = self.rate_per_s, self.first_token_s, self.per_token_s, self.running, self.prefill_share
        return [Service(*column) for column in zip(*(field[0].tolist() for field in fields), strict=True)]

    def service(self, row: int, column: int) -> Service:
        return Service(
            rate_per_s=float(self.rate_per_s[row, column]),
            time_to_first_token_s=float(self.first_token_s[row, column]),
            time_per_output_token_s=float(self.per_token_s[row, column]),
            running=float(self.running[row, column]),
            prefill_share=float(self.prefill_share[row, column]),
        )


class _Sizing:
    """Searches the highest concurrency that keeps the targets, for several replicas at once."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._engines = engines(replicas)
        self._highest = highest_running(np.array([one.max_running for one in replicas]))
        margins = np.array([1.0 + one.margin for one in replicas])
        # Few targets for many replicas: all shapes of a deployment have the same.
        seconds = {id(one.limits): one.limits.seconds for one in replicas}
        self._first_s, self._token_s = np.array([seconds[id(one.limits)] for one in replicas]).T / margins

    def of(self, columns: Sequence[int]) -> _Sizing:
        """Of some of the replicas."""
        found = _Sizing.__new__(_Sizing)
        found._engines, found._highest = self._engines.of(columns), self._highest[columns]
        found._first_s, found._token_s = self._first_s[columns], self._token_s[columns]
        return found

    def table(self, start: int, end: int) -> _Table:
        """From one concurrency of the grid up to another: the first is idle, the last the most that fits."""
        highest = self._highest
        idle, least = np.minimum(IDLE_RUNNING, highest / 4), np.minimum(LEAST_RUNNING, highest / 2)
        rising = least * (highest / least) ** np.linspace(0.0, 1.0, GRID - 1)[:, None]
        return self._at(np.concatenate([idle[None, :], rising])[start:end])

    def highest(self, below: _Table) -> list[Service]:
        """At the highest concurrency, looked for between those of the table: of rows that miss a target, the first."""
        kept = below.kept
        low, high = below.at(kept - 1), below.at(np.minimum(kept, GRID - 1))
        for offsets in NEARER:
            near = low.and_more(self._at(self._between(low, high, offsets)))
            kept = near.kept
            joined = near.and_more(high)
            low, high = joined.at(kept - 1), joined.at(kept)
        return low.services()

    def _at(self, running: Any) -> _Table:
        found = self._engines.at(running)
        strain = np.maximum(found.first_token_s / self._first_s, found.per_token_s / self._token_s)
        return _Table(
            running,
            found.rate_per_s,
            found.first_token_s,
            found.per_token_s,
            found.prefill_share,
            np.maximum(strain, found.fullness),
        )

    def _between(self, low: _Table, high: _Table, offsets: Sequence[float]) -> Any:
        """Concurrencies around the one where the first target is missed, if what it limits grows evenly."""
        part = _crossing(low.first_token_s, high.first_token_s, self._first_s)
        part = np.minimum(part, _crossing(low.per_token_s, high.per_token_s, self._token_s))
        # Neither: the steps have no room for more prompts.
        full = _crossing(low.strain, np.where(np.isfinite(high.strain), high.strain, 2.0), 1.0)
        parts = np.where(part < 1.0, part, full) + np.array(offsets)[:, None]
        return low.running + (high.running - low.running) * np.clip(parts, INSIDE, 1.0 - INSIDE)


def _crossing(low: Any, high: Any, limit: Any) -> Any:
    """Where a straight line from ``low`` at 0 to ``high`` at 1 meets the limit; from 1 on where it stays within."""
    return np.where(high > limit, (limit - low) / np.maximum(high - low, TINY), 1.0)
