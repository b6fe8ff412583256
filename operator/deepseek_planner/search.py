"""The cheapest fleets of all deployments at once, over all pools.

Each deployment is weighed alone (:mod:`weighing`): every option that serves becomes offers, one per pool. The
mixed-fleet search (:mod:`mix`) then chooses replicas of them for all deployments together; :mod:`mixing` turns the one
into the other and back. A deployment that nothing serves even alone is told what would change that (:mod:`remedy`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from deepseek_planner import checking, eligibility, mix, mixing, prices, remedy, whole_nodes
from deepseek_planner.allocation import BUDGET, Allotment, Problem, Solution
from deepseek_planner.beside import Left, alternatives, crowded_out, supply_left
from deepseek_planner.budgets import limited_requests_per_min, per_million_tokens, served_requests_per_min
from deepseek_planner.candidates import Load, candidates
from deepseek_planner.catalog import Catalog
from deepseek_planner.digest import digest
from deepseek_planner.hardware import Offering
from deepseek_planner.idle import billed_usd_per_hour, left_idle, parts_held, warning
from deepseek_planner.ledger import distinct
from deepseek_planner.market import CROWD, Market
from deepseek_planner.mixing import Mix, Question
from deepseek_planner.plan import Candidate, DeploymentPlan, Placement, Plan, Rejection, Shortage
from deepseek_planner.service import lengths
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey, EngineGroup, Policy, Routing, Shape, Snapshot
from deepseek_planner.snapshot import Fleet as FleetThatRuns
from deepseek_planner.supply import Supply
from deepseek_planner.units import MicroUsd, format_usd, format_usd_needed
from deepseek_planner.weighing import Outcome, find, find_all
from deepseek_planner.what_if import Case, Cost, Least
from deepseek_planner.world import Sizes, Telling, World

MOST_TURNS = 3
"""Times that the search is asked again where a mix by length turns out to miss a target; then lengths stay together."""


def plan(snapshot: Snapshot, catalog: Catalog, policy: Policy, *, explains: bool = False) -> Plan:
    """Plans of all deployments. Same snapshot, same plan, whatever the order of what is in it.

    With ``explains`` each holds its candidates: all that was weighed, in dollars.
    """
    offerings = tuple(sorted(snapshot.offerings, key=lambda offering: offering.pool))
    telling = Telling.NEEDED if len(snapshot.deployments) > CROWD else Telling.REFUSALS
    telling = Telling.EVERYTHING if explains else telling
    cluster = Cluster(World(catalog, offerings, Market(snapshot, policy, Supply(offerings)), telling))
    # What no plan will change keeps what it holds, whatever its priority: a resource that cannot be read, a paused one.
    known = {deployment.key for deployment in snapshot.deployments}
    cluster.keep(group for group in snapshot.fleet.groups if group.key not in known)
    in_turn = sorted(snapshot.deployments, key=lambda deployment: deployment.key)
    plans = {item.key: cluster.paused(item) for item in in_turn if item.paused}
    plans |= cluster.together([item for item in in_turn if not item.paused])
    fleets = {key: planned.placements for key, planned in plans.items()}
    idle = left_idle(fleets, offerings)
    for item in in_turn:
        if item.key in idle:
            billed = billed_usd_per_hour(idle[item.key], plans[item.key].usd_per_hour)
            others = (fleet for key, fleet in fleets.items() if key != item.key)
            instead = "" if telling is Telling.NEEDED else cluster.billed_less(item.key, others)
            said = warning(idle[item.key], billed, item.objectives.max_usd_per_hour, instead)
            plans[item.key] = replace(plans[item.key], warnings=(said, *plans[item.key].warnings))
    return Plan({key: plans[key] for key in sorted(plans)})


def weigh_alone(
    deployment: DeploymentInput, snapshot: Snapshot, catalog: Catalog, policy: Policy
) -> tuple[tuple[Candidate, ...], tuple[Rejection, ...]]:
    """All that was weighed for one deployment as if nothing else ran, and what was refused; nothing is decided."""
    offerings = tuple(sorted(snapshot.offerings, key=lambda offering: offering.pool))
    empty = replace(snapshot, deployments=(deployment,), fleet=FleetThatRuns())
    market = Market(empty, policy, Supply(offerings))
    outcome = find(World(catalog, offerings, market, Telling.EVERYTHING), deployment)
    return candidates(outcome.weighed, _load(outcome)), outcome.rejections


class Cluster:
    """Planning of one snapshot: what is left of pools and of the budget, and who gets it."""

    def __init__(self, world: World, least: Least | None = None) -> None:
        """With ``least`` fleets are not chosen by expected dollars, but by that."""
        self._world, self._least = world, least
        self._kept_usd = 0
        self._held: list[tuple[str, Shape, int]] = []
        self._fleets: dict[DeploymentKey, tuple[Outcome, Mix, Left]] = {}
        """As planned, with what there was to choose from and what the others leave."""

    def keep(self, groups: Iterable[EngineGroup]) -> None:
        """Hold the accelerators and the dollars of engines that stay."""
        pools = {offering.pool: offering for offering in self._world.offerings}
        supply = self._world.market.supply
        for group in groups:
            self._kept_usd += group.paid_replicas * (group.usd_per_replica_hour or 0)
            if group.pool in pools:
                offering = pools[group.pool]
                self._held.append((group.pool, group.shape, group.paid_replicas))
                _hold(supply, offering, group.shape, group.paid_replicas)

    def billed_less(self, key: DeploymentKey, others: Iterable[Sequence[Placement]]) -> str:
        """What would serve the deployment for less if nobody but the others used what is left of its nodes."""
        held = parts_held(itertools.chain.from_iterable(others))
        found = whole_nodes.largest_saving(self._world, *self._fleets[key], held)
        if found is None:
            return ""
        fleet, saved = found
        (offering, _), *_ = fleet.parts
        return f"{fleet.replicas} x {fleet.option.name} on {offering.pool} would then save ${format_usd(saved)}/h of it"

    def paused(self, deployment: DeploymentInput) -> DeploymentPlan:
        """What it would get if it were alone; it keeps what it has."""
        outcome = find(self._world, deployment)
        asked = self._question(outcome)
        solution, fleets = self._solve([asked])
        planned = self._planned(asked, solution, fleets[deployment.key], Left(usd_per_hour=self._usd_left()))
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
                stuck[key] = self._planned(asked[key], solution, fleets[key], Left())
            held = [group for key in new for group in market.snapshot.fleet.of(key)]
            self.keep(held)
            if not held:
                break
        served = {key: item for key, item in asked.items() if key not in stuck}
        supply = supply_left(market.supply, [fleets[key] for key in served])
        plans = {}
        for key, item in served.items():
            others = (fleets[other].usd_per_hour for other in served if other != key)
            plans[key] = self._planned(item, solution, fleets[key], Left(supply, self._usd_left(others)))
        return plans | stuck

    def _usd_left(self, fleets: Iterable[MicroUsd] = ()) -> MicroUsd | None:
        """What the cluster's limit leaves beside what is kept and those fleets; None: there is no limit."""
        budget = self._world.market.policy.max_usd_per_hour
        return None if budget is None else MicroUsd(max(0, budget - self._kept_usd - sum(fleets)))

    def _question(self, outcome: Outcome, routing: Routing | None = None, *, for_some: bool = True) -> Question:
        market = self._world.market
        asked = mixing.question(market, outcome, routing or market.policy.routing, for_some=for_some)
        return asked if self._least is None else mixing.counted(market, asked, self._least)

    def _solve(self, asked: Sequence[Question]) -> tuple[Solution, dict[DeploymentKey, Mix]]:
        """The best fleets, as they will serve. A router that looks at lengths can spread requests evenly, too."""
        best, fleets = self._routed(asked)
        if all(item.ask.routing is Routing.EVEN for item in asked):
            return best, fleets
        bound = best.lower_bound_usd_per_hour
        ways = [[self._question(item.outcome, Routing.EVEN) for item in asked]]
        if best.gap > 0:  # too many mixes to look at them all: fewer of them, too
            ways += [[self._question(item.outcome, item.ask.routing, for_some=False) for item in asked]]
        for way in ways:
            other, others = self._routed(way)
            # No plan of a way that serves less serves as much for its dollars.
            if not _serves_less(other, best):
                bound = min(bound, other.lower_bound_usd_per_hour)
            if _is_better(other, best):
                best, fleets = other, others
        return replace(best, lower_bound_usd_per_hour=bound), fleets

    def _routed(self, asked: Sequence[Question]) -> tuple[Solution, dict[DeploymentKey, Mix]]:
        """The best fleets as requests are routed; evenly where a mix by length misses a target again and again."""
        market = self._world.market
        rooms, left = market.supply.rooms(), self._usd_left()
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
                    self._question(question.outcome, Routing.EVEN)
                    if is_last
                    else checking.tightened(market, question, heavier)
                )
        fleets = {
            key: mixing.with_availability(market, questions[key], solution.allotments[key], fleet)
            for key, (fleet, _) in found.items()
        }
        return solution, fleets

    def _planned(self, asked: Question, solution: Solution, fleet: Mix, left: Left) -> DeploymentPlan:
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
            market = self._world.market
            if self._world.telling is Telling.NEEDED:  # what would serve is found by what was refused
                outcome = find(replace(self._world, telling=Telling.REFUSALS), outcome.deployment)
                planned = replace(planned, rejections=outcome.rejections)
            case = Case(outcome.deployment, self._world.offerings, market.snapshot.multi_node)
            change = remedy.smallest_change(case, outcome.rejections, _WhatIf(self._world, self._held))
            obstacle = "" if change else remedy.obstacle(outcome.deployment, outcome.rejections)
            planned = replace(planned, smallest_change=change, obstacle=obstacle)
        else:
            planned = _with_shortage(planned, allotment, self._kept_usd)
            refused = crowded_out(outcome.fleets, fleet, left, is_budget=allotment.short_of == BUDGET)
            planned = replace(planned, rejections=tuple(distinct([*planned.rejections, *refused])))
        if allotment.parts:
            self._fleets[planned.key] = outcome, fleet, left
            planned = self._with_fleet(planned, outcome, fleet, left)
            planned = replace(planned, gap_percent=round(100 * solution.gap, 4))
        if self._world.telling is Telling.EVERYTHING:
            planned = replace(planned, candidates=candidates(outcome.weighed, _load(outcome), planned))
        return replace(planned, digest=digest(planned))

    def _with_fleet(self, planned: DeploymentPlan, outcome: Outcome, fleet: Mix, left: Left) -> DeploymentPlan:
        market = self._world.market
        every = mixing.predictions(fleet)
        placements = mixing.placements(fleet, every)
        return replace(
            planned,
            placements=placements,
            usd_per_hour=fleet.usd_per_hour,
            usd_per_million_tokens=per_million_tokens(
                outcome.asked, fleet.usd_per_hour, served_requests_per_min(outcome.deployment)
            ),
            prediction=mixing.together(fleet, every),
            alternatives=tuple(alternatives(self._world, outcome, fleet, left)),
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


class _WhatIf:
    """Answers for the remedies of one deployment. What many of their cases share is weighed once."""

    def __init__(self, world: World, held: Sequence[tuple[str, Shape, int]]) -> None:
        """``held``: replicas that stay whatever is planned, by pool."""
        self._world, self._held = world, held
        self._worlds: list[tuple[Case, World]] = []
        self._outcomes: list[tuple[DeploymentInput, World, Outcome]] = []
        self._sizes = Sizes()

    def __call__(self, case: Case, least: Least) -> Cost | None:
        """Of the fleet with least dollars or replicas that serves the case beside what stays."""
        world = self._as_if(case)
        cluster, outcome = Cluster(world, least), self._outcome(world, case.deployment)
        key = case.deployment.key
        # A router can spread evenly, too: that is found much sooner, and does where any fleet will do.
        ways = [Routing.EVEN, world.market.policy.routing] if least is Least.NOTHING else [world.market.policy.routing]
        for routing in dict.fromkeys(ways):
            solution, fleets = cluster._solve([cluster._question(outcome, routing)])
            if solution.allotments[key].served >= 1:
                return self._cost(case, outcome, fleets[key])
        return None

    @staticmethod
    def _cost(case: Case, outcome: Outcome, fleet: Mix) -> Cost:
        accelerators: dict[str, int] = {}
        for lot in fleet.lots:
            pool = lot.offering.pool
            accelerators[pool] = accelerators.get(pool, 0) + lot.replicas * lot.option.shape.accelerators
        rate = limited_requests_per_min(case.deployment)
        per_million = per_million_tokens(outcome.asked, fleet.usd_per_hour, rate)
        return Cost(fleet.usd_per_hour, per_million, fleet.replicas, accelerators)

    def _as_if(self, case: Case) -> World:
        """The world of a case. The limit of the whole cluster is no limit of one deployment."""
        for known, its_world in self._worlds:
            if known.offerings is case.offerings and known.multi_node == case.multi_node:
                return its_world
        world, market = self._world, self._world.market
        snapshot = replace(market.snapshot, multi_node=case.multi_node)
        policy = replace(market.policy, max_usd_per_hour=None)
        if case.offerings is world.offerings:
            changed = replace(market, snapshot=snapshot, policy=policy)
            found = replace(world, market=changed, telling=Telling.NOTHING, sizes=self._sizes)
        else:
            supply, pools = Supply(case.offerings), {offering.pool: offering for offering in case.offerings}
            for pool, shape, replicas in self._held:
                _hold(supply, pools[pool], shape, replicas)
            found = World(world.catalog, case.offerings, Market(snapshot, policy, supply), Telling.NOTHING, self._sizes)
        self._worlds.append((case, found))
        return found

    def _outcome(self, world: World, deployment: DeploymentInput) -> Outcome:
        """What there is to buy, and nothing else of it."""
        weighed = _without_what_is_bought(deployment)
        for known, where, found in self._outcomes:
            if where is world and known == weighed:
                usable, _ = eligibility.usable(world.offerings, deployment)
                rate, source = eligibility.planned_rate(usable, deployment, world.market.policy)
                asked = replace(found.asked, deployment=deployment)
                return replace(found, deployment=deployment, asked=asked, requests_per_min=rate, source=source)
        outcome = find(world, deployment)
        self._outcomes.append((weighed, world, outcome))
        return outcome


def _without_what_is_bought(deployment: DeploymentInput) -> DeploymentInput:
    """Without the limits that bear on how much is bought of what there is, and not on what there is."""
    demand, objectives, limits = deployment.demand, deployment.objectives, deployment.constraints
    return replace(
        deployment,
        demand=replace(demand, expected_requests_per_min=0.0, peak_requests_per_min=0.0),
        objectives=replace(objectives, max_usd_per_million_tokens=None, availability_percent=0.0),
        constraints=replace(limits, max_replicas=0, max_spot_percent=min(1, limits.max_spot_percent)),
    )


def _hold(supply: Supply, offering: Offering, shape: Shape, replicas: int) -> None:
    """Take what there is room for."""
    supply.take(offering, shape, min(supply.replicas(offering, shape), replicas))


def _is_better(one: Solution, other: Solution) -> bool:
    """Whether nobody gets less of it, and it costs less or somebody gets more."""
    if any(_service(one.allotments[key]) < _service(other.allotments[key]) for key in one.allotments):
        return False
    return _serves_less(other, one) or one.expected_usd_per_hour < other.expected_usd_per_hour


def _serves_less(one: Solution, other: Solution) -> bool:
    """Whether somebody gets less of it and nobody more."""
    pairs = [(_service(one.allotments[key]), _service(other.allotments[key])) for key in one.allotments]
    return any(here < there for here, there in pairs) and not any(here > there for here, there in pairs)


def _service(allotment: Allotment) -> tuple[float, bool, bool]:
    return allotment.served, allotment.ends_move, allotment.has_headroom


def _is_possible(allotment: Allotment) -> bool:
    """Whether the deployment could be served if it were alone."""
    return bool(allotment.parts or allotment.short_of)


def _with_shortage(planned: DeploymentPlan, allotment: Allotment, kept_usd: int) -> DeploymentPlan:
    """Why it gets less than it asked for, and what would change that."""
    if not allotment.short_of:
        return planned
    holders = (*allotment.lost_to, *allotment.shared_with)
    changes = [" and ".join(_would_do(allotment, kept_usd))]
    if holders and allotment.would_do_first:
        changes.append(f"a higher priority than {', '.join(map(str, holders))}")
    return replace(
        planned,
        smallest_change=", or ".join(filter(None, changes)),
        shortage=Shortage(round(100 * allotment.served), allotment.short_of, allotment.lost_to, allotment.shared_with),
    )


def _would_do(allotment: Allotment, kept_usd: int) -> Iterator[str]:
    """What there would have to be more of. What stays whatever is planned is paid for beside all asks."""
    for pool, count in allotment.would_do_nodes:
        yield f"{count} more node{'s' if count > 1 else ''} in {pool}"
    if allotment.would_do_usd_per_hour is not None:
        needed = format_usd_needed(MicroUsd(allotment.would_do_usd_per_hour + kept_usd))
        yield f"$/h >= {needed} for the whole cluster"


def _load(outcome: Outcome) -> Load:
    demand = lengths(outcome.deployment.demand, outcome.deployment.measured)
    return Load(
        outcome.requests_per_min, served_requests_per_min(outcome.deployment), demand.input_mean, demand.output_mean
    )
