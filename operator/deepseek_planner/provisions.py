"""What a cluster could offer otherwise: nodes, prices, pools for more namespaces, replicas over several nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from deepseek_planner.hardware import Offering, Price
from deepseek_planner.plan import Rejection, RejectionReason
from deepseek_planner.units import MicroUsd
from deepseek_planner.what_if import Ask, Case, Change, Least, Said, most, passes

MANY_NODES = 1024
"""More of a pool than anybody would add for one deployment."""

NO_PRICE_YET = Price(MicroUsd(0), "to be set", date.min)

Opened = Callable[[Case, Offering], Offering]
"""A pool as it would be without what shuts it; the same where nothing does."""


def _pools(case: Case, opened: Opened, names: Sequence[str] | None = None) -> Case:
    """With those pools opened; with all where none are named."""
    return case._replace(
        offerings=tuple(opened(case, item) if names is None or item.pool in names else item for item in case.offerings)
    )


def _shut(text: Callable[[Case, str], str], opened: Opened, reason: RejectionReason) -> Change:
    """Pools that a setting of their own shuts: those are named that the cheapest fleet would use."""

    def lifted(case: Case) -> Case | None:
        free = _pools(case, opened)
        return free if free != case else None

    def smallest(case: Case, ask: Ask, _: Sequence[Rejection]) -> Said | None:
        found = ask(_pools(case, opened), Least.DOLLARS)
        if found is None:
            return None
        names = [item.pool for item in case.offerings if item.pool in found.accelerators and opened(case, item) != item]
        return Said(text(case, _listed(names)), lambda other: _pools(other, opened, names))

    return Change(lifted, smallest, frozenset({reason}))


def _for_its_namespace(case: Case, item: Offering) -> Offering:
    is_shut = item.allowed_namespaces and case.deployment.key.namespace not in item.allowed_namespaces
    return replace(item, allowed_namespaces=()) if is_shut else item


def _with_a_price(_: Case, item: Offering) -> Offering:
    return replace(item, price=NO_PRICE_YET) if item.price is None else item


def _with_nodes(item: Offering, count: int) -> Offering:
    """A pool that has nothing but too few nodes; what other reasons shut stays shut."""
    if item.unavailable_reason and item.max_nodes > 0:
        return item
    return replace(item, max_nodes=max(0, item.max_nodes) + count, unavailable_reason="")


def _many_nodes(case: Case) -> Case | None:
    free = case._replace(offerings=tuple(_with_nodes(item, MANY_NODES) for item in case.offerings))
    return free if free != case else None


def _more(case: Case, more: Mapping[str, int]) -> Case:
    return case._replace(
        offerings=tuple(_with_nodes(item, more[item.pool]) if item.pool in more else item for item in case.offerings)
    )


def _nodes(case: Case, ask: Ask, _: Sequence[Rejection]) -> Said | None:
    """Of the pools that the cheapest fleet would use if there were as many nodes as one likes."""
    free = _many_nodes(case)
    found = None if free is None else ask(free, Least.DOLLARS)
    if found is None:
        return None
    more = {
        item.pool: math.ceil(found.accelerators[item.pool] / item.gpus_per_node)
        for item in case.offerings
        if item.pool in found.accelerators and _with_nodes(item, 1) != item
    }
    if not passes(_more(case, more), ask):
        return None  # what is free of a node is no room for a part of a replica
    for pool in more:
        more[pool] = _fewest(case, ask, more, pool)
    more = {pool: count for pool, count in more.items() if count}
    texts = [f"{count} more node{'s' if count > 1 else ''} in {pool}" for pool, count in more.items()]
    return Said(" and ".join(texts), lambda other: _more(other, more))


def _fewest(case: Case, ask: Ask, more: Mapping[str, int], pool: str) -> int:
    """Of one pool, beside so many more of the others."""

    def are_spared(count: int) -> bool:
        return passes(_more(case, {**more, pool: more[pool] - count}), ask)

    return 0 if are_spared(more[pool]) else more[pool] - most(0, more[pool], are_spared)


def _multi_node(case: Case) -> Case | None:
    return None if case.multi_node else case._replace(multi_node=True)


def _groups(case: Case, ask: Ask, _: Sequence[Rejection]) -> Said | None:
    said = Said("LeaderWorkerSet (plan: --multi-node)", lambda other: other._replace(multi_node=True))
    return said if passes(said.applied(case), ask) else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


NAMESPACES = _shut(
    lambda case, pools: f"{case.deployment.key.namespace} in allowedNamespaces of {pools}",
    _for_its_namespace,
    RejectionReason.NAMESPACE_NOT_ALLOWED,
)
PRICES = _shut(
    lambda _, pools: f"a price of {pools} that the budget covers (spec.price.usdPerNodeHour)",
    _with_a_price,
    RejectionReason.PRICE_UNKNOWN,
)
NODES = Change(_many_nodes, _nodes, frozenset({RejectionReason.NOT_ENOUGH_NODES, RejectionReason.UNAVAILABLE}))
MULTI_NODE = Change(_multi_node, _groups, frozenset({RejectionReason.MULTI_NODE_UNAVAILABLE}))
