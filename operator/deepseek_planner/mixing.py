"""Between deployments and the bare question of the mixed-fleet search: offers made of options, fleets of its answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deepseek_planner import cost, risk, surviving
from deepseek_planner.allocation import Allotment, Ask, Offer
from deepseek_planner.budgets import most_usd_per_hour
from deepseek_planner.demand import RequestClass
from deepseek_planner.forecast import with_headroom, wobble
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.market import Market, Quote, expected_usd_per_hour
from deepseek_planner.options import Option
from deepseek_planner.plan import Confidence, Placement, Prediction
from deepseek_planner.snapshot import EngineGroup, Routing
from deepseek_planner.underway import end_of_move
from deepseek_planner.units import MicroUsd
from deepseek_planner.weighing import Outcome
from deepseek_planner.what_if import Least

RANK_UNITS = 10**6
Choice = tuple[Option, tuple[Quote, ...]]
"""An option, where engines of it may be started."""
NOBODY = 1e-6
"""Part of a class that is no part of it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one deployment asks for, and what its offers stand for."""

    outcome: Outcome
    ask: Ask
    places: tuple[tuple[Option, Offering], ...]
    """By index of offer."""


@dataclass(frozen=True, slots=True)
class Lot:
    """Replicas of one option on one offering, with their part of the traffic."""

    option: Option
    offering: Offering
    replicas: int
    share: float
    by_class: tuple[float, ...] = ()
    """By class of lengths, the part of its requests that goes here; empty where all go everywhere."""

    @property
    def usd_per_hour(self) -> MicroUsd:
        return MicroUsd(self.replicas * cost.usd_per_replica_hour(self.offering, self.option.shape))


@dataclass(frozen=True, slots=True)
class Mix:
    """The fleet of one deployment: replicas of one or several options on one or several offerings."""

    lots: tuple[Lot, ...]
    requests_per_s: float
    """That it is for."""
    routing: Routing
    """By length only where there are several options to tell lengths apart for."""
    classes: tuple[RequestClass, ...] = ()
    availability_percent: float = 100.0
    """Of the time, that what interruptions leave of it carries the rate that it is for."""

    @property
    def replicas(self) -> int:
        return sum(lot.replicas for lot in self.lots)

    @property
    def usd_per_hour(self) -> MicroUsd:
        return MicroUsd(sum(lot.usd_per_hour for lot in self.lots))

    @property
    def parts(self) -> tuple[tuple[str, str, int], ...]:
        """What tells one fleet from another."""
        return tuple(sorted((lot.option.name, lot.offering.pool, lot.replicas) for lot in self.lots))


def question(market: Market, outcome: Outcome, routing: Routing, *, for_some: bool = True) -> Question:
    """The deployment's offers: every option on every offering where engines of it may be started; ``for_some``: also
    those for some classes of lengths only, where requests are routed by length.
    """
    deployment, policy = outcome.deployment, market.policy
    choices = [choice for choice in outcome.choices if choice[0].refusal is None]
    if for_some and routing is Routing.BY_LENGTH:
        choices += _for_some(market, outcome)
    choices = _by_name(choices)
    places = [(option, quote.offering) for option, offers in choices for quote in offers]
    kinds = outcome.classes if routing is Routing.BY_LENGTH else ()
    rate, limits = outcome.requests_per_min / 60, deployment.constraints
    groups = market.snapshot.fleet.of(deployment.key)
    serves = any(group.ready for group in groups)
    peak, percent = deployment.demand.peak_requests_per_min, policy.headroom_percent
    roots = wobble(deployment, market.snapshot.now, policy)
    with_spare = with_headroom(outcome.requests_per_min, peak=peak, percent=percent, roots=roots) / 60
    ask = Ask(
        key=deployment.key,
        requests_per_s=rate,
        class_rates_per_s=tuple(rate * kind.share for kind in kinds),
        offers=tuple(_offers(choices)),
        routing=routing,
        min_replicas=limits.min_replicas,
        max_replicas=limits.max_replicas,
        max_usd_per_hour=most_usd_per_hour(outcome.asked),
        max_spot_percent=limits.max_spot_percent,
        priority=deployment.objectives.priority,
        droughts=_droughts(market, outcome, places),
        spare_per_s=with_spare if serves else 0.0,
        running=_running(market, outcome, places),
        ends=_ends(market, outcome, places),
    )
    return with_offers(market, Question(outcome, ask, tuple(places)), ask.offers)


def with_offers(market: Market, asked: Question, offers: tuple[Offer, ...]) -> Question:
    """The same question with other offers: what they carry when nodes are lost is judged by them."""
    ask = replace(asked.ask, offers=offers)
    return replace(asked, ask=replace(ask, holds=_holds(market, asked.outcome, asked.places, ask)))


def counted(market: Market, asked: Question, least: Least) -> Question:
    """The same question, answered by the fleet that has least of that; what runs is no reason for more."""
    offers = tuple(
        offer._replace(expected_usd_per_hour=MicroUsd(1) if least is Least.REPLICAS else offer.usd_per_hour)
        for offer in asked.ask.offers
    )
    return with_offers(market, replace(asked, ask=replace(asked.ask, spare_per_s=0.0)), offers)


def _by_name(choices: Iterable[Choice]) -> list[Choice]:
    """So that the order of what is known says nothing."""
    by_option = [(option.name, -option.capacity.rate_per_s, option, offers) for option, offers in choices]
    by_option.sort(key=lambda entry: entry[:2])
    in_order = [(option, sorted(offers, key=lambda quote: quote.offering.pool)) for _, _, option, offers in by_option]
    return [(option, tuple(offers)) for option, offers in in_order]


def _for_some(market: Market, outcome: Outcome) -> list[Choice]:
    """Options for some classes only: those that serve each class for least, of each capacity type as many as have room
    for all of it. With many more there would be too many mixes to look at them all.
    """
    choices = _by_name([choice for choice in outcome.choices if choice[0].refusal is not None])
    quotes = [(option, quote) for option, offers in choices for quote in offers]
    kept = set(_running(market, outcome, [(option, quote.offering) for option, quote in quotes]))
    for number, kind in enumerate(outcome.classes):
        per_request = [quote.expected_usd_per_hour * option.loads[number] for option, quote in quotes]
        left, pools = dict.fromkeys(CapacityType, outcome.requests_per_min / 60 * kind.share), set[str]()
        for index in sorted(range(len(quotes)), key=lambda index: (per_request[index], index)):
            option, quote = quotes[index]
            pool, paid = quote.offering.pool, quote.offering.capacity_type
            # What serves best in a pool takes its room.
            if quote.room and pool not in pools and math.isfinite(per_request[index]) and left[paid] > 0:
                kept.add(index)
                pools.add(pool)
                left[paid] -= quote.room / option.loads[number]
    chosen = [quotes[index] for index in sorted(kept)]
    by_option = {id(option): option for option, _ in chosen}
    return [(one, tuple(quote for option, quote in chosen if option is one)) for one in by_option.values()]


def _offers(choices: Sequence[Choice]) -> Iterator[Offer]:
    """One for each place."""
    for number, (option, offers) in enumerate(choices):
        accelerators, nodes = option.shape.accelerators, option.shape.nodes_per_replica
        capacity = option.whole_per_s
        # Of equal dollars and accelerators: the least lossy, the surest, the roomiest.
        rank = option.loss_rank, option.margin_percent, -round(RANK_UNITS * capacity / accelerators)
        for offering, usd, expected, _ in offers:
            kind = offering.capacity_type
            yield Offer(number, offering.pool, kind, usd, expected, accelerators, nodes, capacity, option.loads, rank)


def _running(market: Market, outcome: Outcome, places: Sequence[tuple[Option, Offering]]) -> dict[int, int]:
    """Replicas that run. Of two groups in one place one replaces the other: the surge of a move is not what runs."""
    running: dict[int, int] = {}
    for group in market.snapshot.fleet.of(outcome.deployment.key):
        index = _place(group, places)
        if index is not None:
            running[index] = max(group.desired, running.get(index, 0))
    return running


def _ends(market: Market, outcome: Outcome, places: Sequence[tuple[Option, Offering]]) -> dict[int, int]:
    """Replicas that a move under way ends with; none where some of its engines may not be started any more."""
    end = end_of_move(market.snapshot, outcome.deployment, market.policy)
    found: dict[int, int] = {}
    for group in market.snapshot.fleet.of(outcome.deployment.key):
        if group.name in end:
            index = _place(group, places)
            if index is None:
                return {}
            found[index] = found.get(index, 0) + end[group.name]
    return found


def _place(group: EngineGroup, places: Sequence[tuple[Option, Offering]]) -> int | None:
    """Where engines like the group's are offered; None: nowhere."""
    for index, (option, offering) in enumerate(places):
        if (option.shape, option.model, offering.pool) == (group.shape, group.model, group.pool):
            return index
    return None


