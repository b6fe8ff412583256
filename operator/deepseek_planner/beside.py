"""What else would serve a deployment beside the fleets of the others, and what would but for these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge

from deepseek_planner.budgets import per_million_tokens, served_requests_per_min
from deepseek_planner.hardware import CapacityType
from deepseek_planner.market import Fleet
from deepseek_planner.mixing import Mix
from deepseek_planner.models import Precision
from deepseek_planner.options import Option
from deepseek_planner.plan import Alternative, Rejection, RejectionReason
from deepseek_planner.supply import Supply
from deepseek_planner.units import MicroUsd, format_usd
from deepseek_planner.weighing import Outcome, beaten
from deepseek_planner.world import World

Kind = tuple[str, str]
"""Model and accelerator."""
Make = tuple[str, str, Precision]
"""Model, accelerator and precision: other shardings of them teach nobody anything."""


@dataclass(frozen=True, slots=True)
class Left:
    """What the fleets of the others leave to one deployment."""

    supply: Supply | None = None
    """Beside its own fleet, too; None: everything."""
    usd_per_hour: MicroUsd | None = None
    """Of the cluster's limit; None: there is none."""

    def can_pay(self, fleet: Fleet) -> bool:
        return self.usd_per_hour is None or fleet.usd_per_hour <= self.usd_per_hour

    def has_room(self, fleet: Fleet, chosen: Mapping[str, int]) -> bool:
        """In place of the chosen one, which holds so many accelerators by pool."""
        if self.supply is None:
            return True
        shape = fleet.option.shape
        for offering, count in fleet.parts:
            room = self.supply.replicas(offering, shape)
            if room < count and room + chosen.get(offering.pool, 0) // shape.accelerators < count:
                return False
        return True


def supply_left(supply: Supply, fleets: Iterable[Mix]) -> Supply:
    """What all the fleets leave: the largest replicas are placed first, so that all find room."""
    lots = [lot for fleet in fleets for lot in fleet.lots]
    left = supply.copy()
    for lot in sorted(lots, key=lambda lot: (-lot.option.shape.nodes_per_replica, -lot.option.shape.accelerators)):
        left.take(lot.offering, lot.option.shape, lot.replicas)
    return left


def alternatives(world: World, outcome: Outcome, chosen: Mix, left: Left) -> Iterator[Alternative]:
    """The next best of each model, accelerator and capacity type, and each precision that costs the same."""
    kinds = {(*_kind(lot.option), lot.offering.capacity_type) for lot in chosen.lots}
    seen = kinds if len(kinds) == 1 else set[tuple[str, str, CapacityType]]()
    told = {_make(lot.option.model, lot.option.shape.accelerator, lot.option.shape.precision) for lot in chosen.lots}
    rate = served_requests_per_min(outcome.deployment)
    as_dear, held = _as_dear(world, outcome, chosen), held_by_pool(chosen)
    for fleet in merge(outcome.fleets, as_dear, key=lambda fleet: fleet.order) if as_dear else outcome.fleets:
        option, kind = fleet.option, (*_kind(fleet.option), fleet.capacity_type)
        make = _make(option.model, option.shape.accelerator, option.shape.precision)
        is_news = kind not in seen or (fleet.usd_per_hour == chosen.usd_per_hour and make not in told)
        if not is_news or not left.can_pay(fleet) or not left.has_room(fleet, held):
            continue
        seen.add(kind)
        if tuple(sorted((option.name, item.pool, count) for item, count in fleet.parts)) == chosen.parts:
            continue
        told.add(make)
        yield Alternative(
            name=f"{fleet.replicas} x {option.name}",
            capacity_type=fleet.capacity_type,
            usd_per_hour=fleet.usd_per_hour,
            usd_per_million_tokens=per_million_tokens(outcome.asked, fleet.usd_per_hour, rate),
            accelerator=option.shape.accelerator,
        )


def held_by_pool(chosen: Mix) -> dict[str, int]:
    """Accelerators."""
    held: dict[str, int] = {}
    for lot in chosen.lots:
        held[lot.offering.pool] = held.get(lot.offering.pool, 0) + lot.replicas * lot.option.shape.accelerators
    return held


def _kind(option: Option) -> Kind:
    return option.model, option.shape.accelerator


def _make(model: str, accelerator: str, precision: Precision) -> Make:
    return model, accelerator, precision


def _as_dear(world: World, outcome: Outcome, chosen: Mix) -> list[Fleet]:
    """Of what was no offer because something carries as much for as many dollars: what costs the same as the chosen."""
    shapes = {(lot.option.model, lot.option.shape) for lot in chosen.lots}
    if len(shapes) != 1:
        return []
    fleets = beaten(world, outcome, chosen.lots[0].option, most=chosen.replicas)
    as_dear = [fleet for fleet in fleets if fleet.usd_per_hour == chosen.usd_per_hour]
    return sorted(as_dear, key=lambda fleet: fleet.order)


def crowded_out(fleets: Iterable[Fleet], chosen: Mix, left: Left, *, is_budget: bool) -> Iterator[Rejection]:
    """The best of each model and accelerator that would serve but for what other deployments hold, or for the limit of
    the whole cluster; ``is_budget``: that is what is short.
    """
    no_room, too_dear, held = set[Kind](), set[Kind](), held_by_pool(chosen)
    for fleet in fleets:
        if not left.has_room(fleet, held):
            said, refused = no_room, _held
        elif is_budget or not left.can_pay(fleet):
            said, refused = too_dear, over_limit
        else:
            continue
        kind = _kind(fleet.option)
        if kind not in said:
            said.add(kind)
            yield refused(fleet)


def _held(fleet: Fleet) -> Rejection:
    dollars = format_usd(fleet.usd_per_hour)
    return Rejection(
        fleet.option.name,
        RejectionReason.NOT_ENOUGH_NODES,
        f"{fleet.replicas} of them would serve for ${dollars}/h, and other deployments hold the room",
        fleet.replicas,
        unit="replicas",
        accelerator=fleet.option.shape.accelerator,
        usd_per_hour=fleet.usd_per_hour,
    )


def over_limit(fleet: Fleet) -> Rejection:
    """The refusal of what costs more than the cluster's limit leaves."""
    name = fleet.option.name
    return Rejection(
        name,
        RejectionReason.CLUSTER_BUDGET,
        f"{fleet.replicas} x {name} {fleet.capacity_type} = ${format_usd(fleet.usd_per_hour)}/h, "
        "more than the cluster's limit leaves",
        fleet.usd_per_hour / 1e6,
        unit="USD/h",
        accelerator=fleet.option.shape.accelerator,
        usd_per_hour=fleet.usd_per_hour,
    )
