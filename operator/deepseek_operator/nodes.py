"""Pure: a Node and the pods on it -> what engines could have of it, or why nothing.

Labels differ by who put them there: NVIDIA's GPU feature discovery, GKE, Karpenter, EKS and AKS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Any

from deepseek_operator.world import Object
from deepseek_planner.catalog import Catalog
from deepseek_planner.hardware import CapacityType, InterNode

CPU = "cpu"
GPU_RESOURCE = "nvidia.com/gpu"
OURS = "serving.deepseek-operator.dev/deployment"
"""Label of pods of ours: what they hold is the planner's to give."""

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"
GPU_COUNT = "nvidia.com/gpu.count"

PRODUCT_LABELS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "karpenter.azure.com/sku-gpu-name",
    "k8s.amazonaws.com/accelerator",
)
_MEMORY_LABELS = ("nvidia.com/gpu.memory", "karpenter.k8s.aws/instance-gpu-memory")
CAPACITY_LABELS = (
    "karpenter.sh/capacity-type",
    "eks.amazonaws.com/capacityType",
    "cloud.google.com/gke-provisioning",
    "cloud.google.com/gke-spot",
    "cloud.google.com/gke-preemptible",
    "kubernetes.azure.com/scalesetpriority",
)
_CAPACITY_VALUES = {
    "spot": CapacityType.SPOT,
    "preemptible": CapacityType.SPOT,
    "true": CapacityType.SPOT,  # gke-spot and gke-preemptible
    "reserved": CapacityType.RESERVED,
    "capacity_block": CapacityType.RESERVED,
}

