"""Objects in memory, with the parts of an API server that the loop relies on.

Identity (``uid``), optimistic versions (``resourceVersion``), intent (``generation`` counts changes of
the spec), a status of its own, defaults on writing, watchers, and garbage collection by owner
references. One process, one event loop: nothing here blocks or locks.
"""

from __future__ import annotations

import copy
import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from deepseek_operator.world import Event, Kind, Object

Key = tuple[Kind, str, str]
"""Kind, namespace (empty for cluster-scoped kinds) and name."""

CLUSTER_SCOPED = frozenset({Kind.POOL, Kind.NODE})
SERVER_FIELDS = frozenset({"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"})
"""Metadata that the store owns; what a writer says about them is ignored."""

Defaulter = Callable[[Object], Object]
"""Checks an object as the API server would and fills in defaults; raises on what it would refuse."""


def utc_now() -> datetime:
    """The wall clock; the store takes it as an argument."""
    return datetime.now(UTC)


def key_of(item: Object) -> Key:
    """The key of an object; raises ValueError for a kind that the loop does not know."""
    kind = Kind(item["kind"])
    metadata = item["metadata"]
    namespace = "" if kind in CLUSTER_SCOPED else str(metadata.get("namespace", "default"))
    return kind, namespace, str(metadata["name"])


def timestamp(moment: datetime) -> str:
    """Time as Kubernetes writes it, in whole seconds UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An Event and when it was emitted."""

    at: datetime
    event: Event


@dataclass(slots=True)
class Store:
    """All objects of the embedded world, by kind, namespace and name."""

    now: Callable[[], datetime] = utc_now
    defaults: Mapping[Kind, Defaulter] = field(default_factory=dict)
    new_uid: Callable[[], str] = lambda: str(uuid.uuid4())
    events: list[RecordedEvent] = field(default_factory=list)
    _objects: dict[Key, dict[str, Any]] = field(default_factory=dict)
    _watchers: list[Callable[[Key], None]] = field(default_factory=list)
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def watch(self, watcher: Callable[[Key], None]) -> None:
        """Call ``watcher`` with the key of everything that is written or removed from now on."""
        self._watchers.append(watcher)

    def objects(self, kind: Kind) -> Sequence[Object]:
        """Objects of a kind, sorted by namespace and name. Copies: changing them changes nothing."""
        keys = sorted(key for key in self._objects if key[0] is kind)
        return [copy.deepcopy(self._objects[key]) for key in keys]

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """A copy of one object, or None."""
        found = self._objects.get((kind, namespace, name))
        return copy.deepcopy(found) if found is not None else None

    def apply(self, manifest: Object) -> Object:
        """Make the object what ``manifest`` says, keeping identity and status; equal writes nothing.

        Raises what the kind's defaulter raises; the object that was there stays as it was.
        """
        kind = Kind(manifest["kind"])
        desired = copy.deepcopy(dict(self.defaults[kind](manifest) if kind in self.defaults else manifest))
        key = key_of(desired)
        stated = {name: value for name, value in desired["metadata"].items() if name not in SERVER_FIELDS}
        observed = self._objects.get(key)
        if observed is None:
            desired.pop("status", None)
            owned = {"uid": self.new_uid(), "creationTimestamp": timestamp(self.now()), "generation": 1}
            desired["metadata"] = {**stated, **owned}
        else:
            owned = {name: value for name, value in observed["metadata"].items() if name in SERVER_FIELDS}
            desired["metadata"] = {**stated, **owned}
            desired.pop("status", None)
            if "status" in observed:
                desired["status"] = observed["status"]
            if desired == observed:
                return copy.deepcopy(observed)
            if _intent(desired) != _intent(observed):
                desired["metadata"]["generation"] = observed["metadata"]["generation"] + 1
        if not desired["metadata"].get("namespace") and kind not in CLUSTER_SCOPED:
            desired["metadata"]["namespace"] = key[1]
        return self._write(key, desired)

    def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        """Set ``spec.replicas`` of an object that exists; raises KeyError for one that does not."""
        observed = self._objects[kind, namespace, name]
        if observed["spec"].get("replicas") == replicas:
            return
        changed = copy.deepcopy(observed)
        changed["spec"]["replicas"] = replicas
        changed["metadata"]["generation"] += 1
        self._write((kind, namespace, name), changed)

    def write_status(self, kind: Kind, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """Replace the status of an object; one that is gone or unchanged is left alone."""
        key = (kind, namespace, name)
        observed = self._objects.get(key)
        if observed is None or observed.get("status") == status:
            return
        self._write(key, {**observed, "status": copy.deepcopy(dict(status))})

    def mark_deleted(self, kind: Kind, namespace: str, name: str) -> None:
        """Give an object a ``deletionTimestamp``: it is on its way out and its keeper removes it."""
        key = (kind, namespace, name)
        observed = self._objects.get(key)
        if observed is None or "deletionTimestamp" in observed["metadata"]:
            return
        metadata = {**observed["metadata"], "deletionTimestamp": timestamp(self.now())}
        self._write(key, {**observed, "metadata": metadata})

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Remove an object and what it owns. Pods are only marked: their process must end first."""
        removed = self._objects.pop((kind, namespace, name), None)
        if removed is None:
            return
        self._notify((kind, namespace, name))
        uid = removed["metadata"]["uid"]
        for child_kind, child_namespace, child_name in self._owned_by(uid):
            if child_kind is Kind.POD:
                self.mark_deleted(child_kind, child_namespace, child_name)
            else:
                self.delete(child_kind, child_namespace, child_name)

    def emit(self, event: Event) -> None:
        """Keep an Event."""
        self.events.append(RecordedEvent(self.now(), event))

    def _owned_by(self, uid: str) -> Sequence[Key]:
        return [
            key
            for key, item in self._objects.items()
            if any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences", ()))
        ]

    def _write(self, key: Key, item: dict[str, Any]) -> Object:
        item["metadata"] = {**item["metadata"], "resourceVersion": str(next(self._versions))}
        self._objects[key] = item
        self._notify(key)
        return copy.deepcopy(item)

    def _notify(self, key: Key) -> None:
        for watcher in self._watchers:
            watcher(key)


def _intent(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a generation counts changes of: everything but metadata and status."""
    return {name: value for name, value in item.items() if name not in ("metadata", "status")}