def _holds(
    market: Market, outcome: Outcome, places: Sequence[tuple[Option, Offering]], ask: Ask
) -> Callable[[Mapping[int, int]], bool] | None:
    """Whether what interruptions leave of a fleet carries the rate as often as is asked; None: nothing is lost."""
    if not any(offering.interruptions_per_node_day for _, offering in places):
        return None
    percent = outcome.deployment.objectives.availability_percent
    known: dict[tuple[tuple[int, int], ...], bool] = {}

    def holds(replicas: Mapping[int, int]) -> bool:
        key = tuple(sorted((index, count) for index, count in replicas.items() if count))
        if key not in known:
            known[key] = _availability(market, ask, places, key, 1.0) >= percent - 1e-9
        return known[key]

    return holds


def _droughts(
    market: Market, outcome: Outcome, places: Sequence[tuple[Option, Offering]]
) -> tuple[frozenset[int], ...]:
    """What every fleet that holds does without: found by pool, because an option is lost as its pool is."""
    odds: dict[int, risk.Odds] = {}
    by_pool: dict[str, tuple[int, list[int]]] = {}
    for index, (option, offering) in enumerate(places):
        if offering.interruptions_per_node_day:
            first, others = by_pool.setdefault(offering.pool, (index, []))
            others.append(index)
            if first == index:
                odds[index] = market.odds(offering, option.shape)
    members = dict(by_pool.values())
    probability = outcome.deployment.objectives.availability_percent / 100
    return tuple(
        frozenset(index for first in lost for index in members[first]) for lost in risk.must_survive(odds, probability)
    )


