"""The only door to the Kubernetes API, and the only importer of a client library.

Objects are plain dicts in and out: a typed client drops fields it does not know, and a patch made from
such an object would delete them. Every call is bounded in time, and every failure is one of ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from deepseek_operator.errors import RefusedError, UnreachableError
from deepseek_operator.render.names import MANAGED_BY, MANAGED_BY_LABEL
from deepseek_operator.settings import FIELD_MANAGER, VERSION
from deepseek_operator.world import Kind, Object

_TIMEOUT_S = 30
_PAGE = 500
_LASTING = frozenset({400, 403, 404, 405, 413, 415, 422})
"""Answers that the same request gets again until someone changes something."""
_NOT_FOUND = 404
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_OURS = f"{MANAGED_BY_LABEL}={MANAGED_BY}"


@dataclass(frozen=True, slots=True)
class Api:
    """Where a kind lives in the API, and which of its objects concern us."""

    group: str
    version: str
    plural: str
    is_namespaced: bool = True
    selector: str = ""

    @property
    def root(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        parts = [self.root]
        parts += ["namespaces", namespace] if self.is_namespaced and namespace else []
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


_SERVING = "serving.deepseek-operator.dev"
APIS: Mapping[Kind, Api] = {
    Kind.DEPLOYMENT: Api(_SERVING, "v1alpha1", "deepseekdeployments"),
    Kind.POOL: Api(_SERVING, "v1alpha1", "acceleratorpools", is_namespaced=False),
    Kind.NODE: Api("", "v1", "nodes", is_namespaced=False),
    Kind.POD: Api("", "v1", "pods"),
    Kind.ENGINE_GROUP: Api("apps", "v1", "deployments", selector=_OURS),
    Kind.MULTI_NODE_GROUP: Api("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", selector=_OURS),
    Kind.CONFIG_MAP: Api("", "v1", "configmaps", selector=_OURS),
    Kind.SERVICE: Api("", "v1", "services", selector=_OURS),
    Kind.DISRUPTION_BUDGET: Api("policy", "v1", "poddisruptionbudgets", selector=_OURS),
    Kind.NETWORK_POLICY: Api("networking.k8s.io", "v1", "networkpolicies", selector=_OURS),
}
_LEASES = Api("coordination.k8s.io", "v1", "leases")
_EVENTS = Api("", "v1", "events")


@dataclass(frozen=True, slots=True)
class Permission:
    """One rule of the operator's role. ``is_optional``: only where multi-node engines are wanted."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    scope: str
    """``cluster``, ``namespace`` (each that is watched) or ``own`` (the operator's)."""
    is_optional: bool = False


_SEE = ("list", "watch")
PERMISSIONS: tuple[Permission, ...] = (
    Permission(_SERVING, "acceleratorpools", _SEE, "cluster"),
    Permission(_SERVING, "acceleratorpools/status", ("patch",), "cluster"),
    Permission("", "nodes", _SEE, "cluster"),
    Permission(_SERVING, "deepseekdeployments", _SEE, "namespace"),
    Permission(_SERVING, "deepseekdeployments/status", ("patch",), "namespace"),
    Permission("", "pods", _SEE, "namespace"),
    # A server-side apply is a patch; one that makes the object needs create as well.
    Permission("", "configmaps", (*_SEE, "create", "patch", "delete"), "namespace"),
    Permission("", "services", (*_SEE, "create", "patch"), "namespace"),
    Permission("apps", "deployments", (*_SEE, "create", "patch", "delete"), "namespace"),
    Permission("policy", "poddisruptionbudgets", (*_SEE, "create", "patch"), "namespace"),
    Permission("networking.k8s.io", "networkpolicies", (*_SEE, "create", "patch"), "namespace"),
    Permission("", "events", ("create",), "namespace"),
    Permission(
        "leaderworkerset.x-k8s.io",
        "leaderworkersets",
        (*_SEE, "create", "patch", "delete"),
        "namespace",
        is_optional=True,
    ),
    Permission("coordination.k8s.io", "leases", ("get", "create", "update"), "own"),
)
"""Everything this module asks of the API, verb by verb: the chart's roles are tested to be exactly this."""


