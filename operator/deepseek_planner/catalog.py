"""Facts as data: models, accelerators, prices. Checked whole; every problem is reported at once.

The shipped facts are TOML beside this module. Each row says where it comes from and when that was read.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deepseek_planner import catalog_check, catalog_rows
from deepseek_planner.catalog_rows import Calibration
from deepseek_planner.errors import CatalogError
from deepseek_planner.hardware import Accelerator, CapacityType, InterNode, Offering, Price
from deepseek_planner.models import ModelSpec
from deepseek_planner.units import MicroUsd

DATA = Path(__file__).with_name("data")

DEFAULT_MAX_NODES = 16
"""Nodes of one kind that the shipped price list is taken to offer when nobody says how many there are."""

DEFAULT_STARTUP_S = 240.0
"""From asking for a node to a schedulable one; the same prior as a pool's default."""

DEFAULT_SPOT_INTERRUPTIONS_PER_NODE_DAY = 0.4
"""Prior for spot nodes without a history: between the AWS advisor's middle bands, rounded up."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance type in one region: what is in it and what it costs per hour."""

    cloud: str
    region: str
    instance_type: str
    accelerator: str
    accelerators: int
    inter_node: InterNode
    on_demand: Price | None
    spot: Price | None
    spot_by_zone: Mapping[str, MicroUsd]

    def price(self, zone: str, capacity_type: CapacityType) -> Price | None:
        """Price in ``zone`` (a zone id such as ``use1-az4``; others get the region's). Reserved: unknown."""
        if capacity_type is CapacityType.ON_DEMAND:
            return self.on_demand
        if capacity_type is CapacityType.RESERVED or self.spot is None:
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
        calibrations: tuple[Calibration, ...],
    ) -> None:
        self._models = {model.name: model for model in models}
        self._accelerators = {accelerator.name: accelerator for accelerator in accelerators}
        self._aliases = {name.lower(): name for name in self._accelerators}
        for accelerator in accelerators:
            self._aliases |= {alias.lower(): accelerator.name for alias in accelerator.aliases}
        self._instances: dict[str, list[Instance]] = {}
        for instance in instances:
            self._instances.setdefault(instance.instance_type, []).append(instance)
        self.calibrations = calibrations

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
        """List price of a node, or None where the shipped list has none."""
        instance = self.instance(instance_type, zone_or_region)
        return None if instance is None else instance.price(zone_or_region, capacity_type)

    def default_offerings(self) -> tuple[Offering, ...]:
        """What ``plan`` chooses from when nobody names pools: the shipped list, on demand and spot."""
        return tuple(_offerings(self.instances, self._accelerators))

    def price_sources(self) -> tuple[str, ...]:
        """Where the shipped prices come from, each with its date."""
        prices = [price for item in self.instances for price in (item.on_demand, item.spot) if price is not None]
        return tuple(sorted({f"{price.source} ({price.as_of.isoformat()})" for price in prices}))


def _offerings(instances: tuple[Instance, ...], accelerators: Mapping[str, Accelerator]) -> Iterator[Offering]:
    for instance in instances:
        for capacity_type in (CapacityType.ON_DEMAND, CapacityType.SPOT):
            price = instance.price("", capacity_type)
            if price is None:
                continue
            is_spot = capacity_type is CapacityType.SPOT
            suffix = "-spot" if is_spot else ""
            name = f"{instance.cloud}-{instance.region}-{instance.instance_type}{suffix}"
            yield Offering(
                pool=name.lower().replace("_", "-").replace(".", "-").replace("+", "-"),
                accelerator=instance.accelerator,
                gpus_per_node=instance.accelerators,
                capacity_type=capacity_type,
                price=price,
                max_nodes=DEFAULT_MAX_NODES,
                free_gpus_by_node=(),
                intra_node=accelerators[instance.accelerator].intra_node,
                inter_node=instance.inter_node,
                zone=instance.region,
                interruptions_per_node_day=DEFAULT_SPOT_INTERRUPTIONS_PER_NODE_DAY if is_spot else 0.0,
                startup_s=DEFAULT_STARTUP_S,
            )


_ZONE_ID_REGIONS = {"use1": "us-east-1", "use2": "us-east-2", "usw1": "us-west-1", "usw2": "us-west-2"}


def region_of(zone_or_region: str) -> str:
    """``us-east-1a``, ``use1-az4`` and ``us-east-1`` -> ``us-east-1``; ``us-central1-b`` -> ``us-central1``."""
    place = zone_or_region.lower()
    prefix, dash, rest = place.partition("-")
    if dash and rest.startswith("az") and prefix in _ZONE_ID_REGIONS:
        return _ZONE_ID_REGIONS[prefix]
    head, dash, tail = place.rpartition("-")
    if dash and len(tail) == 1 and (tail.isalpha() or head.isalpha()):
        # GKE writes us-central1-b, AKS writes eastus-2; a region's own number is never alone after letters only.
        return head
    if len(place) > 1 and place[-1].isalpha() and place[-2].isdigit():
        return place[:-1]
    return place


def parse(
    models: Mapping[str, object],
    accelerators: Mapping[str, object],
    prices: Mapping[str, object],
    calibrations: Mapping[str, object],
) -> Catalog:
    """Tables as TOML gives them -> a checked catalogue; raises CatalogError with every problem."""
    problems: list[str] = []
    model_rows = catalog_rows.models(models, problems)
    accelerator_rows = catalog_rows.accelerators(accelerators, problems)
    instance_rows = [Instance(**row) for row in catalog_rows.instances(prices, problems)]
    calibration_rows = catalog_rows.calibrations(calibrations, problems)
    problems += catalog_check.problems(model_rows, accelerator_rows, calibration_rows)
    names = {accelerator.name for accelerator in accelerator_rows}
    problems += [
        f"prices: {item.instance_type}: accelerator {item.accelerator!r} is not in accelerators.toml"
        for item in instance_rows
        if item.accelerator not in names
    ]
    if problems:
        raise CatalogError(tuple(problems))
    return Catalog(tuple(model_rows), tuple(accelerator_rows), tuple(instance_rows), tuple(calibration_rows))


@cache
def load() -> Catalog:
    """The shipped catalogue, read and checked once per process."""
    names = ("models", "accelerators", "prices", "calibration")
    tables = [tomllib.loads((DATA / f"{name}.toml").read_text(encoding="utf-8")) for name in names]
    return parse(*tables)
