"""Builders of fleets, plans and snapshots: every argument has a default, tests name what they are about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from deepseek_planner.demand import (
    AccuracyClass,
    Demand,
    LatencyTarget,
    LengthBucket,
    LengthDistribution,
    Measured,
    Objectives,
)
from deepseek_planner.difference import TargetGroup
from deepseek_planner.hardware import CapacityType, InterNode, IntraNode, Offering
from deepseek_planner.models import Precision
from deepseek_planner.plan import Confidence, DeploymentPlan, EngineParameters, Placement, Plan, Prediction
from deepseek_planner.snapshot import (
    Constraints,
    DeploymentInput,
    DeploymentKey,
    EngineGroup,
    Fleet,
    Rebalancing,
    RebalancingMode,
    Shape,
    Snapshot,
)
from deepseek_planner.units import MicroUsd, micro_usd

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
KEY = DeploymentKey("team-a", "chat")
ENGINE = EngineParameters(4096, 64, 8192, 10**9, prefix_caching=True, data_type="bfloat16")


def lengths(tokens: int) -> LengthDistribution:
    return LengthDistribution((LengthBucket(tokens, tokens, 1.0),))


def shape(accelerator: str = "h100", tensor_parallel: int = 1) -> Shape:
    return Shape(accelerator, Precision.FP8, tensor_parallel, 1, 1, 1, 1)


def offering(pool: str = "h100", **changes: Any) -> Offering:
    values: dict[str, Any] = {
        "pool": pool,
        "accelerator": pool,
        "gpus_per_node": 8,
        "capacity_type": CapacityType.ON_DEMAND,
        "price": None,
        "max_nodes": 8,
        "free_gpus_by_node": (8, 8),
        "intra_node": IntraNode.NVLINK,
        "inter_node": InterNode.ETHERNET,
    }
    return Offering(**{**values, **changes})


def placement(replicas: int, accelerator: str = "h100", usd: str = "10") -> Placement:
    return Placement(shape(accelerator), accelerator, CapacityType.ON_DEMAND, replicas, 100, micro_usd(usd), ENGINE)


def target(replicas: int, accelerator: str = "h100", usd: str = "10", version: str = "a") -> TargetGroup:
    """A target named after its accelerator and ``version``, which stands for the launch hash."""
    return TargetGroup(KEY, f"chat-{accelerator}-{version}", version, placement(replicas, accelerator, usd))


def group(replicas: int, accelerator: str = "h100", usd: str = "10", version: str = "a", **changes: Any) -> EngineGroup:
    """A group that serves with all its replicas, unless ``changes`` say otherwise."""
    values: dict[str, Any] = {
        "key": KEY,
        "name": f"chat-{accelerator}-{version}",
        "launch_hash": version,
        "shape": shape(accelerator),
        "pool": accelerator,
        "capacity_type": CapacityType.ON_DEMAND,
        "desired": replicas,
        "ready": replicas,
        "starting": 0,
        "draining": 0,
        "usd_per_replica_hour": micro_usd(usd),
    }
    return EngineGroup(**{**values, **changes})


def measured(requests_per_min: float = 60.0, **changes: Any) -> Measured:
    """A full window of measurements."""
    values: dict[str, Any] = {
        "window_s": 900.0,
        "covered_s": 900.0,
        "requests_per_min": requests_per_min,
        "peak_requests_per_min": requests_per_min,
        "mean_input_tokens": 500.0,
        "mean_output_tokens": 100.0,
        "tokens_per_s": requests_per_min * 10.0,
        "usd_per_hour": micro_usd("20"),
        "usd_per_million_tokens": micro_usd("2"),
        "time_to_first_token_s": 0.3,
        "time_per_output_token_s": 0.02,
    }
    return Measured(**{**values, **changes})


def deployment(
    *,
    budget: str = "100",
    limit_per_million: str | None = None,
    mode: RebalancingMode = RebalancingMode.AUTO,
    min_savings_percent: int = 10,
    min_replicas: int = 1,
    max_replicas: int = 12,
    moved_s_ago: float | None = 3600.0,
    **changes: Any,
) -> DeploymentInput:
    """A deployment whose fleet was planned for its present spec, with a full window of measurements."""
    values: dict[str, Any] = {
        "key": KEY,
        "generation": 3,
        "planned_generation": 3,
        "model": "deepseek-v3",
        "demand": Demand(240.0, 900.0, lengths(500), lengths(100)),
        "objectives": Objectives(
            LatencyTarget(95, 1.0),
            LatencyTarget(95, 0.05),
            AccuracyClass.BALANCED,
            micro_usd(budget),
            None if limit_per_million is None else micro_usd(limit_per_million),
        ),
        "constraints": Constraints(min_replicas=min_replicas, max_replicas=max_replicas),
        "rebalancing": Rebalancing(mode, min_savings_percent, 600.0),
        "measured": measured(),
        "last_move_at": None if moved_s_ago is None else NOW - timedelta(seconds=moved_s_ago),
    }
    return DeploymentInput(**{**values, **changes})


def snapshot(
    *groups: EngineGroup,
    offerings: tuple[Offering, ...] | None = None,
    of: DeploymentInput | None = None,
    **changes: Any,
) -> Snapshot:
    """One deployment with a fleet, over roomy pools for every accelerator that the tests name."""
    roomy = tuple(offering(pool) for pool in ("h100", "h200", "t4"))
    return Snapshot(
        now=NOW,
        deployments=(of if of is not None else deployment(**changes),),
        offerings=roomy if offerings is None else offerings,
        fleet=Fleet(groups),
    )


def plan(
    *targets: TargetGroup, source: str = "measured", rate: float = 60.0, capacity: float | None = None
) -> tuple[Plan, Mapping[DeploymentKey, tuple[TargetGroup, ...]]]:
    """A plan with these targets for ``rate`` requests per minute, and the targets by key; without any, infeasible."""
    placements = tuple(each.placement for each in targets)
    usd = MicroUsd(sum(each.usd_per_hour for each in placements))
    predicted = None
    if capacity is not None:
        predicted = Prediction(0.3, 0.02, 100 * rate / capacity, capacity * 10, capacity, Confidence.CALIBRATED, 10, "")
    of = DeploymentPlan(KEY, "deepseek-v3", placements, usd, micro_usd("2"), predicted, source, rate, (), ())
    return Plan({KEY: of}), {KEY: targets} if targets else {}
