"""The cheapest fleets of all deployments at once, over all pools.

Each deployment is weighed alone (:mod:`weighing`): every option that serves becomes offers, one per pool. The
mixed-fleet search (:mod:`mix`) then chooses replicas of them for all deployments together; :mod:`mixing` turns the one
into the other and back. A deployment that nothing serves even alone is told what would change that (:mod:`remedy`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from deepseek_planner import checking, mix, mixing, prices, remedy
from deepseek_planner.allocation import BUDGET, Allotment, Problem, Solution
from deepseek_planner.candidates import Load, candidates
from deepseek_planner.catalog import Catalog
from deepseek_planner.digest import digest
from deepseek_planner.fleets import Fleet, Market, per_million_tokens, served_requests_per_min
from deepseek_planner.hardware import CapacityType
from deepseek_planner.mixing import Mix, Question
from deepseek_planner.plan import (
    Alternative,
    Candidate,
    DeploymentInput,
    DeploymentKey,
    DeploymentPlan,
    EngineGroup,
    Plan,
    Policy,
    Rejection,
    RejectionReason,
    Routing,
    Shortage,
    Snapshot,
)
from deepseek_planner.plan import (
    Fleet as FleetThatRuns,
)
from deepseek_planner.service import lengths
from deepseek_planner.supply import Supply
from deepseek_planner.units import MicroUsd, format_usd
from deepseek_planner.weighing import Outcome, World, distinct, find, find_all

MOST_TURNS = 3
"""Times that the search is asked again where a mix by length turns out to miss a target; then lengths stay together."""


def plan(snapshot: Snapshot, catalog: Catalog, policy: Policy, *, explains: bool = False) -> Plan:
    """Plans of all deployments. Same snapshot, same plan, whatever the order of what is in it.

    With ``explains`` each holds its candidates: all that was weighed, in dollars.
    """
    offerings = tuple(sorted(snapshot.offerings, key=lambda offering: offering.pool))
    cluster = Cluster(World(catalog, offerings, Market(snapshot, policy, Supply(offerings)), explains))
    # What no plan will change keeps what it holds, whatever its priority: a resource that cannot be read, a paused one.
    known = {deployment.key for deployment in snapshot.deployments}
    cluster.keep(group for group in snapshot.fleet.groups if group.key not in known)
    in_turn = sorted(snapshot.deployments, key=lambda deployment: deployment.key)
    plans = {item.key: cluster.paused(item) for item in in_turn if item.paused}
    plans |= cluster.together([item for item in in_turn if not item.paused])
    return Plan({key: plans[key] for key in sorted(plans)})


def weigh_alone(
    deployment: DeploymentInput, snapshot: Snapshot, catalog: Catalog, policy: Policy
) -> tuple[tuple[Candidate, ...], tuple[Rejection, ...]]:
    """All that was weighed for one deployment as if nothing else ran, and what was refused; nothing is decided."""
    offerings = tuple(sorted(snapshot.offerings, key=lambda offering: offering.pool))
    empty = replace(snapshot, deployments=(deployment,), fleet=FleetThatRuns())
    outcome = find(World(catalog, offerings, Market(empty, policy, Supply(offerings)), explains=True), deployment)
    return candidates(outcome.weighed, _load(outcome), (), model=deployment.model), outcome.rejections


class Cluster:
    """Planning of one snapshot: what is left of pools and of the budget, and who gets it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kept_usd = 0

    def keep(self, groups: Iterable[EngineGroup]) -> None:
        """Hold the accelerators and the dollars of engines that stay."""
        pools = {offering.pool: offering for offering in self._world.offerings}
        supply = self._world.market.supply
        for group in groups:
            self._kept_usd += group.paid_replicas * (group.usd_per_replica_hour or 0)
            if group.pool in pools:
                offering = pools[group.pool]
                room = supply.replicas(offering, group.shape)
                supply.take(offering, group.shape, min(room, group.paid_replicas))

    def paused(self, deployment: DeploymentInput) -> DeploymentPlan:
        """What it would get if it were alone; it keeps what it has."""
        outcome = find(self._world, deployment)
        asked = self._question(outcome)
        solution, fleets = self._solve([asked])
        planned = self._planned(asked, solution, fleets[deployment.key])
        self.keep(self._world.market.snapshot.fleet.of(deployment.key))
        return planned

    def together(self, deployments: Sequence[DeploymentInput]) -> dict[DeploymentKey, DeploymentPlan]:
        """All that compete. Who cannot be served even alone keeps what serves: the others are planned around it."""
        market = self._world.market
        asked = {item.deployment.key: self._question(item) for item in find_all(self._world, deployments)}
        stuck: dict[DeploymentKey, DeploymentPlan] = {}
        for rounds in itertools.count():
            solution, fleets = self._solve([item for key, item in asked.items() if key not in stuck])
            new = [key for key, allotment in solution.allotments.items() if not _is_possible(allotment)]
            for key in new:
                if rounds:  # others have taken something since it was weighed
                    asked[key] = self._question(find(self._world, asked[key].outcome.deployment))
                stuck[key] = self._planned(asked[key], solution, fleets[key])
            held = [group for key in new for group in market.snapshot.fleet.of(key)]
            self.keep(held)
            if not held:
                break
        served = {key: item for key, item in asked.items() if key not in stuck}
        left = _left(market.supply, [fleets[key] for key in served])
        plans = {key: self._planned(item, solution, fleets[key], left) for key, item in served.items()}
        return plans | stuck

    def _question(self, outcome: Outcome) -> Question:
        return mixing.question(self._world.market, outcome, self._world.market.policy.routing)

    def _solve(self, asked: Sequence[Question]) -> tuple[Solution, dict[DeploymentKey, Mix]]:
        """The best fleets, as they will serve. A router that looks at lengths can spread requests evenly, too."""
        best, fleets = self._routed(asked)
        if all(item.ask.routing is Routing.EVEN for item in asked):
            return best, fleets
        market, bound = self._world.market, best.lower_bound_usd_per_hour
        ways = [[mixing.question(market, item.outcome, Routing.EVEN) for item in asked]]
        if best.gap > 0:  # too many mixes to look at them all: fewer of them, too
            ways += [[mixing.question(market, item.outcome, item.ask.routing, for_some=False) for item in asked]]
        for way in ways:
            other, others = self._routed(way)
            bound = min(bound, other.lower_bound_usd_per_hour)
            if _is_better(other, best):
                best, fleets = other, others
        return replace(best, lower_bound_usd_per_hour=bound), fleets

    def _routed(self, asked: Sequence[Question]) -> tuple[Solution, dict[DeploymentKey, Mix]]:
        """The best fleets as requests are routed; evenly where a mix by length misses a target again and again."""
        market = self._world.market
        budget, rooms = market.policy.max_usd_per_hour, market.supply.rooms()
        left = None if budget is None else MicroUsd(max(0, budget - self._kept_usd))
        questions = {item.ask.key: item for item in asked}
        for turn in itertools.count(1):
            solution = mix.solve(Problem(tuple(item.ask for item in questions.values()), rooms, left))
            found = {key: checking.checked(item, solution.allotments[key]) for key, item in questions.items()}
            missed = {key: heavier for key, (_, heavier) in found.items() if heavier}
            if not missed:
                break
            for key, heavier in missed.items():
                question, is_last = questions[key], turn >= MOST_TURNS
                questions[key] = (
                    mixing.question(market, question.outcome, Routing.EVEN)
                    if is_last
                    else checking.tightened(market, question, heavier)
                )
        fleets = {
            key: mixing.with_availability(market, questions[key], solution.allotments[key], fleet)
            for key, (fleet, _) in found.items()
        }
        return solution, fleets

    def _planned(self, asked: Question, solution: Solution, fleet: Mix, left: Supply | None = None) -> DeploymentPlan:
        outcome, allotment = asked.outcome, solution.allotments[asked.ask.key]
        planned = DeploymentPlan(
            key=outcome.deployment.key,
            model=outcome.deployment.model,
            placements=(),
            usd_per_hour=MicroUsd(0),
            usd_per_million_tokens=MicroUsd(0),
            prediction=None,
            demand_source=outcome.source,
            planned_requests_per_min=outcome.requests_per_min,
            alternatives=(),
            rejections=outcome.rejections,
        )
        if not _is_possible(allotment):
            change = remedy.smallest_change(outcome.deployment, outcome.rejections, self._alone)
            planned = replace(planned, smallest_change=change)
        else:
            planned = _with_shortage(planned, allotment, outcome)
        if allotment.parts:
            planned = self._with_fleet(planned, outcome, fleet, left)
            planned = replace(planned, gap_percent=round(100 * solution.gap, 4))
        if self._world.explains:
            load = _load(outcome)
            found = candidates(outcome.weighed, load, planned.placements, model=planned.model)
            planned = replace(planned, candidates=found)
        return replace(planned, digest=digest(planned))

    def _with_fleet(self, planned: DeploymentPlan, outcome: Outcome, fleet: Mix, left: Supply | None) -> DeploymentPlan:
        market = self._world.market
        placements = mixing.placements(fleet)
        crowded_out = _crowded_out(outcome.fleets, fleet, left)
        return replace(
            planned,
            placements=placements,
            rejections=tuple(distinct([*planned.rejections, *crowded_out])),
            usd_per_hour=fleet.usd_per_hour,
            usd_per_million_tokens=per_million_tokens(
                outcome.asked, fleet.usd_per_hour, served_requests_per_min(outcome.deployment)
            ),
            prediction=mixing.together(fleet),
            alternatives=tuple(_alternatives(outcome, fleet, left)),
            expected_usd_per_hour=mixing.expected_dollars(market, fleet),
            availability_percent=round(fleet.availability_percent, 4),
            warnings=prices.warnings(
                placements,
                self._world.offerings,
                today=market.snapshot.now.date(),
                max_age_days=market.policy.max_price_age_days,
                note=self._world.catalog.price_note,
            ),
        )

    def _alone(self, deployment: DeploymentInput) -> remedy.Cost | None:
        """Dollars per hour and per million tokens and replicas of its best fleet, for the remedies."""
        outcome = find(self._world, deployment)
        asked = self._question(outcome)
        allotment = mix.solve(Problem((asked.ask,), self._world.market.supply.rooms())).allotments[deployment.key]
        if allotment.served < 1:
            return None
        rate = served_requests_per_min(deployment)
        per_million = per_million_tokens(outcome.asked, allotment.usd_per_hour, rate)
        return allotment.usd_per_hour, per_million, sum(part.replicas for part in allotment.parts)


