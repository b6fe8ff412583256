"""Fleets for all asks: what serves most, by priority and fairly, then what costs least; proven.

The best fleet of each ask alone comes first. Where these fit together, nothing can be better, and no solver is
needed. Where they do not, asks compete: fleets are the columns of a master problem whose few rows are the pools, the
cluster's budget and what is served (:mod:`master`).
"""

from __future__ import annotations

from deepseek_planner.allocation import Problem, Solution
from deepseek_planner.mix.answer import solution
from deepseek_planner.mix.world import World

ALONE_NODES = 4000
"""Steps of one ask's search for its best fleet."""


def solve(problem: Problem, *, alone_nodes: int = ALONE_NODES) -> Solution:
    """The same solution whatever the order of asks, offers and pools; ``alone_nodes``: steps of the search for the best
    fleet of each ask alone.
    """
    world = World(problem)
    found = {item.number: world.alone(item, most_nodes=alone_nodes) for item in world.seekers}
    best = {number: item.column for number, item in found.items() if item is not None}
    if world.fits(best.values()):
        return solution(world, best, best, sum(item.bound for item in found.values() if item is not None))
    from deepseek_planner.mix.compete import compete  # noqa: PLC0415

    found_together = compete(world, best)
    return solution(world, found_together.chosen, best, found_together.lower)
