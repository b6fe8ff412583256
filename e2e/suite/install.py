"""Puts everything into the cluster, and takes it out again."""

from __future__ import annotations

import json
import re
from typing import Any

from suite.cluster import CommandFailedError
from suite.progress import StepFailedError, wait_until
from suite.suite import (
    AGENT,
    CHART,
    DEPLOYMENT_LABEL,
    MONITORING,
    NAMESPACES,
    NODE_FOLDER,
    RELEASE,
    SYSTEM,
    WORK,
    Suite,
    is_ready,
)

HELM_VALUES: dict[str, dict[str, Any]] = {
    # Short windows, so that ten minutes show what an hour would.
    "loop": {"settleSeconds": 5, "measurementWindowSeconds": 30, "resyncSeconds": 20, "relistSeconds": 60},
    "leaderElection": {"leaseDurationSeconds": 6, "renewDeadlineSeconds": 4, "retrySeconds": 1},
    "prometheus": {"url": f"http://prometheus.{MONITORING}.svc:9090"},
    "crds": {"keep": False},
}


def namespaces(suite: Suite) -> None:
    """Namespaces, the agent on the node and the toolbox."""
    with suite.progress.step("namespaces, agent and toolbox"):
        suite.cluster.apply(suite.fill("base.yaml"))
        suite.cluster.kubectl("-n", AGENT, "wait", "pod/agent", "--for=condition=Ready", "--timeout=60s")
        suite.cluster.kubectl("-n", WORK, "wait", "pod/toolbox", "--for=condition=Ready", "--timeout=60s")


ONLY_WOKEN = ("--set", "loop.resyncSeconds=3600,loop.relistSeconds=3600")
"""No look without a reason: what wakes the loop are events of the cluster and alerts."""


def operator(suite: Suite, *more: str) -> None:
    """helm upgrade --install, and wait for the rollout."""
    images = {
        "image": _image(suite.images.operator),
        "engine": {"images": {"cpu": _image(suite.images.runtime)}},
    }
    values = json.dumps({**HELM_VALUES, **images, "logLevel": "DEBUG"})
    with suite.progress.step("helm install"):
        suite.cluster.run(
            "helm", "upgrade", "--install", RELEASE, str(CHART), "-n", SYSTEM, "-f", "-", *more, stdin=values
        )
        await_operator(suite)


def _image(reference: str) -> dict[str, str]:
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}


def await_operator(suite: Suite, seconds: float = 90) -> None:
    """Wait until the Deployment has rolled out."""
    try:
        suite.cluster.kubectl(
            "-n",
            SYSTEM,
            "rollout",
            "status",
            f"deployment/{RELEASE}",
            f"--timeout={seconds:.0f}s",
            seconds=seconds + 10,
        )
    except CommandFailedError as error:
        pods = suite.cluster.kubectl("-n", SYSTEM, "describe", "pods")
        raise StepFailedError(f"{error}\n{pods[-2500:]}\n{suite.operator_logs()}") from None


def helm_test(suite: Suite) -> None:
    """The chart's own test."""
    with suite.progress.step("helm test"):
        suite.cluster.run("helm", "test", RELEASE, "-n", SYSTEM)


def monitoring(suite: Suite) -> None:
    """Prometheus and Alertmanager, with the chart's rules at the windows of this run and the chart's token."""
    with suite.progress.step("Prometheus and Alertmanager"):
        token = suite.cluster.get("secret", f"{RELEASE}-alerts", "-n", SYSTEM)["data"]["token"]
        rules = "\n".join(shortened(path.read_text()) for path in sorted((CHART / "rules").glob("*.yaml")))
        suite.cluster.apply(suite.fill("prometheus.yaml", token=token, rules=indented(rules, 4)))
        suite.cluster.kubectl(
            "-n", MONITORING, "rollout", "status", "deployment/prometheus", "--timeout=90s", seconds=100
        )
        wait_until("Prometheus scrapes the operator", lambda: _scraped(suite), seconds=60)


def _scraped(suite: Suite) -> str:
    try:
        return "" if suite.query('up{job="operator"} == 1') else "no target is up"
    except CommandFailedError as error:
        return error.text


