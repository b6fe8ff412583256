"""The planner puts GPU deployments on the right pools: fake GPU nodes, real scheduling."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from suite.options import ROOT
from suite.progress import StepFailedError
from suite.suite import WORK, Suite


@dataclass(frozen=True, slots=True)
class FakeNode:
    """A node of the hook's making."""

    name: str
    product: str
    gpus: int
    capacity: str


NODES = (
    FakeNode("e2e-t4-0", "Tesla-T4", 4, "on-demand"),
    FakeNode("e2e-a100-0", "NVIDIA-A100-SXM4-80GB", 8, "spot"),
    FakeNode("e2e-h100-0", "NVIDIA-H100-80GB-HBM3", 8, "spot"),
    FakeNode("e2e-h100-1", "NVIDIA-H100-80GB-HBM3", 8, "on-demand"),
)
EXPECTED = {
    "big": "e2e-a100-spot",
    "lite": "e2e-h100-spot",
    "steady": "e2e-h100-on-demand",
    "small": "e2e-t4",
}
"""Deployments of manifests/gpu.yaml and the cheapest pool that can serve each, given what those before it took."""


def run(suite: Suite) -> None:
    """Add nodes and pools, apply deployments, compare plan and pods; then take all of it away."""
    if not suite.options.add_node:
        suite.progress.skip("GPU deployments on fake nodes", "--add-node is empty")
        return
    try:
        with suite.progress.step("fake GPU nodes and their pools"):
            for node in NODES:
                add(suite, node)
            suite.cluster.apply(suite.fill("gpu-pools.yaml"))
        with suite.progress.step("GPU deployments are planned and ready"):
            suite.cluster.apply(suite.fill("gpu.yaml"))
            for name in EXPECTED:
                suite.await_settled(name, seconds=90)
        for line in suite.cluster.kubectl("get", "dsd", "-n", WORK).splitlines():
            suite.progress.say(f"    {line}")
        for name, pool in EXPECTED.items():
            placed(suite, name, pool)
    finally:
        with suite.progress.step("take them away"):
            try:
                suite.cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=suite.fill("gpu.yaml"))
                suite.cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=suite.fill("gpu-pools.yaml"))
            finally:
                suite.cluster.kubectl("delete", "nodes", "--ignore-not-found", *(node.name for node in NODES))


def add(suite: Suite, node: FakeNode) -> None:
    command = suite.options.add_node.format(
        name=node.name, product=node.product, gpus=node.gpus, capacity=node.capacity
    )
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepFailedError(f"{command}: exit code {done.returncode}: {done.stderr[-1000:]}")


def placed(suite: Suite, name: str, expected: str) -> None:
    """Every pod of a deployment runs on a node of the pool that its plan names."""
    placements = suite.status(name)["plan"]["placements"]
    pools = {item["pool"] for item in placements}
    where = {pod["spec"]["nodeName"] for pod in suite.engines(name)}
    nodes = {node for pool in pools for node in nodes_of(suite, pool)}
    told = ", ".join(
        f"{item['replicas']} x {item['name']} on {item['pool']} at ${item['usdPerHour']}/h" for item in placements
    )
    fits = bool(where) and where <= nodes and pools == {expected}
    suite.progress.check(
        f"{name} is planned for {expected} and runs there", fits, f"{told}; pods on {', '.join(sorted(where))}"
    )


def nodes_of(suite: Suite, pool: str) -> set[str]:
    selector = suite.cluster.get("acceleratorpool", pool)["spec"]["nodeSelector"]
    text = ",".join(f"{key}={value}" for key, value in selector.items())
    return {node["metadata"]["name"] for node in suite.cluster.items("nodes", "-l", text)}
