"""Every alternative in dollars: what it would cost to let one shape alone serve a deployment, and what that pays for.

Search hands over what it weighed as :class:`Weighed`; nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deepseek_planner.explain import STAGES
from deepseek_planner.hardware import CapacityType
from deepseek_planner.models import ModelSpec, Precision
from deepseek_planner.plan import Candidate, DeploymentPlan, Prediction, Rejection, Shortage
from deepseek_planner.precision import loss_rank
from deepseek_planner.snapshot import Shape
from deepseek_planner.units import MicroUsd
from deepseek_planner.verdicts import SHORT, Standing, verdict

TOKENS_PER_UNIT = 1_000_000
MINUTES_PER_HOUR = 60


@dataclass(frozen=True, slots=True)
class Load:
    """What the dollars are divided by. Rates are requests per minute, lengths mean tokens of a request."""

    planned_per_min: float
    """What the fleet is sized for."""
    expected_per_min: float
    """What dollars per token are stated at."""
    input_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True)
class Bought:
    """Replicas on one pool, with their dollars per hour as billed and with what interruptions lose."""

    pool: str
    """Empty, as the capacity type: they would cost that, and no pool has room for them."""
    capacity_type: CapacityType | None
    replicas: int
    usd_per_hour: MicroUsd
    expected_usd_per_hour: MicroUsd
    shape: Shape | None = None
    """Where it is another one than that weighed."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A shape as the search leaves it: replicas that carry the planned rate alone, or how far it got."""

    model: ModelSpec
    shape: Shape
    bought: tuple[Bought, ...]
    """What carries the planned rate, or would. Empty where the shape was refused before that was worked out."""
    prediction: Prediction | None
    """Of that fleet at the planned rate; None where its service was not worked out."""
    rejection: Rejection | None


def candidates(weighed: Iterable[Weighed], load: Load, planned: DeploymentPlan | None = None) -> tuple[Candidate, ...]:
    """All alternatives, each shape once: those that serve by price, then the refused, furthest first.

    The shape of which a plan is made stands there as planned.
    """
    best: dict[tuple[str, Shape], Weighed] = {}
    for item in weighed:
        key = (item.model.name, item.shape)
        if key not in best or _merit(item) > _merit(best[key]):
            best[key] = item
    if planned is None or planned.prediction is None:
        found = [_candidate(item, load) for item in best.values()]
    else:
        found = list(_beside(best, load, planned, planned.prediction))
    if planned is not None and planned.shortage is not None:
        found = [_short(item, planned.shortage) for item in found]
    return tuple(sorted(found, key=_order))


def _beside(
    best: Mapping[tuple[str, Shape], Weighed], load: Load, planned: DeploymentPlan, prediction: Prediction
) -> Iterator[Candidate]:
    """Alternatives of a plan, with what speaks against each."""
    used = {(item.model or planned.model, item.shape) for item in planned.placements}
    bought = tuple(_planned(planned))
    standings = [_standing(best[key], bought, prediction, planned.model) for key in used if key in best]
    for key, item in best.items():
        if used == {key}:
            whole = replace(item, bought=bought, prediction=prediction, rejection=None)
            yield replace(_candidate(whole, load), is_chosen=True)
            continue
        text = ""
        if item.rejection is None and item.prediction is not None and standings:
            one = _standing(item, item.bought, item.prediction, planned.model)
            text = verdict(one, _worst(standings))
        yield replace(_candidate(item, load), is_part=key in used, verdict=text)


def _short(item: Candidate, shortage: Shortage) -> Candidate:
    """Beside a plan for a part of the load, dollars say nothing."""
    if item.is_chosen:
        return replace(item, verdict=f"for {shortage.served_percent} % of the planned load")
    return item if item.rejection else replace(item, verdict=SHORT)


def _planned(planned: DeploymentPlan) -> Iterator[Bought]:
    """What the plan buys; what interruptions lose of all of it stands with the first part."""
    lost = max(0, (planned.expected_usd_per_hour or planned.usd_per_hour) - planned.usd_per_hour)
    for item in planned.placements:
        hourly = item.usd_per_hour
        yield Bought(item.pool, item.capacity_type, item.replicas, hourly, MicroUsd(hourly + lost), item.shape)
        lost = 0


def _merit(weighed: Weighed) -> tuple[bool, bool, int]:
    """What is kept of a shape that nodes of several kinds offer: it serves, its service is known, it is cheap."""
    dollars = sum(part.expected_usd_per_hour for part in weighed.bought)
    return weighed.rejection is None, weighed.prediction is not None, -dollars


def _order(candidate: Candidate) -> tuple[object, ...]:
    rejection = candidate.rejection
    stage = -STAGES[rejection.reason] if rejection else -len(STAGES)
    place = candidate.model, candidate.shape.name, candidate.pool
    return stage, candidate.usd_per_hour, not candidate.is_chosen, place


