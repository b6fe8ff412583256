"""What ``deepseek-operator plan`` prints for each case; run this file to write it anew after looking at the change.

python tests/golden/golden.py
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

from deepseek_operator.cli import plan
from deepseek_operator.cli.page.bars import ROW
from deepseek_operator.cli.page.breakdown import breakdowns, costs
from deepseek_operator.cli.page.drawing import drawing
from deepseek_operator.cli.page.front import fronts

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
DOCS = HERE.parents[1] / "docs" / "howto"
CASES = sorted(path for path in (HERE / "cases").glob("*.yaml"))
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "budget-of-all": ("--max-usd-per-hour", "65"),
    "two-lengths": ("--routing", "by-length"),
}
"""What a case is planned with beside its pools."""
POOLS = {
    "higher-takes-all": HERE / "pools" / "two-nodes.yaml",
    "reserved-first": HERE / "pools" / "reserved.yaml",
    "two-lengths": HERE / "pools" / "large-and-small.yaml",
    "spot-with-cover": HERE / "pools" / "three-zones.yaml",
    "variant-instead": EXAMPLES / "pools" / "aws-single-gpu.yaml",
}
"""Pools of a case, where they are not the usual ones."""
SUFFIXES = {"table": ".txt", "json": ".json", "html": ".outline"}
EXPECTED = [(case, output) for case in CASES for output in ("table", "json")]
EXPECTED += [(case, "html") for case in CASES if case.stem in {"spot-with-cover", "two-lengths"}]
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""Prices are so old on that day."""
OUTLINED = frozenset({"h1", "h2", "h3", "h4", "dt", "caption", "summary", "figcaption", "column"})
"""Elements whose texts are a page's outline; the head of a column is a th with that scope."""


def printed(case: Path, output: str) -> tuple[int, str]:
    """Exit code and text."""
    args = _arguments(case, POOLS.get(case.stem, HERE / "pools.yaml"), output)
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = plan.run(args, NOW)
    return code, outline(text.getvalue()) if output == "html" else text.getvalue()


def _arguments(case: Path, pools: Path, output: str = "html") -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    plan.add_parser(parser.add_subparsers())
    options = OPTIONS.get(case.stem, ())
    return parser.parse_args(["plan", "-f", str(case), "--pools", str(pools), "-o", output, *options])


class _Outline(HTMLParser):
    """What stands where: headings, tables with their heads, captions."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta":
            return
        self._within.append("column" if ("scope", "col") in attrs else tag)
        if self._within[-1] in OUTLINED:
            self.lines.append(f"{self._within[-1]}: ")

    def handle_endtag(self, tag: str) -> None:
        self._within.pop()

    def handle_data(self, data: str) -> None:
        if not OUTLINED.isdisjoint(self._within):
            self.lines[-1] += data


def outline(text: str) -> str:
    """The page's structure, line by line. Numbers and marks in pictures are left to the table and to unit tests."""
    parser = _Outline()
    parser.feed(text)
    return "\n".join(line.strip() for line in parser.lines) + "\n"


def expected(case: Path, output: str) -> Path:
    """The file that holds what should be printed."""
    return case.with_suffix(SUFFIXES[output])


def pictures() -> dict[Path, str]:
    """The pictures of the how-to page, by file: those of the page for an example of ours."""
    report = plan.answer(_arguments(EXAMPLES / "deepseek-v3.yaml", EXAMPLES / "pools" / "aws-us-east-1.yaml"), NOW)
    example = report.reports()[0]
    rows = breakdowns(example)
    return {
        DOCS / "read-a-plan-front.svg": drawing(list(fronts(example)), width=960, height=370),
        DOCS / "read-a-plan-costs.svg": drawing([costs(example, rows)], width=960, height=len(rows) * ROW + 40),
    }


def write() -> None:
    """Write every expectation anew."""
    for case, output in EXPECTED:
        expected(case, output).write_text(printed(case, output)[1], encoding="utf-8")
    for path, text in pictures().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.stdout.write(
        f"wrote {len(EXPECTED)} files in {HERE / 'cases'} and pictures in {DOCS}; look at git diff before you commit\n"
    )
