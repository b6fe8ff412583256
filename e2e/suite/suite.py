"""What all parts share: the cluster, the names in it, and the few questions that every part asks."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from suite.audit import AuditLog
from suite.cluster import Cluster, manifest
from suite.images import Images
from suite.options import ROOT, Options
from suite.progress import Progress, StepFailedError, wait_until

SYSTEM = "deepseek-e2e-system"
WORK = "deepseek-e2e"
MONITORING = "deepseek-e2e-monitoring"
AGENT = "deepseek-e2e-node"
NAMESPACES = (WORK, MONITORING, AGENT, SYSTEM)
RELEASE = "deepseek-operator"
CHART = ROOT / "charts" / "deepseek-operator"
GROUP = "serving.deepseek-operator.dev"
DEPLOYMENT_LABEL = f"{GROUP}/deployment"
TINY = "tiny"
NODE_FOLDER = "/var/lib/deepseek-e2e"


@dataclass(slots=True)
class Suite:
    """One run."""

    options: Options
    progress: Progress
    cluster: Cluster
    images: Images
    node: str
    audit: AuditLog | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    """What one part leaves for another."""

    # --- resources -----------------------------------------------------------------------------------------------

    def fill(self, file: str, **more: object) -> str:
        """A manifest with the names of this run."""
        variables = {
            "system": SYSTEM,
            "work": WORK,
            "monitoring": MONITORING,
            "agent": AGENT,
            "node": self.node,
            "hostname": self.hostname,
            "node_folder": NODE_FOLDER,
            "operator_image": self.images.operator,
            "runtime_image": self.images.runtime,
            "prometheus_image": self.images.prometheus,
        }
        return manifest(file, {**variables, **more})

    @property
    def hostname(self) -> str:
        """The label by which pods and volumes find the real node."""
        found: str = self.cluster.get("node", self.node)["metadata"]["labels"]["kubernetes.io/hostname"]
        return found

    def deployment(self, name: str = TINY) -> dict[str, Any]:
        return self.cluster.get("deepseekdeployment", name, "-n", WORK)

    def status(self, name: str = TINY) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.deployment(name).get("status") or {}
        return status

    def conditions(self, name: str = TINY) -> dict[str, dict[str, Any]]:
        return {item["type"]: item for item in self.status(name).get("conditions", ())}

    def engines(self, name: str = TINY) -> list[dict[str, Any]]:
        """Engine pods of a deployment that are not on their way out."""
        pods = self.cluster.items("pods", "-n", WORK, "-l", f"{DEPLOYMENT_LABEL}={name}")
        return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    def serving(self, name: str = TINY) -> dict[str, int]:
        """Ready engine pods: UID to restarts."""
        return {
            pod["metadata"]["uid"]: sum(c["restartCount"] for c in pod["status"].get("containerStatuses", ()))
            for pod in self.engines(name)
            if is_ready(pod)
        }

    def settled(self, name: str = TINY, *, replicas: int | None = None) -> str:
        """What keeps a deployment from being ready and at rest; empty when nothing does."""
        item = self.deployment(name)
        status = item.get("status") or {}
        found = {c["type"]: c for c in status.get("conditions", ())}
        told = "; ".join(f"{c['type']}={c['status']} {c['reason']}: {c['message']}" for c in found.values())
        if status.get("observedGeneration") != item["metadata"]["generation"]:
            return f"generation {item['metadata']['generation']} not observed: {told or 'no status'}"
        if found.get("Ready", {}).get("status") != "True" or found.get("Reconciling", {}).get("status") == "True":
            return told or "no conditions"
        wanted = status.get("replicas") if replicas is None else replicas
        pods = self.cluster.items("pods", "-n", WORK, "-l", f"{DEPLOYMENT_LABEL}={name}")
        ready = [pod for pod in pods if is_ready(pod)]
        if len(pods) != len(ready) or len(ready) != wanted or status.get("readyReplicas") != wanted:
            return f"{len(ready)} of {len(pods)} pods ready, {wanted} wanted, status says {status.get('readyReplicas')}"
        return ""

    def await_settled(self, name: str = TINY, *, replicas: int | None = None, seconds: float = 180) -> None:
        wait_until(f"{name} at rest", lambda: self.settled(name, replicas=replicas), seconds=seconds)

    # --- the operator ----------------------------------------------------------------------------------------------

    def operator_pods(self) -> list[dict[str, Any]]:
        selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=operator"
        pods = self.cluster.items("pods", "-n", SYSTEM, "-l", selector)
        return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    def operator_logs(self, tail: int = 60) -> str:
        selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=operator"
        return self.cluster.kubectl("logs", "-n", SYSTEM, "-l", selector, f"--tail={tail}")

    # --- Prometheus --------------------------------------------------------------------------------------------------

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Instant query, through the API server's proxy."""
        text = urllib.parse.urlencode({"query": expression})
        path = f"/api/v1/namespaces/{MONITORING}/services/prometheus:9090/proxy/api/v1/query?{text}"
        answer = self.cluster.raw(path)
        if answer["status"] != "success":
            raise StepFailedError(f"{expression}: {answer}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def number(self, expression: str) -> float | None:
        """The only value of a query, None where there is none."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def toolbox(self, script: str, *arguments: str, seconds: float = 60) -> Any:
        """Run Python inside the cluster; it prints JSON."""
        text = self.cluster.execute(WORK, "toolbox", "python", "-", *arguments, stdin=script, seconds=seconds)
        return json.loads(text)


def is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
