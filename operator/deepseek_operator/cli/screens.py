"""What the command line prints: a plan as a table, in the words of the status.

Pure: values in, text out; colours are the caller's, and only for terminals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from deepseek_planner.candidates import quality
from deepseek_planner.demand import LatencyTarget
from deepseek_planner.explain import alternatives, gap, message, percent, shortage, summary, uses_spot
from deepseek_planner.hardware import CapacityType
from deepseek_planner.models import ModelSpec
from deepseek_planner.plan import DeploymentPlan, Placement, Prediction, Rejection, RejectionReason
from deepseek_planner.price_list import OwnPrice
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey
from deepseek_planner.units import MicroUsd, format_usd

SAID_BY_MESSAGE = frozenset(
    {
        RejectionReason.NOT_ALLOWED,
        RejectionReason.PRECISION_ILLEGAL,
        RejectionReason.NO_CHECKPOINT,
        RejectionReason.TTFT_TOO_HIGH,
        RejectionReason.TPOT_TOO_HIGH,
    }
)

MOST_UNUSED = 5
"""Lines of a price file that are named."""

CAPACITY = {"Spot": "spot", "OnDemand": "on-demand", "Reserved": "reserved"}


def plan_screen(
    asked: DeploymentInput,
    planned: DeploymentPlan,
    models: Mapping[str, ModelSpec],
    priorities: Mapping[DeploymentKey, int],
) -> str:
    """One deployment: what was asked, what was chosen, what also works, what was refused and why.

    ``models`` by name: its own and its variants; ``priorities`` of every deployment that was planned with it.
    """
    lines = [_asked(asked), ""]
    lines += _chosen(asked, planned, models) if planned.is_feasible else _infeasible(planned)
    if planned.shortage is not None:
        lines.append(f"  short    {shortage(planned.shortage, priorities)}")
        if planned.is_feasible and planned.smallest_change:
            lines.append(f"           all of it with: {planned.smallest_change}")
    lines += [f"  warning  {warning}" for warning in planned.warnings]
    lines.append("")
    if planned.alternatives:
        lines += _alternatives(planned)
    refused = summary(planned)
    if refused:
        width = max(len(item.name) for item in refused)
        lines.append("  refused")
        lines += [f"   {item.name:<{width}}  {_refusal(item)}" for item in refused]
    return "\n".join(lines) + "\n"


def _refusal(rejection: Rejection) -> str:
    """The message; with the reason before it where the message does not say it already."""
    text = message(rejection)
    return text if rejection.reason in SAID_BY_MESSAGE else f"{spaced(str(rejection.reason))}: {text}"


def _asked(asked: DeploymentInput) -> str:
    objectives, demand = asked.objectives, asked.demand
    parts = [asked.model, f"{demand.expected_requests_per_min:g} req/min (peak {demand.peak_requests_per_min:g})"]
    parts += [
        f"{name} p{target.percentile} <= {latency_asked(target.limit_s)}"
        for name, target in (("TTFT", objectives.time_to_first_token), ("TPOT", objectives.time_per_output_token))
        if isinstance(target, LatencyTarget)
    ]
    parts.append(str(objectives.accuracy_class))
    money = f"<= ${limit(objectives.max_usd_per_hour)}/h"
    if objectives.max_usd_per_million_tokens is not None:
        money += f", <= ${limit(objectives.max_usd_per_million_tokens)}/M"
    return f"{asked.key.name}: " + " · ".join([*parts, money])


def _chosen(asked: DeploymentInput, planned: DeploymentPlan, models: Mapping[str, ModelSpec]) -> Iterator[str]:
    assert planned.prediction is not None
    yield (
        f"  chosen   ${format_usd(planned.usd_per_hour)}/h   ${format_usd(planned.usd_per_million_tokens)}/M   "
        + _prediction(planned.prediction)
    )
    names = [_placement(item) for item in planned.placements]
    kinds = [CAPACITY[str(item.capacity_type)] for item in planned.placements]
    width, kind_width = max(map(len, names)), max(map(len, kinds))
    for item, name, kind in zip(planned.placements, names, kinds, strict=True):
        where = "  ".join(filter(None, (f"${format_usd(item.usd_per_hour)}/h", item.pool, prompts(item))))
        yield f"  {item.share_percent:>3} %  {name:<{width}}  {kind:<{kind_width}}  {where}"
    for text in sorted({_quality(asked, item, models) for item in planned.placements}):
        yield f"         quality loss: {text}"
    yield f"         a token's time: {planned.prediction.bottleneck}"
    if any(item.capacity_type is CapacityType.RESERVED for item in planned.placements):
        yield "         reserved capacity is paid for anyway: it comes before what is cheaper by the list"
    if uses_spot(planned):
        yield from _risk(planned)
    if planned.gap_percent > 0:
        yield f"         at most {gap(planned.gap_percent)} % cheaper could all deployments together be: proven"


def _quality(asked: DeploymentInput, item: Placement, models: Mapping[str, ModelSpec]) -> str:
    text = quality(models[item.model or asked.model], item.shape.precision)
    return f"another model answers, {item.model}; its precision: {text}" if item.model else text


def _placement(item: Placement) -> str:
    name = f"{item.replicas} x {item.shape.name}"
    return f"{name} of {item.model}" if item.model else name


def prompts(placement: Placement) -> str:
    """Which prompts go there; empty where all do."""
    if placement.input_tokens is None:
        return ""
    above, up_to = placement.input_tokens
    return f"prompts > {above:,} and <= {up_to:,} tokens" if above else f"prompts <= {up_to:,} tokens"


def _risk(planned: DeploymentPlan) -> Iterator[str]:
    parts = []
    if planned.availability_percent is not None:
        parts.append(f"carries the planned load {percent(planned.availability_percent)} % of the time")
    if planned.expected_usd_per_hour is not None:
        parts.append(f"${format_usd(planned.expected_usd_per_hour)}/h expected with interruptions")
    if parts:
        yield "         spot: " + ", ".join(parts)


def _prediction(prediction: Prediction) -> str:
    return (
        f"TTFT p{prediction.time_to_first_token_percentile} {latency(prediction.time_to_first_token_s)}   "
        f"TPOT p{prediction.time_per_output_token_percentile} {latency(prediction.time_per_output_token_s)}   "
        f"util {prediction.utilization_percent:.0f} %   "
        f"margin {prediction.margin_percent} % ({spaced(str(prediction.confidence))})"
    )


def _infeasible(planned: DeploymentPlan) -> Iterator[str]:
    yield f"  no feasible plan: {planned.obstacle}" if planned.obstacle else "  no feasible plan"
    if planned.smallest_change:
        yield f"  would be feasible with: {planned.smallest_change}"


def _alternatives(planned: DeploymentPlan) -> Iterator[str]:
    shown = alternatives(planned)
    names = [f"{item.name}, {CAPACITY[str(item.capacity_type)]}" for item in shown]
    width = max(map(len, names))
    yield f"  {'also works':<{width + 1}}  {'$/h':>8}  {'$/M':>8}"
    for item, name in zip(shown, names, strict=True):
        dollars, per_million = format_usd(item.usd_per_hour), format_usd(item.usd_per_million_tokens)
        more = ""
        if planned.usd_per_hour and planned.shortage is None:
            more = f"  {100 * (item.usd_per_hour / planned.usd_per_hour - 1):+.0f} %"
        yield f"   {name:<{width}}  {dollars:>8}  {per_million:>8}{more}"


def latency(seconds: float) -> str:
    """``620 ms``, ``1.4 s``, ``2 s``."""
    if seconds >= 1:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def latency_asked(seconds: float) -> str:
    """A target as it was asked, nothing rounded away: ``40.5 ms``, ``1.425 s``."""
    return f"{seconds:.9g} s" if seconds >= 1 else f"{seconds * 1000:.9g} ms"


def limit(amount: MicroUsd) -> str:
    """Dollars as a person writes a limit: ``60``, ``2.50``."""
    return format_usd(amount).removesuffix(".00")


def spaced(name: str) -> str:
    """``DoesNotFit`` -> ``does not fit``."""
    return "".join(f" {char.lower()}" if char.isupper() else char for char in name).strip()


def sources_line(sources: Sequence[str]) -> str:
    """Which price list was used when nobody gave pools."""
    return "prices: shipped list, no --pools given\n" + "".join(f"  {source}\n" for source in sources)


def unused_line(unused: Sequence[OwnPrice]) -> str:
    """Which lines of a price file count for nothing when nobody gave pools."""
    named = [" ".join(filter(None, (item.instance_type, item.zone, str(item.capacity_type)))) for item in unused]
    more = f" and {len(named) - MOST_UNUSED} more" if len(named) > MOST_UNUSED else ""
    return (
        f"prices not used: {', '.join(named[:MOST_UNUSED])}{more}; without --pools, what the shipped list holds is "
        "offered, by region, on demand and spot: give --pools for anything else\n"
    )
