"""The engine's process: started in a group of its own, its output passed on, its end noticed, its orphans reaped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepseek_runtime.engine import SUPERVISOR_VARIABLE

_ERROR = re.compile(r"\b([A-Za-z][\w.]*(?:Error|Exception|Interrupt)): (.+)")
_POLL_S = 0.05
_KEPT_LINES = 200


class EngineProcess:
    """A running or ended engine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._reader = threading.Thread(target=self._pass_on, name="engine output", daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, command: Sequence[str], *, env: Mapping[str, str]) -> EngineProcess:
        """Start ``command`` with ``env`` on top of our environment, and our modules on its path for the middleware."""
        root = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        return cls(
            subprocess.Popen(
                list(command),
                env={**os.environ, **env, "PYTHONPATH": path, SUPERVISOR_VARIABLE: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs. The engine ends with 0 also when its core was killed."""
        code = self._process.poll()
        _reap_orphans(self._process.pid)
        return code

    def last_error(self) -> str:
        """The last exception in its output, the likeliest cause of its end."""
        self._reader.join(timeout=1)
        for line in reversed(self._lines):
            if found := _ERROR.search(line):
                return f"{found.group(1)}: {found.group(2)}"[:500]
        return "no error in its output; a kill by the kernel for memory is likely, see the pod's last state"

    async def end(self, *, grace_s: float) -> None:
        """SIGTERM, then after ``grace_s`` SIGKILL, to the engine and whatever it started."""
        if self.exit_code is None and grace_s:
            self._process.send_signal(signal.SIGTERM)
            until = time.monotonic() + grace_s
            while self.exit_code is None and time.monotonic() < until:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(_POLL_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        while self.exit_code is None:  # noqa: ASYNC110 - ditto
            await asyncio.sleep(_POLL_S)

    def _pass_on(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            self._lines.append(line.decode(errors="replace").rstrip())


def _reap_orphans(ours: int) -> None:
    """As process 1 we inherit what the engine leaves behind; an unreaped process keeps its place in the table."""
    if os.getpid() != 1:
        return
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in (0, ours):
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(ended.si_pid, os.WNOHANG)
