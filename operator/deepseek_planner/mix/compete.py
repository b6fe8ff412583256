"""Asks that do not all get what they would take alone: who gets what.

Where few fleets are possible they are all listed, and the integer program over them is the whole truth. Where many
are, column generation finds those that matter and proves how good they are; asks whose fleet the linear program
leaves no doubt about keep it, and the integer program decides on the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from deepseek_planner.mix import master, splits
from deepseek_planner.mix.asks import CONTENT, Seeker
from deepseek_planner.mix.generate import Aim, Generated, Generator, count
from deepseek_planner.mix.lattice import Column, column, plain_prices
from deepseek_planner.mix.master import Choice, Want
from deepseek_planner.mix.pricing import Desk
from deepseek_planner.mix.relaxation import Relaxation
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
MOST_OF_EACH = 8
"""Fleets of an ask in doubt, where asks are many: more made no plan better, and the program slower by up to half."""
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


def _generated(world: World, seekers: Sequence[Seeker], wants: Sequence[Want], alone: Mapping[int, Column]) -> Result:
    numbers = [item.number for item in seekers]
    # Dearer than any fleet, so that what is wanted stays unserved only where it must.
    penalty = 100.0 + 20 * max((item.expected for item in alone.values()), default=0) / MICRO_PER_USD
    relaxation = Relaxation(world, numbers)
    relaxation.add(alone.values())
    generator = Generator(world, Desk(world, numbers, [[world.tops[number]] for number in numbers]), relaxation)
    generated = generator.run(wants, replace(_dollars(world), penalty=penalty))
    best = _guess(world, generated, wants) if generated.missing <= NOTHING_MISSING else None
    if best is not None:
        return _result(_closed(generator, generated, wants, best))
    levels = [range(1, world.tops[number] + 1) for number in numbers]
    return _short(Generator(world, Desk(world, numbers, levels), relaxation))


def _dollars(world: World) -> Aim:
    return DOLLARS if len(world.seekers) <= DOUBTS[-1] else DOLLARS_OF_MANY


def _closed(generator: Generator, generated: Generated, wants: Sequence[Want], best: Choice) -> Choice:
    """Where all that can be better than what was guessed can be listed, the best of it; of many asks that is seldom so,
    and tried once, where the guess is not good enough.
    """
    world = generator.world
    is_few = len(world.seekers) <= MOST_CLOSED
    if not is_few and _is_good(best):
        return best
    for part in (1.0, 0.125, 0.5, 1.0) if is_few else (1.0,):
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


def _guess(world: World, generated: Generated, wants: Sequence[Want], doubts: Sequence[int] = DOUBTS) -> Choice | None:
    """The best choice of known columns, and the bound; where that is not good enough, more asks are decided on."""
    best: Choice | None = None
    for most in doubts:
        columns = _doubtful(world, generated, most)
        found = master.choose(world, columns, wants, master.expected)
        if found is not None and (best is None or found.objective < best.objective):
            best = found
        best = None if best is None else replace(best, bound=generated.bound)
        if best is not None and _is_good(best):
            break
    return best


def _better(one: Choice | None, other: Choice | None) -> Choice | None:
    if one is None or other is None:
        return one or other
    return other if other.objective < one.objective else one


def _is_good(choice: Choice) -> bool:
    return choice.objective - choice.bound <= GOOD_ENOUGH * choice.objective


def _doubtful(world: World, generated: Generated, most: int) -> list[Column]:
    """All fleets of asks in doubt where asks are few; of many asks those that are least worse."""
    return generated.doubtful(most, None if len(world.seekers) <= MOST_CLOSED else MOST_OF_EACH)


def _short(generator: Generator) -> Result:
    """Service first, stage by stage, as far as the linear program says it goes; then dollars for as much service.

    Where whole fleets do not serve as much, what they serve at most is found stage by stage, too.
    """
    world, aim = generator.world, _dollars(generator.world)
    wants: list[Want] = []
    for priority in master.priorities(world):
        wants += master.stages(world, priority, _serves(generator, wants))
    generated = generator.run(wants, aim)
    best = _guess(world, generated, wants, DOUBTS[:1])
    if best is None:
        doubtful = _doubtful(world, generated, DOUBTS[-1])
        # That all of it can be served is doubtful by now: the last priority is asked stage by stage.
        hoped = [want for want in wants if want.priority != wants[-1].priority]
        wants = master.serve(world, doubtful, hoped=hoped)
        generated = generator.run(wants, aim)
    if best is None or not _is_good(best):
        best = _better(best, _guess(world, generated, wants, DOUBTS[1:]))
    if best is None:
        first = master.choose(world, doubtful, wants, master.expected)
        assert first is not None, "what was served in a stage can be served still"
        best = replace(first, bound=generated.bound)
    choice = _closed(generator, generated, wants, best)
    if len(world.seekers) <= MOST_CLOSED or _is_good(choice):
        return _result(choice)
    enough = (1 - GOOD_ENOUGH) * choice.objective
    bound = splits.bound(generator, wants, replace(aim, penalty=choice.objective), generated, enough)
    return _result(replace(choice, bound=max(choice.bound, bound)))


def _serves(generator: Generator, before: Sequence[Want]) -> master.Serves:
    """By fleets in parts, beside what is wanted before."""
    world = generator.world

    def most(want: Want, kept: Sequence[Want], at_most: int) -> int:
        def reward(number: int, level: int) -> float:
            return float(master.is_wanted(world, number, level, want))

        return count(generator.run([*before, *kept], Aim(0.0, reward, most=at_most)).value)

    def serves(want: Want, kept: Sequence[Want]) -> Want:
        # Who is served at a level is served at those below it, and who runs is served at all.
        below = kept[0 if want.runs else -1].count if kept else len(world.seekers)
        found = replace(want, count=most(want, kept, below))
        top = replace(found, rank=CONTENT)
        is_last = want.runs or want.rank == CONTENT
        return top if not is_last and most(top, [*kept, found], found.count) == found.count else found

    return serves
