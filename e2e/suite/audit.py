"""The API server's audit log: what the operator's service account did, and what it was granted for nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = {"create", "update", "patch", "delete", "deletecollection"}

Right = tuple[str, str, str]
"""API group, resource (with its subresource), verb."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as audited."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    code: int
    at: str

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES

    def __str__(self) -> str:
        return f"{self.at} {self.verb} {self.resource}.{self.group} {self.namespace}/{self.name} {self.code}"


@dataclass(slots=True)
class AuditLog:
    """The log from now on. Rotated files are followed by position only: start with room in the current one."""

    path: Path
    user: str
    offset: int = 0

    def mark(self) -> int:
        """The position now, for :meth:`calls`."""
        return self.path.stat().st_size

    def calls(self, since: int | None = None) -> list[Call]:
        """Requests of the user after a position, but those about the API itself (discovery, health)."""
        with self.path.open("rb") as log:
            log.seek(self.offset if since is None else since)
            lines = log.read().splitlines()
        return [call for line in lines if self.user.encode() in line and (call := self._call(line))]

    def _call(self, line: bytes) -> Call | None:
        try:
            entry: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            return None  # the last line may be half written
        reference = entry.get("objectRef")
        if entry.get("user", {}).get("username") != self.user or not reference:
            return None
        resource = reference["resource"]
        if subresource := reference.get("subresource"):
            resource += f"/{subresource}"
        return Call(
            verb=entry["verb"],
            group=reference.get("apiGroup", ""),
            resource=resource,
            namespace=reference.get("namespace", ""),
            name=reference.get("name", ""),
            code=entry.get("responseStatus", {}).get("code", 0),
            at=entry["requestReceivedTimestamp"],
        )


def used(calls: Iterable[Call]) -> set[Right]:
    """Rights that the calls needed. A patch that made its object needed create as well."""
    rights: set[Right] = set()
    for call in calls:
        rights.add((call.group, call.resource, call.verb))
        if call.verb == "patch" and call.code == 201:
            rights.add((call.group, call.resource, "create"))
    return rights


def granted(roles: Iterable[Mapping[str, Any]]) -> set[Right]:
    """Rights in the rules of Roles and ClusterRoles."""
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"] or ()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
