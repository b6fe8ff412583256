"""The solution in the words of the problem: parts with shares, what is short, and who came first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepseek_planner.allocation import BUDGET, Allotment, Part, Solution
from deepseek_planner.mix.asks import FULL, PARTS, Mode, Seeker
from deepseek_planner.mix.lattice import Column
from deepseek_planner.mix.world import World
from deepseek_planner.plan import DeploymentKey, Routing
from deepseek_planner.units import MicroUsd

MOST_NAMED = 8
"""Deployments that are named as served before another one."""


def solution(world: World, chosen: Mapping[int, Column], best: Mapping[int, Column], lower: int) -> Solution:
    """``best`` holds what each ask that can be served would have alone."""
    allotments = {item.ask.key: _allotment(world, item, chosen, best.get(item.number)) for item in world.seekers}
    cost = sum(item.expected for item in chosen.values())
    return Solution(allotments, MicroUsd(cost), MicroUsd(min(cost, lower)))


def _allotment(world: World, item: Seeker, chosen: Mapping[int, Column], best: Column | None) -> Allotment:
    key, got = item.ask.key, chosen.get(item.number)
    short_of, lost_to = "", tuple[DeploymentKey, ...]()
    served = 0.0 if got is None else PARTS[min(got.level, FULL) - 1]
    if best is not None and served < 1.0:
        short_of, lost_to = _shortage(world, item, chosen, best)
    if got is None:
        return Allotment(key, (), MicroUsd(0), MicroUsd(0), 0.0, short_of=short_of, lost_to=lost_to)
    return Allotment(
        key,
        parts(world, item, got),
        MicroUsd(got.nominal),
        MicroUsd(got.expected),
        served,
        got.level > FULL,
        got.level == item.ending,
        short_of,
        lost_to,
    )


def parts(world: World, item: Seeker, got: Column) -> tuple[Part, ...]:
    """Replicas in the order of the ask's offers, with the shares that load them evenly."""
    used = [place for place, count in enumerate(got.counts) if count]
    shares = _shares(world, item, got, used)
    found = [Part(item.items[place].index, got.counts[place], shares[place]) for place in used]
    return tuple(sorted(found, key=lambda part: part.offer))


def _shares(world: World, item: Seeker, got: Column, used: Sequence[int]) -> Mapping[int, tuple[float, ...]]:
    total = sum(got.counts)
    classes = 1 if item.ask.routing is Routing.EVEN else max(1, len(item.ask.class_rates_per_s))
    if len({item.items[place].offer.option for place in used}) > 1 and item.ask.routing is Routing.BY_LENGTH:
        return world.spreads[item.number].shares(mixed_mode(item, got.level), got.counts)
    return {place: (got.counts[place] / total,) * classes for place in used}


def mixed_mode(item: Seeker, level: int) -> Mode:
    """The mode in which classes are spread."""
    return next(mode for mode in item.modes[level] if not mode.need)


def _shortage(
    world: World, item: Seeker, chosen: Mapping[int, Column], best: Column
) -> tuple[str, tuple[DeploymentKey, ...]]:
    """What its best fleet lacks beside the others' fleets, and who of them holds it."""
    others = [other for number, other in chosen.items() if number != item.number]
    used: dict[int, int] = {}
    for other in others:
        for row, amount in other.uses:
            used[row] = used.get(row, 0) + amount
    over = {row: used.get(row, 0) + amount - world.rows.rows[row].room for row, amount in best.uses}
    worst = max(over, key=lambda row: (over[row] * world.rows.rows[row].size, -row), default=None)
    if worst is not None and over[worst] > 0:
        pool = world.rows.rows[worst].pool
        holders = [other for other in others if any(world.rows.rows[row].pool == pool for row, _ in other.uses)]
        return pool, _before(world, item, holders)
    return BUDGET, _before(world, item, [other for other in others if other.nominal])


def _before(world: World, item: Seeker, holders: Sequence[Column]) -> tuple[DeploymentKey, ...]:
    asks = [world.seekers[other.seeker].ask for other in holders]
    before = [ask for ask in asks if ask.priority >= item.ask.priority]
    return tuple(ask.key for ask in sorted(before, key=lambda ask: (-ask.priority, ask.key))[:MOST_NAMED])
