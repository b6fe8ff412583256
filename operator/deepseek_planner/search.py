"""The cheapest feasible placement of every deployment, over all pools at once.

Deployments are served by priority, then by key; what one takes is gone for the next. Today's fleets have one shape
each (:mod:`fleets`); a mix of shapes will be one more kind of fleet that :func:`find` weighs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from deepseek_planner import cost, eligibility, prices, remedy
from deepseek_planner.candidates import Bought, Load, Weighed, candidates
from deepseek_planner.catalog import Catalog
from deepseek_planner.digest import digest
from deepseek_planner.fleets import Fleet, Market, fleets, over_budget, placements, served_requests_per_min
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.models import ModelSpec
from deepseek_planner.options import Gate, Option, Wiring, request, weigh
from deepseek_planner.plan import (
    Alternative,
    DeploymentInput,
    DeploymentKey,
    DeploymentPlan,
    EngineGroup,
    Plan,
    Policy,
    Rejection,
    Shape,
    Snapshot,
)
from deepseek_planner.service import lengths
from deepseek_planner.supply import Supply
from deepseek_planner.units import MicroUsd


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the search found for one deployment under its limits."""

    fleets: tuple[Fleet, ...]
    """Feasible ones, best first."""
    rejections: tuple[Rejection, ...]
    weighed: tuple[Weighed, ...]
    """Every shape on every kind of node, where alternatives are explained."""


@dataclass(frozen=True, slots=True)
class World:
    """What all deployments of a snapshot share."""

    catalog: Catalog
    offerings: tuple[Offering, ...]
    market: Market
    explains: bool
    """Whether every alternative is kept, with its dollars: it takes longer."""


def plan(snapshot: Snapshot, catalog: Catalog, policy: Policy, *, explains: bool = False) -> Plan:
    """Plans of all deployments. Same snapshot, same plan, whatever the order of what is in it.

    With ``explains`` each holds its candidates: all that was weighed, in dollars.
    """
    offerings = tuple(sorted(snapshot.offerings, key=lambda offering: offering.pool))
    world = World(catalog, offerings, Market(snapshot, policy, Supply(offerings)), explains)
    # What no plan will change keeps what it holds, whatever its priority: a resource that cannot be read, a paused one.
    known = {deployment.key for deployment in snapshot.deployments}
    _keep(world, (group for group in snapshot.fleet.groups if group.key not in known))
    plans: dict[DeploymentKey, DeploymentPlan] = {}
    for deployment in sorted(snapshot.deployments, key=_turn):
        plans[deployment.key] = _deployment(world, deployment)
    return Plan({key: plans[key] for key in sorted(plans)})


def _turn(deployment: DeploymentInput) -> tuple[bool, int, DeploymentKey]:
    return not deployment.paused, -deployment.objectives.priority, deployment.key


def _keep(world: World, groups: Iterable[EngineGroup]) -> None:
    """Hold the accelerators of engines that stay."""
    pools = {offering.pool: offering for offering in world.offerings}
    for group in groups:
        if group.pool in pools:
            offering = pools[group.pool]
            room = world.market.supply.replicas(offering, group.shape)
            world.market.supply.take(offering, group.shape, min(room, group.paid_replicas))