def with_availability(market: Market, asked: Question, allotment: Allotment, found: Mix) -> Mix:
    """The fleet with the part of the time in which what is left of it carries the rate that it is for."""
    if not allotment.parts:
        return found
    counts = [(part.offer, part.replicas) for part in allotment.parts]
    return replace(found, availability_percent=_availability(market, asked.ask, asked.places, counts, allotment.served))


def _availability(
    market: Market,
    ask: Ask,
    places: Sequence[tuple[Option, Offering]],
    counts: Sequence[tuple[int, int]],
    served: float,
) -> float:
    """Percent of the time, of replicas by index of offer, for a part of the rate."""
    offers = [ask.offers[index] for index, _ in counts]
    odds = [market.odds(places[index][1], places[index][0].shape) for index, _ in counts]
    if ask.routing is Routing.EVEN or len({offer.option for offer in offers}) == 1:
        least = min(offer.capacity_per_s for offer in offers)
        even = (risk.Lot(chance, least, count) for chance, (_, count) in zip(odds, counts, strict=True))
        return 100 * risk.availability(even, ask.requests_per_s * served)
    lots = [
        surviving.Lot(chance, count, offer.capacity_per_s, offer.loads)
        for chance, offer, (_, count) in zip(odds, offers, counts, strict=True)
    ]
    rates = [rate * served for rate in ask.class_rates_per_s]
    return 100 * surviving.availability(lots, rates, surviving.weights([offer.loads for offer in ask.offers]))


def mix(asked: Question, allotment: Allotment) -> Mix:
    """The fleet that was allotted, largest part first."""
    shares = [kind.share for kind in asked.outcome.classes]
    lots = []
    for part in allotment.parts:
        option, offering = asked.places[part.offer]
        if asked.ask.routing is Routing.EVEN or not shares:
            lots.append(Lot(option, offering, part.replicas, part.shares[0]))
        else:
            share = sum(each * here for each, here in zip(shares, part.shares, strict=True))
            lots.append(Lot(option, offering, part.replicas, share, part.shares))
    lots.sort(key=lambda lot: (-lot.replicas * lot.option.shape.accelerators, lot.option.name, lot.offering.pool))
    is_mixed = len({id(lot.option) for lot in lots}) > 1
    routing = asked.ask.routing if is_mixed else Routing.EVEN
    return Mix(tuple(lots), asked.ask.requests_per_s * allotment.served, routing, asked.outcome.classes)


