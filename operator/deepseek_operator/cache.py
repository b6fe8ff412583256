"""Objects as last seen: filled by full reads, kept current by watches and by our own writes.

A watch alone is not enough: what is deleted while it reconnects is never reported. So every kind is
read in full once before anything is decided, and again every few minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from deepseek_operator.render.names import MANAGED_BY, MANAGED_BY_LABEL
from deepseek_operator.world import Kind, Object

_Name = tuple[str, str]


class ObjectCache:
    """The objects of some kinds. ``wake`` is called when something changed."""

    def __init__(self, kinds: Iterable[Kind], wake: Callable[[], None]) -> None:
        self._objects: dict[Kind, dict[_Name, Object]] = {kind: {} for kind in kinds}
        self._unread = set(self._objects)
        self._wake = wake

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(self._objects)

    @property
    def is_complete(self) -> bool:
        """Whether every kind was read in full at least once: before, absence means nothing."""
        return not self._unread

    def objects(self, kind: Kind) -> Sequence[Object]:
        """All objects of a kind, by namespace and name."""
        found = self._objects.get(kind, {})
        return [found[name] for name in sorted(found)]

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._objects.get(kind, {}).get((namespace, name))

    def put(self, kind: Kind, item: Object) -> None:
        """An object as a watch or the answer to a write shows it. Older news than what is known is no news."""
        name, known = _name(item), self._objects[kind].get(_name(item))
        if known is not None and _is_same_object(known, item) and _version(item) <= _version(known):
            return
        if not _concerns_us(kind, item):
            self.drop(kind, *name)
            return
        slim = _slim(kind, item)
        self._objects[kind][name] = slim
        if known is None or _substance(kind, known) != _substance(kind, slim):
            self._wake()

    def drop(self, kind: Kind, namespace: str, name: str) -> None:
        """An object that is gone."""
        if self._objects[kind].pop((namespace, name), None) is not None:
            self._wake()

    def remove(self, kind: Kind, item: Object) -> None:
        """A watch's last word about an object; it says nothing about a successor of the same name."""
        known = self._objects[kind].get(_name(item))
        if known is not None and _is_same_object(known, item):
            self.drop(kind, *_name(item))

    def replace(self, kind: Kind, items: Iterable[Object], version: str) -> int:
        """A full read of a kind at a version of the world. Returns how many objects it found to be gone."""
        present = set()
        for item in items:
            present.add(_name(item))
            self.put(kind, item)
        gone = [
            name
            for name, known in self._objects[kind].items()
            # What is newer than the read was made after it.
            if name not in present and _version(known) <= int(version)
        ]
        for name in gone:
            self.drop(kind, *name)
        self._unread.discard(kind)
        return len(gone)


def _slim(kind: Kind, item: Object) -> Object:
    """Without what nobody here reads: it is most of an object's bytes."""
    metadata = {name: value for name, value in item["metadata"].items() if name != "managedFields"}
    slim: dict[str, Any] = {**item, "metadata": metadata}
    if kind is Kind.NODE:
        status = item.get("status") or {}
        slim["status"] = {name: status[name] for name in ("allocatable", "capacity") if name in status}
        slim["status"]["conditions"] = [
            {name: value for name, value in condition.items() if name != "lastHeartbeatTime"}
            for condition in status.get("conditions") or ()
        ]
    return slim


def _substance(kind: Kind, item: Object) -> Object:
    """What a change must touch to be worth a look: not versions and heartbeats, and not the status we wrote."""
    metadata = {name: value for name, value in item["metadata"].items() if name != "resourceVersion"}
    substance: dict[str, Any] = {**item, "metadata": metadata}
    if kind in {Kind.DEPLOYMENT, Kind.POOL}:
        substance.pop("status", None)
    return substance


def _concerns_us(kind: Kind, item: Object) -> bool:
    """All pods are watched, because any may hold accelerators; only those and ours are kept."""
    if kind is not Kind.POD:
        return True
    is_ours = (item["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) == MANAGED_BY
    return is_ours or any(_asks_for_devices(part) for part in _containers(item))


def _containers(pod: Object) -> Iterable[Mapping[str, Any]]:
    spec = pod.get("spec") or {}
    return (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))


def _asks_for_devices(container: Mapping[str, Any]) -> bool:
    """Extended resources have a domain in their name; cpu, memory and storage have none."""
    asked = container.get("resources") or {}
    return any("/" in name for part in ("requests", "limits") for name in asked.get(part) or ())


def _is_same_object(one: Object, other: Object) -> bool:
    return bool(one["metadata"].get("uid") == other["metadata"].get("uid"))


def _version(item: Object) -> int:
    """Comparable since Kubernetes 1.35 by promise, and with etcd since ever."""
    return int(item["metadata"].get("resourceVersion") or 0)


def _name(item: Object) -> _Name:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
