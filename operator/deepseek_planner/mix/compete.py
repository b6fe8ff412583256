"""Asks that do not all get what they would take alone: who gets what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deepseek_planner.mix import master
from deepseek_planner.mix.asks import CONTENT, Seeker
from deepseek_planner.mix.lattice import Column, column, plain_prices
from deepseek_planner.mix.world import World
from deepseek_planner.units import MICRO_PER_USD

MOST_COLUMNS = 2000


def compete(world: World, best: Mapping[int, Column]) -> tuple[dict[int, Column], int]:
    """A fleet by ask, and expected dollars that nothing which serves as much costs less than."""
    seekers = [world.seekers[number] for number in sorted(best)]
    columns = [item for seeker in seekers for item in every(world, seeker, [world.tops[seeker.number]])]
    everyone = _everyone(seekers)
    choice = master.choose(world, columns, everyone, master.expected)
    wants = everyone
    if choice is None:
        columns = [item for seeker in seekers for item in every(world, seeker, range(1, world.tops[seeker.number] + 1))]
        wants = master.serve(world, columns)
        choice = master.choose(world, columns, wants, master.expected)
    assert choice is not None
    choice = master.settle(world, columns, wants, choice)
    lower = round(choice.bound * MICRO_PER_USD)
    return {item.seeker: item for item in choice.columns}, lower


def _everyone(seekers: Iterable[Seeker]) -> list[master.Want]:
    by_priority: dict[int, int] = {}
    for item in seekers:
        by_priority[item.ask.priority] = by_priority.get(item.ask.priority, 0) + 1
    return [master.Want(priority, CONTENT, count) for priority, count in sorted(by_priority.items())]


def every(world: World, seeker: Seeker, levels: Iterable[int]) -> list[Column]:
    """All fleets worth having."""
    found: list[Column] = []
    for level in levels:
        for _, counts in world.walk(seeker, level, plain_prices(seeker), most_nodes=10**6):
            found.append(column(seeker, level, counts))
    return found
