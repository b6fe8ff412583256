"""A plan as people and resources show it: the status' plan, and what was refused in a few lines of one kind each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from deepseek_planner.hardware import CapacityType
from deepseek_planner.plan import (
    Alternative,
    DeploymentPlan,
    Placement,
    Prediction,
    Rejection,
    RejectionReason,
    Shortage,
)
from deepseek_planner.snapshot import DeploymentKey
from deepseek_planner.units import MicroUsd, format_usd

MOST_ALTERNATIVES = 5
MOST_REJECTIONS = 10
MOST_WARNINGS = 5
MOST_LOST_TO = 5
LONGEST_MESSAGE = 256
LONGEST_CHANGE = 1024
"""Several limits together are cut nowhere: half of such a change would not do."""

_IN_ORDER: tuple[tuple[RejectionReason, ...], ...] = (
    (RejectionReason.NOT_ALLOWED,),
    (RejectionReason.NAMESPACE_NOT_ALLOWED,),
    (RejectionReason.UNAVAILABLE,),
    (RejectionReason.PRICE_UNKNOWN,),
    (RejectionReason.NO_CHECKPOINT,),
    (RejectionReason.SHAPE_ILLEGAL,),
    (RejectionReason.MULTI_NODE_UNAVAILABLE,),
    (RejectionReason.PRECISION_NOT_ALLOWED,),
    (RejectionReason.PRECISION_ILLEGAL,),
    (RejectionReason.CONTEXT_TOO_LONG,),
    (RejectionReason.DOES_NOT_FIT,),
    (RejectionReason.TTFT_TOO_HIGH, RejectionReason.TPOT_TOO_HIGH),
    (RejectionReason.TOO_MANY_REPLICAS,),
    (RejectionReason.NOT_ENOUGH_NODES,),
    (RejectionReason.SPOT_SHARE,),
    (RejectionReason.SPOT_RISK,),
    (RejectionReason.OVER_BUDGET,),
    (RejectionReason.OVER_COST_PER_TOKEN,),
    (RejectionReason.CLUSTER_BUDGET,),
    (RejectionReason.DID_NOT_START,),
)
STAGES: Mapping[RejectionReason, int] = {reason: stage for stage, same in enumerate(_IN_ORDER) for reason in same}
"""How far an alternative got, least first: the one that got furthest says most about what is missing."""

_FITS = STAGES[RejectionReason.DOES_NOT_FIT]


def gap(percent: float) -> str:
    """Two digits of how much cheaper a plan could be, and no more of what is below."""
    return f"{float(f'{percent:.2g}'):g}"


def plan_document(planned: DeploymentPlan) -> dict[str, Any]:
    """The status' plan, in the resource's words: bounded, decimals as strings, nothing empty."""
    document: dict[str, Any] = {"digest": planned.digest}
    if planned.is_feasible:
        document |= {
            "usdPerHour": format_usd(planned.usd_per_hour),
            "usdPerMillionTokens": format_usd(planned.usd_per_million_tokens),
        }
        document |= _risk(planned)
        if planned.gap_percent > 0:
            document["gapPercent"] = gap(planned.gap_percent)
    document |= {
        "demandSource": planned.demand_source,
        "requestsPerMinute": round(planned.planned_requests_per_min),
    }
    if planned.prediction is not None:
        document["predicted"] = _predicted(planned.prediction)
    document["placements"] = [_placement(item) for item in planned.placements]
    document["alternatives"] = [
        {
            "name": item.name,
            "capacityType": str(item.capacity_type),
            "usdPerHour": format_usd(item.usd_per_hour),
            "usdPerMillionTokens": format_usd(item.usd_per_million_tokens),
        }
        for item in alternatives(planned)
    ]
    document["rejections"] = [
        {"name": item.name, "reason": str(item.reason), "message": message(item)} for item in summary(planned)
    ]
    if planned.shortage is not None:
        document["shortage"] = _shortage(planned.shortage)
    if planned.warnings:
        document["warnings"] = [warning[:LONGEST_MESSAGE] for warning in planned.warnings[:MOST_WARNINGS]]
    if planned.smallest_change:
        document["smallestChange"] = planned.smallest_change[:LONGEST_CHANGE]
    if planned.obstacle:
        document["obstacle"] = planned.obstacle[:LONGEST_MESSAGE]
    return document


def _risk(planned: DeploymentPlan) -> Mapping[str, Any]:
    """What interruptions of spot nodes do to the plan, where it uses some."""
    if not uses_spot(planned):
        return {}
    found = {}
    if planned.expected_usd_per_hour is not None:
        found["expectedUSDPerHour"] = format_usd(planned.expected_usd_per_hour)
    if planned.availability_percent is not None:
        found["availabilityPercent"] = percent(planned.availability_percent)
    return found


def uses_spot(planned: DeploymentPlan) -> bool:
    """Whether any of the replicas can be taken back."""
    return any(item.capacity_type is CapacityType.SPOT for item in planned.placements)


def percent(value: float) -> str:
    """``99.2``, ``99.97``, ``100``: rounded down, so that 100 means always."""
    return f"{math.floor(value * 100 + 1e-9) / 100:.2f}".rstrip("0").rstrip(".")


def shortage(short: Shortage, priorities: Mapping[DeploymentKey, int]) -> str:
    """Who gets less, of what, who comes first, with the priorities where they are known, and who shares it:

    ``serves 60 % of the peak: pool x is short; team-b/docs (priority 10) comes first``.
    """
    what = "the cluster's budget" if short.short_of == "budget" else f"pool {short.short_of}"
    text = f"serves {short.served_percent} % of the planned load: {what} is short"
    first = [f"{key} (priority {priorities[key]})" if key in priorities else str(key) for key in short.lost_to]
    if first:
        text += f"; {', '.join(first[:MOST_LOST_TO])} {'come' if len(first) > 1 else 'comes'} first"
    if short.shared_with:
        text += f"; shared with {', '.join(map(str, short.shared_with[:MOST_LOST_TO]))} of the same priority"
    return text


def _shortage(short: Shortage) -> Mapping[str, Any]:
    document: dict[str, Any] = {"servedPercent": short.served_percent, "shortOf": short.short_of}
    if short.lost_to:
        document["lostTo"] = [str(key) for key in short.lost_to[:MOST_LOST_TO]]
    if short.shared_with:
        document["sharedWith"] = [str(key) for key in short.shared_with[:MOST_LOST_TO]]
    return document


def message(rejection: Rejection) -> str:
    """What was refused it, and the dollars where the text does not say them."""
    text = rejection.message
    if rejection.usd_per_hour is not None and "/h" not in text:
        unit = "GPU" if rejection.name.endswith("-*") else "replica"
        text += f" (from ${format_usd(rejection.usd_per_hour)}/h a {unit})"
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"


def summary(planned: DeploymentPlan, most: int = MOST_REJECTIONS) -> tuple[Rejection, ...]:
    """One line per accelerator that cannot serve a model: what got furthest there, furthest first.

    Accelerators that serve or could serve it are told about by the placements and alternatives; of these, why not on
    spot, where that would be cheaper than what was chosen.
    """
    serving = {(item.model, item.shape.accelerator) for item in planned.placements}
    serving |= {(variant(item.name), item.accelerator) for item in planned.alternatives}
    groups: dict[tuple[str, str], list[Rejection]] = {}
    for rejection in planned.rejections:
        groups.setdefault((variant(rejection.name), rejection.accelerator), []).append(rejection)
    lines = [_line(model, name, group) for (model, name), group in groups.items() if (model, name) not in serving]
    lines += _why_not_spot(planned)
    ruled_out = [line for line in lines if line.reason is RejectionReason.NOT_ALLOWED]
    told = [line for line in lines if line.reason is not RejectionReason.NOT_ALLOWED]
    told.sort(key=lambda line: (-STAGES[line.reason], line.accelerator, line.name))
    return (*told, *_ruled_out(ruled_out))[:most]


def _why_not_spot(planned: DeploymentPlan) -> list[Rejection]:
    """Of each accelerator that serves a model otherwise, the cheapest fleet that would be lost too often."""
    kinds = {(item.model, item.shape.accelerator, item.capacity_type) for item in planned.placements}
    kinds |= {(variant(item.name), item.accelerator, item.capacity_type) for item in planned.alternatives}
    serving = {(model, accelerator) for model, accelerator, _ in kinds}
    found: dict[tuple[str, str], Rejection] = {}
    for item in planned.rejections:
        kind, dollars = (variant(item.name), item.accelerator), item.usd_per_hour
        is_answer = (
            item.reason is RejectionReason.SPOT_RISK and kind in serving and (*kind, CapacityType.SPOT) not in kinds
        )
        if is_answer and dollars is not None and dollars < planned.usd_per_hour:
            best = found.get(kind)
            if best is None or (dollars, item.name) < (best.usd_per_hour or 0, best.name):
                found[kind] = item
    return list(found.values())


def nearest(rejections: Sequence[Rejection]) -> tuple[Rejection, ...]:
    """Of rejections for one reason, the nearest miss of each accelerator; by accelerator."""
    by_accelerator: dict[str, list[Rejection]] = {}
    for rejection in rejections:
        by_accelerator.setdefault(rejection.accelerator, []).append(rejection)
    return tuple(max(by_accelerator[name], key=_distance) for name in sorted(by_accelerator))


def variant(name: str) -> str:
    """Of ``2 x variant/shape`` or ``variant/shape``, the variant; empty for the deployment's own model."""
    return name.rpartition(" ")[2].rpartition("/")[0]