def shortened(rules: str) -> str:
    """The chart's rules with shorter windows: the expressions stay word for word.

    They wait longer than the operator needs to measure, so that the first notification finds it able to decide.
    """
    rules = re.sub(r"\[\d+[smhd]\]", "[30s]", rules)
    rules = re.sub(r"(?m)^(\s*-?\s*for:) .*$", r"\1 45s", rules)
    return re.sub(r"(?m)^(\s*-?\s*keep_firing_for:) .*$", r"\1 5s", rules)


def indented(text: str, by: int) -> str:
    return "\n".join(" " * by + line if line else "" for line in text.splitlines())


def weights(suite: Suite) -> None:
    """The tiny checkpoint, in a claim."""
    with suite.progress.step("tiny checkpoint into a claim"):
        suite.cluster.apply(suite.fill("weights.yaml"))
        await_job(suite, "tiny-checkpoint", seconds=120)


def await_job(suite: Suite, name: str, *, seconds: float) -> str:
    """Wait for the end of a Job, good or bad; its log."""

    def unfinished() -> str:
        status = suite.cluster.get("job", name, "-n", WORK).get("status", {})
        return "" if status.get("succeeded") or status.get("failed") else f"{status}"

    wait_until(f"Job {name}", unfinished, seconds=seconds, every=1)
    log = suite.cluster.kubectl("-n", WORK, "logs", f"job/{name}", "--tail=-1")
    if not suite.cluster.get("job", name, "-n", WORK)["status"].get("succeeded"):
        raise StepFailedError(f"Job {name} failed: {log[-2000:]}")
    return log


def remove(suite: Suite) -> None:
    """Everything that this run may have made; what is not there is fine."""
    kubectl = suite.cluster.kubectl
    for kind, where in (("deepseekdeployments", ("-n", WORK)), ("acceleratorpools", ())):
        try:
            kubectl("delete", kind, *where, "--all", "--wait=true", "--timeout=120s", seconds=130)
        except CommandFailedError as error:
            if "the server doesn't have a resource type" not in error.text:
                raise
    try:
        wait_until("engines gone", lambda: _engines_left(suite), seconds=150)
    finally:
        _uninstall(suite)
        clear_folder(suite)
        kubectl("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--wait=true", "--timeout=150s", seconds=160)
        kubectl("delete", "pv", "deepseek-e2e-weights", "--ignore-not-found")


def _engines_left(suite: Suite) -> str:
    return suite.cluster.kubectl("get", "pods", "-n", WORK, "-l", DEPLOYMENT_LABEL, "-o", "name").strip()


def _uninstall(suite: Suite) -> None:
    try:
        suite.cluster.run("helm", "uninstall", RELEASE, "-n", SYSTEM, "--wait")
    except CommandFailedError as error:
        if "not found" not in error.text:
            raise


def clear_folder(suite: Suite) -> None:
    """Remove the folder of the checkpoint from the node."""
    agent = suite.cluster.find("pod", "agent", AGENT)
    if agent and is_ready(agent):
        suite.cluster.execute(AGENT, "agent", "rm", "-rf", f"/host{NODE_FOLDER}")


def sigkill_operator(suite: Suite) -> str:
    """SIGKILL the operator on its node, and take the pod away, so that no restart back-off delays the next."""
    (pod,) = suite.operator_pods()
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    killed = suite.cluster.execute(AGENT, "agent", "python", "-", container, stdin=KILL)
    name: str = pod["metadata"]["name"]
    suite.cluster.kubectl("-n", SYSTEM, "delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
    return f"{name}: {killed.strip()}"


KILL = """
import os, signal, sys
from pathlib import Path
found = []
for folder in Path("/proc").iterdir():
    try:
        if folder.name.isdecimal() and sys.argv[1] in (folder / "cgroup").read_text():
            found.append(int(folder.name))
    except OSError:
        pass
for pid in found:
    os.kill(pid, signal.SIGKILL)
print("SIGKILL to", len(found), "process(es)")
sys.exit(0 if found else 1)
"""
