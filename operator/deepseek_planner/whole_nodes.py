"""What would serve for less where nobody else uses what a plan leaves idle: fleets by the bill of whole nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from deepseek_planner.beside import Left, held_by_pool
from deepseek_planner.cost import usd_per_accelerators_hour
from deepseek_planner.fleets import fleets
from deepseek_planner.idle import idle_on
from deepseek_planner.market import Buyer, Fleet, Quote
from deepseek_planner.mix.asks import whole
from deepseek_planner.mixing import Mix
from deepseek_planner.options import Option
from deepseek_planner.units import MicroUsd
from deepseek_planner.weighing import Outcome
from deepseek_planner.world import World


def least_billed(
    world: World, outcome: Outcome, chosen: Mix, left: Left, below: MicroUsd
) -> tuple[Fleet, MicroUsd] | None:
    """The fleet of one option on one pool whose whole nodes cost least per hour, and how much; None where none costs
    less than so much.
    """
    buyer, held, best = Buyer(outcome.asked, outcome.requests_per_min), held_by_pool(chosen), None
    for least, _, option, quote in sorted(_bills(outcome), key=lambda entry: entry[:2]):
        if least >= below:
            break
        for fleet in fleets(world.market, buyer, option, (quote,)):
            if not isinstance(fleet, Fleet) or not left.can_pay(fleet) or not left.has_room(fleet, held):
                continue
            billed = _billed(option, quote, fleet.replicas)
            if billed < below:
                best, below = (fleet, billed), billed
    return best


def _bills(outcome: Outcome) -> Iterator[tuple[MicroUsd, tuple[object, ...], Option, Quote]]:
    """At least, for each option on each pool; with what orders those of equal bills."""
    least = max(1, outcome.deployment.constraints.min_replicas)
    for option, quotes in outcome.choices:
        if option.refusal is not None:
            continue
        needed = max(least, whole(outcome.requests_per_min / (option.capacity.rate_per_s * 60)))
        for quote in quotes:
            order = option.loss_rank, option.margin_percent, option.name, quote.offering.pool
            yield _billed(option, quote, needed), order, option, quote


def _billed(option: Option, quote: Quote, replicas: int) -> MicroUsd:
    nodes = option.shape.nodes_per_replica
    sizes = Counter({option.shape.accelerators // nodes: replicas * nodes})
    idle = usd_per_accelerators_hour(quote.offering, idle_on(quote.offering, sizes))
    return MicroUsd(replicas * quote.usd_per_hour + idle)