def _is_better(one: Solution, other: Solution) -> bool:
    """Whether nobody gets less of it, and it costs less or somebody gets more."""
    pairs = [(one.allotments[key], other.allotments[key]) for key in one.allotments]
    served = [(_service(here), _service(there)) for here, there in pairs]
    if any(here < there for here, there in served):
        return False
    return any(here > there for here, there in served) or one.expected_usd_per_hour < other.expected_usd_per_hour


def _service(allotment: Allotment) -> tuple[float, bool, bool]:
    return allotment.served, allotment.ends_move, allotment.has_headroom


def _is_possible(allotment: Allotment) -> bool:
    """Whether the deployment could be served if it were alone."""
    return bool(allotment.parts or allotment.short_of)


def _with_shortage(planned: DeploymentPlan, allotment: Allotment, outcome: Outcome) -> DeploymentPlan:
    """Why it gets less than it asked for, and what would change that."""
    if not allotment.short_of:
        return planned
    lost_to = f", or a higher priority than {', '.join(map(str, allotment.lost_to))}" if allotment.lost_to else ""
    is_budget = allotment.short_of == BUDGET
    what = "a higher limit for the dollars of the whole cluster" if is_budget else f"more nodes in {allotment.short_of}"
    planned = replace(
        planned,
        smallest_change=f"{what}{lost_to}",
        shortage=Shortage(round(100 * allotment.served), allotment.short_of, allotment.lost_to),
    )
    if not is_budget or not outcome.fleets:
        return planned
    best = outcome.fleets[0]
    refused = Rejection(
        best.option.name,
        RejectionReason.CLUSTER_BUDGET,
        f"{best.replicas} x {best.option.name} {best.capacity_type} = ${format_usd(best.usd_per_hour)}/h, "
        "more than the cluster's limit leaves",
        best.usd_per_hour / 1e6,
        unit="USD/h",
        accelerator=best.option.shape.accelerator,
        usd_per_hour=best.usd_per_hour,
    )
    return replace(planned, rejections=tuple(distinct([*planned.rejections, refused])))