def _deployment(world: World, deployment: DeploymentInput) -> DeploymentPlan:
    rate, source = eligibility.planned_rate(world.offerings, deployment, world.market.policy)
    outcome = find(world, deployment)
    base = DeploymentPlan(
        key=deployment.key,
        model=deployment.model,
        placements=(),
        usd_per_hour=MicroUsd(0),
        usd_per_million_tokens=MicroUsd(0),
        prediction=None,
        demand_source=source,
        planned_requests_per_min=rate,
        alternatives=(),
        rejections=outcome.rejections,
    )
    if not outcome.fleets:
        change = remedy.smallest_change(deployment, outcome.rejections, lambda changed: _best(find(world, changed)))
        planned = replace(base, smallest_change=change)
    else:
        best = outcome.fleets[0]
        if not deployment.paused:
            for offering, count in best.parts:
                world.market.supply.take(offering, best.option.shape, count)
        planned = replace(
            base,
            placements=placements(best),
            usd_per_hour=best.usd_per_hour,
            usd_per_million_tokens=best.usd_per_million_tokens,
            prediction=best.option.prediction(rate / 60, replicas=best.replicas),
            alternatives=tuple(_alternatives(outcome.fleets)),
            warnings=prices.warnings(
                placements(best),
                world.offerings,
                today=world.market.snapshot.now.date(),
                max_age_days=world.market.policy.max_price_age_days,
                note=world.catalog.price_note,
            ),
        )
    if deployment.paused or not outcome.fleets:
        _keep(world, world.market.snapshot.fleet.of(deployment.key))
    if world.explains:
        load = _load(deployment, rate)
        found = candidates(outcome.weighed, load, planned.placements, model=deployment.model)
        planned = replace(planned, candidates=found)
    return replace(planned, digest=digest(planned))


def _load(deployment: DeploymentInput, rate: float) -> Load:
    demand = lengths(deployment.demand, deployment.measured)
    return Load(rate, served_requests_per_min(deployment), demand.input_mean, demand.output_mean)


def _best(outcome: Outcome) -> tuple[MicroUsd, MicroUsd, int] | None:
    """Dollars per hour and per million tokens and replicas of the best fleet, for the remedies."""
    if not outcome.fleets:
        return None
    fleet = outcome.fleets[0]
    return fleet.usd_per_hour, fleet.usd_per_million_tokens, fleet.replicas


def find(world: World, deployment: DeploymentInput) -> Outcome:
    """Every feasible fleet under the deployment's limits, best first, and why the others are not."""
    rate, source = eligibility.planned_rate(world.offerings, deployment, world.market.policy)
    asked = request(deployment, world.catalog, is_measured=source == "measured")
    usable, rejections = eligibility.usable(world.offerings, deployment)
    tried = eligibility.tried(world.market.snapshot, deployment, world.market.policy)
    by_wiring: dict[Wiring, list[Offering]] = {}
    for offering in usable:
        wiring = Wiring(offering.accelerator, offering.gpus_per_node, offering.intra_node, offering.inter_node)
        by_wiring.setdefault(wiring, []).append(offering)
    feasible: list[Fleet] = []
    weighed: list[Weighed] = []
    models = {each.variant: each.model for each in (asked, *asked.variants)}
    places = [
        (wiring, _gate(deployment, [item for item in usable if item.accelerator == wiring.accelerator]))
        for wiring in by_wiring
    ]
    outcomes_by_place = weigh(asked, places, world.catalog, multi_node=world.market.snapshot.multi_node, known={})
    for offerings, (found, refused) in zip(by_wiring.values(), outcomes_by_place, strict=True):
        priced = [(_priced(item, shape, offerings), shape) for item, shape in refused]
        rejections += [item for item, _ in priced]
        for option in found:
            startable, given_up = eligibility.startable(offerings, option.shape, tried)
            rejections += [_priced(item, option.shape, offerings) for item in given_up]
            if not startable:
                continue
            outcomes = list(fleets(world.market, asked, option, startable, rate))
            works = [item for item in outcomes if isinstance(item, Fleet)]
            refusals = [_priced(item, option.shape, offerings) for item in outcomes if isinstance(item, Rejection)]
            feasible += works
            rejections += refusals
            if world.explains:
                model = models[option.model]
                weighed.append(_weighed(world, model, option, offerings, rate, works=works, refusals=refusals))
        if world.explains:
            named = [(models[item.name.rpartition("/")[0]], shape, item) for item, shape in priced if shape is not None]
            weighed += [Weighed(model, shape, (), None, item) for model, shape, item in named]
    ordered = sorted(feasible, key=lambda fleet: fleet.order)
    return Outcome(tuple(ordered), tuple(_distinct(rejections)), tuple(weighed))


