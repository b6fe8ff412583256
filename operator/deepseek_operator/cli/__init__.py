"""The command line. Each subcommand is a module that is imported only when it is asked for.

A subcommand module has ``add_parser(subparsers)``, which sets ``run`` as the parser's default, and
``run(args) -> int``, which returns the exit code.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

SUBCOMMANDS = {
    "run": "run the operator in a cluster, or against the one that KUBECONFIG names",
    "local": "serve on this machine: the same loop over processes, no cluster",
    "plan": "show what would be served on what, for how much, and why nothing else",
    "predict": "predict latency and throughput of runs",
    "calibrate": "fit predictions to measured runs, and cross-validate them",
    "crds": "print the CustomResourceDefinitions",
    "docs": "print the reference of the API",
    "rules": "print the alert rules",
}
_EXAMPLES = """\
examples:
  deepseek-operator plan -f chat.yaml --pools pools.yaml
  deepseek-operator local -f chat.yaml
  deepseek-operator predict --runs runs.csv --out predictions.csv
  kubectl deepseek plan -f chat.yaml -o json
"""


def parser(program: str, arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for these arguments: only the subcommand that they name is loaded."""
    top = argparse.ArgumentParser(
        prog=program,
        description="Serves DeepSeek models on Kubernetes for the least money: plans, places, meters, rebalances.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = top.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    named = next((item for item in arguments if not item.startswith("-")), "")
    for name, summary in SUBCOMMANDS.items():
        if name == named:
            import_module(f"{__name__}.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary, add_help=False)
    return top
