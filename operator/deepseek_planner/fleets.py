"""Replicas of one option over pools: how many, on which pools, and within the budget.

A fleet is homogeneous: one shape, on one or several pools, cheapest first, spot up to its share; spread, or with cover
on demand, where losses of spot ask for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deepseek_planner import covered, risk
from deepseek_planner.allocation import Offer
from deepseek_planner.asked import Request
from deepseek_planner.budgets import limited_requests_per_min, over_budget, per_million_tokens
from deepseek_planner.forecast import replicas_needed, wobble
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.market import CROWD, Buyer, Fleet, Market, Purchase, Quote, Replicas
from deepseek_planner.options import Option
from deepseek_planner.plan import Rejection, RejectionReason
from deepseek_planner.units import MicroUsd, format_usd, format_usd_allowed, format_usd_needed, whole

MORE_AT_MOST = 2
"""Replicas beyond twice the needed ones that are tried against losses before a fleet is refused."""


def fleets(market: Market, buyer: Buyer, option: Option, ranked: tuple[Quote, ...]) -> list[Fleet | Rejection]:
    """Fleets of one option, with headroom where there is money and room for it, else with what the rate needs."""
    outcomes: list[Fleet | Rejection] = []
    for needed in dict.fromkeys(_needed(market, buyer, option)):
        outcomes = _sized(market, buyer, option, ranked, needed)
        if any(isinstance(outcome, Fleet) for outcome in outcomes):
            break
    return outcomes


def _sized(
    market: Market, buyer: Buyer, option: Option, ranked: tuple[Quote, ...], needed: int
) -> list[Fleet | Rejection]:
    """Fleets of so many replicas: the best over all pools, and the best of each capacity type."""
    limits = buyer.asked.deployment.constraints
    if needed > limits.max_replicas:
        rate = buyer.requests_per_min
        text = f"{needed} replicas needed for {rate:g} requests/min, scaling.maxReplicas is {limits.max_replicas}"
        reason, most = RejectionReason.TOO_MANY_REPLICAS, limits.max_replicas
        return [Rejection(option.shape.name, reason, text, needed, most, "replicas")]
    best = _surely(market, buyer, option, ranked, needed)
    outcomes = [_affordable(buyer.asked, best)]
    by_type = _by_type(buyer, ranked)
    # A fleet on one capacity type is the best of that type too, and the same pools refuse the same again.
    if len(by_type) == 1:
        return outcomes
    used = {offering.capacity_type for offering, _ in best.parts} if isinstance(best, Fleet) else set[CapacityType]()
    for group in by_type:
        if used == {group[0].offering.capacity_type}:
            continue
        outcome = _surely(market, buyer, option, group, needed)
        if isinstance(outcome, Fleet):
            outcomes.append(_within_budget(buyer.asked, outcome))
        elif isinstance(best, Fleet) and outcome.reason is RejectionReason.SPOT_RISK:
            # What one capacity type has no room for, all of them together had.
            outcomes.append(outcome)
    return outcomes


def _by_type(buyer: Buyer, ranked: tuple[Quote, ...]) -> tuple[tuple[Quote, ...], ...]:
    """Quotes that were made before, by capacity type, in the order of the types."""
    known = buyer.known_types.get(id(ranked))
    if known is None:
        groups = (tuple(quote for quote in ranked if quote.offering.capacity_type is kind) for kind in CapacityType)
        known = buyer.known_types[id(ranked)] = tuple(filter(None, groups))
    return known


def _affordable(asked: Request, outcome: Fleet | Rejection) -> Fleet | Rejection:
    return outcome if isinstance(outcome, Rejection) else _within_budget(asked, outcome)


def _needed(market: Market, buyer: Buyer, option: Option) -> tuple[int, int]:
    """Replicas for the rate, first with the headroom that beside a fleet that serves keeps it from swinging."""
    deployment, capacity = buyer.asked.deployment, option.capacity.rate_per_s * 60
    fleet = market.snapshot.fleet.of(deployment.key)
    least = max(1, deployment.constraints.min_replicas)
    peak, percent = deployment.demand.peak_requests_per_min, market.policy.headroom_percent
    rate = buyer.requests_per_min
    without = replicas_needed(rate, capacity, running=None, peak=peak, headroom_percent=percent)
    if not any(group.ready for group in fleet):
        return max(least, without), max(least, without)
    # Of two groups in one pool one replaces the other: the surge of a move is not what runs.
    by_pool: dict[tuple[str, CapacityType], int] = {}
    for group in fleet:
        if group.shape == option.shape:
            place = group.pool, group.capacity_type
            by_pool[place] = max(group.desired, by_pool.get(place, 0))
    running = sum(by_pool.values())
    roots = wobble(deployment, market.snapshot.now, market.policy)
    with_headroom = replicas_needed(rate, capacity, running=running, peak=peak, headroom_percent=percent, roots=roots)
    return max(least, with_headroom), max(least, without)


def _surely(market: Market, buyer: Buyer, option: Option, ranked: tuple[Quote, ...], needed: int) -> Fleet | Rejection:
    """The cheapest fleet that bears its losses."""
    first = _fleet(buyer, option, ranked, needed)
    if isinstance(first, Rejection):
        return first
    percent = buyer.asked.deployment.objectives.availability_percent
    if _reached(market, buyer, option, first.parts) >= percent:
        return first
    found = None
    if len(market.snapshot.deployments) <= CROWD:
        found = _covered(market, buyer, option, ranked, needed)
    return found or _grown(market, buyer, option, ranked, first)


def _covered(market: Market, buyer: Buyer, option: Option, ranked: tuple[Quote, ...], needed: int) -> Fleet | None:
    """The cheapest of as many replicas or more, wherever they are; None where nothing found bears its losses."""
    size = option.shape.accelerators, option.shape.nodes_per_replica
    prices = tuple((quote.offering.pool, *quote[1:]) for quote in ranked)
    key = size, needed, _left(buyer, option), prices
    found = buyer.known_covers.get(key)
    if found is None:
        found = buyer.known_covers[key] = _cover(market, buyer, option, ranked, needed)
    if not found:
        return None
    hourly = sum(count * ranked[index].usd_per_hour for index, count in found)
    expected = sum(count * ranked[index].expected_usd_per_hour for index, count in found)
    return Fleet(option, _parts(ranked, found), MicroUsd(hourly), MicroUsd(expected))


def _cover(market: Market, buyer: Buyer, option: Option, ranked: tuple[Quote, ...], needed: int) -> Replicas:
    asked, shape = buyer.asked.deployment, option.shape
    percent = asked.objectives.availability_percent

    def holds(replicas: Mapping[int, int]) -> bool:
        return _reached(market, buyer, option, _parts(ranked, sorted(replicas.items()))) >= percent

    wanted = covered.Wanted(
        requests_per_s=buyer.requests_per_min / 60,
        replicas=needed,
        max_replicas=asked.constraints.max_replicas,
        max_spot_percent=asked.constraints.max_spot_percent,
        percent=percent,
        holds=holds,
    )
    offers = [(_offer(option, quote), quote.room) for quote in ranked]
    odds = {
        index: market.odds(quote.offering, shape)
        for index, quote in enumerate(ranked)
        if quote.offering.interruptions_per_node_day
    }
    return tuple(covered.cheapest(wanted, offers, odds).items())


def _parts(ranked: Sequence[Quote], replicas: Iterable[tuple[int, int]]) -> tuple[tuple[Offering, int], ...]:
    return tuple((ranked[index].offering, count) for index, count in replicas if count)


def _offer(option: Option, quote: Quote) -> Offer:
    shape, offering = option.shape, quote.offering
    return Offer(
        0,
        offering.pool,
        offering.capacity_type,
        quote.usd_per_hour,
        quote.expected_usd_per_hour,
        shape.accelerators,
        shape.nodes_per_replica,
        option.capacity.rate_per_s,
    )


def _grown(market: Market, buyer: Buyer, option: Option, ranked: tuple[Quote, ...], first: Fleet) -> Fleet | Rejection:
    """With more replicas where they are cheapest, or how much of the time these reach at best."""
    asked, fewest = buyer.asked.deployment, first.replicas
    percent = asked.objectives.availability_percent
    plain, before = first, _reached(market, buyer, option, first.parts)
    best = reached = before
    for count in range(fewest + 1, min(2 * fewest + MORE_AT_MOST, asked.constraints.max_replicas) + 1):
        if reached >= percent:
            break
        larger = _fleet(buyer, option, ranked, count)
        if isinstance(larger, Rejection):
            break
        first, reached = larger, _reached(market, buyer, option, larger.parts)
        best = max(best, reached)
    return first if reached >= percent else _too_risky(plain, before, first.replicas, best, percent)


def _reached(market: Market, buyer: Buyer, option: Option, parts: Sequence[tuple[Offering, int]]) -> float:
    """Percent of the time that what is left of such a fleet carries the rate."""
    for offering, _ in parts:
        if offering.interruptions_per_node_day:
            break
    else:
        return 100.0
    shape, left = option.shape, _left(buyer, option)
    key = left, shape.nodes_per_replica, *((offering.pool, count) for offering, count in parts)
    known = market.known_percents.get(key)
    if known is None:
        lots = [risk.Lot(market.odds(offering, shape), 1.0, count) for offering, count in parts]
        known = market.known_percents[key] = 100 * risk.availability(lots, left)
    return known


def _left(buyer: Buyer, option: Option) -> int:
    """Replicas that must be left for the rate."""
    return whole(buyer.requests_per_min / 60 / option.capacity.rate_per_s)


def _too_risky(plain: Fleet, before: float, most: int, best: float, asked: float) -> Rejection:
    """``plain`` carries the rate ``before`` percent of the time, up to ``most`` replicas ``best`` percent."""
    option, name = plain.option, plain.option.shape.name
    more = f", {most} of them {best:.4g} %" if most > plain.replicas else ""
    return Rejection(
        option.name,
        RejectionReason.SPOT_RISK,
        f"{plain.replicas} x {name} {plain.capacity_type} = ${format_usd(plain.usd_per_hour)}/h carries the load "
        f"{before:.4g} % of the time{more}; objectives.availabilityPercent is {asked:g}: interruptions take a zone's "
        "nodes together; other zones or capacity on demand beside it would help",
        best,
        asked,
        "%",
        accelerator=option.shape.accelerator,
        usd_per_hour=plain.usd_per_hour,
        replicas=plain.replicas,
    )


def _fleet(buyer: Buyer, option: Option, ranked: tuple[Quote, ...], needed: int) -> Fleet | Rejection:
    """So many replicas at quotes that were made before, or why not."""
    key = id(ranked), needed
    if key not in buyer.known_purchases:
        buyer.known_purchases[key] = _purchase(buyer, ranked, needed)
    found = buyer.known_purchases[key]
    if found is None:
        return _missing(buyer, option, ranked, needed)
    return Fleet(option, *found)


def _purchase(buyer: Buyer, ranked: tuple[Quote, ...], needed: int) -> Purchase | None:
    """Fill the cheapest pools first, spot up to its share."""
    spot_left = _most_on_spot(buyer, needed)
    parts: list[tuple[Offering, int]] = []
    missing, hourly, expected = needed, 0, 0
    for offering, usd_per_hour, expected_usd, room in ranked:
        count = min(missing, room)
        if offering.capacity_type is CapacityType.SPOT:
            count = min(count, spot_left)
            spot_left -= count
        if count:
            parts.append((offering, count))
            missing -= count
            hourly += count * usd_per_hour
            expected += count * expected_usd
    return None if missing else (tuple(parts), MicroUsd(hourly), MicroUsd(expected))


def _most_on_spot(buyer: Buyer, replicas: int) -> int:
    return replicas * buyer.asked.deployment.constraints.max_spot_percent // 100


def _missing(buyer: Buyer, option: Option, ranked: tuple[Quote, ...], needed: int) -> Rejection:
    name = option.name
    room = sum(quote.room for quote in ranked)
    spot_room = sum(quote.room for quote in ranked if quote.offering.capacity_type is CapacityType.SPOT)
    if spot_room > _most_on_spot(buyer, needed):
        percent = buyer.asked.deployment.constraints.max_spot_percent
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
    price = min(quote.usd_per_hour for quote in ranked)
    return Rejection(
        name,
        RejectionReason.NOT_ENOUGH_NODES,
        f"{unit}{across} needed, room for {room}; would cost ${format_usd(MicroUsd(needed * price))}/h",
        needed,
        room,
        "replicas",
        option.shape.accelerator,
        usd_per_hour=MicroUsd(needed * price),
        replicas=needed,
    )


def _within_budget(asked: Request, fleet: Fleet) -> Fleet | Rejection:
    objectives = asked.deployment.objectives
    if fleet.usd_per_hour > objectives.max_usd_per_hour:
        shape, replicas = fleet.option.shape, fleet.replicas
        what = f"{replicas} x {shape.name} {fleet.capacity_type}"
        limit = objectives.max_usd_per_hour
        return over_budget(fleet.option.name, shape, what, fleet.usd_per_hour, limit, replicas=replicas)
    most = objectives.max_usd_per_million_tokens
    if most is None:
        return fleet
    rate = limited_requests_per_min(asked.deployment)
    per_million = per_million_tokens(asked, fleet.usd_per_hour, rate)
    return fleet if per_million <= most else _over_cost_per_token(fleet, per_million, most)


def _over_cost_per_token(fleet: Fleet, per_million: MicroUsd, most: MicroUsd) -> Rejection:
    shape, replicas = fleet.option.shape, fleet.replicas
    return Rejection(
        fleet.option.name,
        RejectionReason.OVER_COST_PER_TOKEN,
        f"{replicas} x {shape.name} {fleet.capacity_type} = ${format_usd(fleet.usd_per_hour)}/h, "
        f"${format_usd_needed(per_million)}/M tokens > ${format_usd_allowed(most)}/M",
        per_million / 1e6,
        most / 1e6,
        "USD/M",
        shape.accelerator,
        usd_per_hour=fleet.usd_per_hour,
        replicas=replicas,
    )
