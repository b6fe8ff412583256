"""Small worlds for planner tests: a deployment and offerings with defaults, each changed by keyword."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from deepseek_planner import catalog as catalogs
from deepseek_planner.asked import Request
from deepseek_planner.demand import (
    AccuracyClass,
    Demand,
    LatencyTarget,
    LengthBucket,
    LengthDistribution,
    Objectives,
    RequestClass,
)
from deepseek_planner.hardware import CapacityType, InterNode, Offering, Price
from deepseek_planner.legal import Wiring
from deepseek_planner.options import Option
from deepseek_planner.plan import DeploymentPlan, Rejection, RejectionReason
from deepseek_planner.risk import RESERVED_DIVISOR
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Constraints, DeploymentInput, DeploymentKey, Policy, Snapshot
from deepseek_planner.survey import Survey, weigh
from deepseek_planner.units import micro_usd

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
CATALOG = catalogs.load()


def lengths(*buckets: tuple[int, float, float]) -> LengthDistribution:
    """Buckets as (up to, mean, share)."""
    return LengthDistribution(tuple(LengthBucket(*bucket) for bucket in buckets))


CHAT_INPUT = lengths((1200, 500.0, 0.5), (4000, 1400.0, 0.4), (16384, 3900.0, 0.1))
CHAT_OUTPUT = lengths((800, 240.0, 0.9), (2048, 840.0, 0.1))


def demand(expected: float = 240, peak: float = 900, **changed: Any) -> Demand:
    values = {"input_tokens": CHAT_INPUT, "output_tokens": CHAT_OUTPUT, "shared_prefix_tokens": 0} | changed
    return Demand(expected, peak, **values)


def objectives(
    *,
    ttft_s: float | None = 1.0,
    tpot_s: float | None = 0.06,
    accuracy: str = "Economy",
    per_hour: str = "100",
    per_million: str | None = None,
    priority: int = 0,
) -> Objectives:
    return Objectives(
        time_to_first_token=None if ttft_s is None else LatencyTarget(95, ttft_s),
        time_per_output_token=None if tpot_s is None else LatencyTarget(95, tpot_s),
        accuracy_class=AccuracyClass(accuracy),
        max_usd_per_hour=micro_usd(per_hour),
        max_usd_per_million_tokens=None if per_million is None else micro_usd(per_million),
        priority=priority,
    )


def deployment(
    model: str = "deepseek-v3", name: str = "chat", namespace: str = "team-a", **changed: Any
) -> DeploymentInput:
    values: dict[str, Any] = {"demand": demand(), "objectives": objectives(), "constraints": Constraints()} | changed
    return DeploymentInput(key=DeploymentKey(namespace, name), generation=1, model=model, **values)


def offering(accelerator: str, usd: str | None, pool: str = "", **changed: Any) -> Offering:
    """Nodes of eight of the accelerator at a price per node and hour."""
    values: dict[str, Any] = {
        "gpus_per_node": 8,
        "capacity_type": CapacityType.ON_DEMAND,
        "max_nodes": 4,
        "free_gpus_by_node": (),
        "intra_node": CATALOG.accelerator(accelerator).intra_node,
        "inter_node": InterNode.ETHERNET,
    } | changed
    price = None if usd is None else Price(micro_usd(usd), "test", date(2026, 11, 1))
    return Offering(pool=pool or accelerator, accelerator=accelerator, price=price, **values)


def snapshot(*deployments: DeploymentInput, offerings: tuple[Offering, ...], multi_node: bool = False) -> Snapshot:
    return Snapshot(now=NOW, deployments=deployments, offerings=offerings, multi_node=multi_node)


def reasons(found: DeploymentPlan) -> set[RejectionReason]:
    """Why alternatives were refused."""
    return {item.reason for item in found.rejections}


def weighed_usd(found: DeploymentPlan) -> float:
    """What the search minimises: with what interruptions lose, and next to nothing for what is paid anyway."""
    total = float(found.usd_per_hour if found.expected_usd_per_hour is None else found.expected_usd_per_hour)
    reserved = sum(item.usd_per_hour for item in found.placements if item.capacity_type is CapacityType.RESERVED)
    return total - reserved * (1 - 1 / RESERVED_DIVISOR)


def planned(asked: DeploymentInput, *offerings: Offering, multi_node: bool = False) -> DeploymentPlan:
    """The plan of the only deployment."""
    return plan(snapshot(asked, offerings=offerings, multi_node=multi_node), CATALOG, Policy()).deployments[asked.key]


def weighed(
    asked: Request, *places: Wiring, classes: tuple[RequestClass, ...] = ()
) -> list[tuple[list[Option], list[Rejection]]]:
    """Of each of the wirings the shapes that serve, whatever they cost, and why the others do not."""
    gates = [(place, lambda _asked, _shape: None) for place in places]
    survey = Survey(asked, gates, CATALOG, multi_node=False, classes=classes)
    (outcomes,) = weigh([survey])
    found = []
    for place in range(len(places)):
        here = [outcome for laid, outcome in outcomes.items() if place in survey.places[laid]]
        refused = [refusal for at, legal in survey.legal if at == place for refusal, _ in legal.refusals]
        refused += [item for item in here if isinstance(item, Rejection)]
        found.append(([item for item in here if isinstance(item, Option)], refused))
    return found
