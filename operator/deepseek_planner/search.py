"""The cheapest feasible placement of every deployment, over all pools at once.

Deployments are served by priority, then by key; what one takes is gone for the next. A fleet is homogeneous: one
shape, on one or several pools. The mix of shapes is chosen here too once there is one: :func:`_fleets` is the place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from deepseek_planner import cost, remedy
from deepseek_planner.catalog import Catalog
from deepseek_planner.digest import digest
from deepseek_planner.forecast import planned_requests_per_min, replicas_needed
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.options import Gate, Known, Option, Request, Wiring, options, request, slowest
from deepseek_planner.performance import Batch
from deepseek_planner.plan import (
    Alternative,
    DeploymentInput,
    DeploymentKey,
    DeploymentPlan,
    Placement,
    Plan,
    Policy,
    Prediction,
    Rejection,
    RejectionReason,
    Shape,
    Snapshot,
)
from deepseek_planner.supply import Supply
from deepseek_planner.units import MicroUsd, format_usd


@dataclass(frozen=True, slots=True)
class Fleet:
    """Replicas of one option over pools: feasible in itself, not yet weighed against budgets."""

    option: Option
    parts: tuple[tuple[Offering, int], ...]
    usd_per_hour: MicroUsd
    expected_usd_per_hour: MicroUsd
    """With what interruptions lose: offers are compared by this."""
    usd_per_million_tokens: MicroUsd

    @property
    def replicas(self) -> int:
        return sum(count for _, count in self.parts)

    @property
    def capacity_type(self) -> CapacityType:
        """Of most replicas; the first of equals."""
        return max(self.parts, key=lambda part: part[1])[0].capacity_type

    @property
    def order(self) -> tuple[object, ...]:
        """Total order: cheapest; of equals the smallest, the least lossy, the surest and the roomiest; then by name.

        No tie is left to chance, so equal snapshots have equal plans.
        """
        option = self.option
        return (
            self.expected_usd_per_hour,
            self.usd_per_hour,
            self.replicas * option.shape.accelerators,
            option.loss_rank,
            option.correction.margin_percent,
            -round(option.capacity.rate_per_s * self.replicas, 6),
            option.shape.name,
            tuple((offering.pool, count) for offering, count in self.parts),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the search found for one deployment under its limits."""

    fleets: tuple[Fleet, ...]
    """Feasible ones, best first."""
    rejections: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True)
class World:
    """What all deployments of a snapshot share. ``supply`` shrinks as they take theirs."""

    snapshot: Snapshot
    catalog: Catalog
    policy: Policy
    offerings: tuple[Offering, ...]
    supply: Supply


def plan(snapshot: Snapshot, catalog: Catalog, policy: Policy) -> Plan:
    """Plans of all deployments. Same snapshot, same plan, whatever the order of what is in it."""
    offerings = tuple(sorted(snapshot.offerings, key=lambda offering: offering.pool))
    world = World(snapshot, catalog, policy, offerings, Supply(offerings))
    plans: dict[DeploymentKey, DeploymentPlan] = {}
    for deployment in sorted(snapshot.deployments, key=lambda item: (-item.objectives.priority, item.key)):
        plans[deployment.key] = _deployment(world, deployment)
    return Plan({key: plans[key] for key in sorted(plans)})


def _deployment(world: World, deployment: DeploymentInput) -> DeploymentPlan:
    rate, source = planned_requests_per_min(deployment.demand, deployment.measured)
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
        for offering, count in best.parts:
            world.supply.take(offering, best.option.shape, count)
        planned = replace(
            base,
            placements=_placements(best),
            usd_per_hour=best.usd_per_hour,
            usd_per_million_tokens=best.usd_per_million_tokens,
            prediction=_prediction(best, rate),
            alternatives=tuple(_alternatives(outcome.fleets)),
        )
    return replace(planned, digest=digest(planned))


def _best(outcome: Outcome) -> tuple[MicroUsd, MicroUsd, int] | None:
    """Dollars per hour and per million tokens and replicas of the best fleet, for the remedies."""
    if not outcome.fleets:
        return None
    fleet = outcome.fleets[0]
    return fleet.usd_per_hour, fleet.usd_per_million_tokens, fleet.replicas


