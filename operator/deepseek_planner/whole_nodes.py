"""What would serve for less where nobody else uses what a plan leaves idle: fleets by the bill of whole nodes.

The bill is that of all deployments together: a node that one of them leaves is paid for while another stays on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from deepseek_planner.beside import Left, held_by_pool
from deepseek_planner.fleets import fleets
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.idle import idle_usd_per_hour, parts_of
from deepseek_planner.market import Buyer, Fleet, Quote
from deepseek_planner.mixing import Mix
from deepseek_planner.options import Option
from deepseek_planner.units import MicroUsd, whole
from deepseek_planner.weighing import Outcome
from deepseek_planner.world import World

LEAST_USD_PER_HOUR = MicroUsd(10_000)
"""Less is not worth a word: it would be shown as nothing."""


def largest_saving(
    world: World, outcome: Outcome, chosen: Mix, left: Left, others: Mapping[str, Counter[int]]
) -> tuple[Fleet, MicroUsd] | None:
    """The fleet of one option on one pool that would save most of the bill of whole nodes, and how much per hour; None
    where none would. ``others``: what the other fleets hold, by pool, as parts of replicas by size.
    """
    bill = _Bill(chosen, others)
    buyer, held, best, saved = Buyer(outcome.asked, outcome.requests_per_min), held_by_pool(chosen), None, 0
    for most, _, option, quote in sorted(_savings(outcome, bill), key=lambda entry: (-entry[0], entry[1])):
        if most <= max(saved, LEAST_USD_PER_HOUR - 1):
            break
        for fleet in fleets(world.market, buyer, option, (quote,)):
            if isinstance(fleet, Fleet) and left.can_pay(fleet) and left.has_room(fleet, held):
                saves = bill.saved(option, quote, fleet.replicas)
                if saves > max(saved, LEAST_USD_PER_HOUR - 1):
                    best, saved = (fleet, MicroUsd(saves)), saves
    return best


class _Bill:
    """What is paid per hour for the nodes of a fleet and of those that others hold parts of."""

    def __init__(self, chosen: Mix, others: Mapping[str, Counter[int]]) -> None:
        self._others = others
        own: dict[str, Counter[int]] = {}
        pools: dict[str, Offering] = {}
        now = 0
        for lot in chosen.lots:
            pool = lot.offering.pool
            pools[pool] = lot.offering
            own.setdefault(pool, Counter()).update(parts_of(lot.option.shape, lot.replicas))
            now += _charged(lot.offering, lot.usd_per_hour)
        now += sum(idle_usd_per_hour(pools[pool], self._beside(pool) + sizes) for pool, sizes in own.items())
        self._now = now
        self._without = {pool: idle_usd_per_hour(pools[pool], self._beside(pool)) for pool in own}

    def _beside(self, pool: str) -> Counter[int]:
        return self._others.get(pool, Counter())

    def saved(self, option: Option, quote: Quote, replicas: int) -> int:
        """Of it, with so many of these instead."""
        offering = quote.offering
        beside = self._beside(offering.pool)
        then = _charged(offering, MicroUsd(replicas * quote.usd_per_hour))
        then += idle_usd_per_hour(offering, beside + parts_of(option.shape, replicas))
        if offering.pool not in self._without:
            then -= idle_usd_per_hour(offering, beside)
        then += sum(usd for pool, usd in self._without.items() if pool != offering.pool)
        return self._now - then


def _charged(offering: Offering, usd: MicroUsd) -> int:
    """What is reserved is paid for whether it is held or not."""
    return 0 if offering.capacity_type is CapacityType.RESERVED else usd


def _savings(outcome: Outcome, bill: _Bill) -> Iterator[tuple[int, tuple[object, ...], Option, Quote]]:
    """At most, for each option on each pool; with what orders those that save as much."""
    least = max(1, outcome.deployment.constraints.min_replicas)
    for option, quotes in outcome.choices:
        if option.refusal is not None:
            continue
        needed = max(least, whole(outcome.requests_per_min / (option.capacity.rate_per_s * 60)))
        for quote in quotes:
            order = option.loss_rank, option.margin_percent, option.name, quote.offering.pool
            yield bill.saved(option, quote, needed), order, option, quote
