"""Which pools a deployment may use at all: its own limits, the pool's, whether there is a price, and what was tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deepseek_planner.forecast import horizon, planned_requests_per_min
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.plan import Rejection, RejectionReason
from deepseek_planner.setbacks import named, setbacks, shuns
from deepseek_planner.snapshot import DeploymentInput, Policy, Setback, Shape, Snapshot


def usable(offerings: Iterable[Offering], deployment: DeploymentInput) -> tuple[list[Offering], list[Rejection]]:
    """Offerings that the deployment may use, and why it may not use the others."""
    found: list[Offering] = []
    rejections: list[Rejection] = []
    for offering in offerings:
        refusal = _refusal(offering, deployment)
        if refusal is None:
            found.append(offering)
        else:
            reason, message = refusal
            rejections.append(Rejection(offering.pool, reason, message, accelerator=offering.accelerator))
    return found, rejections


def planned_rate(may_serve: Sequence[Offering], deployment: DeploymentInput, policy: Policy) -> tuple[float, str]:
    """Requests per minute to plan for until engines on any of the pools that it may use could serve, and where they
    come from.
    """
    return planned_requests_per_min(deployment.demand, deployment.measured, horizon(may_serve, policy))


def tried(snapshot: Snapshot, deployment: DeploymentInput, policy: Policy) -> tuple[Setback, ...]:
    """Where engines were given up. After an edit it is the edit that is doubted, not the place."""
    is_edited = deployment.generation != deployment.planned_generation
    return () if is_edited else setbacks(snapshot, deployment, policy)


def startable(
    offerings: list[Offering], shape: Shape, known: Sequence[Setback], model: str = ""
) -> tuple[list[Offering], list[Rejection]]:
    """Offerings on which engines of the shape, of a variant or the model itself, were not given up lately; why not."""
    found: list[Offering] = []
    rejections: list[Rejection] = []
    for offering in offerings:
        setback = shuns(known, shape, offering.pool, model)
        if setback is None:
            found.append(offering)
        else:
            text = f"given up on {offering.pool} at {setback.at:%H:%M} UTC: {setback.message}"[:256]
            reason = RejectionReason.DID_NOT_START
            rejections.append(Rejection(named(shape, model), reason, text, accelerator=offering.accelerator))
    return found, rejections


def _refusal(offering: Offering, deployment: DeploymentInput) -> tuple[RejectionReason, str] | None:
    if ruled_out := _ruled_out(offering, deployment):
        return RejectionReason.NOT_ALLOWED, ruled_out
    if offering.capacity_type is CapacityType.SPOT and deployment.constraints.max_spot_percent == 0:
        return RejectionReason.SPOT_SHARE, "placement.maxSpotPercent is 0"
    if offering.allowed_namespaces and deployment.key.namespace not in offering.allowed_namespaces:
        return RejectionReason.NAMESPACE_NOT_ALLOWED, f"the pool is for {', '.join(offering.allowed_namespaces)}"
    if offering.unavailable_reason:
        return RejectionReason.UNAVAILABLE, offering.unavailable_reason
    if offering.price is None:
        return RejectionReason.PRICE_UNKNOWN, "no price is known; set the pool's spec.price.usdPerNodeHour"
    return None


def _ruled_out(offering: Offering, deployment: DeploymentInput) -> str:
    """The field of ``placement`` that rules the offering out; empty when none does."""
    limits, name = deployment.constraints, offering.accelerator
    if name in limits.deny_accelerators:
        return f"{name} is in placement.accelerators.deny"
    if limits.allow_accelerators and name not in limits.allow_accelerators:
        return f"{name} is not in placement.accelerators.allow"
    if offering.capacity_type not in limits.capacity_types:
        return f"{offering.capacity_type} is not in placement.capacityTypes"
    if limits.zones and offering.zone not in limits.zones:
        return f"zone {offering.zone or '(none)'} is not in placement.zones"
    for label, value in sorted(limits.node_selector.items()):
        if {**offering.node_selector, **offering.labels}.get(label) != value:
            return f"its nodes do not carry {label}={value}, which placement.nodeSelector asks for"
    return ""