def _ruled_out(lines: Sequence[Rejection]) -> list[Rejection]:
    """What the request itself rules out, in one line per field of ``placement``: it is no news to who wrote it."""
    fields = sorted({_field(line) for line in lines})
    return [
        Rejection(
            field,
            RejectionReason.NOT_ALLOWED,
            "rules out " + ", ".join(sorted(line.accelerator for line in lines if _field(line) == field)),
        )
        for field in fields
    ]


def _field(line: Rejection) -> str:
    return next((word for word in line.message.split() if word.startswith("placement.")), line.name)


def alternatives(planned: DeploymentPlan, most: int = MOST_ALTERNATIVES) -> tuple[Alternative, ...]:
    """What costs no more first, then the cheapest of each model, then of each accelerator, then what room there is for
    the rest; by price.
    """
    models = {item.model for item in planned.placements}
    kinds = {(item.model, item.shape.accelerator) for item in planned.placements}
    ranked: list[tuple[int, int]] = []
    for place, item in enumerate(planned.alternatives):
        model = variant(item.name)
        is_dearer = item.usd_per_hour > planned.usd_per_hour
        ranked.append((is_dearer * ((model in models) + ((model, item.accelerator) in kinds)), place))
        models.add(model)
        kinds.add((model, item.accelerator))
    chosen = {place for _, place in sorted(ranked)[:most]}
    return tuple(item for place, item in enumerate(planned.alternatives) if place in chosen)


