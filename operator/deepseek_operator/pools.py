"""Pure: declared pools and nodes -> offerings. Pools that nobody declared are discovered from nodes, in memory.

A declared pool has the nodes that its selector matches (the first by name where two match), and may have none
yet. The other nodes are put together by accelerator, count, instance type, capacity type and zone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

from deepseek_operator.api.check import at, check
from deepseek_operator.api.convert import unknown_accelerator
from deepseek_operator.api.envelope import envelope_problems, spec_of
from deepseek_operator.api.names import POOL_KIND, POOL_NAME
from deepseek_operator.api.pool import AcceleratorPoolSpec, PoolPrice
from deepseek_operator.api.rules import decimal_of, duration_s
from deepseek_operator.api.scheduling import Toleration
from deepseek_operator.nodes import (
    CAPACITY_LABELS,
    CPU,
    GPU_COUNT,
    GPU_TOLERATION,
    HOSTNAME,
    INSTANCE_TYPE,
    PRODUCT_LABELS,
    SPOT_TOLERATIONS,
    ZONE,
    NodeFacts,
    node_facts,
    selects,
    tolerates,
)
from deepseek_operator.world import Object
from deepseek_planner.catalog import Catalog
from deepseek_planner.errors import InputError, Problem
from deepseek_planner.hardware import CapacityType, InterNode, Offering, Price, PriceGiver
from deepseek_planner.units import micro_usd

_SELECTOR_LABELS = (
    *PRODUCT_LABELS,
    GPU_COUNT,
    INSTANCE_TYPE,
    *CAPACITY_LABELS,
    ZONE,
    "kubernetes.io/os",
    "kubernetes.io/arch",
)
_NAME_LIMIT = 63


def offerings(
    pool_objects: Sequence[Object],
    node_objects: Sequence[Object],
    pod_objects: Sequence[Object],
    *,
    catalog: Catalog,
    now: datetime,
) -> tuple[Offering, ...]:
    """What can be had, by name. A declared pool with problems is left out: :func:`pool_problems` says them."""
    nodes = node_facts(node_objects, pod_objects, catalog=catalog)
    found: list[Offering] = []
    taken: set[str] = set()
    for pool in sorted(pool_objects, key=lambda item: str(item["metadata"]["name"])):
        spec, problems = _read(pool, catalog)
        selector = spec.node_selector if spec is not None else _raw_selector(pool)
        matched = [node for node in nodes if node.name not in taken and selects(selector, node.labels)]
        taken |= {node.name for node in matched}
        if spec is not None and not problems:
            found.append(_declared(pool, spec, matched, catalog=catalog, now=now))
    names = {str(pool["metadata"]["name"]) for pool in pool_objects}
    found += _discovered([node for node in nodes if node.name not in taken], nodes, names, catalog=catalog)
    return tuple(sorted(found, key=lambda offering: offering.pool))


def pool_problems(pool: Object, *, catalog: Catalog) -> tuple[Problem, ...]:
    """Everything wrong with a declared pool."""
    return tuple(_read(pool, catalog)[1])


def declared_offerings(pool_objects: Sequence[Object], *, catalog: Catalog, now: datetime) -> tuple[Offering, ...]:
    """The offerings of pools in a file, without a cluster; raises InputError with all problems of all pools."""
    problems = [
        Problem(f"{pool.get('metadata', {}).get('name', 'pool')}: {item.field}", item.value, item.message, item.remedy)
        for pool in pool_objects
        for item in pool_problems(pool, catalog=catalog)
    ]
    if problems:
        raise InputError(tuple(problems))
    return offerings(pool_objects, (), (), catalog=catalog, now=now)


def _read(pool: Object, catalog: Catalog) -> tuple[AcceleratorPoolSpec | None, list[Problem]]:
    raw = spec_of(pool)
    spec, problems = check(AcceleratorPoolSpec, raw, "spec", in_cluster=True)
    accelerator = at(raw, "accelerator")
    if isinstance(accelerator, str):
        unknown = unknown_accelerator(accelerator, "spec.accelerator", catalog)
        problems += [unknown] if unknown is not None else []
    return spec, [*envelope_problems(pool, POOL_KIND, POOL_NAME), *problems]


def _raw_selector(pool: Object) -> Mapping[str, str]:
    """The selector of an unreadable pool, as far as it can be read: its nodes are not up for discovery."""
    selector = at(pool, "spec.nodeSelector")
    return {str(key): str(value) for key, value in selector.items()} if isinstance(selector, Mapping) else {}


def _declared(
    pool: Object, spec: AcceleratorPoolSpec, matched: Sequence[NodeFacts], *, catalog: Catalog, now: datetime
) -> Offering:
    accelerator = catalog.accelerator(spec.accelerator)
    tolerations = _tolerations(spec.tolerations, accelerator.name, spec.capacity_type)
    reasons = {node.name: _why_not(node, tolerations) for node in matched}
    usable = [node for node in matched if not reasons[node.name]]
    labels = {**_common_labels(matched), **spec.node_selector, **({ZONE: spec.zone} if spec.zone else {})}
    max_nodes = len(usable) if spec.max_nodes is None else spec.max_nodes
    return Offering(
        pool=str(pool["metadata"]["name"]),
        accelerator=accelerator.name,
        gpus_per_node=spec.gpus_per_node,
        capacity_type=spec.capacity_type,
        price=_declared_price(spec.price, pool, now)
        if spec.price
        else _listed_price(labels, spec.zone, spec.capacity_type, catalog),
        max_nodes=max_nodes,
        free_gpus_by_node=_free(usable, spec.gpus_per_node),
        intra_node=spec.interconnect.intra_node or accelerator.intra_node,
        inter_node=spec.interconnect.inter_node,
        zone=spec.zone or labels.get(ZONE, ""),
        interruptions_per_node_day=_interruptions(spec, labels, catalog),
        startup_s=duration_s(spec.startup),
        allowed_namespaces=spec.allowed_namespaces,
        node_selector=spec.node_selector,
        labels=labels,
        tolerations=tolerations,
        weights_cache=spec.weights_cache.model_dump(mode="json", by_alias=True, exclude_none=True),
        unavailable_reason=_foreign(matched, accelerator.name) or _none_usable(max_nodes, matched, reasons),
    )


def _why_not(node: NodeFacts, tolerations: Sequence[Mapping[str, str]]) -> str:
    """Why no engine of a pool may be put on a node now; empty when it may."""
    if node.unusable:
        return node.unusable
    refused = next((taint for taint in node.taints if not tolerates(tolerations, taint)), None)
    if refused is None:
        return ""
    return (
        f"taint {refused['key']}:{refused['effect']} is not tolerated; "
        "declare an AcceleratorPool for it with that toleration"
    )


def _foreign(matched: Sequence[NodeFacts], accelerator: str) -> str:
    """A selector that matches nodes with something else would put engines there."""
    for node in matched:
        if node.accelerator not in {accelerator, ""} or (node.accelerator == "" and accelerator == CPU):
            return (
                f"nodeSelector also matches {node.name}, which has {node.product}, not {accelerator}; make it narrower"
            )
    return ""


def _none_usable(max_nodes: int, nodes: Sequence[NodeFacts], reasons: Mapping[str, str]) -> str:
    if max_nodes > 0:
        return ""
    if not nodes:
        return "no node matches nodeSelector; set maxNodes where nodes are made on demand"
    shown = ", ".join(f"{node.name}: {reasons[node.name]}" for node in nodes[:2])
    return f"no node of it can be used: {shown}" + (f", and {len(nodes) - 2} more" if len(nodes) > 2 else "")


def _discovered(
    nodes: Iterable[NodeFacts], all_nodes: Sequence[NodeFacts], names: set[str], *, catalog: Catalog
) -> list[Offering]:
    groups: dict[tuple[str, int, str, str, str], list[NodeFacts]] = {}
    for node in nodes:
        if node.accelerator and node.accelerators:
            key = (node.accelerator, node.accelerators, node.instance_type, str(node.capacity_type), node.zone)
            groups.setdefault(key, []).append(node)
    return [_of_group(group, all_nodes, names, catalog=catalog) for _, group in sorted(groups.items())]


def _of_group(
    group: Sequence[NodeFacts], all_nodes: Sequence[NodeFacts], names: set[str], *, catalog: Catalog
) -> Offering:
    first = group[0]
    accelerator = catalog.accelerator(first.accelerator)
    tolerations = _tolerations((), first.accelerator, first.capacity_type)
    reasons = {node.name: _why_not(node, tolerations) for node in group}
    usable = [node for node in group if not reasons[node.name]]
    labels = _common_labels(group)
    selector, strangers = _selector(group, labels, all_nodes, tolerations)
    return Offering(
        pool=_name(first, names),
        accelerator=first.accelerator,
        gpus_per_node=first.accelerators,
        capacity_type=first.capacity_type,
        price=_listed_price(labels, first.zone, first.capacity_type, catalog),
        max_nodes=len(usable),
        free_gpus_by_node=_free(usable, first.accelerators),
        intra_node=accelerator.intra_node,
        inter_node=first.inter_node
        if all(node.inter_node == first.inter_node for node in group)
        else InterNode.ETHERNET,
        zone=first.zone,
        interruptions_per_node_day=catalog.interruptions_per_node_day(
            first.instance_type, first.zone, first.capacity_type
        ),
        node_selector=selector,
        labels=labels,
        tolerations=tolerations,
        unavailable_reason=strangers or _none_usable(len(usable), group, reasons),
    )


def _selector(
    group: Sequence[NodeFacts],
    labels: Mapping[str, str],
    all_nodes: Sequence[NodeFacts],
    tolerations: Sequence[Mapping[str, str]],
) -> tuple[Mapping[str, str], str]:
    """Labels that keep engines on these nodes, or why none do: a label that is absent cannot be selected."""
    selector = {key: labels[key] for key in _SELECTOR_LABELS if key in labels}
    ours = {node.name for node in group}
    others = [
        node
        for node in all_nodes
        if node.name not in ours
        and (node.has_gpus or not group[0].has_gpus)  # a pod that asks for GPUs lands on no other node
        and all(tolerates(tolerations, taint) for taint in node.taints)
    ]
    stranger = next((node for node in others if selects(selector, node.labels)), None)
    if stranger is not None and len(group) == 1 and labels.get(HOSTNAME):
        selector[HOSTNAME] = labels[HOSTNAME]
        stranger = next((node for node in others if selects(selector, node.labels)), None)
    if stranger is not None or not selector:
        beside = stranger.name if stranger is not None else "any other node"
        return selector, f"no label tells its nodes from {beside}; declare an AcceleratorPool with a nodeSelector"
    return selector, ""


def _common_labels(nodes: Sequence[NodeFacts]) -> dict[str, str]:
    if not nodes:
        return {}
    first, *rest = (node.labels for node in nodes)
    return {key: value for key, value in sorted(first.items()) if all(item.get(key) == value for item in rest)}


def _name(node: NodeFacts, names: set[str]) -> str:
    """A stable name: it follows from what the nodes are, never from how many there are."""
    capacity = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", str(node.capacity_type))
    parts = (node.accelerator, f"{node.accelerators}x", node.instance_type, capacity, node.zone)
    name = re.sub(r"[^a-z0-9]+", "-", "-".join(part for part in parts if part).lower()).strip("-")
    if name in names:
        name = f"{name}-nodes"
    if len(name) > _NAME_LIMIT:
        name = f"{name[: _NAME_LIMIT - 7].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return name


def _free(nodes: Iterable[NodeFacts], per_node: int) -> tuple[int, ...]:
    return tuple(sorted((min(node.free, per_node) for node in nodes), reverse=True))


def _tolerations(
    declared: Iterable[Toleration], accelerator: str, capacity_type: CapacityType
) -> tuple[Mapping[str, str], ...]:
    found: list[Mapping[str, str]] = [GPU_TOLERATION] if accelerator != CPU else []
    found += SPOT_TOLERATIONS if capacity_type is CapacityType.SPOT else ()
    for item in declared:
        written = item.model_dump(mode="json", by_alias=True)
        toleration = {key: value for key, value in written.items() if value}
        if toleration not in found:
            found.append(toleration)
    return tuple(found)


def _interruptions(spec: AcceleratorPoolSpec, labels: Mapping[str, str], catalog: Catalog) -> float:
    if spec.interruptions_per_node_day is not None:
        return float(decimal_of(spec.interruptions_per_node_day))
    place = spec.zone or labels.get(ZONE, "")
    return catalog.interruptions_per_node_day(labels.get(INSTANCE_TYPE, ""), place, spec.capacity_type)


def _declared_price(price: PoolPrice, pool: Object, now: datetime) -> Price:
    made = pool["metadata"].get("creationTimestamp")
    as_of = price.as_of or (str(made)[:10] if made else now.date().isoformat())
    return Price(
        usd_per_node_hour=micro_usd(decimal_of(price.usd_per_node_hour)),
        source=price.source or f"AcceleratorPool {pool['metadata']['name']}",
        as_of=date.fromisoformat(as_of),
        giver=PriceGiver.POOL,
    )


def _listed_price(labels: Mapping[str, str], zone: str, capacity_type: CapacityType, catalog: Catalog) -> Price | None:
    return catalog.price(labels.get(INSTANCE_TYPE, ""), zone or labels.get(ZONE, ""), capacity_type)
