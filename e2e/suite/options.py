"""What the suite is told: by options, or by variables of the same name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EPILOG = """\
examples:
  kind:       E2E_LOAD_IMAGE='docker build -t {image} -f {dockerfile} {context} && kind load docker-image {image}' e2e/run
  containerd: E2E_LOAD_IMAGE='docker build -t {image} -f {dockerfile} {context} && docker save {image} | ctr -n k8s.io images import -' e2e/run
  a registry: E2E_IMAGE_PREFIX=registry.example/me E2E_LOAD_IMAGE='docker build -t {image} -f {dockerfile} {context} && docker push {image}' e2e/run
"""  # noqa: E501

LOAD_IMAGE = (
    "builds {image} from {dockerfile} and {context} and brings it into the cluster; empty: the images are there"
)
ADD_NODE = "adds a fake node {name} with {gpus} GPUs of {product}, {capacity}; empty: GPU placement is not checked"
AUDIT_LOG = "the API server's audit log, readable here; empty: rights and writes are not checked against it"


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that may differ between two machines."""

    load_image: str
    """Command with {image}, {context} and {dockerfile}; empty: the images are in the cluster already."""
    image_prefix: str
    image_tag: str
    node: str
    """Real node for the CPU engines and the checkpoint; empty: the first one that is ready."""
    add_node: str
    """Command with {name}, {product}, {gpus} and {capacity} (spot or on-demand) that adds a fake GPU node."""
    audit_log: str
    idle_seconds: int
    requests: int
    rate: float
    only: tuple[str, ...]
    keep: bool
    verbose: bool


def parse(arguments: Sequence[str]) -> Options:
    """Read options; variables of the environment are the defaults."""

    def env(name: str, default: str = "") -> str:
        return os.environ.get(f"E2E_{name}", default)

    parser = argparse.ArgumentParser(
        prog="e2e/run",
        description="The whole loop on the cluster of KUBECONFIG: install, serve, meter, alert, rebalance, remove.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument

    def text(name: str, default: str, metavar: str, what: str) -> None:
        variable = name.upper().replace("-", "_")
        add(f"--{name}", default=env(variable, default), metavar=metavar, help=f"{what} (E2E_{variable})")

    text("load-image", "", "COMMAND", LOAD_IMAGE)
    text("image-prefix", "localhost", "PREFIX", "registry and path before the images' names")
    text("image-tag", "e2e", "TAG", "tag of the images")
    text("node", "", "NODE", "real node for CPU engines; default: the first that is ready")
    text("add-node", "", "COMMAND", ADD_NODE)
    text("audit-log", "", "FILE", AUDIT_LOG)
    text("idle-seconds", "300", "SECONDS", "how long nothing may be written when nothing happens")
    text("requests", "600", "NUMBER", "requests across the rebalance")
    text("rate", "5", "PER_SECOND", "requests per second")
    add("--only", action="append", default=[], metavar="PART", help="run these parts only; may be given several times")
    add("--keep", action="store_true", help="leave everything in the cluster for a look")
    add("--verbose", action="store_true", help="print every command")
    read = vars(parser.parse_args(arguments))
    numbers = {
        "idle_seconds": int(read["idle_seconds"]),
        "requests": int(read["requests"]),
        "rate": float(read["rate"]),
    }
    return Options(**{**read, **numbers, "only": tuple(read["only"])})
