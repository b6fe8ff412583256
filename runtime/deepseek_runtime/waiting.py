"""Two ways to wait: for blocking work without being held by it, and with an eye on the time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TypeVar, cast

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Await ``work`` in a thread that nobody waits for at exit: a download of hours must not hold up a stop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast("T", value))

    def run() -> None:
        value, failed = None, None
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop may have closed meanwhile
            loop.call_soon_threadsafe(settle, value, failed)

    threading.Thread(target=run, name="weights", daemon=True).start()
    return await done


class Stopwatch:
    """Seconds of consecutive phases, noted as they end."""

    def __init__(self, into: dict[str, float], *, say: Callable[[str], None]) -> None:
        self._say = say
        self._into = into
        self._since = time.monotonic()

    def done(self, phase: str) -> None:
        now = time.monotonic()
        self._into[phase] = now - self._since
        self._since = now
        self._say(f"{phase}: {self._into[phase]:.1f} s")
