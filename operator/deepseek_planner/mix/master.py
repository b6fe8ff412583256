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
    only: int | None = None
    """The ask that counts; None: all of the priority."""
    at_most: bool = False
    """So many are served so and no more."""


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
    return is_high and not (want.runs and not ask.running) and want.only in (None, number)


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


Serves = Callable[[Want, Sequence[Want]], Want]
"""Beside what is kept, as many as can be served at the want's level, and the highest at which it is sure that as many
are: who is served at a level is served at those below it."""


def stages(world: World, priority: int, serves: Serves) -> list[Want]:
    """What is served of a priority at most: at all, then at one level after the other."""
    kept: list[Want] = []
    while not kept or kept[-1].rank < CONTENT:
        rank = kept[-1].rank + 1 if kept else 1
        kept.append(serves(Want(priority, rank, 0), kept))
    # Of plans that are as fair, the one that lets go on what serves: else equals would take turns.
    if any(item.ask.running and item.ask.priority == priority for item in world.seekers):
        kept.append(serves(Want(priority, 1, 0, runs=True), kept))
    return kept


def priorities(world: World) -> list[int]:
    """Of asks that can be served at all, the highest first."""
    return sorted({item.ask.priority for item in world.seekers if world.tops[item.number]}, reverse=True)


def serve(world: World, columns: Sequence[Column], *, hoped: Sequence[Want] = ()) -> list[Want]:
    """What can be served at most, stage by stage; ``hoped``: what no more than can be served, and is tried first."""
    wants: list[Want] = []
    for priority in priorities(world):
        goal = [want for want in hoped if want.priority == priority]
        # Where a higher priority got less than was hoped, this one may get more.
        is_most = bool(goal) and wants == list(hoped[: len(wants)])
        if is_most and choose(world, columns, [*wants, *goal], lambda _: 0.0) is not None:
            wants += goal
        else:
            wants += stages(world, priority, _serves(world, columns, wants))
    return wants


def _serves(world: World, columns: Sequence[Column], before: Sequence[Want]) -> Serves:
    """By whole fleets, beside what is wanted before."""

    def serves(want: Want, kept: Sequence[Want]) -> Want:
        found = choose(world, columns, [*before, *kept], _service(world, want))
        assert found is not None, "what was served in the stage before can be served still"

        def count(rank: int) -> int:
            at = replace(want, rank=rank)
            return sum(is_wanted(world, item.seeker, item.level, at) for item in found.columns)

        most = count(want.rank)
        if want.runs:
            return replace(want, count=most)
        return replace(
            want, count=most, rank=max(rank for rank in range(want.rank, CONTENT + 1) if count(rank) == most)
        )

    return serves


def _service(world: World, want: Want) -> Value:
    """Minimised, it makes those wanted as many as can be, and then serves these as well as can be."""
    much = (CONTENT + 1) * (len(world.seekers) + 1)

    def value(item: Column) -> float:
        if not is_wanted(world, item.seeker, item.level, want):
            return 0.0
        return -1.0 if want.runs else -1.0 - (world.rank(item.seeker, item.level) - want.rank) / much

    return value


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
