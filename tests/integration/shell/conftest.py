"""The real operator as a process against a real API server, under exactly the rights that it says it needs.

No controller and no kubelet need to run: where engines must be ready, the tests make their pods. The pods that a
Deployment controller would make are kept away by a PriorityClass that does not exist.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from deepseek_operator.client import PERMISSIONS
from deepseek_operator.world import Kind
from support import objects
from support.cluster import ROOT, Cluster, RefusedError, until
from support.tunnel import Tunnel

NO_CONTROLLER = {"pod": {"priorityClassName": "made-by-the-test"}}


@pytest.fixture(scope="session")
def cluster(request):
    """The cluster that DEEPSEEK_TEST_KUBECONFIG names, with our CRDs; a bare API server has no controllers."""
    kubeconfig = os.environ.get("DEEPSEEK_TEST_KUBECONFIG")
    if not kubeconfig:
        # No program can bring a cluster along as the API server above is: it needs root, containers and nodes.
        pytest.skip("set DEEPSEEK_TEST_KUBECONFIG to the kubeconfig of a cluster for tests")
    request.getfixturevalue("crds")
    return Cluster(kubeconfig)


@pytest.fixture
def namespace(cluster):
    name = f"shell-{secrets.token_hex(4)}"
    cluster.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    for item in cluster.list(Kind.DEPLOYMENT, name):
        cluster.delete(Kind.DEPLOYMENT, name, item["metadata"]["name"])
    cluster.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def rights(cluster, namespace):
    """A service account with exactly the operator's permissions, as a kubeconfig's token."""
    by_scope = defaultdict(list)
    for item in PERMISSIONS:
        rule = {"apiGroups": [item.group], "resources": [item.resource], "verbs": list(item.verbs)}
        by_scope["cluster" if item.scope == "cluster" else "namespace"].append(rule)
    account = {"kind": "ServiceAccount", "name": "operator", "namespace": namespace}
    cluster.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "operator"}})
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    wide = f"{rbac}/clusterrole"
    near = f"{rbac}/namespaces/{namespace}/role"
    for prefix, kind, rules in ((wide, "ClusterRole", by_scope["cluster"]), (near, "Role", by_scope["namespace"])):
        metadata = {"name": namespace}
        cluster.call("POST", f"{prefix}s", {"metadata": metadata, "rules": rules})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": namespace}
        binding = {"metadata": metadata, "roleRef": reference, "subjects": [account]}
        cluster.call("POST", f"{prefix}bindings", binding)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/operator/token"
    yield cluster.call("POST", path, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    for kind in ("clusterrolebindings", "clusterroles"):
        cluster.call("DELETE", f"{rbac}/{kind}/{namespace}")


@pytest.fixture
def tunnel(cluster):
    """The operator's only way to the API server, for tests that cut it."""
    address = urlsplit(_server(cluster)["cluster"]["server"])
    if address.hostname != "127.0.0.1":
        # A cut that is not one tells nothing: the operator must believe the tunnel to be its API server.
        pytest.skip("the API server's certificate is for another name than the tunnel's, 127.0.0.1")
    with Tunnel(address.hostname, address.port) as made:
        yield made


