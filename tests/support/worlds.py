"""Worlds from a seed: pools of nodes with the shipped list's prices, and deployments that compete for them.

The same arguments give the same world. :func:`world` makes clusters of any size, as a company would have them: many
small models, some large ones, a few giants, each with lengths, rates and targets of its own. :func:`small_world` makes
clusters so tight that pools, budgets and spot shares bind. :func:`small_problem` makes the search's bare questions,
so small that everything can be tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from random import Random

from deepseek_planner.allocation import Ask, Offer, PoolRoom, Problem
from deepseek_planner.catalog import Catalog, Instance
from deepseek_planner.demand import AccuracyClass, Demand, LatencyTarget, LengthBucket, LengthDistribution, Objectives
from deepseek_planner.hardware import CapacityType, Offering, Price
from deepseek_planner.snapshot import Constraints, DeploymentInput, DeploymentKey, Routing, Snapshot
from deepseek_planner.units import MICRO_PER_USD, MicroUsd

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
NAMESPACES = tuple(f"team-{letter}" for letter in "abcdefghij")
NODES_PER_POOL = 25
MIN_POOLS, MAX_POOLS = 4, 40
RESERVED_PRICE = 0.6
"""Of the on-demand price: about a one-year commitment's."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Deployments of one sort: how many of all, which models, and how much load each has."""

    share: float
    models: tuple[str, ...]
    requests_per_min: tuple[float, float]
    usd_per_hour: tuple[float, float]


KINDS = (
    Kind(
        0.75,
        ("deepseek-r1-distill-qwen-7b", "deepseek-r1-distill-llama-8b", "deepseek-r1-distill-qwen-14b"),
        (2.0, 300.0),
        (5.0, 60.0),
    ),
    Kind(0.17, ("deepseek-r1-distill-qwen-32b", "deepseek-v2-lite"), (2.0, 200.0), (10.0, 80.0)),
    Kind(0.05, ("deepseek-r1-distill-llama-70b",), (2.0, 100.0), (20.0, 120.0)),
    Kind(0.03, ("deepseek-v3", "deepseek-r1", "deepseek-v3.1"), (5.0, 120.0), (60.0, 250.0)),
)
"""Load is drawn evenly over its logarithm: most have little."""

WORKLOADS = (("chat", 500.0, 250.0), ("answers from documents", 3000.0, 300.0), ("code", 1500.0, 120.0))
"""Mean prompt and answer, in tokens; each deployment has its own, around these."""
LONGEST_INPUT, LONGEST_OUTPUT = 16384, 4096