def find(world: World, deployment: DeploymentInput) -> Outcome:
    """Every feasible fleet under the deployment's limits, best first, and why the others are not."""
    rate, source = planned_requests_per_min(deployment.demand, deployment.measured)
    asked = request(deployment, world.catalog, is_measured=source == "measured")
    usable, rejections = _usable(world, deployment)
    by_wiring: dict[Wiring, list[Offering]] = {}
    for offering in usable:
        wiring = Wiring(offering.accelerator, offering.gpus_per_node, offering.intra_node, offering.inter_node)
        by_wiring.setdefault(wiring, []).append(offering)
    fleets: list[Fleet] = []
    known: Known = {}
    for wiring, offerings in by_wiring.items():
        gate = _gate(deployment, [item for item in usable if item.accelerator == wiring.accelerator])
        multi_node = world.snapshot.multi_node
        found, refused = options(asked, wiring, world.catalog, multi_node=multi_node, gate=gate, known=known)
        rejections += [_priced(item, shape, offerings) for item, shape in refused]
        for option in found:
            for outcome in _fleets(world, asked, option, offerings, rate):
                if isinstance(outcome, Fleet):
                    fleets.append(outcome)
                else:
                    rejections.append(_priced(outcome, option.shape, offerings))
    return Outcome(tuple(sorted(fleets, key=lambda fleet: fleet.order)), tuple(_distinct(rejections)))


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
        return _over_budget(shape.name, f"{fewest} x {shape.name}", MicroUsd(fewest * least), limit)

    return affordable


def _over_budget(name: str, what: str, hourly: MicroUsd, limit: MicroUsd) -> Rejection:
    return Rejection(
        name,
        RejectionReason.OVER_BUDGET,
        f"{what} = ${format_usd(hourly)}/h > ${format_usd(limit)}/h",
        hourly / 1e6,
        limit / 1e6,
        "USD/h",
        usd_per_hour=hourly,
    )


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


def _usable(world: World, deployment: DeploymentInput) -> tuple[list[Offering], list[Rejection]]:
    usable: list[Offering] = []
    rejections: list[Rejection] = []
    for offering in world.offerings:
        refusal = _pool_refusal(offering, deployment)
        if refusal is None:
            usable.append(offering)
        else:
            reason, message = refusal
            rejections.append(Rejection(offering.pool, reason, message, accelerator=offering.accelerator))
    return usable, rejections


def _pool_refusal(offering: Offering, deployment: DeploymentInput) -> tuple[RejectionReason, str] | None:
    if ruled_out := _ruled_out(offering, deployment):
        return RejectionReason.NOT_ALLOWED, ruled_out
    if offering.capacity_type is CapacityType.SPOT and deployment.constraints.max_spot_percent == 0:
        return RejectionReason.SPOT_SHARE, "placement.maxSpotPercent is 0"
    if offering.allowed_namespaces and deployment.key.namespace not in offering.allowed_namespaces:
        return RejectionReason.NAMESPACE_NOT_ALLOWED, f"the pool is for {', '.join(offering.allowed_namespaces)}"
    if offering.unavailable_reason:
        return RejectionReason.UNAVAILABLE, offering.unavailable_reason
    if offering.price is None:
        return RejectionReason.PRICE_UNKNOWN, "no price is known; set the pool's spec.price.usdPerNodeHour"
    return None


def _ruled_out(offering: Offering, deployment: DeploymentInput) -> str:
    """The field of ``placement`` that rules the offering out; empty when none does."""
    limits, name = deployment.constraints, offering.accelerator
    if name in limits.deny_accelerators:
        return f"{name} is in placement.accelerators.deny"
    if limits.allow_accelerators and name not in limits.allow_accelerators:
        return f"{name} is not in placement.accelerators.allow"
    if offering.capacity_type not in limits.capacity_types:
        return f"{offering.capacity_type} is not in placement.capacityTypes"
    if limits.zones and offering.zone not in limits.zones:
        return f"zone {offering.zone or '(none)'} is not in placement.zones"
    for label, value in sorted(limits.node_selector.items()):
        if {**offering.node_selector, **offering.labels}.get(label) != value:
            return f"its nodes do not carry {label}={value}, which placement.nodeSelector asks for"
    return ""


def _fleets(
    world: World, asked: Request, option: Option, offerings: list[Offering], rate: float
) -> Iterator[Fleet | Rejection]:
    """Fleets of one option, with headroom where there is money and room for it, else with what the rate needs."""
    outcomes: list[Fleet | Rejection] = []
    for needed in dict.fromkeys(_needed(world, asked, option, rate)):
        outcomes = list(_sized(world, asked, option, offerings, needed=needed, rate=rate))
        if any(isinstance(outcome, Fleet) for outcome in outcomes):
            break
    yield from outcomes


