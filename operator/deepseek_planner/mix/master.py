"""Which fleet each ask gets: at most one column per ask, rows for the pools, the cluster's budget and what is served.

Service comes in stages, each kept by the next ones: of the asks of the highest priority as many as possible are served
at all, then at the next level and so on, of these such as run already; then those of the next priority; then dollars.
A count per level is what max-min fairness comes to on a grid: first the worst off are as few as can be, then the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from deepseek_planner.mix import highs
from deepseek_planner.mix.asks import CONTENT
from deepseek_planner.mix.lattice import Column
from deepseek_planner.mix.world import World
from deepseek_planner.units import MICRO_PER_USD

INFINITE = float("inf")

INTEGER_NODES = 2000

EXACT = 0.4 / MICRO_PER_USD
"""Less than the smallest difference in dollars, and more than the solver's tolerance."""


@dataclass(frozen=True, slots=True)
class Want:
    """At least ``count`` asks of a priority are served at a level or above."""

    priority: int
    rank: int
    count: int
    runs: bool = False
    """Only such as run already count."""


Value = Callable[[Column], float]
Cap = tuple[Value, float]


@dataclass(frozen=True, slots=True)
class Choice:
    """Columns that go together."""

    columns: tuple[Column, ...]
    objective: float
    bound: float


def program(
    world: World, columns: Sequence[Column], wants: Sequence[Want], value: Value, caps: Sequence[Cap] = ()
) -> highs.Program:
    """Minimise the columns' values; no cap's values may sum to more than it says."""
    built = highs.Program([value(item) for item in columns], [1.0] * len(columns))
    by_seeker: dict[int, list[tuple[int, float]]] = {}
    by_row: dict[int, list[tuple[int, float]]] = {}
    for index, item in enumerate(columns):
        by_seeker.setdefault(item.seeker, []).append((index, 1.0))
        for row, amount in item.uses:
            by_row.setdefault(row, []).append((index, float(amount)))
    for number in sorted(by_seeker):
        built.row(by_seeker[number], -INFINITE, 1.0)
    for row in sorted(by_row):
        built.row(by_row[row], -INFINITE, float(world.rows.rows[row].room))
    if world.budget is not None:
        dollars = [(index, item.nominal / MICRO_PER_USD) for index, item in enumerate(columns) if item.nominal]
        built.row(dollars, -INFINITE, world.budget / MICRO_PER_USD)
    for want in wants:
        built.row(
            [(index, 1.0) for index, item in enumerate(columns) if is_wanted(world, item.seeker, item.level, want)],
            want.count,
            INFINITE,
        )
    for capped, most in caps:
        built.row([(index, capped(item)) for index, item in enumerate(columns)], -INFINITE, most)
    return built


def is_wanted(world: World, number: int, level: int, want: Want) -> bool:
    """Whether an ask served at the level is one of those wanted."""
    ask = world.seekers[number].ask
    is_high = ask.priority == want.priority and world.rank(number, level) >= want.rank
    return is_high and not (want.runs and not ask.running)


def choose(
    world: World, columns: Sequence[Column], wants: Sequence[Want], value: Value, caps: Sequence[Cap] = ()
) -> Choice | None:
    """The best choice of these columns; None where nothing satisfies the wants."""
    built = program(world, columns, wants, value, caps)
    found = highs.solve(built, is_integer=True, most_nodes=INTEGER_NODES)
    if found is None:
        return None
    chosen = tuple(item for item, amount in zip(columns, found.values, strict=True) if amount > 0.5)
    return Choice(chosen, found.objective, found.bound)


def serve(world: World, columns: Sequence[Column]) -> list[Want]:
    """What can be served at most, stage by stage."""
    wants: list[Want] = []
    seekers = [item for item in world.seekers if world.tops[item.number]]
    for priority in sorted({item.ask.priority for item in seekers}, reverse=True):
        everyone = sum(1 for item in seekers if item.ask.priority == priority)
        if (
            choose(world, columns, [*wants, all_of_them := Want(priority, CONTENT, everyone)], lambda _: 0.0)
            is not None
        ):
            wants.append(all_of_them)
            continue
        for want in stages(priority):
            found = choose(world, columns, wants, _service(world, want))
            assert found is not None, "what was served in the stage before can be served still"
            count = sum(is_wanted(world, item.seeker, item.level, want) for item in found.columns)
            wants.append(replace(want, count=count))
            if count == 0:
                break  # who is not served at all is not served better
    return wants


def stages(priority: int) -> list[Want]:
    """What is made as many as can be, one after the other, where not everybody can have everything."""
    levels = [Want(priority, rank, 0) for rank in range(1, CONTENT + 1)]
    # Of plans that are as fair, the one that lets go on what serves: else equals would take turns.
    return [*levels, Want(priority, 1, 0, runs=True)]


def _service(world: World, want: Want) -> Value:
    """Minimised, it makes those wanted as many as can be."""
    return lambda item: -float(is_wanted(world, item.seeker, item.level, want))


def settle(world: World, columns: Sequence[Column], wants: Sequence[Want], choice: Choice) -> Choice:
    """Of all choices that cost as little, the first in the total order: nominal dollars, accelerators, rank."""
    caps: list[Cap] = []
    places = {id(item): float(place) for place, item in enumerate(sorted(columns, key=_order))}
    values: list[Value] = [expected, nominal, lambda item: float(item.accelerators), lambda item: places[id(item)]]
    for kept, value in itertools.pairwise(values):
        caps.append((kept, sum(map(kept, choice.columns)) + EXACT))
        found = choose(world, columns, wants, value, caps)
        if found is not None and all(sum(map(cap, found.columns)) <= most for cap, most in caps):
            choice = Choice(found.columns, choice.objective, choice.bound)
    return choice


def _order(item: Column) -> tuple[object, ...]:
    # Items are in the order of their ranks and names: more of the first ones is better.
    return item.seeker, tuple(-count for count in item.counts), item.level


def expected(item: Column) -> float:
    """Dollars, as the programs count them."""
    return item.expected / MICRO_PER_USD


def nominal(item: Column) -> float:
    """Dollars as billed."""
    return item.nominal / MICRO_PER_USD