def _left(supply: Supply, fleets: Iterable[Mix]) -> Supply:
    """What all the fleets leave: the largest replicas are placed first, so that all find room."""
    lots = [lot for fleet in fleets for lot in fleet.lots]
    left = supply.copy()
    for lot in sorted(lots, key=lambda lot: (-lot.option.shape.nodes_per_replica, -lot.option.shape.accelerators)):
        left.take(lot.offering, lot.option.shape, lot.replicas)
    return left


def _load(outcome: Outcome) -> Load:
    demand = lengths(outcome.deployment.demand, outcome.deployment.measured)
    return Load(
        outcome.requests_per_min, served_requests_per_min(outcome.deployment), demand.input_mean, demand.output_mean
    )


def _alternatives(outcome: Outcome, chosen: Mix, left: Supply | None) -> Iterator[Alternative]:
    """The next best of each accelerator and capacity type that there is room for: variants of one choice teach nobody
    anything.
    """
    kinds = {(lot.option.shape.accelerator, lot.offering.capacity_type) for lot in chosen.lots}
    seen = kinds if len(kinds) == 1 else set[tuple[str, CapacityType]]()
    rate = served_requests_per_min(outcome.deployment)
    for fleet in outcome.fleets:
        kind = (fleet.option.shape.accelerator, fleet.capacity_type)
        if kind in seen or not _has_room(fleet, chosen, left):
            continue
        seen.add(kind)
        if tuple(sorted((fleet.option.name, item.pool, count) for item, count in fleet.parts)) == chosen.parts:
            continue
        yield Alternative(
            name=f"{fleet.replicas} x {fleet.option.name}",
            capacity_type=fleet.capacity_type,
            usd_per_hour=fleet.usd_per_hour,
            usd_per_million_tokens=per_million_tokens(outcome.asked, fleet.usd_per_hour, rate),
            accelerator=fleet.option.shape.accelerator,
        )


