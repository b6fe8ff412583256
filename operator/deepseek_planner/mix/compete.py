"""Asks that do not all get what they would take alone: who gets what.

Where few fleets are possible they are all listed, and the integer program over them is the whole truth. Where many
are, column generation finds those that matter and proves how good they are; asks whose fleet the linear program
leaves no doubt about keep it, and the integer program decides on the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from deepseek_planner.mix import master
from deepseek_planner.mix.asks import CONTENT, Seeker
from deepseek_planner.mix.generate import Aim, Generated, Generator
from deepseek_planner.mix.lattice import Column, column, plain_prices
from deepseek_planner.mix.master import Choice, Want
from deepseek_planner.mix.pricing import Desk
from deepseek_planner.mix.world import World
from deepseek_planner.units import MICRO_PER_USD

MOST_ASKS = 8
MOST_LISTED = 1500
"""So many asks, and fleets of all of them, are listed; beyond, they are generated."""
MOST_CLOSED = 60
"""So many asks, and the gap that generated columns leave is closed by listing all that can be better."""
EXACT = 1e-7
LIST_NODES = 4000
"""Steps of a search for all fleets of one ask at one level."""

DOUBTS = (150, 300)
"""Asks that the integer program decides on: first so many, then more where that was not good enough."""
GOOD_ENOUGH = 0.003
"""Share of the cost above the bound at which no more is tried."""

DOLLARS = Aim(1.0)
DOLLARS_OF_MANY = Aim(1.0, close=GOOD_ENOUGH / 6)
"""Where the integer program will leave more: the last rounds prove a few hundredths of a percent."""
NOTHING_MISSING = 1e-6


@dataclass(frozen=True, slots=True)
class Result:
    """A fleet by ask, and expected dollars that nothing which serves as much costs less than."""

    chosen: Mapping[int, Column]
    lower: int


def compete(world: World, best: Mapping[int, Column]) -> Result:
    """``best`` holds the fleet of each ask that can be served whole, alone."""
    seekers = [world.seekers[number] for number in sorted(best)]
    tops = [[world.tops[item.number]] for item in seekers]
    everything = [range(1, top + 1) for (top,) in tops]
    wants = _everyone(seekers)
    listed = every(world, seekers, tops)
    if listed is None:
        return _generated(world, seekers, wants, best)
    choice = master.choose(world, listed, wants, master.expected)
    if choice is None:
        listed = every(world, seekers, everything)
        if listed is None:
            return _generated(world, seekers, wants, best)
        wants = master.serve(world, listed)
        choice = master.choose(world, listed, wants, master.expected)
        assert choice is not None, "what was served in a stage can be served still"
    return _result(master.settle(world, listed, wants, choice))


def _result(choice: Choice) -> Result:
    bound = choice.bound
    cost = sum(item.expected for item in choice.columns)
    # A bound that is closer than a micro-dollar is reached: dollars are whole numbers of these.
    lower = cost if bound * MICRO_PER_USD > cost - 1 else int(bound * MICRO_PER_USD)
    return Result({item.seeker: item for item in choice.columns}, max(0, lower))


def _everyone(seekers: Iterable[Seeker]) -> list[Want]:
    by_priority: dict[int, int] = {}
    for item in seekers:
        by_priority[item.ask.priority] = by_priority.get(item.ask.priority, 0) + 1
    return [Want(priority, CONTENT, by_priority[priority]) for priority in sorted(by_priority, reverse=True)]


def every(world: World, seekers: Sequence[Seeker], levels: Sequence[Iterable[int]]) -> list[Column] | None:
    """All fleets worth having; None where they are too many."""
    if len(seekers) > MOST_ASKS:
        return None
    found: list[Column] = []
    for item, wanted in zip(seekers, levels, strict=True):
        for level in wanted:
            walk = world.walk(item, level, plain_prices(item), most_nodes=LIST_NODES)
            for _, counts in walk:
                if len(found) >= MOST_LISTED:
                    return None
                found.append(column(item, level, counts))
            if not walk.is_complete:
                return None
    return found


def _generated(world: World, seekers: Sequence[Seeker], wants: Sequence[Want], best: Mapping[int, Column]) -> Result:
    desk = Desk(world, [item.number for item in seekers], [[world.tops[item.number]] for item in seekers])
    generator, generated = _generate(world, desk, wants, seeds=list(best.values()))
    if generated.missing <= NOTHING_MISSING:
        choice = _decide(world, generator, generated, wants)
        if choice is not None:
            return _result(choice)
    return _short(world, seekers, generated.columns)


def _generate(
    world: World, desk: Desk, wants: Sequence[Want], *, aim: Aim | None = None, seeds: Sequence[Column]
) -> tuple[Generator, Generated]:
    """For dollars, where nothing else is aimed at."""
    aim = aim or (DOLLARS if len(world.seekers) <= DOUBTS[-1] else DOLLARS_OF_MANY)
    # Dearer than any fleet, so that what is wanted stays unserved only where it must.
    penalty = 100.0 + 20 * max((item.expected for item in seeds), default=0) / MICRO_PER_USD
    generator = Generator(world, desk, wants, aim, penalty=penalty)
    return generator, generator.run(seeds)


def _decide(
    world: World, generator: Generator, generated: Generated, wants: Sequence[Want], choice: Choice | None = None
) -> Choice | None:
    """The best choice found, and the bound: where asks are few, of all that can be better; else of what is known."""
    best = _better(choice, _guess(world, generated, wants))
    if best is None or len(world.seekers) > MOST_CLOSED:
        return best
    for part in (1.0, 0.125, 0.5, 1.0):
        slack = best.objective - generated.bound
        columns = generator.near(part * slack, MOST_LISTED) if slack > EXACT else None
        if columns is None:
            continue
        found = master.choose(world, columns, wants, master.expected)
        if found is not None and found.objective < best.objective:
            best = replace(found, bound=generated.bound)
        if part == 1.0:
            # Whatever is not listed costs more than the choice: the program's bound holds for everything.
            bound = best.objective if found is None else min(best.objective, found.bound)
            return master.settle(world, columns, wants, replace(best, bound=max(bound, generated.bound)))
    return best


def _better(one: Choice | None, other: Choice | None) -> Choice | None:
    if one is None or other is None:
        return one or other
    return other if other.objective < one.objective else one


def _guess(world: World, generated: Generated, wants: Sequence[Want]) -> Choice | None:
    """The best choice of known columns; more asks are decided on where the first leave too much above the bound."""
    best: Choice | None = None
    for most in DOUBTS:
        columns = generated.doubtful(most)
        found = master.choose(world, columns, wants, master.expected)
        if found is not None and (best is None or found.objective < best.objective):
            best = found
        if best is not None and best.objective - generated.bound <= GOOD_ENOUGH * best.objective:
            break
    return None if best is None else replace(best, bound=generated.bound)


def _short(world: World, seekers: Sequence[Seeker], seeds: Sequence[Column]) -> Result:
    """Service first, stage by stage, as far as the linear program says it goes; then dollars for as much service."""
    levels = [range(1, world.tops[item.number] + 1) for item in seekers]
    desk = Desk(world, [item.number for item in seekers], levels)
    wants: list[Want] = []
    columns = seeds
    for everyone in _everyone(seekers):
        for want in (everyone, *master.stages(everyone.priority)):

            def reward(number: int, level: int, want: Want = want) -> float:
                return float(master.is_wanted(world, number, level, want))

            _, generated = _generate(world, desk, wants, aim=Aim(0.0, reward), seeds=columns)
            columns = generated.columns
            count = min(everyone.count, int(-generated.value + NOTHING_MISSING))
            if want is not everyone:
                wants.append(replace(want, count=count))
            elif count == everyone.count:
                wants.append(everyone)
                break
            if want is not everyone and count == 0:
                break  # who is not served at all is not served better
    _, generated = _generate(world, desk, wants, seeds=columns)
    doubtful = generated.doubtful(DOUBTS[-1])
    reached = master.serve(world, doubtful)
    first = master.choose(world, doubtful, reached, master.expected)
    assert first is not None, "what was served in a stage can be served still"
    generator, generated = _generate(world, desk, reached, seeds=generated.columns)
    choice = _decide(world, generator, generated, reached, replace(first, bound=generated.bound))
    assert choice is not None, "the first choice is one"
    return _result(choice)
