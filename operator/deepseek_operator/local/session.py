"""One run of ``deepseek-operator local``: files in, engines up, progress shown, everything down again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from deepseek_operator.alerts import Hint
from deepseek_operator.local import console, files, host, monitoring
from deepseek_operator.local.admission import defaulters
from deepseek_operator.local.console import Console
from deepseek_operator.local.embedded import Embedded, Options
from deepseek_operator.local.keeper import LOOPBACK
from deepseek_operator.local.measurements import SPEND
from deepseek_operator.reconcile import Report
from deepseek_operator.settings import Settings
from deepseek_operator.world import Kind, Object
from deepseek_planner import catalog as catalogs
from deepseek_planner.errors import InputError, Problem

TABLE_EVERY_S = 15.0
FILE_POLL_S = 1.0
DONE = 0

SETTINGS = replace(Settings(), local_paths=True, resync_s=10.0, busy_s=2.0)
"""A machine's own settings: it is looked at more often than a cluster, because that costs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for on the command line."""

    file: Path
    pools: Path | None
    port: int
    runtime_python: str
    directory: Path | None
    prometheus: bool
    """Whether alerts may come through Prometheus and Alertmanager, where they are installed."""


def run(request: Request, *, out: TextIO) -> int:
    """Serve until a signal; the exit code. Raises InputError for what cannot be read or used."""
    check_runtime(request.runtime_python)
    check_port(request.port)
    manifests = read(request)
    directory = request.directory or Path(tempfile.mkdtemp(prefix="deepseek-local-"))
    screen = Console(out)
    try:
        return asyncio.run(_serve(request, manifests, directory, screen))
    finally:
        if request.directory is None and not screen.saw_failure:
            shutil.rmtree(directory, ignore_errors=True)
        elif request.directory is None:
            screen.line(f"the logs of what failed are kept: {directory / 'logs'}")


def read(request: Request) -> Sequence[Object]:
    """Pools first, then deployments; all problems of both files at once."""
    problems: list[Problem] = []
    found: list[Object] = []
    for path, kind in ((request.pools, Kind.POOL), (request.file, Kind.DEPLOYMENT)):
        try:
            found += files.read(path, kinds=[kind]) if path else [files.default_pool(slots=host.vcpus())]
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(tuple(problems))
    return found


def check_runtime(python: str) -> None:
    """Raises InputError where there is no such interpreter."""
    if shutil.which(python) is None:
        remedy = "name the interpreter of an environment with deepseek-runtime[cpu]; make setup makes one"
        raise InputError((Problem("--runtime-python", python, "is not a program", remedy),))


def check_port(port: int) -> None:
    """Raises InputError where the first front door could not be opened; 0 is any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError((Problem("--port", str(port), reason, "name a free port, or 0 for any"),)) from None


async def _serve(request: Request, manifests: Sequence[Object], directory: Path, screen: Console) -> int:
    catalog = catalogs.load()
    options = Options(
        runtime_python=request.runtime_python,
        directory=directory,
        weights_cache=Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepseek-operator",
        port=request.port,
    )

    def show(report: Report) -> None:
        screen.plans(report, catalog)
        screen.events(world.store)

    world = Embedded(options, SETTINGS, catalog, defaulters(catalog), on_report=show)
    stop = asyncio.Event()
    async with world:
        _catch_signals(world, stop, screen)
        world.apply(manifests)
        screen.line(f"logs and launch specs: {directory}")
        screen.follow(world.store)
        world.start_loop()
        await start_alerts(world, screen, prometheus=request.prometheus)
        tasks = [
            asyncio.create_task(stop.wait()),
            asyncio.create_task(world.failed()),
            asyncio.create_task(_show_doors(world, screen)),
            asyncio.create_task(_show_table(world, screen)),
            asyncio.create_task(_follow_file(request, world, screen)),
        ]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        screen.line("stopping: engines finish what they have; Ctrl-C again does not wait for that")
    screen.line("stopped; nothing is left running")
    for task in done:
        task.result()
    return DONE


def _catch_signals(world: Embedded, stop: asyncio.Event, screen: Console) -> None:
    def asked() -> None:
        if stop.is_set():
            screen.line("not waiting for requests in flight")
            world.processes.hurry()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked)


async def start_alerts(world: Embedded, screen: Console, *, prometheus: bool) -> None:
    """Raise alerts the best way there is here, and say which; each one is shown as it comes."""
    programs = monitoring.find_programs() if prometheus else None
    started = await world.start_alerts(programs)
    way = way_of_alerts(world)
    heard = world.on_alert

    def hear(hint: Hint) -> None:
        screen.alert(hint, way)
        heard(hint)

    world.on_alert = hear
    address = f" ({world.monitoring.prometheus_url})" if world.monitoring is not None else ""
    trouble = "" if started else "; Prometheus is installed but did not start, see its log"
    screen.line(f"alerts come through {way}{address}{trouble}")


def way_of_alerts(world: Embedded) -> str:
    """How alerts reach the loop here."""
    if world.monitoring is None:
        missing = "" if monitoring.find_programs() else " (prometheus and prometheus-alertmanager are not installed)"
        return f"the signals behind the rules, judged here{missing}"
    return "Prometheus and Alertmanager"


async def _show_doors(world: Embedded, screen: Console) -> None:
    shown: set[object] = set()
    while True:
        for key, port in sorted(world.ports.items()):
            if key in world.doors and world.doors[key].backends() and key not in shown:
                shown.add(key)
                screen.line(f"{key} answers at http://127.0.0.1:{port}/v1", console.GREEN)
        await asyncio.sleep(0.5)


async def _show_table(world: Embedded, screen: Console) -> None:
    """A line of measurements now and then, while there is load."""
    rows = 0
    while True:
        await asyncio.sleep(TABLE_EVERY_S)
        report = world.metrics.report
        for item in report.snapshot.deployments if report is not None else ():
            measured = world.measurements.measured(item, now=world.store.now())
            if measured is None or not measured.requests_per_min:
                continue
            if rows % 20 == 0:
                screen.line(console.heading(item))
            rows += 1
            spent = world.measurements.total(SPEND, item.key)
            screen.line(console.measured_row(measured, engines=len(world.doors[item.key].backends()), spent_usd=spent))


async def _follow_file(request: Request, world: Embedded, screen: Console) -> None:
    """Take up changes of the file; one that cannot be used changes nothing."""
    before = _modified(request.file)
    while True:
        await asyncio.sleep(FILE_POLL_S)
        if (now := _modified(request.file)) == before:
            continue
        before = now
        try:
            manifests = read(request)
            world.apply(manifests)
        except InputError as error:
            for problem in error.problems:
                screen.line(str(problem), console.RED)
            screen.line(f"{request.file} is not taken up; what runs goes on")
            continue
        kept = {item["metadata"]["name"] for item in manifests}
        for item in world.store.objects(Kind.DEPLOYMENT):
            if item["metadata"]["name"] not in kept:
                world.store.delete(Kind.DEPLOYMENT, item["metadata"]["namespace"], item["metadata"]["name"])
        screen.line(f"{request.file} was taken up")


def _modified(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0