def _weighed(
    world: World,
    model: ModelSpec,
    option: Option,
    offerings: list[Offering],
    rate: float,
    *,
    works: list[Fleet],
    refusals: list[Rejection],
) -> Weighed:
    """The option alone: its cheapest fleet, or what it would have been."""
    if not works:
        whole = max(1, math.ceil(rate / 60 / option.capacity.rate_per_s - 1e-9))
        hourly = MicroUsd(whole * min(cost.usd_per_replica_hour(item, option.shape) for item in offerings))
        would = Bought("", None, whole, hourly, hourly)
        return Weighed(model, option.shape, (would,), option.prediction(rate / 60, replicas=whole), refusals[0])
    best = min(works, key=lambda fleet: fleet.order)
    start = world.market.policy.engine_start_s
    bought = []
    for offering, count in best.parts:
        hourly = MicroUsd(count * cost.usd_per_replica_hour(offering, option.shape))
        overhead = cost.spot_overhead(offering, option.shape, engine_start_s=start)
        expected = cost.expected_usd_per_hour(hourly, overhead)
        bought.append(Bought(offering.pool, offering.capacity_type, count, hourly, expected))
    return Weighed(model, option.shape, tuple(bought), option.prediction(rate / 60, replicas=best.replicas), None)


def _gate(deployment: DeploymentInput, offerings: list[Offering]) -> Gate:
    """Refuses shapes of which the fewest replicas, on the cheapest pool, are over the budget already."""
    limit = deployment.objectives.max_usd_per_hour
    fewest = max(1, deployment.constraints.min_replicas)
    dearest = [(item, item.gpus_per_node) for item in offerings]

    def affordable(shape: Shape) -> Rejection | None:
        hosts = [item for item, size in dearest if shape.nodes_per_replica > 1 or size >= shape.accelerators]
        least = min((cost.usd_per_replica_hour(item, shape) for item in hosts), default=None)
        if least is None or fewest * least <= limit:
            return None
        return over_budget(shape.name, f"{fewest} x {shape.name}", MicroUsd(fewest * least), limit)

    return affordable


def _priced(rejection: Rejection, shape: Shape | None, offerings: list[Offering]) -> Rejection:
    """With the accelerator, and what one replica, or one accelerator, costs on the cheapest of these pools."""
    if rejection.accelerator:
        return rejection
    hourly = rejection.usd_per_hour
    if hourly is None:
        hourly = min(cost.usd_per_accelerators_hour(item, shape.accelerators if shape else 1) for item in offerings)
    return replace(rejection, accelerator=offerings[0].accelerator, usd_per_hour=hourly)


def _distinct(rejections: Iterable[Rejection]) -> list[Rejection]:
    """Sorted, each once: two pools of one accelerator refuse the same shapes."""
    unique: dict[tuple[str, str, str], Rejection] = {}
    for item in rejections:
        key = (item.name, item.reason, item.message)
        other = unique.get(key)
        if other is None or (item.usd_per_hour or 0) < (other.usd_per_hour or 0):
            unique[key] = item
    return [unique[key] for key in sorted(unique)]


def _alternatives(fleets: Iterable[Fleet]) -> Iterator[Alternative]:
    """The next best of each accelerator and capacity type: variants of one choice teach nobody anything."""
    seen: set[tuple[str, CapacityType]] = set()
    for index, fleet in enumerate(fleets):
        kind = (fleet.option.shape.accelerator, fleet.capacity_type)
        if kind in seen:
            continue
        seen.add(kind)
        if index:
            yield Alternative(
                name=f"{fleet.replicas} x {fleet.option.shape.name}",
                capacity_type=fleet.capacity_type,
                usd_per_hour=fleet.usd_per_hour,
                usd_per_million_tokens=fleet.usd_per_million_tokens,
                accelerator=fleet.option.shape.accelerator,
            )
