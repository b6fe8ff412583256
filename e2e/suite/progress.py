"""What was tried, how long it took and what came out: printed as it happens, and as a table at the end."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class StepFailedError(Exception):
    """A step cannot be finished; the text says what was seen."""


@dataclass(slots=True)
class Line:
    """One line of the table."""

    name: str
    outcome: str
    seconds: float
    detail: str = ""


@dataclass(slots=True)
class Progress:
    """The run so far."""

    started: float = field(default_factory=time.monotonic)
    lines: list[Line] = field(default_factory=list)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.started:6.1f}s] {text}", flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step. What it raises ends the part it belongs to."""
        began = time.monotonic()
        self.say(f"{name} ...")
        try:
            yield
        except BaseException as error:
            detail = str(error) if isinstance(error, StepFailedError) else repr(error)
            self._add(Line(name, "FAILED", time.monotonic() - began, detail))
            if not isinstance(error, StepFailedError):
                traceback.print_exc(file=sys.stdout)
            raise
        self._add(Line(name, "ok", time.monotonic() - began))

    def check(self, claim: str, holds: bool, seen: object = "") -> bool:  # noqa: FBT001 - the claim itself
        """Note a claim; one that does not hold fails the run, but not the steps after it."""
        self._add(Line(claim, "ok" if holds else "FAILED", 0.0, str(seen)))
        return holds

    def skip(self, name: str, why: str) -> None:
        self._add(Line(name, "not run", 0.0, why))

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        took = f" ({line.seconds:.1f} s)" if line.seconds else ""
        detail = f": {line.detail}" if line.detail else ""
        self.say(f"  {line.outcome:8}{line.name}{took}{detail}")

    @property
    def failed(self) -> list[Line]:
        return [line for line in self.lines if line.outcome == "FAILED"]

    def table(self) -> str:
        width = max((len(line.name) for line in self.lines), default=0)
        rows = [
            f"{line.outcome:8}{line.name:{width}}  {f'{line.seconds:6.1f} s' if line.seconds else '        '}  "
            f"{line.detail.splitlines()[0][:160] if line.detail else ''}".rstrip()
            for line in self.lines
        ]
        total = time.monotonic() - self.started
        closing = f"{len(self.lines)} lines, {len(self.failed)} failed, {total:.0f} s"
        return "\n".join(["", *rows, "", closing])


def wait_until(what: str, ready: Callable[[], str], *, seconds: float, every: float = 0.5) -> None:
    """Call ``ready`` until it returns nothing to complain about; raises with its last complaint."""
    deadline = time.monotonic() + seconds
    while complaint := ready():
        if time.monotonic() > deadline:
            raise StepFailedError(f"{what}: not after {seconds:.0f} s: {complaint}")
        time.sleep(every)