def _sized(
    world: World, asked: Request, option: Option, offerings: list[Offering], *, needed: int, rate: float
) -> Iterator[Fleet | Rejection]:
    """Fleets of so many replicas: the best over all pools, and the best of each capacity type."""
    limits = asked.deployment.constraints
    if needed > limits.max_replicas:
        yield Rejection(
            option.shape.name,
            RejectionReason.TOO_MANY_REPLICAS,
            f"{needed} replicas needed for {rate:g} requests/min, scaling.maxReplicas is {limits.max_replicas}",
            needed,
            limits.max_replicas,
            "replicas",
        )
        return
    start = world.policy.engine_start_s

    def value(offering: Offering) -> tuple[int, str]:
        nominal = cost.usd_per_replica_hour(offering, option.shape)
        overhead = cost.spot_overhead(offering, option.shape, engine_start_s=start)
        return cost.expected_usd_per_hour(nominal, overhead), offering.pool

    ranked = sorted(offerings, key=value)
    groups = [ranked] + [[item for item in ranked if item.capacity_type is kind] for kind in CapacityType]
    seen: set[tuple[tuple[str, int], ...]] = set()
    for group in groups:
        if not group:
            continue
        outcome = _fleet(world, asked, option, group, needed)
        key = tuple((item.pool, count) for item, count in outcome.parts) if isinstance(outcome, Fleet) else ()
        if key in seen:
            continue
        seen.add(key)
        yield outcome if isinstance(outcome, Rejection) else _within_budget(asked, outcome)


def _needed(world: World, asked: Request, option: Option, rate_per_min: float) -> tuple[int, int]:
    """Replicas for the rate, first with the headroom that beside a fleet that serves keeps it from swinging."""
    deployment, capacity = asked.deployment, option.capacity.rate_per_s * 60
    fleet = world.snapshot.fleet.of(deployment.key)
    # Of two groups in one pool one replaces the other: the surge of a move is not what runs.
    by_pool: dict[tuple[str, CapacityType], int] = {}
    for group in fleet:
        if group.shape == option.shape:
            place = group.pool, group.capacity_type
            by_pool[place] = max(group.desired, by_pool.get(place, 0))
    running = sum(by_pool.values())
    peak, percent = deployment.demand.peak_requests_per_min, world.policy.headroom_percent
    least = max(1, deployment.constraints.min_replicas)
    with_headroom, without = (
        replicas_needed(rate_per_min, capacity, running=runs, peak=peak, headroom_percent=percent)
        for runs in (running if any(group.ready for group in fleet) else None, None)
    )
    return max(least, with_headroom), max(least, without)


def _fleet(world: World, asked: Request, option: Option, ranked: list[Offering], needed: int) -> Fleet | Rejection:
    """Fill the cheapest pools first, spot up to its share."""
    limits, shape = asked.deployment.constraints, option.shape
    spot_left = needed * limits.max_spot_percent // 100
    parts: list[tuple[Offering, int]] = []
    missing, room, spot_refused = needed, 0, 0
    for offering in ranked:
        fits = world.supply.replicas(offering, shape)
        room += fits
        count = min(missing, fits)
        if offering.capacity_type is CapacityType.SPOT:
            allowed = min(count, spot_left)
            spot_refused += count - allowed
            spot_left -= allowed
            count = allowed
        if count:
            parts.append((offering, count))
            missing -= count
    if missing:
        return _missing(
            option, ranked, needed=needed, room=room, spot_refused=spot_refused, percent=limits.max_spot_percent
        )
    hourly = MicroUsd(sum(count * cost.usd_per_replica_hour(offering, shape) for offering, count in parts))
    start = world.policy.engine_start_s
    expected = sum(
        cost.expected_usd_per_hour(
            MicroUsd(count * cost.usd_per_replica_hour(offering, shape)),
            cost.spot_overhead(offering, shape, engine_start_s=start),
        )
        for offering, count in parts
    )
    return Fleet(
        option,
        tuple(parts),
        hourly,
        MicroUsd(expected),
        _per_million(asked, hourly, served_requests_per_min(asked.deployment)),
    )


def served_requests_per_min(deployment: DeploymentInput) -> float:
    """The rate that dollars per token are stated at: measured where it is, else as expected."""
    _, source = planned_requests_per_min(deployment.demand, deployment.measured)
    measured = deployment.measured
    if source == "measured" and measured is not None and measured.requests_per_min > 0:
        return measured.requests_per_min
    return deployment.demand.expected_requests_per_min


