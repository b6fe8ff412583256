"""Asks made ready to be searched."""

from __future__ import annotations

from deepseek_planner.allocation import Ask
from deepseek_planner.mix import by_length, even
from deepseek_planner.mix.asks import FULL, PARTS, Item, Mode, Seeker
from deepseek_planner.mix.lattice import Counts, fits, holds, spot_is_within
from deepseek_planner.mix.packing import Rows
from deepseek_planner.mix.spread import Spread
from deepseek_planner.snapshot import Routing
from deepseek_planner.units import whole


def seeker(ask: Ask, number: int, rows: Rows) -> Seeker:
    """Without offers that have no room, or that another one of the same pool beats in everything.

    Where a move is under way and what it ends with carries the rate, that comes before everything else.
    """
    routing = even if ask.routing is Routing.EVEN else by_length
    items, modes = routing.found(ask, rows)
    if len(modes) > len(PARTS):
        modes[FULL] += _kept(ask, items, modes[FULL - 1])
    found = Seeker(ask, number, items, ((), *modes))
    end = _end(found, rows)
    return found if end is None else found._replace(modes=(*found.modes, (end,)), ending=len(found.modes))


def _kept(ask: Ask, items: tuple[Item, ...], modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
    """The same modes for a fleet that keeps all that runs."""
    places = {item.index: position for position, item in enumerate(items)}
    running = {places[index]: count for index, count in ask.running.items() if index in places and count > 0}
    if not running or len(running) < sum(1 for count in ask.running.values() if count > 0):
        return ()
    floors = tuple(running.get(position, 0) for position in range(len(items)))
    return tuple(
        Mode(mode.allowed, mode.need, mode.allowed, floors, mode.rates)
        for mode in modes
        if set(running) <= set(mode.allowed)
    )


def _end(found: Seeker, rows: Rows) -> Mode | None:
    """What a move under way ends with, and nothing else; None where it would not serve as is asked for."""
    ask, items = found.ask, found.items
    counts = tuple(ask.ends.get(item.index, 0) for item in items)
    used = tuple(place for place, count in enumerate(counts) if count)
    if not used or sum(counts) < max(sum(ask.ends.values()), ask.min_replicas):
        return None
    mode = _carrying(found, used, counts)
    if mode is None or not fits(found, counts, rows) or not holds(found, FULL, counts):
        return None
    return mode if spot_is_within(found, counts, by_weight=not mode.need) else None


def _carrying(found: Seeker, used: tuple[int, ...], counts: Counts) -> Mode | None:
    """The mode of exactly these replicas; None where they do not carry the rate."""
    ask = found.ask
    offers = [found.items[place].offer for place in used]
    if ask.routing is Routing.EVEN or len({offer.option for offer in offers}) == 1:
        least = min(offer.capacity_per_s for offer in offers)
        is_carried = least > 0 and whole(ask.requests_per_s / least) <= sum(counts)
        return Mode(used, sum(counts), used, counts) if is_carried else None
    mode = Mode(used, 0, used, counts, ask.class_rates_per_s)
    return mode if Spread(found).serves(mode, counts) else None
