"""Asks made ready to be searched."""

from __future__ import annotations

from deepseek_planner.allocation import Ask
from deepseek_planner.mix import by_length, even
from deepseek_planner.mix.asks import FULL, PARTS, Item, Mode, Seeker
from deepseek_planner.mix.packing import Rows
from deepseek_planner.plan import Routing


def seeker(ask: Ask, number: int, rows: Rows) -> Seeker:
    """Without offers that have no room, or that another one of the same pool beats in everything."""
    routing = even if ask.routing is Routing.EVEN else by_length
    items, modes = routing.found(ask, rows)
    if len(modes) > len(PARTS):
        modes[FULL] += _kept(ask, items, modes[FULL - 1])
    return Seeker(ask, number, items, ((), *modes))


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
