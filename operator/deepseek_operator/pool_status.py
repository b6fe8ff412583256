"""Pure: offerings as observed -> the status of each AcceleratorPool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from deepseek_operator.conditions import condition
from deepseek_operator.pools import pool_problems
from deepseek_operator.view import held
from deepseek_operator.world import Object
from deepseek_planner.catalog import Catalog
from deepseek_planner.errors import Problem
from deepseek_planner.explain import duration
from deepseek_planner.hardware import Offering
from deepseek_planner.prices import REMEDIES, is_stale
from deepseek_planner.snapshot import Fleet, Policy, Snapshot
from deepseek_planner.units import format_usd


def pool_statuses(
    pools: Sequence[Object], snapshot: Snapshot, catalog: Catalog, policy: Policy
) -> Iterator[tuple[Object, dict[str, Any]]]:
    """Each declared pool with its status; a pool that could not be read has no offering and says so."""
    by_name = {offering.pool: offering for offering in snapshot.offerings}
    for pool in pools:
        if not pool["metadata"].get("deletionTimestamp"):
            offering = by_name.get(pool["metadata"]["name"])
            problems = pool_problems(pool, catalog=catalog) if offering is None else ()
            yield pool, _status(pool, offering, problems, snapshot, policy, note=catalog.price_note)


def _status(
    pool: Object,
    offering: Offering | None,
    problems: Sequence[Problem],
    snapshot: Snapshot,
    policy: Policy,
    *,
    note: str,
) -> dict[str, Any]:
    generation = int(pool["metadata"].get("generation", 1))
    claims = (
        ("Available", *_available(offering, problems)),
        ("PriceFresh", *_price_fresh(offering, snapshot, policy, note)),
    )
    before = {item["type"]: item for item in (pool.get("status") or {}).get("conditions") or ()}
    conditions = [
        condition(kind, holds, reason, message, before.get(kind), generation=generation, now=snapshot.now)
        for kind, holds, reason, message in claims
    ]
    status: dict[str, Any] = {"observedGeneration": generation, "conditions": conditions}
    if offering is None:
        return status
    status["nodes"] = len(offering.free_gpus_by_node)
    status["gpusFree"] = max(0, sum(offering.free_gpus_by_node) - _held(offering.pool, snapshot.fleet))
    if offering.price:
        status["price"] = {
            "usdPerNodeHour": format_usd(offering.price.usd_per_node_hour),
            "source": offering.price.source,
            "asOf": offering.price.as_of.isoformat(),
        }
    status["interruptionsPerNodeDay"] = f"{offering.interruptions_per_node_day:g}"
    status["startupP90"] = duration(offering.startup_s)
    return status


def _held(pool: str, fleet: Fleet) -> int:
    """Accelerators of a pool that our engines hold."""
    return sum(group.shape.accelerators * held(group) for group in fleet.groups if group.pool == pool)


def _available(offering: Offering | None, problems: Sequence[Problem]) -> tuple[bool, str, str]:
    if offering is None:
        return False, "InvalidSpec", " | ".join(str(problem) for problem in problems)
    if offering.unavailable_reason:
        return False, "Unavailable", offering.unavailable_reason
    return True, "Available", f"up to {offering.max_nodes} nodes of {offering.gpus_per_node} {offering.accelerator}"


def _price_fresh(offering: Offering | None, snapshot: Snapshot, policy: Policy, note: str) -> tuple[bool, str, str]:
    if offering is None or offering.price is None:
        return False, "PriceUnknown", "no price is known, so nothing is placed here; set spec.price.usdPerNodeHour"
    if note:
        return False, "PriceFileInvalid", note
    if is_stale(offering.price, today=snapshot.now.date(), max_age_days=policy.max_price_age_days):
        return False, "PriceStale", f"as of {offering.price.as_of}; {REMEDIES[offering.price.giver]}"
    return True, "PriceFresh", f"as of {offering.price.as_of}, from {offering.price.source}"