class Client:
    """Calls to one API server as one identity."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        api.user_agent = f"{FIELD_MANAGER}/{VERSION}"

    @classmethod
    async def connect(cls) -> Self:
        """As the pod's service account, else as the current context of KUBECONFIG.

        Raises UnreachableError when neither is there.
        """
        settings = Configuration()
        try:
            if in_cluster():
                config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
            else:
                await config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=settings)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            raise UnreachableError(f"no cluster to connect to: {error}; set KUBECONFIG or run in a pod") from None
        return cls(ApiClient(settings))

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def list_objects(self, kind: Kind, namespaces: Sequence[str] = ()) -> tuple[list[dict[str, Any]], str]:
        """All objects of a kind that concern us, and the version of the world they were read at.

        ``namespaces`` empty: of all; of several lists the oldest version counts.
        """
        parts = namespaces if namespaces and APIS[kind].is_namespaced else ("",)
        found = [await self._list(kind, namespace) for namespace in parts]
        items = [item for part, _ in found for item in part]
        return items, min((version for _, version in found), key=int)

    async def _list(self, kind: Kind, namespace: str) -> tuple[list[dict[str, Any]], str]:
        api = APIS[kind]
        query = {"limit": str(_PAGE)} | ({"labelSelector": api.selector} if api.selector else {})
        items: list[dict[str, Any]] = []
        while True:
            page = await self._call("GET", api.path(namespace), query)
            items += page.get("items") or []
            following = page["metadata"].get("continue")
            if not following:
                break
            query["continue"] = following
        # Items of a list do not say what they are.
        head = {"apiVersion": api.root.split("/", 2)[2], "kind": str(kind)}
        return [head | item for item in items], page["metadata"]["resourceVersion"]

    async def find(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """One object by name, ours or not; None where there is none. A list, which needs no right to get."""
        page = await self._call("GET", APIS[kind].path(namespace), {"fieldSelector": f"metadata.name={name}"})
        return next(iter(page.get("items") or ()), None)

    async def is_served(self, kind: Kind, namespaces: Sequence[str] = ()) -> bool:
        """Whether objects of that kind can be read here: the API has it, and we may list it."""
        try:
            await self._call("GET", APIS[kind].path(next(iter(namespaces), "")), {"limit": "1"})
        except RefusedError:
            return False
        return True

    async def apply(self, manifest: Object, *, subresource: str = "") -> dict[str, Any]:
        """Server-side apply; conflicts over our own fields are ours to win."""
        metadata = manifest["metadata"]
        path = APIS[Kind(manifest["kind"])].path(metadata.get("namespace", ""), metadata["name"], subresource)
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._call("PATCH", path, query, manifest, content="application/apply-patch+yaml")

    async def set_replicas(self, kind: Kind, namespace: str, name: str, replicas: int) -> dict[str, Any]:
        """Change the replicas and nothing else: an apply of one field would give up all others."""
        body = {"spec": {"replicas": replicas}}
        query = {"fieldManager": FIELD_MANAGER}
        path = APIS[kind].path(namespace, name)
        return await self._call("PATCH", path, query, body, content="application/merge-patch+json")

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete an object, its dependents after it; one that is gone is fine."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        await self._call("DELETE", APIS[kind].path(namespace, name), {}, body, or_none=True)

    async def create_event(self, namespace: str, event: Object) -> None:
        await self._call("POST", _EVENTS.path(namespace), {"fieldManager": FIELD_MANAGER}, event)

    async def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The lease, or None where there is none yet."""
        return await self._call("GET", _LEASES.path(namespace, name), {}, or_none=True) or None

    async def write_lease(self, namespace: str, name: str, lease: Object) -> dict[str, Any]:
        """Create or replace; a lease that someone else wrote since it was read is refused as unreachable (409)."""
        query = {"fieldManager": FIELD_MANAGER}
        if "resourceVersion" in lease["metadata"]:
            return await self._call("PUT", _LEASES.path(namespace, name), query, lease)
        return await self._call("POST", _LEASES.path(namespace), query, lease)

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | None = None,
        *,
        content: str = "application/json",
        or_none: bool = False,
    ) -> dict[str, Any]:
        """One request. ``or_none``: an object that is not there gives ``{}``."""
        headers = {"Accept": "application/json", "Content-Type": content}
        try:
            request = await self._api.param_serialize(
                method, path, header_params=headers, query_params=[], auth_settings=["BearerToken"], body=body
            )
            verb, url, header, data, _ = request
            url += f"?{urlencode(query)}" if query else ""
            response = await self._api.call_api(verb, url, header, data, _request_timeout=_TIMEOUT_S)
            text = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{method} {path}: {type(error).__name__}: {error}") from None
        if response.status == _NOT_FOUND and or_none:
            return {}
        if response.status >= 400:
            raise _failure(method, path, response.status, text)
        found: dict[str, Any] = json.loads(text)
        return found


def in_cluster() -> bool:
    """Whether this process is a pod with a service account."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and (_SERVICE_ACCOUNT / "token").exists()


def own_namespace(default: str) -> str:
    """The namespace of this pod."""
    path = _SERVICE_ACCOUNT / "namespace"
    return path.read_text().strip() if path.exists() else default


def _failure(method: str, path: str, status: int, text: bytes) -> RefusedError | UnreachableError:
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = text.decode(errors="replace")[:256]
    kind = RefusedError if status in _LASTING else UnreachableError
    return kind(f"{method} {path}: {status}: {message}")
