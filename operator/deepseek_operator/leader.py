"""Who acts: one process among several, by a Lease that must be renewed.

Time is the process's own monotonic clock: a lease is taken over when it was seen unchanged for its
whole duration, so clocks of different machines are never compared. A leader that cannot renew stops
acting before anyone else may begin (``renew_deadline_s`` < ``duration_s``).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from deepseek_operator.errors import OperatorError
from deepseek_operator.settings import LeaderSettings
from deepseek_operator.world import Object

logger = logging.getLogger(__name__)


class Leases(Protocol):
    """The part of the client that the elector needs."""

    async def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None: ...

    async def write_lease(self, namespace: str, name: str, lease: Object) -> dict[str, Any]: ...


class Elector:
    """Acquires and renews one lease. ``wall`` gives the times written into it, ``monotonic`` decides."""

    def __init__(
        self,
        leases: Leases,
        settings: LeaderSettings,
        *,
        namespace: str,
        wall: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._leases = leases
        self._settings = settings
        self._namespace = namespace
        self._wall = wall
        self._monotonic = monotonic
        self._seen: tuple[str, float] | None = None
        """Version of the lease when it last changed, and when that was seen."""
        self._renewed_at = float("-inf")
        suffix = secrets.token_hex(4)
        self.identity = f"{settings.identity or socket.gethostname()}_{suffix}"
        self.holder = ""

    @property
    def is_leader(self) -> bool:
        """Whether this process may act now: it renewed, and not so long ago that others may take over."""
        return self._monotonic() - self._renewed_at < self._settings.renew_deadline_s

    async def acquire(self) -> None:
        """Return when this process leads."""
        while True:
            if await self._try():
                break
            await asyncio.sleep(self._settings.retry_s)
        logger.info("leading as %s", self.identity)

    async def hold(self) -> None:
        """Renew until it fails for longer than the deadline; returning means that leadership is lost."""
        while self.is_leader:
            await asyncio.sleep(self._settings.retry_s)
            if not await self._try() and self.holder not in {self.identity, ""}:
                break
        self._renewed_at = float("-inf")
        logger.error("leadership is lost; %s holds the lease", self.holder or "nobody")

    async def release(self) -> None:
        """Give the lease back, so that a successor need not wait for it to run out."""
        if not self.is_leader:
            return
        self._renewed_at = float("-inf")
        try:
            lease = await self._leases.get_lease(self._namespace, self._settings.name)
            if lease and lease["spec"].get("holderIdentity") == self.identity:
                spec = {**lease["spec"], "holderIdentity": "", "renewTime": self._now()}
                await self._leases.write_lease(self._namespace, self._settings.name, {**lease, "spec": spec})
        except OperatorError as error:
            logger.warning("the lease was not given back, it runs out by itself: %s", error)

    async def _try(self) -> bool:
        """One attempt to take or renew; True when it held."""
        began = self._monotonic()
        timeout = self._settings.renew_deadline_s
        try:
            async with asyncio.timeout(timeout):
                lease = await self._leases.get_lease(self._namespace, self._settings.name)
                if lease is not None and not self._may_take(lease):
                    return False
                wanted = self._lease(lease)
                await self._leases.write_lease(self._namespace, self._settings.name, wanted)
        except (OperatorError, TimeoutError) as error:
            logger.warning("lease: %s", error or "no answer in time")
            return False
        # Counted from before the request: it may have been written right then.
        self._renewed_at = began
        self.holder = self.identity
        return True

    def _may_take(self, lease: Mapping[str, Any]) -> bool:
        spec, version = lease.get("spec") or {}, lease["metadata"]["resourceVersion"]
        self.holder = spec.get("holderIdentity") or ""
        if self.holder in {self.identity, ""}:
            return True
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self._monotonic())
            return False
        duration = float(spec.get("leaseDurationSeconds") or self._settings.duration_s)
        return self._monotonic() - self._seen[1] >= duration

    def _lease(self, before: Mapping[str, Any] | None) -> dict[str, Any]:
        spec = dict((before or {}).get("spec") or {})
        if spec.get("holderIdentity") != self.identity:
            spec["acquireTime"] = self._now()
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (1 if before else 0)
        spec |= {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._settings.duration_s)),
            "renewTime": self._now(),
        }
        metadata: dict[str, Any] = {"name": self._settings.name, "namespace": self._namespace}
        if before:
            metadata["resourceVersion"] = before["metadata"]["resourceVersion"]
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}

    def _now(self) -> str:
        return self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