_HARD = ("NoSchedule", "NoExecute")
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_NOTICES = (
    "aws-node-termination-handler/",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    "ToBeDeletedByClusterAutoscaler",
    "cloud.google.com/impending-node-termination",
    "node.cloudprovider.kubernetes.io/shutdown",
    "node.kubernetes.io/out-of-service",
)
_FAULTS = "node.kubernetes.io/"
GPU_TOLERATION = {"key": GPU_RESOURCE, "operator": "Exists"}
SPOT_TOLERATIONS = (
    {"key": "kubernetes.azure.com/scalesetpriority", "operator": "Equal", "value": "spot"},
    {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true"},
    {"key": "cloud.google.com/gke-preemptible", "operator": "Equal", "value": "true"},
)

SLOT_MILLICORES = 300
SLOT_BYTES = 5 * (1 << 30) // 2
"""What the smallest engine on CPU asks for; a node must have it left for a slot to be free."""


@dataclass(frozen=True, slots=True)
class Held:
    """What pods that are not ours hold of one node."""

    gpus: int = 0
    millicores: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node as far as engines are concerned. ``unusable`` says why no engine may be put there now."""

    name: str
    labels: Mapping[str, str]
    accelerator: str
    """Canonical name; empty where the node's GPU is not in the catalogue."""
    product: str
    """What the node calls its accelerator."""
    accelerators: int
    free: int
    """Accelerators that no foreign pod holds."""
    capacity_type: CapacityType
    inter_node: InterNode
    taints: tuple[Mapping[str, str], ...]
    """Hard ones, apart from faults and notices, which are in ``unusable``."""
    unusable: str

    @property
    def instance_type(self) -> str:
        return self.labels.get(INSTANCE_TYPE, "")

    @property
    def zone(self) -> str:
        return self.labels.get(ZONE, "")

    @property
    def has_gpus(self) -> bool:
        return self.accelerator != CPU


def node_facts(nodes: Iterable[Object], pods: Iterable[Object], *, catalog: Catalog) -> tuple[NodeFacts, ...]:
    """All nodes but those of the control plane, by name."""
    held = held_by_others(pods)
    found = [
        _facts(node, held.get(node["metadata"]["name"], Held()), catalog)
        for node in nodes
        if not any(taint.get("key") in _CONTROL_PLANE for taint in _hard_taints(node))
    ]
    return tuple(sorted(found, key=lambda facts: facts.name))


def _facts(node: Object, held: Held, catalog: Catalog) -> NodeFacts:
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    resources: Mapping[str, Any] = (node.get("status") or {}).get("allocatable") or {}
    product = next((labels[label] for label in PRODUCT_LABELS if labels.get(label)), "")
    gpus = max(_whole(resources.get(GPU_RESOURCE)), _whole(labels.get(GPU_COUNT)))
    if product or gpus or any(name.startswith("nvidia.com/") for name in resources):
        accelerator, count = _accelerator(product, labels, catalog), gpus
        free = _whole(resources.get(GPU_RESOURCE)) - held.gpus
    else:
        accelerator, count = CPU, _whole(resources.get("cpu"))
        free = _free_slots(resources, held)
    return NodeFacts(
        name=node["metadata"]["name"],
        labels=labels,
        accelerator=accelerator,
        product=product or accelerator,
        accelerators=count,
        free=max(0, free),
        capacity_type=_capacity_type(labels),
        inter_node=_inter_node(resources),
        taints=tuple(taint for taint in _hard_taints(node) if not _is_temporary(taint)),
        unusable=next(chain(_faults(node), _misfits(product, labels, resources)), ""),
    )


def _accelerator(product: str, labels: Mapping[str, str], catalog: Catalog) -> str:
    """Canonical name of a node's GPU: by its label, its memory where one name has two sizes, its instance type."""
    listed = next((item for item in catalog.instances if item.instance_type == labels.get(INSTANCE_TYPE)), None)
    memory_mib = next((_whole(labels[label]) for label in _MEMORY_LABELS if labels.get(label)), 0)
    short = product.lower()
    if short in {"a100", "nvidia-a100"}:
        if memory_mib:
            return "a100-80gb" if memory_mib > 60_000 else "a100-40gb"
        if listed is not None:
            return listed.accelerator
    whole = re.sub(r"(-SHARED|-MIG-.*)$", "", product)  # so that a reason can be given for what is left out
    for name in (whole, f"nvidia-{short}"):
        try:
            return catalog.accelerator(name).name
        except KeyError:
            continue
    return listed.accelerator if listed is not None and not product else ""


def _free_slots(resources: Mapping[str, Any], held: Held) -> int:
    cores = quantity(resources.get("cpu"))
    by_cpu = (int(cores * 1000) - held.millicores) // SLOT_MILLICORES
    by_memory = (int(quantity(resources.get("memory"))) - held.bytes) // SLOT_BYTES
    return min(int(cores), by_cpu, by_memory)


def _capacity_type(labels: Mapping[str, str]) -> CapacityType:
    values = (labels[label].lower() for label in CAPACITY_LABELS if labels.get(label))
    return next((_CAPACITY_VALUES[value] for value in values if value in _CAPACITY_VALUES), CapacityType.ON_DEMAND)


def _inter_node(resources: Mapping[str, Any]) -> InterNode:
    if _whole(resources.get("vpc.amazonaws.com/efa")):
        return InterNode.EFA
    has_rdma = any(name.startswith("rdma/") and _whole(value) for name, value in resources.items())
    return InterNode.INFINIBAND if has_rdma else InterNode.ETHERNET


def _faults(node: Object) -> Iterator[str]:
    """What keeps a node from being used, whatever it carries."""
    if (node.get("spec") or {}).get("unschedulable"):
        yield "cordoned"
    if node["metadata"].get("deletionTimestamp"):
        yield "being deleted"
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = next((item for item in conditions if item.get("type") == "Ready"), None)
    if ready is not None and ready.get("status") != "True":
        yield f"not ready ({ready.get('reason', 'unknown')})"
    for taint in _hard_taints(node):
        if _is_temporary(taint):
            kind = "faulty" if taint["key"].startswith(_FAULTS) else "about to be taken away"
            yield f"{kind} (taint {taint['key']})"


def _misfits(product: str, labels: Mapping[str, str], resources: Mapping[str, Any]) -> Iterator[str]:
    """What keeps GPUs from being had whole."""
    if "-MIG-" in product or any(name.startswith("nvidia.com/mig-") and _whole(n) for name, n in resources.items()):
        yield "its GPUs are cut into MIG slices"
    strategies = ("nvidia.com/gpu.sharing-strategy", "cloud.google.com/gke-gpu-sharing-strategy")
    if product.endswith("-SHARED") or any(labels.get(label, "none") not in {"", "none"} for label in strategies):
        yield "its GPUs are shared"
    if product and not _whole(resources.get(GPU_RESOURCE)):
        yield "no device plugin offers its GPUs"


def _hard_taints(node: Object) -> Iterable[Mapping[str, str]]:
    return [taint for taint in (node.get("spec") or {}).get("taints") or () if taint.get("effect") in _HARD]


def _is_temporary(taint: Mapping[str, str]) -> bool:
    return taint["key"].startswith((*_NOTICES, _FAULTS))


def tolerates(tolerations: Iterable[Mapping[str, str]], taint: Mapping[str, str]) -> bool:
    """Whether pods with these tolerations may be put on a node with this taint, as the scheduler sees it."""
    for toleration in tolerations:
        if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
            continue
        key = toleration.get("key", "")
        if toleration.get("operator", "Equal") == "Exists":
            if key in {"", taint.get("key")}:
                return True
        elif key == taint.get("key") and toleration.get("value", "") == (taint.get("value") or ""):
            return True
    return False


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels matches a node selector; an empty selector matches none here."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def held_by_others(pods: Iterable[Object]) -> Mapping[str, Held]:
    """What pods that are neither ours nor finished hold, by node."""
    found: dict[str, Held] = {}
    for pod in pods:
        spec, metadata = pod.get("spec") or {}, pod["metadata"]
        node, is_ours = spec.get("nodeName"), OURS in (metadata.get("labels") or {})
        if not node or is_ours or (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
            continue
        before = found.get(node, Held())
        found[node] = Held(
            gpus=before.gpus + int(_request(spec, GPU_RESOURCE)),
            millicores=before.millicores + int(_request(spec, "cpu") * 1000),
            bytes=before.bytes + int(_request(spec, "memory")),
        )
    return found


def _request(spec: Mapping[str, Any], resource: str) -> Decimal:
    """What the scheduler reserves for a pod: the sum of its containers, or its largest init container."""

    def asked(container: Mapping[str, Any]) -> Decimal:
        resources = container.get("resources") or {}
        for kind in ("requests", "limits"):
            if resource in (resources.get(kind) or {}):
                return quantity(resources[kind][resource])
        return Decimal(0)

    inits = spec.get("initContainers") or ()
    sidecars = sum((asked(item) for item in inits if item.get("restartPolicy") == "Always"), Decimal(0))
    running = sum((asked(item) for item in spec.get("containers") or ()), Decimal(0)) + sidecars
    starting = max((asked(item) for item in inits if item.get("restartPolicy") != "Always"), default=Decimal(0))
    overhead = quantity((spec.get("overhead") or {}).get(resource))
    return max(running, starting) + overhead


_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,2})?)((?:[KMGTPE]i|[mkMGTPE])?)"
)
_SUFFIXES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}


def quantity(text: object) -> Decimal:
    """A Kubernetes quantity (``300m``, ``2.5Gi``, ``8``) as a number; 0 for none or for what is not one."""
    found = _QUANTITY.fullmatch(str(text))
    return Decimal(found[1]) * _SUFFIXES[found[2]] if found else Decimal(0)


def is_quantity(text: object) -> bool:
    """Whether it is a number or a text that :func:`quantity` can read."""
    return _QUANTITY.fullmatch(str(text)) is not None


def _whole(text: object) -> int:
    return int(quantity(text))
