"""What is wrong with a plan, worked out from the snapshot alone: nothing of the search is used.

The rules are those of the definitions page. Latencies and capacities are the plan's own predictions: whether these
are right is another question, with tests of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from deepseek_planner.catalog import Catalog
from deepseek_planner.demand import AccuracyClass
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.models import Precision
from deepseek_planner.plan import DeploymentPlan, Placement, Plan, Prediction
from deepseek_planner.snapshot import DeploymentInput, Policy, Routing, Shape, Snapshot

BYTES = {
    Precision.BF16: 2.0,
    Precision.FP16: 2.0,
    Precision.FP8: 1.0,
    Precision.INT8: 1.0,
    Precision.INT4: 0.5,
    Precision.FP4: 0.5,
}
ROUNDING = 1.001
"""Predictions are floats; money is exact."""


def problems(snapshot: Snapshot, plan: Plan, catalog: Catalog, policy: Policy) -> list[str]:
    """Every broken rule, in words; empty for a plan that may be carried out."""
    found = list(_whole(snapshot, plan, policy))
    for deployment in snapshot.deployments:
        planned = plan.deployments[deployment.key]
        found += [f"{deployment.key}: {text}" for text in _deployment(snapshot, deployment, planned, catalog, policy)]
    return found


def _whole(snapshot: Snapshot, plan: Plan, policy: Policy) -> Iterator[str]:
    if sorted(plan.deployments) != sorted(deployment.key for deployment in snapshot.deployments):
        yield "not every deployment has a plan, or others have"
    total = sum(planned.usd_per_hour for planned in plan.deployments.values())
    if policy.max_usd_per_hour is not None and total > policy.max_usd_per_hour:
        yield f"{total} micro-dollars per hour, {policy.max_usd_per_hour} for the whole cluster"
    held: dict[str, list[tuple[Shape, int]]] = defaultdict(list)
    for planned in plan.deployments.values():
        for item in planned.placements:
            held[item.pool].append((item.shape, item.replicas))
    for offering in snapshot.offerings:
        if not _packs(offering, held[offering.pool]):
            yield f"{offering.pool} has no room for {held[offering.pool]}"


def _packs(offering: Offering, wanted: Sequence[tuple[Shape, int]]) -> bool:
    """Whether nodes hold it all: replicas over several nodes take empty ones, then the largest go first."""
    free = [min(count, offering.gpus_per_node) for count in offering.free_gpus_by_node]
    free += [offering.gpus_per_node] * max(0, offering.max_nodes - len(free))
    whole = sum(shape.nodes_per_replica * count for shape, count in wanted if shape.nodes_per_replica > 1)
    empty = [index for index, count in enumerate(free) if count == offering.gpus_per_node]
    if whole > len(empty):
        return False
    for index in empty[:whole]:
        free[index] = 0
    parts = sorted(
        (shape.accelerators for shape, count in wanted if shape.nodes_per_replica == 1 for _ in range(count)),
        reverse=True,
    )
    for part in parts:
        # On the fullest node that has room. Exact where sizes divide each other, as 1, 2, 4 and 8 do.
        fitting = [index for index, count in enumerate(free) if count >= part]
        if not fitting:
            return False
        free[min(fitting, key=lambda index: free[index])] -= part
    return True


def _deployment(
    snapshot: Snapshot, deployment: DeploymentInput, planned: DeploymentPlan, catalog: Catalog, policy: Policy
) -> Iterator[str]:
    if not planned.placements:
        if not planned.smallest_change and not planned.obstacle and planned.shortage is None:
            yield "nothing, and no word on what would change that"
        return
    offerings = {offering.pool: offering for offering in snapshot.offerings}
    for item in planned.placements:
        yield from _placement(deployment, item, offerings, catalog, multi_node=snapshot.multi_node)
    yield from _numbers(deployment, planned)
    yield from _money(deployment, planned)
    predictions = [item.prediction for item in planned.placements if item.prediction is not None]
    if planned.prediction is None:
        yield "no prediction"
    else:
        if policy.routing is Routing.EVEN or not predictions:
            predictions.append(planned.prediction)
        for prediction in predictions:
            yield from _service(deployment, prediction)
        served = 1.0 if planned.shortage is None else planned.shortage.served_percent / 100
        if planned.prediction.capacity_requests_per_min * ROUNDING < planned.planned_requests_per_min * served:
            yield "less capacity than is planned for"


def _placement(
    deployment: DeploymentInput,
    item: Placement,
    offerings: dict[str, Offering],
    catalog: Catalog,
    *,
    multi_node: bool,
) -> Iterator[str]:
    shape, offering = item.shape, offerings[item.pool]
    assert offering.price is not None
    yield from _allowed_there(deployment, item, offering)
    if shape.accelerator != offering.accelerator or item.capacity_type is not offering.capacity_type:
        yield f"{item.pool} is another kind of pool"
    if shape.nodes_per_replica == 1 and shape.accelerators > offering.gpus_per_node:
        yield f"{shape.name} is larger than a node"
    if shape.nodes_per_replica > 1 and not multi_node:
        yield f"{shape.name} needs several nodes"
    if item.usd_per_replica_hour * offering.gpus_per_node < offering.price.usd_per_node_hour * shape.accelerators:
        yield f"{shape.name} on {item.pool} costs more than the plan says"
    model = catalog.model(item.model or deployment.model)
    if item.model and item.model not in {deployment.model, *deployment.variants}:
        yield f"{item.model} was not allowed"
    if shape.precision not in _allowed(deployment.objectives.accuracy_class, model.native_precision):
        yield f"{shape.precision} may not serve"
    memory = catalog.accelerator(shape.accelerator).memory_bytes * shape.accelerators
    if model.total_parameters * BYTES[shape.precision] > memory * ROUNDING:
        yield f"the weights do not fit {shape.name}"


def _allowed_there(deployment: DeploymentInput, item: Placement, offering: Offering) -> Iterator[str]:
    limits, shape = deployment.constraints, item.shape
    if offering.unavailable_reason:
        yield f"{item.pool} is not available"
    if offering.allowed_namespaces and deployment.key.namespace not in offering.allowed_namespaces:
        yield f"{item.pool} is for others"
    if limits.allow_accelerators and shape.accelerator not in limits.allow_accelerators:
        yield f"{shape.accelerator} is not allowed"
    if shape.accelerator in limits.deny_accelerators or item.capacity_type not in limits.capacity_types:
        yield f"{shape.accelerator} {item.capacity_type} is denied"
    if limits.zones and offering.zone not in limits.zones:
        yield f"{offering.zone} is not allowed"


def _allowed(wanted: AccuracyClass, native: Precision) -> set[Precision]:
    allowed = {native}
    if wanted is not AccuracyClass.CRITICAL:
        allowed |= {Precision.BF16, Precision.FP16, Precision.FP8, Precision.INT8}
    if wanted is AccuracyClass.ECONOMY:
        allowed |= {Precision.INT4, Precision.FP4}
    return allowed


def _numbers(deployment: DeploymentInput, planned: DeploymentPlan) -> Iterator[str]:
    limits = deployment.constraints
    replicas = sum(item.replicas for item in planned.placements)
    if any(item.replicas < 1 for item in planned.placements):
        yield "an empty placement"
    if not limits.min_replicas <= replicas <= limits.max_replicas:
        yield f"{replicas} replicas, {limits.min_replicas} to {limits.max_replicas} allowed"
    if sum(item.share_percent for item in planned.placements) != 100:
        yield "shares do not sum to 100"
    spot, total = 0.0, 0.0
    for item in planned.placements:
        weight = item.prediction.capacity_requests_per_min if item.prediction else float(item.replicas)
        total += weight
        spot += weight if item.capacity_type is CapacityType.SPOT else 0.0
    if 100 * spot > limits.max_spot_percent * total * ROUNDING:
        yield f"{100 * spot / total:.1f} % spot, {limits.max_spot_percent} % allowed"


def _money(deployment: DeploymentInput, planned: DeploymentPlan) -> Iterator[str]:
    limits, demand = deployment.objectives, deployment.demand
    total = sum(item.replicas * item.usd_per_replica_hour for item in planned.placements)
    if planned.usd_per_hour != total:
        yield f"placements cost {total}, the plan says {planned.usd_per_hour}"
    if total > limits.max_usd_per_hour:
        yield f"{total} micro-dollars per hour, {limits.max_usd_per_hour} allowed"
    tokens = (
        demand.expected_requests_per_min * 60 * (demand.input_tokens.mean_tokens + demand.output_tokens.mean_tokens)
    )
    most = limits.max_usd_per_million_tokens
    # Rounded up by one at most.
    if most is not None and total * 1e6 / tokens > most + 1:
        yield f"{total * 1e6 / tokens:.0f} micro-dollars per million tokens, {most} allowed"


def _service(deployment: DeploymentInput, prediction: Prediction) -> Iterator[str]:
    limits, margin = deployment.objectives, 1 + prediction.margin_percent / 100
    first, per = limits.time_to_first_token, limits.time_per_output_token
    if first is not None and prediction.time_to_first_token_s * margin > first.limit_s * ROUNDING:
        yield f"TTFT {prediction.time_to_first_token_s * margin:.3f} s with the margin, {first.limit_s} s allowed"
    if per is not None and prediction.time_per_output_token_s * margin > per.limit_s * ROUNDING:
        yield f"TPOT {prediction.time_per_output_token_s * margin:.4f} s with the margin, {per.limit_s} s allowed"