def _standing(weighed: Weighed, bought: Sequence[Bought], prediction: Prediction, model: str) -> Standing:
    """``model``: the deployment's own. The loss is that of the weighed shape."""
    precision = weighed.shape.precision
    hourly = sum(part.usd_per_hour for part in bought)
    return Standing(
        usd_per_hour=MicroUsd(hourly),
        expected_usd_per_hour=MicroUsd(hourly + _risk(bought)),
        reserved_usd_per_hour=MicroUsd(
            sum(part.usd_per_hour for part in bought if part.capacity_type is CapacityType.RESERVED)
        ),
        accelerators=sum(part.replicas * (part.shape or weighed.shape).accelerators for part in bought),
        is_variant=weighed.model.name != model,
        loss_rank=loss_rank(weighed.model, precision),
        is_measured=weighed.model.quality_in(precision).is_measured,
        margin_percent=prediction.margin_percent,
    )


def _worst(standings: Sequence[Standing]) -> Standing:
    """Of a mix, by the part that loses most."""
    return max(standings, key=lambda item: (item.is_variant, item.loss_rank))


def _candidate(weighed: Weighed, load: Load) -> Candidate:
    hourly = MicroUsd(sum(part.usd_per_hour for part in weighed.bought))
    if not weighed.bought and weighed.rejection is not None:
        hourly = weighed.rejection.usd_per_hour or MicroUsd(0)
    prediction = weighed.prediction
    per_million, per_input, per_output = MicroUsd(0), MicroUsd(0), MicroUsd(0)
    if prediction is not None:
        tokens = load.input_tokens + load.output_tokens
        per_million = _per_million(hourly, 1.0, load.expected_per_min, tokens)
        per_input = _per_million(hourly, prediction.prefill_share, load.expected_per_min, load.input_tokens)
        per_output = _per_million(hourly, 1 - prediction.prefill_share, load.expected_per_min, load.output_tokens)
    main = max(weighed.bought, key=lambda part: part.replicas, default=None)
    return Candidate(
        name=weighed.shape.name,
        model=weighed.model.name,
        shape=weighed.shape,
        pool=main.pool if main else "",
        capacity_type=main.capacity_type if main else None,
        replicas=sum(part.replicas for part in weighed.bought),
        usd_per_hour=hourly,
        usd_per_million_tokens=per_million,
        usd_per_million_input_tokens=per_input,
        usd_per_million_output_tokens=per_output,
        breakdown=breakdown(hourly, _risk(weighed.bought), prediction, load) if prediction else (),
        prediction=prediction,
        quality_loss=quality(weighed.model, weighed.shape.precision),
        rejection=weighed.rejection,
        pools=tuple((part.pool, part.capacity_type, part.replicas) for part in weighed.bought if part.pool),
    )


def _risk(bought: Sequence[Bought]) -> MicroUsd:
    # Pool by pool: what reserved capacity costs anyway is no gain that could outweigh what spot loses.
    return MicroUsd(sum(max(0, part.expected_usd_per_hour - part.usd_per_hour) for part in bought))


def breakdown(hourly: MicroUsd, risk: MicroUsd, prediction: Prediction, load: Load) -> tuple[tuple[str, MicroUsd], ...]:
    """Dollars per hour by what they pay for.

    ``prefill`` and ``decode``: the capacity that the expected load keeps busy, divided by what keeps it busy.
    ``idle``: what is held for the planned rate above the expected one. ``spare``: what whole replicas, a minimum of
    them or cover for spot nodes leave above the planned rate. These sum to ``hourly``; ``risk`` comes on top.
    """
    capacity = max(prediction.capacity_requests_per_min, load.planned_per_min, load.expected_per_min)
    if capacity <= 0:
        capacity, load = 1.0, Load(0.0, 0.0, 0.0, 0.0)  # nothing is asked for: all of it is spare
    busy = round(hourly * load.expected_per_min / capacity)
    idle = round(hourly * max(0.0, load.planned_per_min - load.expected_per_min) / capacity)
    prefill = round(busy * prediction.prefill_share)
    return (
        ("prefill", MicroUsd(prefill)),
        ("decode", MicroUsd(busy - prefill)),
        ("idle", MicroUsd(idle)),
        ("spare", MicroUsd(hourly - busy - idle)),
        ("risk", risk),
    )


def quality(model: ModelSpec, precision: Precision) -> str:
    """What the precision loses, with the source of who measured it."""
    found = model.quality_in(precision)
    return f"{found.loss} ({found.source})" if found.source else found.loss


def _per_million(hourly: MicroUsd, share: float, requests_per_min: float, tokens: float) -> MicroUsd:
    """Rounded up, as every price."""
    per_hour = requests_per_min * MINUTES_PER_HOUR * tokens
    return MicroUsd(-int(-(hourly * share * TOKENS_PER_UNIT / per_hour) // 1)) if per_hour > 0 else MicroUsd(0)
