from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], object], *, timeout_s: float = 10.0, poll_s: float = 0.02) -> None:
    """Wait until ``holds()`` is true; fails with what it was asked for when it does not in time."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"not within {timeout_s} s: {holds}"
        await asyncio.sleep(poll_s)
