"""Facts as data: models, accelerators, prices. Checked whole; every problem is reported at once.

The shipped facts are TOML beside this module. Each row says where it comes from and when that was read.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from copy import copy
from functools import cache
from pathlib import Path
from typing import NamedTuple

from deepseek_planner import catalog_check, catalog_rows
from deepseek_planner.catalog_rows import Interruptions
from deepseek_planner.errors import CatalogError
from deepseek_planner.hardware import Accelerator, CapacityType, InterNode, Offering, Price, PriceGiver
from deepseek_planner.models import ModelSpec
from deepseek_planner.price_list import OwnPrice, best
from deepseek_planner.units import MicroUsd

DATA = Path(__file__).with_name("data")

DEFAULT_MAX_NODES = 16
"""Nodes of one kind that the shipped price list is taken to offer when nobody says how many there are."""

DEFAULT_STARTUP_S = 240.0
"""From asking for a node to a schedulable one; the same prior as a pool's default."""


class Instance(NamedTuple):
    """One instance type in one region: what is in it and what it costs per hour."""

    cloud: str
    region: str
    instance_type: str
    accelerator: str
    accelerators: int
    inter_node: InterNode
    on_demand: Price | None
    spot: Price | None
    reserved: Price | None
    """With a commitment of one year, nothing paid upfront; few lists name it."""
    spot_by_zone: Mapping[str, MicroUsd]
    interruptions_per_node_day: float
    """Of its spot nodes; a prior."""

    def price(self, zone: str, capacity_type: CapacityType) -> Price | None:
        """Price in ``zone`` (a zone id such as ``use1-az4``; others get the region's)."""
        if capacity_type is CapacityType.ON_DEMAND:
            return self.on_demand
        if capacity_type is CapacityType.RESERVED:
            return self.reserved
        if self.spot is None:
            return None
        micro = self.spot_by_zone.get(zone, self.spot.usd_per_node_hour)
        return Price(usd_per_node_hour=micro, source=self.spot.source, as_of=self.spot.as_of)


class Catalog:
    """Look-up of facts by name or alias."""

    def __init__(
        self,
        models: tuple[ModelSpec, ...],
        accelerators: tuple[Accelerator, ...],
        instances: tuple[Instance, ...],
        interruptions: Interruptions,
    ) -> None:
        self._models = {model.name: model for model in models}
        self._accelerators = {accelerator.name: accelerator for accelerator in accelerators}
        self._aliases = {name.lower(): name for name in self._accelerators}
        for accelerator in accelerators:
            self._aliases |= {alias.lower(): accelerator.name for alias in accelerator.aliases}
        self._instances: dict[str, list[Instance]] = {}
        for instance in instances:
            self._instances.setdefault(instance.instance_type, []).append(instance)
        self._interruptions = interruptions
        self._own_prices: tuple[OwnPrice, ...] = ()
        self.price_note = ""
        """What is wrong with one's own prices, so that whoever rests on them is told."""

    def with_prices(self, own: tuple[OwnPrice, ...]) -> Catalog:
        """The same facts with prices of one's own, which come before the shipped ones."""
        changed = copy(self)
        changed._own_prices = own
        return changed

    def with_note(self, note: str) -> Catalog:
        """The same facts and prices, with something to know about the prices."""
        changed = copy(self)
        changed.price_note = note
        return changed

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        return tuple(self._models.values())

    @property
    def accelerators(self) -> tuple[Accelerator, ...]:
        return tuple(self._accelerators.values())

    @property
    def instances(self) -> tuple[Instance, ...]:
        return tuple(instance for group in self._instances.values() for instance in group)

    def model(self, name: str) -> ModelSpec:
        """The model of that catalogue name; raises KeyError."""
        return self._models[name]

    def accelerator(self, name_or_alias: str) -> Accelerator:
        """The accelerator of that name or alias, in any case; raises KeyError."""
        return self._accelerators[self._aliases[name_or_alias.lower()]]

    def instance(self, instance_type: str, zone_or_region: str) -> Instance | None:
        """The listed instance type in the region that ``zone_or_region`` names or lies in."""
        region = region_of(zone_or_region)
        return next((item for item in self._instances.get(instance_type, ()) if item.region == region), None)

    def price(self, instance_type: str, zone_or_region: str, capacity_type: CapacityType) -> Price | None:
        """What a node costs: by one's own prices, else by the shipped list; None where neither names it."""
        place = zone_or_region.lower()
        own = best(self._own_prices, instance_type, (place, region_of(place)), capacity_type)
        instance = self.instance(instance_type, zone_or_region)
        return own or (None if instance is None else instance.price(zone_or_region, capacity_type))

    def interruptions_per_node_day(self, instance_type: str, zone_or_region: str, capacity_type: CapacityType) -> float:
        """How often a node is taken back, as a prior: of this type there, else of spot nodes nobody knows about."""
        if capacity_type is not CapacityType.SPOT:
            return 0.0
        instance = self.instance(instance_type, zone_or_region)
        return self._interruptions.unknown if instance is None else instance.interruptions_per_node_day

    def default_offerings(self) -> tuple[Offering, ...]:
        """What ``plan`` chooses from when nobody names pools: what is listed, on demand and spot.

        Reserved nodes are somebody's: only a pool has them.
        """
        kinds = (CapacityType.ON_DEMAND, CapacityType.SPOT)
        offered = (self._offering(instance, kind) for instance in self.instances for kind in kinds)
        return tuple(offering for offering in offered if offering is not None)

    def _offering(self, instance: Instance, capacity_type: CapacityType) -> Offering | None:
        price = self.price(instance.instance_type, instance.region, capacity_type)
        if price is None:
            return None
        suffix = "-spot" if capacity_type is CapacityType.SPOT else ""
        name = f"{instance.cloud}-{instance.region}-{instance.instance_type}{suffix}"
        return Offering(
            pool=name.lower().replace("_", "-").replace(".", "-").replace("+", "-"),
            accelerator=instance.accelerator,
            gpus_per_node=instance.accelerators,
            capacity_type=capacity_type,
            price=price,
            max_nodes=DEFAULT_MAX_NODES,
            free_gpus_by_node=(),
            intra_node=self._accelerators[instance.accelerator].intra_node,
            inter_node=instance.inter_node,
            zone=instance.region,
            interruptions_per_node_day=self.interruptions_per_node_day(
                instance.instance_type, instance.region, capacity_type
            ),
            startup_s=DEFAULT_STARTUP_S,
        )

    def unused_prices(self, offerings: Iterable[Offering]) -> tuple[OwnPrice, ...]:
        """Prices of one's own that none of the offerings has."""
        used = {id(offering.price) for offering in offerings}
        return tuple(item for item in self._own_prices if id(item.price) not in used)


