"""What a person sees of the embedded world: progress as it happens, one line per happening, below 100 columns."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from deepseek_operator.alerts import Hint
from deepseek_operator.cli import screens
from deepseek_operator.local import pods
from deepseek_operator.local.store import Key, Store
from deepseek_operator.reconcile import Report
from deepseek_operator.world import Kind, Object
from deepseek_planner.catalog import Catalog
from deepseek_planner.demand import Measured
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey
from deepseek_planner.units import MicroUsd, format_usd

WIDTH = 99
BOLD, GREEN, RED, YELLOW, RESET = "\033[1m", "\033[32m", "\033[31m", "\033[33m", "\033[0m"
_CHATTY = frozenset({"Planned"})
"""Events that the plan's own screen makes redundant."""


@dataclass(slots=True)
class Console:
    """Prints with the seconds since it was made. Colours only on a terminal."""

    out: TextIO
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)
    saw_failure: bool = False
    """Whether an engine ended with an error since we look."""
    _pods: dict[str, str] = field(default_factory=dict)
    _events: int = 0
    _planned: dict[DeploymentKey, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def line(self, text: str, colour: str = "") -> None:
        """One happening; long ones are wrapped under themselves."""
        stamp = f"{self.clock() - self.began:6.1f} s  "
        lines = textwrap.wrap(text, WIDTH - len(stamp), break_on_hyphens=False) or [""]
        for index, part in enumerate(lines):
            self.raw((stamp if index == 0 else " " * len(stamp)) + self._coloured(part, colour))

    def title(self, text: str) -> None:
        """The beginning of something."""
        self.raw("")
        self.raw(self._coloured(text, BOLD))

    def raw(self, text: str) -> None:
        self.out.write(text + "\n")
        self.out.flush()

    def block(self, text: str) -> None:
        """Text with lines of its own; those too long are wrapped under their indentation."""
        for each in text.rstrip("\n").split("\n"):
            indent = " " * (len(each) - len(each.lstrip()) + 2)
            wrapped = textwrap.wrap(
                each,
                WIDTH,
                subsequent_indent=indent,
                break_on_hyphens=False,
                replace_whitespace=False,
                drop_whitespace=True,
            )
            for part in wrapped or [""]:
                self.raw(part)

    def plans(self, report: Report, catalog: Catalog) -> None:
        """The plan of each deployment that is new or was edited, as ``plan`` shows it; refusals too."""
        inputs = {item.key: item for item in report.snapshot.deployments}
        for item in report.deployments:
            asked = inputs.get(item.key)
            generation = asked.generation if asked is not None else -1
            if asked is None or item.plan is None or self._planned.get(item.key) == generation:
                continue
            self._planned[item.key] = generation
            self.raw("")
            models = {name: catalog.model(name) for name in (asked.model, *asked.variants)}
            priorities = {key: each.objectives.priority for key, each in inputs.items()}
            self.block(screens.plan_screen(asked, item.plan, models, priorities))

    def follow(self, store: Store) -> None:
        """Tell of pods and Events from now on."""
        store.watch(lambda key: self._pod(store, key) if key[0] is Kind.POD else None)

    def events(self, store: Store) -> None:
        """Tell of the Events that are new since the last call."""
        for recorded in store.events[self._events :]:
            event = recorded.event
            if event.reason not in _CHATTY:
                name = event.about["metadata"]["name"]
                self.line(f"{name}: {event.reason}: {event.message}", RED if event.warning else "")
        self._events = len(store.events)

    def alert(self, hint: Hint, way: str) -> None:
        """An alert that came in, and by which way."""
        about = f" for {hint.key}" if hint.key else ""
        colour = YELLOW if hint.status == "firing" else GREEN
        self.line(f"alert {hint.alert} is {hint.status}{about}, through {way}", colour)

    def _pod(self, store: Store, key: Key) -> None:
        pod = store.get(*key)
        state = _state(pod)
        if self._pods.get(key[2]) != state:
            self._pods[key[2]] = state
            self.saw_failure |= state.startswith("failed")
            colour = {"ready": GREEN, "gone": ""}.get(state, RED if state.startswith("failed") else "")
            self.line(f"engine {key[2]}: {state}", colour)

    def _coloured(self, text: str, colour: str) -> str:
        return f"{colour}{text}{RESET}" if colour and self.out.isatty() else text


def _state(pod: Object | None) -> str:
    """Where a pod is in its life, in words."""
    if pod is None:
        return "gone"
    if pods.is_draining(pod):
        return "draining: takes nothing new, finishes what it has"
    if pods.is_ready(pod):
        return "ready"
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition.get("reason") == "Unschedulable":
            return f"waits: {condition['message']}"
    for container in status.get("containerStatuses", ()):
        ended = container.get("lastState", {}).get("terminated")
        if ended and "waiting" in container["state"]:
            last = (ended.get("message") or "no message").splitlines()[-1]
            return f"failed with exit code {ended['exitCode']}: {last}; {container['state']['waiting']['message']}"
    return "starting"


_WIDTHS = (8, 9, 10, 11, 11, 9, 9, 12)


def heading(deployment: DeploymentInput | None) -> str:
    """The first line of the table that :func:`measured_row` makes, with the percentiles of the objectives."""
    objectives = deployment.objectives if deployment is not None else None
    ttft = objectives.time_to_first_token if objectives is not None else None
    tpot = objectives.time_per_output_token if objectives is not None else None
    names = (
        "engines",
        "req/min",
        "tokens/s",
        f"TTFT p{ttft.percentile}" if ttft is not None else "TTFT",
        f"TPOT p{tpot.percentile}" if tpot is not None else "TPOT",
        "$/h",
        "$/M",
        "$ spent",
    )
    return "".join(f"{name:>{width}}" for name, width in zip(names, _WIDTHS, strict=True))


def measured_row(measured: Measured | None, *, engines: int, spent_usd: float) -> str:
    """Load, latency and dollars of the window, for one deployment."""
    values: Sequence[str] = (
        str(engines),
        f"{measured.requests_per_min:.0f}" if measured else "-",
        f"{measured.tokens_per_s:.0f}" if measured else "-",
        _latency(measured.time_to_first_token_s if measured else None),
        _latency(measured.time_per_output_token_s if measured else None),
        _money(measured.usd_per_hour if measured else None),
        _money(measured.usd_per_million_tokens if measured else None),
        f"{spent_usd:.6f}",
    )
    return "".join(f"{value:>{width}}" for value, width in zip(values, _WIDTHS, strict=True))


def _latency(seconds: float | None) -> str:
    return screens.latency(seconds) if seconds is not None else "-"


def _money(amount: MicroUsd | None) -> str:
    return format_usd(amount) if amount is not None else "-"
