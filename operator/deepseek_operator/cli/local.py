"""``deepseek-operator local``: the same loop over processes of this machine. No cluster, no root."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

BAD_INPUT = 2

_EPILOG = """\
Serves until Ctrl-C, which drains and ends everything; a second Ctrl-C does not wait for requests in flight.
A change of the file is taken up as it is saved, as kubectl apply would.

example:
  deepseek-runtime tiny-checkpoint .cache/deepseek-tiny
  deepseek-operator local -f examples/demo/deployment.yaml --pools examples/demo/pools.yaml
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "local",
        help="serve on this machine: the same loop over processes, no cluster",
        description="Plan, serve, meter and rebalance DeepSeekDeployments with engines as processes of this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-f", "--file", type=Path, required=True, help="DeepSeekDeployments")
    parser.add_argument("--pools", type=Path, help="AcceleratorPools (default: this machine, priced per vCPU)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port of the first deployment, the next gets the next (default: 8000)"
    )
    parser.add_argument(
        "--runtime-python",
        help="interpreter with vLLM (default: $DEEPSEEK_RUNTIME_PYTHON, .venv-runtime/bin/python)",
    )
    parser.add_argument(
        "--directory", type=Path, help="where logs and launch specs go (default: a new one in the temporary directory)"
    )
    parser.add_argument(
        "--no-prometheus", action="store_true", help="judge the alerts here, also where Prometheus is installed"
    )
    parser.set_defaults(run=run)


def default_runtime_python() -> str:
    """DEEPSEEK_RUNTIME_PYTHON, else the environment that ``make setup`` makes."""
    return os.environ.get("DEEPSEEK_RUNTIME_PYTHON") or str(Path(".venv-runtime/bin/python").absolute())


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; returns the exit code."""
    # What is slow to import is imported here, so that the other commands do not wait for it.
    from deepseek_operator.local import session  # noqa: PLC0415
    from deepseek_planner.errors import InputError  # noqa: PLC0415

    try:
        return session.run(
            session.Request(
                file=args.file,
                pools=args.pools,
                port=args.port,
                runtime_python=args.runtime_python or default_runtime_python(),
                directory=args.directory,
                prometheus=not args.no_prometheus,
            ),
            out=sys.stdout,
        )
    except InputError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return BAD_INPUT
