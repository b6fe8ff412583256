"""What ``deepseek-operator plan`` prints for each case; run this file to write it anew after looking at the change.

python tests/golden/golden.py
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path

from deepseek_operator.cli import plan

HERE = Path(__file__).parent
CASES = sorted(path for path in (HERE / "cases").glob("*.yaml"))
OUTPUTS = {"table": ".txt", "json": ".json"}


def printed(case: Path, output: str) -> tuple[int, str]:
    """Exit code and text."""
    parser = argparse.ArgumentParser()
    plan.add_parser(parser.add_subparsers())
    args = parser.parse_args(["plan", "-f", str(case), "--pools", str(HERE / "pools.yaml"), "-o", output])
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = plan.run(args)
    return code, text.getvalue()


def expected(case: Path, output: str) -> Path:
    """The file that holds what should be printed."""
    return case.with_suffix(OUTPUTS[output])


def write() -> None:
    """Write every expectation anew."""
    for case in CASES:
        for output in OUTPUTS:
            expected(case, output).write_text(printed(case, output)[1], encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.stdout.write(
        f"wrote {len(CASES) * len(OUTPUTS)} files in {HERE / 'cases'}; look at git diff before you commit\n"
    )
