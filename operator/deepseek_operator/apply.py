"""The only writer to Kubernetes: objects, replicas, status and Events of ours.

Each write is skipped where the cache shows it would change nothing, so a reconciled cluster is not
written to at all. Each answer goes back into the cache, so the next cycle sees it before any watch does.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from deepseek_operator.cache import ObjectCache
from deepseek_operator.client import Client
from deepseek_operator.errors import LeaseLostError, NameTakenError, UnreachableError
from deepseek_operator.render.names import API_VERSION, MANIFEST_HASH_ANNOTATION, PREFIX
from deepseek_operator.subset import is_subset
from deepseek_operator.world import Event, Kind, Object


class KubernetesWriter:
    """Writes through one client, as long as this process leads."""

    def __init__(
        self,
        client: Client,
        cache: ObjectCache,
        *,
        instance: str,
        may_write: Callable[[], bool],
        clock: Callable[[], datetime],
    ) -> None:
        """``instance`` is the process by name: it signs Events."""
        self._client = client
        self._cache = cache
        self._may_write = may_write
        self._clock = clock
        self._instance = instance

    async def apply(self, manifest: Object) -> None:
        """Raises NameTakenError where an object of that name belongs to someone else."""
        wanted = _with_hash(manifest)
        kind, metadata = Kind(manifest["kind"]), manifest["metadata"]
        observed = self._cache.get(kind, metadata["namespace"], metadata["name"])
        if observed is None or _owner(observed) != _owner(manifest):
            await self._claim(kind, manifest)
        elif is_subset(wanted, observed):
            return
        self._check()
        self._cache.put(kind, await self._client.apply(wanted))

    async def _claim(self, kind: Kind, manifest: Object) -> None:
        """See that a name we are about to use is free: an apply with force would take over whatever has it."""
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        found = await self._client.find(kind, namespace, name)
        if found is None or _owner(found) == _owner(manifest):
            return
        ours, theirs = (_controller(item) for item in (manifest, found))
        if all(theirs.get(part) == ours.get(part) for part in ("kind", "name")):
            raise UnreachableError(f"{kind} {namespace}/{name} is still its predecessor's; it goes with that one")
        raise NameTakenError(str(kind), namespace, name)

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        observed = self._cache.get(kind, namespace, name)
        if observed is not None and observed["spec"].get("replicas", 1) == replicas:
            return
        self._check()
        self._cache.put(kind, await self._client.set_replicas(kind, namespace, name, replicas))

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        self._check()
        await self._client.delete(kind, namespace, name)
        self._cache.drop(kind, namespace, name)

    async def write_status(self, about: Object, status: Mapping[str, Any]) -> None:
        """Written whole by server-side apply, so that a key that is gone from it is gone from the object."""
        kind, metadata = Kind(about["kind"]), about["metadata"]
        observed = self._cache.get(kind, metadata.get("namespace", ""), metadata["name"])
        if observed is None or (observed.get("status") or {}) == status:
            return
        self._check()
        # The uid keeps a status from landing on a successor of the same name.
        identity = {name: metadata[name] for name in ("namespace", "name", "uid") if name in metadata}
        body = {"apiVersion": API_VERSION, "kind": str(kind), "metadata": identity, "status": status}
        self._cache.put(kind, await self._client.apply(body, subresource="status"))

    async def emit(self, event: Event) -> None:
        self._check()
        metadata = event.about["metadata"]
        namespace = metadata.get("namespace") or "default"
        now = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        reporter = f"{PREFIX}operator"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": f"{metadata['name']}.{secrets.token_hex(8)}"},
            "involvedObject": {
                "apiVersion": event.about["apiVersion"],
                "kind": event.about["kind"],
                "namespace": metadata.get("namespace", ""),
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "type": "Warning" if event.warning else "Normal",
            "reason": event.reason,
            "action": event.action,
            "message": event.message[:1024],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": reporter},
            "reportingComponent": reporter,
            "reportingInstance": self._instance[:128],
        }
        await self._client.create_event(namespace, body)

    def _check(self) -> None:
        """Writes are fenced: after a lost lease another process may be acting on the same objects."""
        if not self._may_write():
            raise LeaseLostError("the lease is lost; another process may lead")


def _with_hash(manifest: Object) -> dict[str, Any]:
    """The manifest with a hash of itself: what an earlier manifest had and this one lacks shows as a difference.

    Replicas are left out: they are scaled without an apply.
    """
    spec = {name: value for name, value in manifest.get("spec", {}).items() if name != "replicas"}
    text = json.dumps({**manifest, "spec": spec}, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), MANIFEST_HASH_ANNOTATION: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _owner(item: Object) -> str:
    return str(_controller(item).get("uid", ""))


def _controller(item: Object) -> Mapping[str, Any]:
    references = item["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), {})