def expected_dollars(market: Market, found: Mix) -> MicroUsd:
    """Per hour, with what interruptions lose; what is reserved counts as billed."""
    return MicroUsd(
        sum(
            max(lot.usd_per_hour, expected_usd_per_hour(market, lot.option, lot.offering, lot.replicas))
            for lot in found.lots
        )
    )


def placements(found: Mix, every: Sequence[Prediction]) -> tuple[Placement, ...]:
    """The fleet, of which ``every`` lot is predicted so, as the plan holds it."""
    shares = percents([lot.share for lot in found.lots])
    return tuple(
        Placement(
            shape=lot.option.shape,
            pool=lot.offering.pool,
            capacity_type=lot.offering.capacity_type,
            replicas=lot.replicas,
            share_percent=share,
            usd_per_replica_hour=cost.usd_per_replica_hour(lot.offering, lot.option.shape),
            engine=lot.option.engine,
            model=lot.option.model,
            engine_reasons=lot.option.engine_reasons,
            prediction=predicted,
            input_tokens=prompts_of(found, lot),
        )
        for lot, share, predicted in zip(found.lots, shares, every, strict=True)
    )


def prompts_of(found: Mix, lot: Lot) -> tuple[int, int] | None:
    """Prompt lengths that go there; None where all lengths go everywhere."""
    if found.routing is Routing.EVEN:
        return None
    here = [kind for kind, part in zip(found.classes, lot.by_class, strict=True) if part > NOBODY]
    return (here[0].above_tokens, here[-1].up_to_tokens) if here else None


def predictions(found: Mix) -> list[Prediction]:
    """Of each lot alone. Where every replica gets the same, none can be given more than the weakest sustains."""
    if found.routing is Routing.BY_LENGTH:
        return [lot.option.prediction(found.requests_per_s * lot.share, replicas=lot.replicas) for lot in found.lots]
    least = min(lot.option.capacity.rate_per_s for lot in found.lots)
    result = []
    for lot in found.lots:
        rate = found.requests_per_s * lot.share
        own = lot.option.prediction(rate, replicas=lot.replicas)
        part = least / lot.option.capacity.rate_per_s
        result.append(
            replace(
                own,
                utilization_percent=round(own.utilization_percent / part, 1),
                capacity_tokens_per_s=own.capacity_tokens_per_s * part,
                capacity_requests_per_min=own.capacity_requests_per_min * part,
            )
        )
    return result


def together(found: Mix, every: Sequence[Prediction]) -> Prediction:
    """Of the whole fleet, of which ``every`` lot is predicted so: what the worst served requests see. Its capacity ends
    where the first part's does.
    """
    tokens = [60 * item.capacity_tokens_per_s / item.capacity_requests_per_min for item in every]
    capacity = min(
        item.capacity_requests_per_min / lot.share for item, lot in zip(every, found.lots, strict=True) if lot.share > 0
    )
    fullest = max(every, key=lambda item: item.utilization_percent)
    order = list(Confidence)
    return replace(
        fullest,
        time_to_first_token_s=max(item.time_to_first_token_s for item in every),
        time_per_output_token_s=max(item.time_per_output_token_s for item in every),
        utilization_percent=round(100 * 60 * found.requests_per_s / capacity, 1),
        capacity_tokens_per_s=capacity
        / 60
        * sum(lot.share * each for lot, each in zip(found.lots, tokens, strict=True)),
        capacity_requests_per_min=capacity,
        confidence=max((item.confidence for item in every), key=order.index),
        margin_percent=max(item.margin_percent for item in every),
        prefill_share=sum(lot.share * item.prefill_share for lot, item in zip(found.lots, every, strict=True)),
    )


def percents(shares: Sequence[float]) -> list[int]:
    """Whole percents, summing to 100: the largest remainders get what rounding left."""
    exact = [round(100 * share, 6) for share in shares]
    whole = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (whole[i] - exact[i], i))
    for index in by_remainder[: 100 - sum(whole)]:
        whole[index] += 1
    return whole