def _crowded_out(fleets: Iterable[Fleet], chosen: Mix, left: Supply | None) -> Iterator[Rejection]:
    """The best of each accelerator that would serve but for what other deployments hold."""
    seen: set[str] = set()
    for fleet in fleets:
        accelerator = fleet.option.shape.accelerator
        if accelerator in seen or _has_room(fleet, chosen, left):
            continue
        seen.add(accelerator)
        dollars = format_usd(fleet.usd_per_hour)
        yield Rejection(
            fleet.option.name,
            RejectionReason.NOT_ENOUGH_NODES,
            f"{fleet.replicas} of them would serve for ${dollars}/h, and other deployments hold the room",
            fleet.replicas,
            unit="replicas",
            accelerator=accelerator,
            usd_per_hour=fleet.usd_per_hour,
        )


def _has_room(fleet: Fleet, chosen: Mix, left: Supply | None) -> bool:
    """Whether it fits beside the others' fleets, in place of the chosen one."""
    if left is None:
        return True
    shape = fleet.option.shape
    own: dict[str, int] = {}
    for lot in chosen.lots:
        own[lot.offering.pool] = own.get(lot.offering.pool, 0) + lot.replicas * lot.option.shape.accelerators
    return all(
        left.replicas(offering, shape) + own.get(offering.pool, 0) // shape.accelerators >= count
        for offering, count in fleet.parts
    )
