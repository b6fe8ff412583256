"""The solution in the words of the problem: parts with shares, and what is short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deepseek_planner.allocation import Allotment, Part, Solution
from deepseek_planner.mix.asks import FULL, PARTS, Mode, Seeker
from deepseek_planner.mix.lattice import Column
from deepseek_planner.mix.short import Lack, lacks
from deepseek_planner.mix.world import World
from deepseek_planner.snapshot import Routing
from deepseek_planner.units import MicroUsd


def solution(world: World, chosen: Mapping[int, Column], best: Mapping[int, Column], lower: int) -> Solution:
    """``best`` holds what each ask that can be served would have alone."""
    lacking = lacks(world, chosen, best)
    allotments = {
        item.ask.key: _allotment(world, item, chosen.get(item.number), lacking.get(item.number))
        for item in world.seekers
    }
    cost = sum(item.expected for item in chosen.values())
    return Solution(allotments, MicroUsd(cost), MicroUsd(min(cost, lower)))


def _allotment(world: World, item: Seeker, got: Column | None, lack: Lack | None) -> Allotment:
    key = item.ask.key
    found = (
        Allotment(key, (), MicroUsd(0), MicroUsd(0), 0.0)
        if got is None
        else Allotment(
            key,
            parts(world, item, got),
            MicroUsd(got.nominal),
            MicroUsd(got.expected),
            PARTS[min(got.level, FULL) - 1],
            got.level > FULL,
            got.level == item.ending,
        )
    )
    if lack is None:
        return found
    return replace(
        found,
        short_of=lack.short_of,
        lost_to=lack.lost_to,
        shared_with=lack.shared_with,
        would_do_first=lack.is_whole_first,
        would_do_nodes=lack.nodes,
        would_do_usd_per_hour=lack.usd_per_hour,
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
