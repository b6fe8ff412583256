"""Mixes by length looked at once more: each part of a fleet is sized for the very requests that it gets.

The mixed-fleet search adds up what classes of lengths take of a replica one by one. Together they can take more: a
long prompt makes short ones wait. Where a part misses its targets with the requests it would get, its offers are
weighed as heavier and the search is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deepseek_planner.allocation import Allotment
from deepseek_planner.demand import LengthDistribution
from deepseek_planner.hardware import CapacityType
from deepseek_planner.market import Market
from deepseek_planner.mixing import NOBODY, Lot, Mix, Question, mix, prompts_of, with_offers
from deepseek_planner.service import Lengths, lengths_of
from deepseek_planner.snapshot import Routing

TOLERANCE = 1e-6
CLOSER = 1.02
"""What is asked for beyond what was missed, so that few rounds do."""
MOST_HEAVIER = 2.0
"""Times that loads grow in a round, at most."""


def checked(asked: Question, allotment: Allotment) -> tuple[Mix, dict[int, float]]:
    """The fleet as it will serve, and by how much the offers of which options weigh too little."""
    found = mix(asked, allotment)
    if found.routing is Routing.EVEN:
        return found, {}
    lots: list[Lot] = []
    heavier: dict[int, float] = {}
    for lot in found.lots:
        number = _number(asked, lot)
        rate = found.requests_per_s * lot.share / lot.replicas
        prompts = prompts_of(found, lot)
        assert prompts is not None  # a part that gets nothing is none
        option = lot.option.at_mix(lengths(asked, lot.by_class), *prompts)
        if option is None:
            heavier[number] = MOST_HEAVIER
        elif option.capacity.rate_per_s * (1 + TOLERANCE) < rate:
            missed = rate / option.capacity.rate_per_s * CLOSER
            heavier[number] = max(heavier.get(number, 1.0), min(MOST_HEAVIER, missed))
        lots.append(lot if option is None else replace(lot, option=option))
    whole = replace(found, lots=tuple(lots))
    if not heavier and not _keeps_spot(asked, whole):
        heavier = {_number(asked, lot): MOST_HEAVIER for lot in found.lots}
    return whole, heavier


def tightened(market: Market, asked: Question, heavier: dict[int, float]) -> Question:
    """With the loads of those options raised."""
    offers = tuple(
        offer._replace(loads=tuple(load * heavier.get(offer.option, 1.0) for load in offer.loads))
        for offer in asked.ask.offers
    )
    return with_offers(market, asked, offers)


def lengths(asked: Question, by_class: Sequence[float]) -> Lengths:
    """Of the requests of which these parts of each class are made up."""
    kinds = [
        (kind, kind.share * part)
        for kind, part in zip(asked.outcome.classes, by_class, strict=True)
        if kind.share * part > NOBODY
    ]
    prefix = asked.outcome.deployment.demand.shared_prefix_tokens
    prompts, answers = _joined([(kind.input_tokens, share) for kind, share in kinds]), kinds[0][0].output_tokens
    if any(kind.output_tokens != answers for kind, _ in kinds):
        answers = _joined([(kind.output_tokens, share) for kind, share in kinds])
    return lengths_of(prompts, answers, shared_prefix_tokens=prefix)


def _joined(parts: Sequence[tuple[LengthDistribution, float]]) -> LengthDistribution:
    total = sum(share for _, share in parts)
    return LengthDistribution(
        tuple(
            replace(bucket, share=bucket.share * share / total)
            for distribution, share in parts
            for bucket in distribution.buckets
        )
    )


def _number(asked: Question, lot: Lot) -> int:
    return next(
        offer.option for offer, (option, _) in zip(asked.ask.offers, asked.places, strict=True) if option is lot.option
    )


def _keeps_spot(asked: Question, found: Mix) -> bool:
    """Whether spot is at most its share of what the parts sustain of the requests they get."""
    capacity = [(lot, lot.replicas * lot.option.capacity.rate_per_s) for lot in found.lots]
    spot = sum(amount for lot, amount in capacity if lot.offering.capacity_type is CapacityType.SPOT)
    return 100 * spot <= asked.ask.max_spot_percent * sum(amount for _, amount in capacity) * (1 + TOLERANCE)
