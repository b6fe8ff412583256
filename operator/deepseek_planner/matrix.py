"""The precision-cost matrix: what each precision would cost in each scenario, or why it would not serve.

Scenarios are derived from the request; each is asked of the search anew, alone on the pools, with every precision
permitted and no budget, so that a row says what the accuracy class and the budget cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from deepseek_planner.demand import (
    AccuracyClass,
    Demand,
    LatencyTarget,
    LengthBucket,
    LengthDistribution,
    Objectives,
    answers,
)
from deepseek_planner.explain import STAGES
from deepseek_planner.models import ModelSpec, Precision
from deepseek_planner.plan import Candidate, Rejection, RejectionReason
from deepseek_planner.precision import allowed
from deepseek_planner.snapshot import DeploymentInput
from deepseek_planner.units import MicroUsd

Ask = Callable[[DeploymentInput], tuple[Sequence[Candidate], Sequence[Rejection]]]
"""All that is weighed for a deployment that stands alone, and all that is refused."""

UNLIMITED = MicroUsd(10**15)

SHORT, LONG = 0.7, 0.1
"""Parts of the requests that the scenarios of short and of long prompts are made of, at least."""

FEW_WORDS = {
    RejectionReason.NO_CHECKPOINT: "no checkpoint",
    RejectionReason.PRECISION_ILLEGAL: "no kernels",
    RejectionReason.SHAPE_ILLEGAL: "no sharding",
    RejectionReason.MULTI_NODE_UNAVAILABLE: "needs several nodes",
    RejectionReason.CONTEXT_TOO_LONG: "requests too long",
    RejectionReason.DOES_NOT_FIT: "does not fit",
    RejectionReason.TTFT_TOO_HIGH: "TTFT missed",
    RejectionReason.TPOT_TOO_HIGH: "TPOT missed",
    RejectionReason.TOO_MANY_REPLICAS: "too many replicas",
    RejectionReason.NOT_ENOUGH_NODES: "too few nodes",
    RejectionReason.SPOT_SHARE: "spot share",
    RejectionReason.SPOT_RISK: "spot risk",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One precision in one scenario: the cheapest shape of it, or why none serves."""

    precision: Precision
    name: str
    """``2 x h200-fp8-tp8``; empty where none serves."""
    usd_per_hour: MicroUsd
    usd_per_million_tokens: MicroUsd
    refusal: str
    """A few words; empty where one serves."""
    is_allowed: bool
    """Whether the accuracy class lets the precision serve."""
    is_over_budget: bool
    is_cheapest: bool
    """Of those that the accuracy class lets serve."""


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario."""

    scenario: str
    detail: str
    cells: tuple[Cell, ...]


def matrix(asked: DeploymentInput, model: ModelSpec, ask: Ask) -> tuple[Row, ...]:
    """Scenario by scenario, every precision."""
    return tuple(
        Row(scenario, detail, _cells(changed, asked, model, ask)) for scenario, detail, changed in scenarios(asked)
    )


def scenarios(asked: DeploymentInput) -> Iterator[tuple[str, str, DeploymentInput]]:
    """Name, what is different, and the changed request; only those that differ from what was asked."""
    base = replace(asked, measured=None)
    demand, objectives = asked.demand, asked.objectives
    yield "as asked", f"sized for {demand.peak_requests_per_min:,.0f} requests/min", base
    if demand.expected_requests_per_min < demand.peak_requests_per_min:
        expected = replace(demand, peak_requests_per_min=demand.expected_requests_per_min)
        detail = f"{demand.expected_requests_per_min:,.0f} requests/min, never more"
        yield "expected load only", detail, replace(base, demand=expected)
    buckets = demand.input_tokens.buckets
    if len(buckets) > 1:
        short, long = _part(buckets, SHORT), _part(buckets[::-1], LONG)[::-1]
        if len(short) < len(buckets):
            yield "short prompts only", f"up to {short[-1].up_to_tokens:,} tokens", _prompts(base, demand, short)
        if len(long) < len(buckets):
            above = buckets[len(buckets) - len(long) - 1].up_to_tokens
            yield "long prompts only", f"above {above:,} tokens", _prompts(base, demand, long)
    if objectives.time_to_first_token or objectives.time_per_output_token:
        yield "tight latency", "half of each target", replace(base, objectives=_scaled(objectives, 0.5))
        yield "relaxed latency", "twice each target", replace(base, objectives=_scaled(objectives, 2.0))


def _part(buckets: Sequence[LengthBucket], share: float) -> Sequence[LengthBucket]:
    """The first buckets that hold at least so much of the requests."""
    total = 0.0
    for count, bucket in enumerate(buckets, start=1):
        total += bucket.share
        if total >= share - 1e-9:
            return buckets[:count]
    return buckets


def _prompts(asked: DeploymentInput, demand: Demand, buckets: Sequence[LengthBucket]) -> DeploymentInput:
    total = sum(bucket.share for bucket in buckets)
    inputs = LengthDistribution(tuple(replace(bucket, share=bucket.share / total) for bucket in buckets))
    outputs = answers(inputs, demand.input_tokens, demand.output_tokens)
    prefix = min(demand.shared_prefix_tokens, int(inputs.mean_tokens))
    changed = replace(demand, input_tokens=inputs, output_tokens=outputs, shared_prefix_tokens=prefix)
    return replace(asked, demand=changed)


def _scaled(objectives: Objectives, factor: float) -> Objectives:
    def scaled(target: LatencyTarget | None) -> LatencyTarget | None:
        return None if target is None else replace(target, limit_s=target.limit_s * factor)

    return replace(
        objectives,
        time_to_first_token=scaled(objectives.time_to_first_token),
        time_per_output_token=scaled(objectives.time_per_output_token),
    )


def _cells(changed: DeploymentInput, asked: DeploymentInput, model: ModelSpec, ask: Ask) -> tuple[Cell, ...]:
    free = replace(
        changed.objectives,
        accuracy_class=AccuracyClass.ECONOMY,
        max_usd_per_hour=UNLIMITED,
        max_usd_per_million_tokens=None,
    )
    weighed, rejections = ask(replace(changed, objectives=free))
    cells = [_cell(precision, weighed, rejections, asked, model) for precision in Precision]
    best = min((cell.usd_per_hour for cell in cells if _may_be_chosen(cell)), default=None)
    return tuple(replace(cell, is_cheapest=_may_be_chosen(cell) and cell.usd_per_hour == best) for cell in cells)


def _may_be_chosen(cell: Cell) -> bool:
    return bool(cell.name) and cell.is_allowed and not cell.is_over_budget


def _cell(
    precision: Precision,
    weighed: Sequence[Candidate],
    rejections: Sequence[Rejection],
    asked: DeploymentInput,
    model: ModelSpec,
) -> Cell:
    objectives = asked.objectives
    own = [item for item in weighed if item.model == model.name and item.shape.precision is precision]
    serving = min((item for item in own if item.rejection is None), key=_price, default=None)
    hourly = serving.usd_per_hour if serving else MicroUsd(0)
    per_million = serving.usd_per_million_tokens if serving else MicroUsd(0)
    most = objectives.max_usd_per_million_tokens
    return Cell(
        precision=precision,
        name=f"{serving.replicas} x {serving.name}" if serving else "",
        usd_per_hour=hourly,
        usd_per_million_tokens=per_million,
        refusal="" if serving else _refusal(precision, own, rejections),
        is_allowed=precision in allowed(model, objectives.accuracy_class),
        is_over_budget=hourly > objectives.max_usd_per_hour or (most is not None and per_million > most),
        is_cheapest=False,
    )


def _price(candidate: Candidate) -> tuple[int, str, str]:
    return candidate.usd_per_hour, candidate.name, candidate.pool


def _refusal(precision: Precision, own: Sequence[Candidate], rejections: Sequence[Rejection]) -> str:
    """Of what got furthest: the candidates' reasons, else those that are about the precision as a whole."""
    reasons = [item.rejection.reason for item in own if item.rejection]
    reasons = reasons or [item.reason for item in rejections if f"-{precision}-" in item.name]
    furthest = max(reasons, key=lambda reason: (STAGES[reason], reason), default=None)
    if furthest is None:
        # fp16 is how a bf16 checkpoint runs where bf16 does not: elsewhere it is no choice of its own.
        return "runs as bf16" if precision is Precision.FP16 else "not offered"
    return FEW_WORDS.get(furthest, "".join(f" {c.lower()}" if c.isupper() else c for c in furthest).strip())
