"""The machine as the only node of its cluster."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path
from typing import Any

from deepseek_operator.local.files import NODE_LABEL, NODE_LABEL_VALUE
from deepseek_operator.world import Kind

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def vcpus() -> int:
    """Virtual CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def available_memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> float:
    """Memory that can be used without swapping, as Linux estimates it. Raises ValueError where it does not say."""
    for line in meminfo.read_text().splitlines():
        name, _, amount = line.partition(":")
        if name == "MemAvailable":
            return float(amount.split()[0]) * 1024
    raise ValueError(f"{meminfo}: no MemAvailable; the embedded world needs Linux")


def node(*, name: str, slots: int, memory_bytes: float) -> dict[str, Any]:
    """The Node object: ``slots`` engines at one vCPU each, and the memory they share."""
    resources = {"cpu": str(slots), "memory": f"{memory_bytes / 2**20:.0f}Mi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": str(Kind.NODE),
        "metadata": {
            "name": name,
            "labels": {
                NODE_LABEL: NODE_LABEL_VALUE,
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            },
        },
        "spec": {},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def node_name() -> str:
    """The name of the machine, as a node's name may be written."""
    return socket.gethostname().lower()