def world(seed: int, catalog: Catalog, *, deployments: int = 1000, nodes: int = 1000) -> Snapshot:
    """A cluster with so many deployments and nodes; the first nodes and deployments of a larger one are others."""
    random = Random(f"{seed}/{deployments}/{nodes}")
    instances = sorted(_hosts(catalog), key=lambda item: (item.cloud, item.region, item.instance_type))
    count = min(MAX_POOLS, max(MIN_POOLS, nodes // NODES_PER_POOL))
    sizes = _split(random, nodes, count)
    offerings = tuple(
        _pool(random, catalog, random.choice(instances), f"pool-{index:03}", size) for index, size in enumerate(sizes)
    )
    asked = tuple(_deployment(random, f"model-{index:04}") for index in range(deployments))
    return Snapshot(now=NOW, deployments=asked, offerings=offerings)


def small_world(seed: int, catalog: Catalog, *, deployments: int = 2, pools: int = 3, nodes: int = 3) -> Snapshot:
    """A few deployments on a few scarce pools, with budgets that bind."""
    random = Random(f"small {seed}/{deployments}/{pools}/{nodes}")
    instances = [item for item in _hosts(catalog) if item.accelerator in {"l4", "a10g", "l40s", "a100-80gb", "h100"}]
    instances.sort(key=lambda item: (item.cloud, item.region, item.instance_type))
    offerings = tuple(
        _pool(random, catalog, random.choice(instances), f"pool-{index}", random.randint(1, nodes))
        for index in range(pools)
    )
    small = Kind(1.0, ("deepseek-r1-distill-qwen-7b", "deepseek-r1-distill-qwen-14b"), (20.0, 900.0), (2.0, 40.0))
    asked = tuple(_deployment(random, f"model-{index}", kinds=(small,)) for index in range(deployments))
    return Snapshot(now=NOW, deployments=asked, offerings=offerings)


def _hosts(catalog: Catalog) -> list[Instance]:
    """Listed instances with accelerators that have a price on demand."""
    return [item for item in catalog.instances if item.on_demand is not None and item.accelerator != "cpu"]


def _split(random: Random, total: int, parts: int) -> list[int]:
    """``total`` as so many positive numbers of unequal size."""
    cuts = sorted(random.sample(range(1, total), parts - 1)) if total > parts else list(range(1, total))
    return [after - before for before, after in zip([0, *cuts], [*cuts, total], strict=True)]


def _pool(random: Random, catalog: Catalog, instance: Instance, name: str, nodes: int) -> Offering:
    kind, price = _price(random, instance)
    existing = random.randint(0, nodes)
    free = sorted((_free(random, instance.accelerators) for _ in range(existing)), reverse=True)
    return Offering(
        pool=name,
        accelerator=instance.accelerator,
        gpus_per_node=instance.accelerators,
        capacity_type=kind,
        price=price,
        max_nodes=nodes,
        free_gpus_by_node=tuple(free),
        intra_node=catalog.accelerator(instance.accelerator).intra_node,
        inter_node=instance.inter_node,
        zone=f"{instance.region}{random.choice('abc')}",
        interruptions_per_node_day=random.choice((0.1, 0.4, 1.0)) if kind is CapacityType.SPOT else 0.0,
        startup_s=240.0,
        allowed_namespaces=tuple(sorted(random.sample(NAMESPACES, 3))) if random.random() < 0.1 else (),
    )


def _price(random: Random, instance: Instance) -> tuple[CapacityType, Price]:
    """Half on demand, a third spot where it is sold, the rest reserved."""
    assert instance.on_demand is not None
    draw = random.random()
    if draw < 0.35 and instance.spot is not None:
        return CapacityType.SPOT, instance.spot
    if draw < 0.85:
        return CapacityType.ON_DEMAND, instance.on_demand
    micro = MicroUsd(int(instance.on_demand.usd_per_node_hour * RESERVED_PRICE))
    return CapacityType.RESERVED, Price(micro, "a contract", date(2026, 11, 1))


def _free(random: Random, accelerators: int) -> int:
    """Accelerators of a node that foreign pods leave: on one node in ten some are taken."""
    return random.randint(0, accelerators) if random.random() < 0.1 else accelerators


def _deployment(random: Random, name: str, *, kinds: Sequence[Kind] = KINDS) -> DeploymentInput:
    kind = random.choices(kinds, weights=[item.share for item in kinds])[0]
    expected = _between(random, kind.requests_per_min)
    budget = MicroUsd(int(_between(random, kind.usd_per_hour) * MICRO_PER_USD))
    return DeploymentInput(
        key=DeploymentKey(random.choice(NAMESPACES), name),
        generation=1,
        model=random.choice(kind.models),
        demand=_demand(random, expected),
        objectives=Objectives(
            time_to_first_token=random.choice((None, LatencyTarget(95, 1.0), LatencyTarget(95, 3.0))),
            time_per_output_token=random.choice((LatencyTarget(95, 0.05), LatencyTarget(95, 0.1))),
            accuracy_class=random.choice(tuple(AccuracyClass)),
            max_usd_per_hour=budget,
            max_usd_per_million_tokens=MicroUsd(20 * MICRO_PER_USD) if random.random() < 0.2 else None,
            priority=random.choice((0, 0, 0, 1, 2)),
        ),
        constraints=Constraints(
            max_spot_percent=random.choice((0, 50, 100, 100)), min_replicas=random.choice((1, 1, 1, 2))
        ),
    )


def _demand(random: Random, expected: float) -> Demand:
    _, prompt, answer = random.choice(WORKLOADS)
    return Demand(
        expected_requests_per_min=round(expected, 1),
        peak_requests_per_min=round(expected * random.choice((1.0, 1.5, 3.0)), 1),
        input_tokens=_lengths(prompt * random.uniform(0.5, 1.4), LONGEST_INPUT),
        output_tokens=_lengths(answer * random.uniform(0.5, 1.4), LONGEST_OUTPUT),
    )


def _lengths(mean: float, longest: int) -> LengthDistribution:
    """Three buckets of that mean, one request in twenty far above it."""
    return LengthDistribution(
        (
            LengthBucket(int(mean), 0.55 * mean, 0.65),
            LengthBucket(int(3 * mean), 1.5 * mean, 0.30),
            LengthBucket(longest, 3.85 * mean, 0.05),
        )
    )


def _between(random: Random, limits: tuple[float, float]) -> float:
    """Evenly over the logarithm."""
    low, high = limits
    return low * math.exp(random.random() * math.log(high / low))


def small_problem(seed: int, *, routing: Routing, asks: int = 2, pools: int = 3) -> Problem:
    """The solver's question alone: pools, budgets, spot shares and numbers of replicas bind now and then."""
    random = Random(f"problem {seed}/{routing}/{asks}/{pools}")
    rooms = tuple(_room(random, f"pool-{index}") for index in range(pools))
    made = tuple(_ask(random, f"model-{index}", rooms, routing) for index in range(asks))
    limit = MicroUsd(random.randint(1, 60) * MICRO_PER_USD) if random.random() < 0.4 else None
    return Problem(made, rooms, limit)


def _room(random: Random, pool: str) -> PoolRoom:
    size = random.choice((1, 2, 4))
    free = [random.choice((size, size, random.randint(0, size))) for _ in range(random.randint(1, 3))]
    return PoolRoom(pool, size, tuple(sorted(free, reverse=True)))


def _ask(random: Random, name: str, rooms: Sequence[PoolRoom], routing: Routing) -> Ask:
    by_length = routing is Routing.BY_LENGTH
    rates = tuple(round(random.uniform(0.5, 4.0), 2) for _ in range(3)) if by_length else ()
    total = sum(rates) if by_length else round(random.uniform(1.0, 10.0), 2)
    offers = tuple(_offers(random, rooms, total, rates))
    share = random.choice((0, 50, 100))
    return Ask(
        key=DeploymentKey("team-a", name),
        requests_per_s=total,
        class_rates_per_s=rates,
        offers=offers,
        routing=routing,
        min_replicas=random.choice((1, 1, 2)),
        max_replicas=random.choice((2, 4, 6)),
        max_usd_per_hour=MicroUsd(random.randint(4, 60) * MICRO_PER_USD),
        max_spot_percent=share,
        priority=random.choice((0, 0, 1)),
    )


def _offers(random: Random, rooms: Sequence[PoolRoom], total: float, rates: tuple[float, ...]) -> Iterator[Offer]:
    for option, size in enumerate(random.sample((1, 1, 2, 4), k=2)):
        capacity = round(size * random.uniform(0.5, 3.0), 2)
        # The heaviest class is for some options only.
        loads = [random.uniform(0.3, 1.5) / capacity for _ in rates]
        if loads and random.random() < 0.4:
            loads[-1] = math.inf
        for index, room in enumerate(rooms):
            if size > room.gpus_per_node or random.random() < 0.25:
                continue
            kind = (CapacityType.SPOT, CapacityType.ON_DEMAND, CapacityType.RESERVED)[index % 3]
            price = MicroUsd(size * random.randint(200, 400) * 10_000)
            factor = {CapacityType.SPOT: 1.02, CapacityType.ON_DEMAND: 1.0, CapacityType.RESERVED: 0.0}[kind]
            yield Offer(
                option=option,
                pool=room.pool,
                capacity_type=kind,
                usd_per_hour=price,
                expected_usd_per_hour=MicroUsd(int(price * factor)),
                accelerators=size,
                nodes=1,
                capacity_per_s=0.0 if loads and math.isinf(loads[-1]) else capacity,
                loads=tuple(loads),
                rank=(option,),
            )
