"""Who gets less than it asked for: of what there is too little, who has it, and how much more would do.

What would do for one serves those that come before it, and those of its priority, whole as well: what is added goes to
the highest priority first and is then divided fairly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from deepseek_planner.allocation import BUDGET
from deepseek_planner.mix.asks import FULL, Seeker
from deepseek_planner.mix.lattice import Column, Walk, column, facts, prices, ties
from deepseek_planner.mix.world import World
from deepseek_planner.snapshot import DeploymentKey
from deepseek_planner.units import MicroUsd

MOST_NAMED = 8
"""Deployments that are named as holding what another one lacks."""

MOST_LOOKED_AT = 32
"""Of those that get less, highest priority first: for so many a fleet is looked for beside what the others have."""
NODES = 100
"""Steps of such a search."""


class Lack(NamedTuple):
    """What one ask lacks."""

    short_of: str
    """A pool's name, or :data:`BUDGET`."""
    lost_to: tuple[DeploymentKey, ...]
    """Of a higher priority."""
    shared_with: tuple[DeploymentKey, ...]
    """Of the same."""
    is_whole_first: bool = False
    """Whether it would have the fleet that it has alone, and so be served whole, if it came before all of them. Another
    fleet may do where that one costs more than the limit: then this says too little.
    """
    nodes: tuple[tuple[str, int], ...] = ()
    """More of them, by pool, with which it would be served whole."""
    usd_per_hour: MicroUsd | None = None
    """The limit of all asks together with which it would be; None: that is not what is in the way."""


def lacks(world: World, chosen: Mapping[int, Column], best: Mapping[int, Column]) -> dict[int, Lack]:
    """By number of those that get less than they would alone; ``best`` is what they would have alone."""
    short = [item for item in world.seekers if item.number in best and _level(chosen, item) < FULL]
    short.sort(key=lambda item: (-item.ask.priority, item.number))
    looked_at = frozenset(item.number for item in short[:MOST_LOOKED_AT])
    found: dict[int, Lack] = {}
    columns = dict(chosen)
    for priority in dict.fromkeys(item.ask.priority for item in short):
        tier = [item for item in short if item.ask.priority == priority]
        causes = {item.number: _cause(world, item, chosen, best[item.number], looked_at) for item in tier}
        for item in tier:
            others = [other for number, other in columns.items() if number != item.number]
            beside = _beside(world, item, others) if item.number in looked_at else None
            columns[item.number] = beside or best[item.number]
        nodes, limit = _missing(world, columns.values())
        found |= {
            number: lack._replace(nodes=nodes, usd_per_hour=limit, is_whole_first=_is_whole(world, best[number]))
            for number, lack in causes.items()
        }
    return found


def _is_whole(world: World, alone: Column) -> bool:
    """Whether there is room and money for the fleet that serves it whole, if nobody else had any."""
    is_paid = world.budget is None or alone.nominal <= world.budget
    return alone.level >= FULL and is_paid and world.rows.fits(dict(alone.uses))


def _level(chosen: Mapping[int, Column], item: Seeker) -> int:
    got = chosen.get(item.number)
    return 0 if got is None else got.level


def _cause(world: World, item: Seeker, chosen: Mapping[int, Column], best: Column, looked_at: frozenset[int]) -> Lack:
    """The pool of which its best fleet lacks most beside the others' fleets; the dollars, where another fleet has room
    and only these are missing.
    """
    others = [other for number, other in chosen.items() if number != item.number]
    used = _used(others)
    over = {row: used.get(row, 0) + amount - world.rows.rows[row].room for row, amount in best.uses}
    worst = max(over, key=lambda row: (over[row] * world.rows.rows[row].size, -row), default=None)
    if worst is None or over[worst] <= 0:
        return _lack(world, item, BUDGET, [other for other in others if other.nominal])
    if item.number in looked_at:
        beside, spent = _beside(world, item, others), sum(other.nominal for other in others)
        if beside is not None and world.budget is not None and spent + beside.nominal > world.budget:
            return _lack(world, item, BUDGET, [other for other in others if other.nominal])
    pool = world.rows.rows[worst].pool
    return _lack(
        world,
        item,
        pool,
        [other for other in others if any(world.rows.rows[row].pool == pool for row, _ in other.uses)],
    )


def _lack(world: World, item: Seeker, short_of: str, holders: Sequence[Column]) -> Lack:
    asks = sorted((world.seekers[other.seeker].ask for other in holders), key=lambda ask: (-ask.priority, ask.key))
    first = tuple(ask.key for ask in asks if ask.priority > item.ask.priority)
    same = tuple(ask.key for ask in asks if ask.priority == item.ask.priority)
    return Lack(short_of, first[:MOST_NAMED], same[:MOST_NAMED])


def _beside(world: World, item: Seeker, others: Sequence[Column]) -> Column | None:
    """The fleet of least billed dollars that serves it whole in the room that others leave.

    Where nothing but room can be short there is none, or it would have it.
    """
    if world.budget is None:
        return None
    billed = prices([each.offer.usd_per_hour for each in item.items], ties(item))
    left = world.rows.left(_used(others))
    known, spread = facts(item, FULL), world.spreads[item.number]
    walk = Walk(item, FULL, billed, left, spread, known=known, most_nodes=NODES)
    return next((column(item, FULL, counts) for _, counts in walk), None)


def _used(columns: Iterable[Column]) -> dict[int, int]:
    used: dict[int, int] = {}
    for each in columns:
        for row, amount in each.uses:
            used[row] = used.get(row, 0) + amount
    return used


def _missing(world: World, columns: Iterable[Column]) -> tuple[tuple[tuple[str, int], ...], MicroUsd | None]:
    """Nodes by pool, and the limit of dollars, with which all these fleets could be had."""
    fleets = list(columns)
    nodes: dict[str, int] = {}
    for row, amount in _used(fleets).items():
        count = world.rows.nodes_for(row, amount)
        if count > 0:
            pool = world.rows.rows[row].pool
            nodes[pool] = max(count, nodes.get(pool, 0))
    billed = sum(each.nominal for each in fleets)
    is_over = world.budget is not None and billed > world.budget
    return tuple(sorted(nodes.items())), MicroUsd(billed) if is_over else None
