"""``deepseek-operator docs``: write the reference pages that are made from the code, or check them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Renderer = Callable[[], Mapping[str, str]]
"""File name -> text of some pages."""


def renderers() -> Iterator[Renderer]:
    """Everything that makes pages; a new kind of page is one more line here."""
    # Imported here, so that the other commands do not wait for it.
    from deepseek_operator.api import reference  # noqa: PLC0415

    yield reference.files


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "docs",
        help="write the reference pages",
        description="Write the reference pages that are made from the code.",
        epilog="example: deepseek-operator docs --dir docs/reference",
    )
    parser.add_argument("--dir", type=Path, default=Path("docs/reference"), help="default: docs/reference")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write or check; 0 when all files are as they should be."""
    from deepseek_operator.api import generated  # noqa: PLC0415

    files = {name: text for render in renderers() for name, text in render().items()}
    if args.check:
        stale = generated.differing(args.dir, files)
        for name in stale:
            print(f"{args.dir / name}: not up to date; run deepseek-operator docs --dir {args.dir}", file=sys.stderr)
        return 1 if stale else 0
    for name in generated.write(args.dir, files):
        print(f"wrote {args.dir / name}")
    return 0
