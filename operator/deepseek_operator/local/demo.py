"""``python -m deepseek_operator.local.demo``: the whole loop on this machine in about two minutes.

Plan, serve, meter, alert, rebalance, with real vLLM on CPU; every number on the screen is measured or planned, none
is written here. Ends by itself. Exit code 0 when everything that it promises happened, else 1.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepseek_operator.alerts import Hint
from deepseek_operator.cli.local import default_runtime_python
from deepseek_operator.local import children, console, demo_summary, files, pods, session, traffic
from deepseek_operator.local.admission import defaulters
from deepseek_operator.local.console import Console
from deepseek_operator.local.demo_summary import Course, Reading
from deepseek_operator.local.embedded import Embedded, Options
from deepseek_operator.local.load import Load, summarize
from deepseek_operator.local.measurements import SPEND, TOKENS
from deepseek_operator.reconcile import Report
from deepseek_operator.settings import Settings
from deepseek_operator.world import Kind
from deepseek_planner import catalog as catalogs
from deepseek_planner.demand import Measured
from deepseek_planner.errors import InputError
from deepseek_planner.plan import DeploymentPlan
from deepseek_planner.signals import Windows
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey, Policy

KEY = DeploymentKey("demo", "chat")
DIVISOR = 8
"""Lengths of the trace are divided by this: a 38 M parameter model on a core stands for something larger."""
HIGH_PER_S, LOW_PER_S = 6.0, 1.0
"""Mean requests per second: near the declared peak, and far below it."""
HIGH_S = 20.0
AFTER_S = 16.0
ROW_EVERY_S = 4.0
WASTE = ("CostPerTokenHigh", "UtilizationLow")
"""Alerts that a fleet is larger than its load."""
START_LIMIT_S, ALERT_LIMIT_S, MOVE_LIMIT_S = 180.0, 90.0, 60.0

SETTINGS = replace(
    Settings(), local_paths=True, policy=Policy(settle_s=3.0), measurement_window_s=15.0, busy_s=1.0, resync_s=60.0
)
WINDOWS = Windows(window_s=15.0, waste_for_s=12.0, harm_for_s=12.0, keep_firing_s=5.0)
CLOCKS = (
    "windows are short, so that this is: measurements 15 s (else 15 min), alerts after 12 s (10 min), "
    "a plan settles for 3 s (1 min), cooldown 5 s (10 min)"
)


class BrokenPromiseError(Exception):
    """Something that the demo promises did not happen."""


@dataclass(slots=True)
class Demo:
    """One run; its steps in order."""

    examples: Path
    cache: Path
    runtime_python: str
    directory: Path
    screen: Console
    prometheus: bool = True
    world: Embedded = field(init=False)
    alerts: asyncio.Queue[Hint] = field(default_factory=asyncio.Queue)

    async def run(self) -> None:
        """Raises BrokenPromiseError, and InputError for files that cannot be used."""
        await self._checkpoint()
        catalog = catalogs.load()
        options = Options(
            runtime_python=self.runtime_python,
            directory=self.directory,
            weights_cache=self.cache,
            port=0,
            scrape_s=1.0,
            windows=WINDOWS,
            stop_s=20.0,
        )

        def show(report: Report) -> None:
            self.screen.plans(report, catalog)
            self.screen.events(self.world.store)

        self.world = Embedded(
            options, SETTINGS, catalog, defaulters(catalog), on_report=show, on_alert=self.alerts.put_nowait
        )
        async with self.world:
            await self._or_failure(self._story())
            self.screen.title("7/7  stop everything")
        self._nothing_left()

    async def _story(self) -> None:
        planned = await self._plan()
        await self._serve()
        load = Load(self.world.http, f"http://127.0.0.1:{self.world.ports[KEY]}", "deepseek-tiny")
        try:
            async with asyncio.TaskGroup() as sending:
                high = await self._drive_up(load, sending)
                await self._drive_down(load, sending, stop := asyncio.Event())
                before, after = await self._rebalance()
                stop.set()
        except* BrokenPromiseError as broken:
            raise broken.exceptions[0] from None
        self._summary(planned, (high, before, after), load)

    # -- the steps ---------------------------------------------------------------------------------------------

    async def _checkpoint(self) -> None:
        self.screen.title("1/7  a checkpoint: DeepSeek-V3's architecture, tiny, with DeepSeek's tokenizer")
        checkpoint = self.cache / "deepseek-tiny"
        if (checkpoint / "config.json").exists():
            self.screen.line(f"{checkpoint} is there already")
            return
        self.screen.line("38 M random parameters, no download; about ten seconds")
        partial = self.cache / "deepseek-tiny.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        log = self.directory / "tiny-checkpoint.log"
        command = [self.runtime_python, "-m", "deepseek_runtime", "tiny-checkpoint", str(partial)]
        process = await children.spawn(command, log=log)
        if await process.wait():
            raise BrokenPromiseError(f"no checkpoint: {children.tail(log)}")
        partial.replace(checkpoint)
        self.screen.line(f"made {checkpoint}")

    async def _plan(self) -> DeploymentPlan:
        self.screen.title("2/7  the plan")
        self.screen.line(CLOCKS)
        pools = files.read(self.examples / "pools.yaml", kinds=[Kind.POOL])
        deployments = files.read(self.examples / "deployment.yaml", kinds=[Kind.DEPLOYMENT])
        price = pools[0]["spec"]["price"]
        self.screen.line(f"price: ${price['usdPerNodeHour']}/h, {price['source']}, {price['asOf']}")
        source = {"path": str((self.cache / "deepseek-tiny").absolute())}
        wanted = [
            {**item, "spec": {**item["spec"], "model": {**item["spec"]["model"], "source": source}}}
            for item in deployments
        ]
        self.world.apply([*pools, *wanted])
        self.screen.follow(self.world.store)
        self.world.start_loop()
        await self._within(START_LIMIT_S, lambda: self._planned() is not None, "a plan")
        planned = self._planned()
        replicas = sum(item.replicas for item in planned.placements) if planned is not None else 0
        if planned is None or replicas != 2:
            raise BrokenPromiseError(f"the plan asks for {replicas} replicas; the demo is about 2 that become 1")
        return planned

    async def _serve(self) -> None:
        self.screen.title("3/7  serve: two engines, each vLLM on one core")
        telling = asyncio.create_task(self._tell_of_the_start())
        try:
            await self._within(START_LIMIT_S, lambda: self._ready() == 2, "two ready engines")
        finally:
            telling.cancel()
        door = f"http://127.0.0.1:{self.world.ports[KEY]}/v1"
        self.screen.line(f"{KEY} answers at {door}", console.GREEN)
        await session.start_alerts(self.world, self.screen, prometheus=self.prometheus)

    async def _drive_up(self, load: Load, sending: asyncio.TaskGroup) -> Reading:
        self.screen.title(
            f"4/7  load near the declared peak: {HIGH_PER_S * 60:.0f} requests a minute for {HIGH_S:.0f} s"
        )
        self.screen.line(
            f"when and how long: {self.examples / 'trace.csv'} (Azure, CC-BY 4.0), lengths divided by {DIVISOR}"
        )
        stop = asyncio.Event()
        sending.create_task(load.run(traffic.repeat(self._trace(HIGH_PER_S)), stop=stop))
        self._heading()
        await self._rows(HIGH_S)
        stop.set()
        return self._reading()

    async def _drive_down(self, load: Load, sending: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        self.screen.title(f"5/7  load goes down: {LOW_PER_S * 60:.0f} requests a minute, until an alert says so")
        while not self.alerts.empty():
            self.alerts.get_nowait()
        sending.create_task(load.run(traffic.repeat(self._trace(LOW_PER_S)), stop=stop))
        self._heading()
        rows = asyncio.create_task(self._rows(ALERT_LIMIT_S))
        try:
            async with asyncio.timeout(ALERT_LIMIT_S):
                while True:
                    hint = await self.alerts.get()
                    if hint.status == "firing" and hint.alert in WASTE:
                        return
        except TimeoutError:
            raise BrokenPromiseError(f"none of {', '.join(WASTE)} fired within {ALERT_LIMIT_S:.0f} s") from None
        finally:
            rows.cancel()

    async def _rebalance(self) -> tuple[Reading, Reading]:
        """What was measured last of two engines, when the window holds least of the load before, and then of one."""
        self.screen.title("6/7  the alert woke the loop, which looks at everything and decides")
        before = self._reading()

        def is_alone() -> bool:
            nonlocal before
            if self._ready() == 2:
                before = self._reading()
            return self._ready() == self._existing() == 1

        await self._within(MOVE_LIMIT_S, is_alone, "one engine instead of two")
        self.screen.line("rebalanced: 2 -> 1 engines", console.GREEN)
        self._heading()
        await self._rows(AFTER_S)
        return before, self._reading()

    def _summary(self, planned: DeploymentPlan, readings: Sequence[Reading], load: Load) -> None:
        measurements = self.world.measurements
        high, before, after = readings
        course = Course(
            plan=planned,
            high=high,
            before=before,
            after=after,
            requests=summarize(load.outcomes),
            tokens=measurements.total(TOKENS, KEY),
            usd=measurements.total(SPEND, KEY),
        )
        self.screen.title("summary")
        for line in demo_summary.lines(course):
            self.screen.raw(line)
        if found := demo_summary.broken(course):
            raise BrokenPromiseError("; ".join(found))

    def _nothing_left(self) -> None:
        left = children.survivors()
        if left:
            raise BrokenPromiseError(f"processes are left running: {left}")
        self.screen.line("nothing is left running", console.GREEN)

    # -- what they look at -------------------------------------------------------------------------------------

    def _trace(self, per_s: float) -> Sequence[traffic.Arrival]:
        arrivals = traffic.read(self.examples / "trace.csv")
        return traffic.scale(arrivals, divide_tokens=DIVISOR, requests_per_s=per_s)

    def _input(self) -> DeploymentInput | None:
        report = self.world.metrics.report
        found = report.snapshot.deployments if report is not None else ()
        return next((item for item in found if item.key == KEY), None)

    def _planned(self) -> DeploymentPlan | None:
        report = self.world.metrics.report
        found = report.deployments if report is not None else ()
        return next((item.plan for item in found if item.key == KEY), None)

    def _existing(self) -> int:
        return len(self.world.store.objects(Kind.POD))

    def _ready(self) -> int:
        found = self.world.store.objects(Kind.POD)
        return sum(pods.is_ready(pod) and not pods.is_draining(pod) for pod in found)

    def _measured(self) -> Measured | None:
        asked = self._input()
        return self.world.measurements.measured(asked, now=self.world.store.now()) if asked is not None else None

    def _reading(self) -> Reading:
        measured = self._measured()
        if measured is None:
            raise BrokenPromiseError("nothing is measured")
        return Reading(measured, self._ready())

    def _heading(self) -> None:
        self.screen.line(console.heading(self._input()))

    async def _tell_of_the_start(self) -> None:
        while True:
            await asyncio.sleep(ROW_EVERY_S)
            self.screen.line(f"{self._ready()} of {self._existing()} engines ready")

    async def _rows(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / ROW_EVERY_S))):
            await asyncio.sleep(ROW_EVERY_S)
            spent = self.world.measurements.total(SPEND, KEY)
            self.screen.line(console.measured_row(self._measured(), engines=self._ready(), spent_usd=spent))

    async def _within(self, seconds: float, holds: Callable[[], bool], what: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not holds():
            if loop.time() > deadline:
                raise BrokenPromiseError(f"not within {seconds:.0f} s: {what}")
            await asyncio.sleep(0.2)

    async def _or_failure(self, work: Awaitable[None]) -> None:
        """Do the work, but not on top of a world that broke."""
        story = asyncio.ensure_future(work)
        failed = asyncio.create_task(self.world.failed())
        done, pending = await asyncio.wait([story, failed], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deepseek_operator.local.demo",
        description="Plan, serve, meter and rebalance a tiny DeepSeek model on this machine, in about two minutes.",
        epilog="example: make demo",
    )
    parser.add_argument("--examples", type=Path, default=Path("examples/demo"), help="inputs (default: %(default)s)")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="checkpoint's home (default: %(default)s)")
    parser.add_argument("--runtime-python", default=default_runtime_python(), help="interpreter with vLLM")
    parser.add_argument("--no-prometheus", action="store_true", help="judge the alerts here, without Prometheus")
    return parser.parse_args(arguments)


async def _run(demo: Demo) -> None:
    """The demo, ended early by a signal as cleanly as by itself."""
    story = asyncio.ensure_future(demo.run())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, story.cancel)
    await story


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m``."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    screen = Console(sys.stdout)
    directory = Path(tempfile.mkdtemp(prefix="deepseek-demo-"))
    demo = Demo(
        examples=options.examples,
        cache=options.cache,
        runtime_python=options.runtime_python,
        directory=directory,
        screen=screen,
        prometheus=not options.no_prometheus,
    )
    try:
        session.check_runtime(options.runtime_python)
        asyncio.run(_run(demo))
    except InputError as error:
        for problem in error.problems:
            screen.line(str(problem), console.RED)
        return 2
    except asyncio.CancelledError:
        left = children.survivors()
        screen.line(f"stopped by a signal; left running: {left or 'nothing'}", console.RED if left else "")
        shutil.rmtree(directory, ignore_errors=True)
        return 130
    except BrokenPromiseError as error:
        screen.line(f"FAILED: {error}", console.RED)
        screen.line(f"logs: {directory}")
        return 1
    shutil.rmtree(directory, ignore_errors=True)
    screen.line("done", console.GREEN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