@pytest.fixture
def operator_kubeconfig(cluster, rights, tmp_path, request):
    """The operator's own kubeconfig: its own identity, and where the test has a tunnel the way through it."""
    server = _server(cluster)
    if "tunnel" in request.fixturenames:
        through = f"https://127.0.0.1:{request.getfixturevalue('tunnel').port}"
        server = {**server, "cluster": {**server["cluster"], "server": through}}
    made = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": server["name"], "user": "operator"}}],
        "clusters": [server],
        "users": [{"name": "operator", "user": {"token": rights}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(made))
    return path


def _server(cluster):
    """The cluster of the given kubeconfig's current context."""
    document = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    context = next(item for item in document["contexts"] if item["name"] == document["current-context"])["context"]
    return next(item for item in document["clusters"] if item["name"] == context["cluster"])


class Operator:
    """One operator process."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        variables = {
            "DEEPSEEK_NAMESPACES": namespace,
            "DEEPSEEK_POD_NAMESPACE": namespace,
            "DEEPSEEK_LISTEN_HOST": "127.0.0.1",
            "DEEPSEEK_LISTEN_PORT": str(self.port),
            "DEEPSEEK_SETTLE": "0",
            "DEEPSEEK_RESYNC": "2",
            "DEEPSEEK_LEASE_DURATION": "3",
            "DEEPSEEK_LEASE_RENEW_DEADLINE": "2",
            "DEEPSEEK_LEASE_RETRY": "0.3",
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'runtime'}",
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DEEPSEEK_")}
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deepseek_operator", "run"],
                env={**clean, **variables, **settings},
                stdout=output,
                stderr=output,
                cwd=log.parent,
            )

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        """GET, or POST a body; status 0: nobody answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    @property
    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"the operator ended:\n{self.log.read_text()[-4000:]}"
        return self.ask("/readyz")[0] == 200

    @property
    def leads(self) -> bool:
        return '"leader": true' in self.ask("/readyz")[1]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


@pytest.fixture
def operate(operator_kubeconfig, namespace, tmp_path):
    """Start operators; what still runs at the end is stopped."""
    started: list[Operator] = []

    def start(*, wait: bool = True, **settings: str) -> Operator:
        operator = Operator(operator_kubeconfig, namespace, tmp_path / f"operator-{len(started)}.log", **settings)
        started.append(operator)
        if wait:
            until(lambda: operator.is_ready, what="the operator is ready")
        return operator

    yield start
    for operator in started:
        if operator.process.poll() is None:
            operator.kill()


class Scene:
    """One namespace with a pool of its own, and what a person does there."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def apply(self, name: str = "chat", **spec: Any) -> dict[str, Any]:
        """A deployment of the tiny model on the scene's pool."""
        wanted = objects.deployment(name, self.namespace, **objects.merged(NO_CONTROLLER, spec))
        return self.cluster.apply(wanted)

    def apply_pool(self, **spec: Any) -> dict[str, Any]:
        own = {"allowedNamespaces": [self.namespace], "nodeSelector": {"scene": self.namespace}}
        return self.cluster.apply(objects.pool(self.namespace, **objects.merged(own, spec)))

    def resource(self, name: str = "chat") -> dict[str, Any]:
        return self.cluster.get(Kind.DEPLOYMENT, self.namespace, name) or {}

    def condition(self, kind: str, name: str = "chat") -> dict[str, Any]:
        found = self.resource(name).get("status", {}).get("conditions", ())
        return next((item for item in found if item["type"] == kind), {})

    def wait_for(self, kind: str, status: str, reason: str = "", name: str = "chat") -> dict[str, Any]:
        def holds() -> dict[str, Any] | None:
            now = self.condition(kind, name)
            return now if now.get("status") == status and reason in {"", now.get("reason")} else None

        found: dict[str, Any] = until(holds, what=f"{kind}={status} {reason}; is {self.resource(name).get('status')}")
        return found

    def children(self) -> dict[tuple[str, str], dict[str, Any]]:
        return self.cluster.children(self.namespace)

    def groups(self) -> list[dict[str, Any]]:
        return [item for (kind, _), item in self.children().items() if kind == "Deployment"]

    def run_pods(self) -> list[str]:
        """Make ready pods for every group, as a controller and a kubelet would, and take away the others'."""
        wanted: dict[str, Any] = {}
        for group in self.groups():
            for index in range(group["spec"]["replicas"]):
                wanted[f"{group['metadata']['name']}-{index}"] = group["spec"]["template"]
        for pod in self.cluster.list(Kind.POD, self.namespace):
            if pod["metadata"]["name"] not in wanted:
                path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}"
                self.cluster.call("DELETE", path, gracePeriodSeconds="0")
        for name, template in wanted.items():
            if self.cluster.get(Kind.POD, self.namespace, name) is None:
                self._make_pod(name, template)
        return sorted(wanted)

    def _make_pod(self, name: str, template: dict[str, Any]) -> None:
        metadata = {part: template["metadata"][part] for part in ("labels", "annotations")}
        container = {"name": "engine", "image": "made-by-the-test"}
        spec = {"containers": [container], "schedulerName": "made-by-the-test", "automountServiceAccountToken": False}
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        # Controllers of a fresh namespace need a moment for its default service account; not all have one.
        until(lambda: self._posted(path, {"metadata": {"name": name, **metadata}, "spec": spec}), what="a pod")
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
        self.cluster.patch(
            Kind.POD,
            self.namespace,
            name,
            {"status": {"phase": "Running", "conditions": [ready]}},
            subresource="status",
        )

    def _posted(self, path: str, body: Any) -> bool:
        try:
            self.cluster.call("POST", path, body)
        except RefusedError as error:
            if error.status == 403:
                self._make_account()
                return False
            raise
        return True

    def _make_account(self) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        try:
            self.cluster.call("POST", path, {"metadata": {"name": "default"}})
        except RefusedError as error:
            if error.status != 409:
                raise


@pytest.fixture
def scene(cluster, namespace):
    made = Scene(cluster, namespace)
    made.apply_pool()
    yield made
    cluster.delete(Kind.POOL, "", namespace)
