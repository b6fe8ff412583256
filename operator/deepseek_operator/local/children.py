"""Child processes that never outlive us: each is tethered to this process and leads a process group.

``PR_SET_PDEATHSIG`` (Linux) makes the kernel send SIGTERM to a child when we die, even by SIGKILL, so
that engines still drain and end. The group lets us sweep up whatever a child leaves behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

RUN_VARIABLE = "DEEPSEEK_EMBEDDED_RUN"
RUN = uuid.uuid4().hex
"""Marks all processes that come from this one, also grandchildren in sessions of their own."""

# The parent may be gone before prctl() is called: then there is nobody to be tethered to.
_TETHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


async def spawn(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    """Start ``command`` with its output appended to ``log``. Raises OSError when it cannot be started."""
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-S",
            "-E",
            "-c",
            _TETHER,
            str(os.getpid()),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env={**(os.environ if env is None else env), RUN_VARIABLE: RUN},
            start_new_session=True,
        )


async def end(process: asyncio.subprocess.Process, *, grace_s: float) -> None:
    """SIGTERM, then after ``grace_s`` seconds SIGKILL to the whole group; returns when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(process.wait()), grace_s)
    sweep(process)
    await process.wait()


def hurry(process: asyncio.subprocess.Process) -> None:
    """SIGINT on top of SIGTERM: whoever drains stops waiting."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)


def sweep(process: asyncio.subprocess.Process) -> None:
    """SIGKILL whatever is left of a child's group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def survivors(proc: Path = Path("/proc")) -> list[int]:
    """Process ids of everything that this process ever started, directly or not, and that still runs."""
    mark = f"{RUN_VARIABLE}={RUN}".encode()
    found = []
    for directory in proc.glob("[0-9]*"):
        # Processes come and go while we look, and those of others cannot be looked into.
        with contextlib.suppress(OSError):
            if mark in (directory / "environ").read_bytes().split(b"\0") and int(directory.name) != os.getpid():
                found.append(int(directory.name))
    return sorted(found)


def tail(log: Path, *, lines: int = 5) -> str:
    """The last lines of a log, for messages; empty when there is none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