def _line(model: str, accelerator: str, group: Sequence[Rejection]) -> Rejection:
    """The furthest of a group; named after the accelerator where all that got so far met with the same."""
    best = max(group, key=_distance)
    near = [item for item in group if STAGES[item.reason] >= min(STAGES[best.reason], _FITS)]
    all_of_it = f"{model}/{accelerator}-*" if model else f"{accelerator}-*"
    if any((item.reason, item.message) != (best.reason, best.message) for item in near):
        return best if not best.name.endswith("-*") else replace(best, name=all_of_it)
    return replace(best, name=all_of_it) if len(near) > 1 or best.name.endswith("-*") else best


def _distance(rejection: Rejection) -> tuple[float, float, str]:
    """Furthest stage; of one stage the nearest miss; of equals the last name, so that order never matters."""
    ratio = 0.0
    if rejection.value and rejection.limit:
        ratio = -rejection.value / rejection.limit
    return STAGES[rejection.reason], ratio, rejection.name


def _predicted(prediction: Prediction) -> Mapping[str, Any]:
    return {
        "timeToFirstToken": {
            f"p{prediction.time_to_first_token_percentile}": duration(prediction.time_to_first_token_s)
        },
        "timePerOutputToken": {
            f"p{prediction.time_per_output_token_percentile}": duration(prediction.time_per_output_token_s)
        },
        "utilizationPercent": round(prediction.utilization_percent),
        "confidence": str(prediction.confidence),
        "marginPercent": prediction.margin_percent,
    }


def _placement(placement: Placement) -> dict[str, Any]:
    shape = placement.shape
    document: dict[str, Any] = {
        # Two models may have the same shape in one pool: names tell placements apart.
        "name": f"{placement.model}/{shape.name}" if placement.model else shape.name,
        "accelerator": shape.accelerator,
        "precision": str(shape.precision),
        "tensorParallel": shape.tensor_parallel,
        "pipelineParallel": shape.pipeline_parallel,
        "dataParallel": shape.data_parallel,
        "expertParallel": shape.expert_parallel,
        "nodesPerReplica": shape.nodes_per_replica,
        "pool": placement.pool,
        "capacityType": str(placement.capacity_type),
        "replicas": placement.replicas,
        "sharePercent": placement.share_percent,
        "usdPerHour": format_usd(MicroUsd(placement.usd_per_hour)),
    }
    if placement.model:
        document["model"] = placement.model
    if placement.input_tokens is not None:
        above, up_to = placement.input_tokens
        document["inputTokens"] = {"above": above, "upTo": up_to}
    return document


def duration(seconds: float) -> str:
    """Go-style: ``620ms``, ``1.42s``; tenths of a millisecond below ten, ``3.4ms``."""
    if seconds >= 1:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + "s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f}".rstrip("0").rstrip(".") + "ms" if milliseconds < 10 else f"{milliseconds:.0f}ms"


def duration_asked(seconds: float) -> str:
    """Go-style, a limit as it was asked, nothing rounded away: ``40.5ms``, ``1.425s``."""
    return f"{seconds:.9g}s" if seconds >= 1 else f"{seconds * 1000:.9g}ms"
