from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from deepseek_operator.local import children
from support.waiting import until

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)",
]
PARENT = """
import asyncio, sys
from pathlib import Path
from deepseek_operator.local import children

async def main():
    child = await children.spawn([sys.executable, "-c", "import time; time.sleep(60)"], log=Path(sys.argv[1]))
    print(child.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def is_running(pid):
    """Whether the process runs; a zombie whose parent does not ask does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


async def test_a_child_ends_when_asked(tmp_path):
    child = await children.spawn(SLEEP, log=tmp_path / "log")
    await children.end(child, grace_s=5)

    assert child.returncode == -signal.SIGTERM


async def test_a_child_that_does_not_listen_is_killed(tmp_path):
    log = tmp_path / "log"
    child = await children.spawn(STUBBORN, log=log)
    await until(lambda: "ready" in children.tail(log))
    await children.end(child, grace_s=0.2)

    assert child.returncode == -signal.SIGKILL


async def test_survivors_are_found_also_in_a_session_of_their_own(tmp_path):
    inner = f"import subprocess, sys, time; subprocess.Popen({SLEEP!r}, start_new_session=True); time.sleep(60)"
    child = await children.spawn([sys.executable, "-c", inner], log=tmp_path / "log")
    await until(lambda: len(children.survivors()) == 2)
    await children.end(child, grace_s=5)
    (orphan,) = children.survivors()
    os.kill(orphan, signal.SIGKILL)

    assert orphan != child.pid
    await until(lambda: not is_running(orphan))


async def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path / "log"), stdout=asyncio.subprocess.PIPE, env=environment
    )
    child = int(await parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    await parent.wait()

    await until(lambda: not is_running(child))
