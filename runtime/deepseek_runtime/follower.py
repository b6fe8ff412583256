"""A pod of a replica over several nodes that is not its leader: it only computes, and lives and ends with the leader.

It serves no HTTP and meters nothing: the leader does both for the whole replica. The engine itself does not notice
when its leader is gone, and when both are asked to stop the leader's requests still need this pod's computing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp

from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.launchspec import LaunchSpec

_POLL_S = 1.0
_LOST_AFTER_S = 30.0
_GONE_AFTER_S = 3.0


class Leader:
    """Looks whether the leader's supervisor answers."""

    def __init__(self, session: aiohttp.ClientSession, spec: LaunchSpec, env: Mapping[str, str]) -> None:
        self._session = session
        self._url = f"http://{env.get('LWS_LEADER_ADDRESS', '')}:{spec.metrics_port}/livez"

    async def watch(self) -> None:
        """Raise when a leader that once answered has not done so for long."""
        while not await self._answers():  # noqa: ASYNC110 - the leader is another machine
            await asyncio.sleep(_POLL_S)
        await self._silent_for(_LOST_AFTER_S)
        raise Failure(Reason.ENGINE_CRASHED, f"the leader of this replica does not answer at {self._url}")

    async def outlive(self, *, timeout_s: float) -> None:
        """Return once the leader has ended, at the latest after ``timeout_s``."""
        try:
            await asyncio.wait_for(self._silent_for(_GONE_AFTER_S), timeout_s)
        except TimeoutError:
            return

    async def _silent_for(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
        while loop.time() - heard_at < seconds:
            if await self._answers():
                heard_at = loop.time()
            await asyncio.sleep(_POLL_S)

    async def _answers(self) -> bool:
        try:
            async with self._session.get(self._url, timeout=aiohttp.ClientTimeout(total=2)):
                return True
        except (aiohttp.ClientError, TimeoutError):
            return False