def _per_million(asked: Request, hourly: MicroUsd, requests_per_min: float) -> MicroUsd:
    tokens = asked.demand.input_mean + asked.demand.output_mean
    return cost.usd_per_million_tokens(hourly, requests_per_min, tokens)


def _missing(
    option: Option, ranked: list[Offering], *, needed: int, room: int, spot_refused: int, percent: int
) -> Rejection:
    name = option.shape.name
    if spot_refused:
        return Rejection(
            name,
            RejectionReason.SPOT_SHARE,
            f"{needed} replicas, at most {percent} % of them on spot, and no other pool has room for the rest",
            needed,
            percent,
            "%",
        )
    nodes = option.shape.nodes_per_replica
    unit = f"{needed} replicas of {option.shape.accelerators} x {option.shape.accelerator}"
    across = f" on {nodes} whole nodes each" if nodes > 1 else ""
    price = min(cost.usd_per_replica_hour(item, option.shape) for item in ranked)
    return Rejection(
        name,
        RejectionReason.NOT_ENOUGH_NODES,
        f"{unit}{across} needed, room for {room}; would cost ${format_usd(MicroUsd(needed * price))}/h",
        needed,
        room,
        "replicas",
        usd_per_hour=MicroUsd(needed * price),
    )


def _within_budget(asked: Request, fleet: Fleet) -> Fleet | Rejection:
    objectives = asked.deployment.objectives
    name, replicas = fleet.option.shape.name, fleet.replicas
    if fleet.usd_per_hour > objectives.max_usd_per_hour:
        what = f"{replicas} x {name} {fleet.capacity_type}"
        return _over_budget(name, what, fleet.usd_per_hour, objectives.max_usd_per_hour)
    most = objectives.max_usd_per_million_tokens
    # The limit is a promise about the expected demand: a quiet hour makes tokens dear and must not forbid the
    # smallest fleet that serves it.
    rate = max(asked.deployment.demand.expected_requests_per_min, served_requests_per_min(asked.deployment))
    per_million = _per_million(asked, fleet.usd_per_hour, rate)
    if most is not None and per_million > most:
        return Rejection(
            name,
            RejectionReason.OVER_COST_PER_TOKEN,
            f"{replicas} x {name} {fleet.capacity_type} = ${format_usd(fleet.usd_per_hour)}/h, "
            f"${format_usd(per_million)}/M tokens > ${format_usd(most)}/M",
            per_million / 1e6,
            most / 1e6,
            "USD/M",
            usd_per_hour=fleet.usd_per_hour,
        )
    return fleet


def _placements(fleet: Fleet) -> tuple[Placement, ...]:
    shares = _shares([count for _, count in fleet.parts])
    return tuple(
        Placement(
            shape=fleet.option.shape,
            pool=offering.pool,
            capacity_type=offering.capacity_type,
            replicas=count,
            share_percent=share,
            usd_per_replica_hour=cost.usd_per_replica_hour(offering, fleet.option.shape),
            engine=fleet.option.engine,
        )
        for (offering, count), share in zip(fleet.parts, shares, strict=True)
    )


def _shares(replicas: list[int]) -> list[int]:
    """Whole percents in proportion, summing to 100: the largest remainders get what rounding left."""
    total = sum(replicas)
    shares = [count * 100 // total for count in replicas]
    by_remainder = sorted(range(len(replicas)), key=lambda i: (-(replicas[i] * 100 % total), i))
    for index in by_remainder[: 100 - sum(shares)]:
        shares[index] += 1
    return shares


def _prediction(fleet: Fleet, rate: float) -> Prediction:
    option = fleet.option
    per_replica = rate / 60 / fleet.replicas
    service = option.replica.at_rate(min(per_replica, option.capacity.rate_per_s)) or option.capacity
    capacity = option.capacity.rate_per_s * fleet.replicas
    demand = option.replica.demand
    running = service.rate_per_s * demand.output_mean * service.time_per_output_token_s
    return Prediction(
        time_to_first_token_s=service.time_to_first_token_s,
        time_per_output_token_s=service.time_per_output_token_s,
        utilization_percent=round(100 * rate / 60 / capacity, 1),
        capacity_tokens_per_s=capacity * (demand.input_mean + demand.output_mean),
        capacity_requests_per_min=capacity * 60,
        confidence=option.correction.confidence,
        margin_percent=option.correction.margin_percent,
        bottleneck=slowest(option.steps, Batch(running / option.replica.ranks, demand.context)),
        time_to_first_token_percentile=option.replica.first_percentile,
        time_per_output_token_percentile=option.replica.token_percentile,
    )


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
