"""``deepseek-operator crds``: write the CustomResourceDefinitions, or check that they are up to date."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "crds",
        help="write the CustomResourceDefinitions",
        description="Write the CustomResourceDefinitions that belong to this version.",
        epilog="example: deepseek-operator crds --dir crds && kubectl apply --server-side -f crds/",
    )
    parser.add_argument("--dir", type=Path, default=Path("crds"), help="folder to write to (default: crds)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write or check; 0 when all files are as they should be."""
    from deepseek_operator.api import crd, generated  # noqa: PLC0415 - keeps other commands' start-up short

    files = crd.files()
    if args.check:
        stale = generated.differing(args.dir, files)
        for name in stale:
            print(f"{args.dir / name}: not up to date; run deepseek-operator crds --dir {args.dir}", file=sys.stderr)
        return 1 if stale else 0
    for name in generated.write(args.dir, files):
        print(f"wrote {args.dir / name}")
    return 0
