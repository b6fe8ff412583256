"""A Kubernetes API as its users see it: only the one that a test was given, never the ambient one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kubernetes import client, config

from deepseek_operator.client import APIS
from deepseek_operator.world import Kind

ROOT = Path(__file__).parents[2]
USER = "a-person"
CHILDREN = (
    Kind.ENGINE_GROUP,
    Kind.CONFIG_MAP,
    Kind.SERVICE,
    Kind.DISRUPTION_BUDGET,
    Kind.NETWORK_POLICY,
)


class RefusedError(Exception):
    """The API said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Cluster:
    """Calls as the administrator that the kubeconfig names."""

    def __init__(self, kubeconfig: str) -> None:
        self.kubeconfig = kubeconfig
        self._api = config.new_client_from_config(kubeconfig)

    def call(
        self, method: str, path: str, body: Any = None, *, content: str = "application/json", **query: str
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": content}
        request = self._api.param_serialize(
            method, path, header_params=headers, query_params=[], auth_settings=["BearerToken"], body=body
        )
        url = request[1] + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self._api.call_api(request[0], url, request[2], request[3])
        except client.ApiException as error:
            raise RefusedError(error.status, error.body or error.reason) from None
        text = answer.read()
        if answer.status >= 400:
            raise RefusedError(answer.status, text.decode())
        found: dict[str, Any] = json.loads(text)
        return found

    def apply(self, item: Mapping[str, Any], *, path: str = "", subresource: str = "") -> dict[str, Any]:
        """Server-side apply, as ``kubectl apply --server-side`` does."""
        metadata = item["metadata"]
        where = path or APIS[Kind(item["kind"])].path(metadata.get("namespace", ""), metadata["name"], subresource)
        clean = {
            **item,
            "metadata": {
                key: value for key, value in metadata.items() if key not in {"uid", "resourceVersion", "generation"}
            },
        }
        return self.call("PATCH", where, clean, content="application/apply-patch+yaml", fieldManager=USER, force="true")

    def patch(self, kind: Kind, namespace: str, name: str, body: Any, *, subresource: str = "") -> dict[str, Any]:
        path = APIS[kind].path(namespace, name, subresource)
        return self.call("PATCH", path, body, content="application/merge-patch+json", fieldManager=USER)

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return self.call("GET", APIS[kind].path(namespace, name))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: Kind, namespace: str = "", **query: str) -> list[dict[str, Any]]:
        return list(self.call("GET", APIS[kind].path(namespace), **query)["items"])

    def children(self, namespace: str) -> dict[tuple[str, str], dict[str, Any]]:
        """Everything that the operator made in a namespace."""
        selector = "app.kubernetes.io/managed-by=deepseek-operator"
        return {
            (str(kind), item["metadata"]["name"]): item
            for kind in CHILDREN
            for item in self.list(kind, namespace, labelSelector=selector)
        }

    def events(self, namespace: str) -> list[dict[str, Any]]:
        """Events about our resources, oldest first."""
        found = self.call("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
        ours = [item for item in found if item["involvedObject"]["kind"] == "DeepSeekDeployment"]
        return sorted(ours, key=lambda item: item["metadata"]["creationTimestamp"])

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        try:
            self.call("DELETE", APIS[kind].path(namespace, name))
        except RefusedError as error:
            if error.status != 404:
                raise


def until(holds: Callable[[], Any], *, what: str, timeout_s: float = 30.0, every_s: float = 0.2) -> Any:
    """Wait for something to hold; what it returned then."""
    end = time.monotonic() + timeout_s
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < end, f"not within {timeout_s:g} s: {what}"
        time.sleep(every_s)


def versions(items: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Resource versions by kind and name."""
    return {(item["kind"], item["metadata"]["name"]): item["metadata"]["resourceVersion"] for item in items}
