"""A world and a writer in memory: what is applied is there, controllers are the test's to play."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepseek_operator.errors import OperatorError
from deepseek_operator.render.names import GROUP_LABEL
from deepseek_operator.world import Event, Kind, Object
from support.objects import merged, pod_of


class MemoryWorld:
    """Objects by kind. Every write is also written down, in order."""

    multi_node = False

    def __init__(self, *items: Object) -> None:
        self._objects: dict[tuple[Kind, str, str], Object] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.events: list[Event] = []
        self.measurements: dict[Any, Any] = {}
        self.refuse: dict[tuple[str, str], OperatorError] = {}
        """Errors to raise, by kind and namespace."""
        self.now = ""
        """When new pods are made; empty: they do not say."""
        self.stuck: set[str] = set()
        """Pods whose manifest has one of these in it never become ready."""
        for item in items:
            self.put(item)

    def put(self, item: Object) -> None:
        self._objects[_key(item)] = item

    def get(self, kind: Kind, namespace: str, name: str) -> Any:
        return self._objects.get((kind, namespace, name))

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        self._objects.pop((kind, namespace, name), None)

    # World

    def objects(self, kind: Kind) -> Sequence[Object]:
        found = [key for key in self._objects if key[0] is kind]
        return [self._objects[key] for key in sorted(found, key=lambda key: key[1:])]

    async def measured(self, deployments: Any, *, now: Any) -> Mapping[Any, Any]:
        return self.measurements

    # Writer

    async def apply(self, manifest: Object) -> None:
        self._may(manifest["kind"], manifest["metadata"]["namespace"])
        old = self._objects.get(_key(manifest))
        new = {**(old or {}), **manifest}
        if new != old:
            self.put(new)
            self._note("apply", manifest["kind"], manifest["metadata"]["name"])

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        self._may(kind, namespace)
        item = self.get(kind, namespace, name)
        self.put({**item, "spec": {**item["spec"], "replicas": replicas}})
        self._note(f"scale to {replicas}", kind, name)

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        self._may(kind, namespace)
        self.remove(kind, namespace, name)
        self._note("delete", kind, name)

    async def write_status(self, about: Object, status: Mapping[str, Any]) -> None:
        item = self._objects.get(_key(about))
        if item is not None and item.get("status") != status:
            self.put({**item, "status": status})
            self._note("status", about["kind"], about["metadata"]["name"])

    async def emit(self, event: Event) -> None:
        self.events.append(event)

    # The test as controller

    def run_pods(self, *, ready: bool = True) -> None:
        """Give every Deployment the pods that it asks for; surplus and orphaned pods go."""
        wanted = {}
        for group in self.objects(Kind.ENGINE_GROUP):
            for index in range(group["spec"]["replicas"]):
                pod = pod_of(group, f"{group['metadata']['name']}-{index}", ready=ready and not self._is_stuck(group))
                before = self._objects.get(_key(pod), pod)["metadata"].get("creationTimestamp") or self.now
                wanted[_key(pod)] = merged(pod, {"metadata": {"creationTimestamp": before}}) if before else pod
        for pod in self.objects(Kind.POD):
            if GROUP_LABEL in pod["metadata"]["labels"] and _key(pod) not in wanted:
                del self._objects[_key(pod)]
        self._objects |= wanted

    def _is_stuck(self, group: Object) -> bool:
        name = group["metadata"]["name"]
        files = self.get(Kind.CONFIG_MAP, group["metadata"]["namespace"], name) or {}
        return any(mark in str(group["spec"]) + str(files.get("data")) for mark in self.stuck)

    def _may(self, kind: str, namespace: str) -> None:
        if error := self.refuse.get((kind, namespace)):
            raise error

    def _note(self, verb: str, kind: str, name: str) -> None:
        self.writes.append((verb, str(kind), name))


def _key(item: Object) -> tuple[Kind, str, str]:
    return Kind(item["kind"]), item["metadata"].get("namespace", ""), item["metadata"]["name"]
