"""``deepseek-operator``, and ``kubectl deepseek`` under its other name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deepseek_operator import cli

FAULT = 1
BAD_INPUT = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code; 1 is a fault of ours, 2 a wrong command line."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = cli.parser(_program(sys.argv[0]), arguments)
    try:
        args: argparse.Namespace = parser.parse_args(arguments)
        return int(args.run(args))
    except SystemExit as stop:  # argparse: --help, or a wrong command line
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001 - the last resort of the program
        import traceback  # noqa: PLC0415 - only a fault needs it

        traceback.print_exc()
        print(f"deepseek-operator: unexpected fault: {type(error).__name__}: {error}", file=sys.stderr)
        return FAULT


def _program(path: str) -> str:
    name = Path(path).name
    return {"__main__.py": "deepseek-operator", "kubectl-deepseek": "kubectl deepseek"}.get(name, name)


if __name__ == "__main__":
    sys.exit(main())