def price_sources(offerings: Iterable[Offering]) -> tuple[str, ...]:
    """Where the prices of offerings come from, one's own first, each with its date."""
    prices = [offering.price for offering in offerings if offering.price is not None]
    own = _dated(price for price in prices if price.giver is not PriceGiver.LIST)
    return (*own, *(line for line in _dated(prices) if line not in own))


def _dated(prices: Iterable[Price]) -> list[str]:
    return sorted({f"{price.source} ({price.as_of.isoformat()})" for price in prices})


_ZONE_ID_REGIONS = {"use1": "us-east-1", "use2": "us-east-2", "usw1": "us-west-1", "usw2": "us-west-2"}


def region_of(zone_or_region: str) -> str:
    """``us-east-1a``, ``use1-az4`` and ``us-east-1`` -> ``us-east-1``; ``us-central1-b`` -> ``us-central1``."""
    place = zone_or_region.lower()
    prefix, dash, rest = place.partition("-")
    if dash and rest.startswith("az") and prefix in _ZONE_ID_REGIONS:
        return _ZONE_ID_REGIONS[prefix]
    head, dash, tail = place.rpartition("-")
    if dash and len(tail) == 1 and (tail.isalpha() or "-" not in head):
        # GKE writes us-central1-b, AKS writes eastus2-1; a region's own number comes after another dash.
        return head
    if len(place) > 1 and place[-1].isalpha() and place[-2].isdigit():
        return place[:-1]
    return place


def parse(
    models: Mapping[str, object],
    accelerators: Mapping[str, object],
    prices: Mapping[str, object],
) -> Catalog:
    """Tables as TOML gives them -> a checked catalogue; raises CatalogError with every problem."""
    problems: list[str] = []
    model_rows = catalog_rows.models(models, problems)
    accelerator_rows = catalog_rows.accelerators(accelerators, problems)
    interruptions = catalog_rows.interruptions(prices, problems)
    instance_rows = [Instance(**row) for row in catalog_rows.instances(prices, interruptions, problems)]
    problems += catalog_check.problems(model_rows, accelerator_rows)
    names = {accelerator.name for accelerator in accelerator_rows}
    problems += [
        f"prices: {item.instance_type}: accelerator {item.accelerator!r} is not in accelerators.toml"
        for item in instance_rows
        if item.accelerator not in names
    ]
    if problems:
        raise CatalogError(tuple(problems))
    return Catalog(tuple(model_rows), tuple(accelerator_rows), tuple(instance_rows), interruptions)


@cache
def load() -> Catalog:
    """The shipped catalogue, read and checked once per process."""
    names = ("models", "accelerators", "prices")
    tables = [tomllib.loads((DATA / f"{name}.toml").read_text(encoding="utf-8")) for name in names]
    return parse(*tables)
