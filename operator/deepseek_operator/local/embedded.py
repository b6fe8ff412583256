"""The embedded world as one thing to start and stop: store, processes, front doors, measurements, the loop.

Nothing here decides: the loop is :func:`deepseek_operator.reconcile.cycle`, as in a cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web

from deepseek_operator import alert_rules, reconcile, server
from deepseek_operator.alerts import Hint, alerts_handler
from deepseek_operator.local import host, pods
from deepseek_operator.local.alerting import LocalAlerts
from deepseek_operator.local.frontdoor import KEEPALIVE_S, FrontDoor, ready_backends
from deepseek_operator.local.keeper import LOOPBACK, Machine, ProcessSettings
from deepseek_operator.local.measurements import Measurements
from deepseek_operator.local.monitoring import Monitoring, Programs, Target
from deepseek_operator.local.processes import Processes
from deepseek_operator.local.store import Defaulter, Key, Store
from deepseek_operator.local.world import LocalWorld, LocalWriter
from deepseek_operator.metrics import Metrics
from deepseek_operator.reconcile import Memory, Report
from deepseek_operator.settings import Settings
from deepseek_operator.world import Kind, Object
from deepseek_planner.catalog import Catalog
from deepseek_planner.signals import Windows
from deepseek_planner.snapshot import DeploymentKey

logger = logging.getLogger(__name__)

_WAKING = frozenset({Kind.POD, Kind.ENGINE_GROUP})
_DECLARED = frozenset({Kind.DEPLOYMENT, Kind.POOL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where the embedded world lives and what it runs with."""

    runtime_python: str
    directory: Path
    """Launch specs, logs and everything else that the run writes."""
    weights_cache: Path
    port: int = 8000
    """Port of the first deployment's front door; the next gets the next. 0: any free ports."""
    scrape_s: float = 2.0
    windows: Windows = field(default_factory=Windows)
    """Time spans of the alert rules."""
    stop_s: float = 60.0
    """Longest time that requests in flight may take when everything stops."""


@dataclass(slots=True)
class Embedded:
    """A small world of one machine. Use as an async context manager: leaving it leaves nothing running."""

    options: Options
    settings: Settings
    catalog: Catalog
    defaults: Mapping[Kind, Defaulter]
    on_report: Callable[[Report], None] = lambda _: None
    on_alert: Callable[[Hint], None] = lambda _: None
    store: Store = field(init=False)
    http: aiohttp.ClientSession = field(init=False)
    processes: Processes = field(init=False)
    measurements: Measurements = field(init=False)
    doors: dict[DeploymentKey, FrontDoor] = field(default_factory=dict)
    ports: dict[DeploymentKey, int] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    metrics: Metrics = field(default_factory=Metrics)
    operator_port: int = 0
    """Where our own metrics are, and where alerts are taken."""
    monitoring: Monitoring | None = None
    _generations: dict[Key, int] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _services_changed: asyncio.Event = field(default_factory=asyncio.Event)
    _health: server.Health = field(init=False)
    _server: web.AppRunner = field(init=False)

    async def __aenter__(self) -> Embedded:
        options = self.options
        self.store = Store(defaults=self.defaults)
        # Connections of proxied requests are not pooled away from each other: no limit.
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S), auto_decompress=False
        )
        name, memory_bytes = host.node_name(), host.available_memory_bytes()
        machine = ProcessSettings(
            runtime_python=options.runtime_python,
            directory=options.directory,
            weights_cache=options.weights_cache,
            node=name,
            memory_bytes=memory_bytes,
        )
        self.processes = Processes(Machine(self.store, machine, self.http))
        self.measurements = Measurements(self.store, self.http, window_s=self.settings.measurement_window_s)
        node = host.node(name=name, slots=host.vcpus(), memory_bytes=memory_bytes)
        self.store.apply(node)
        self.store.write_status(Kind.NODE, "", name, node["status"])
        self.store.watch(self._note)
        await self._serve_operator()
        self._tasks += [
            self.processes.start(),
            asyncio.create_task(self._follow_services(), name="front doors"),
            asyncio.create_task(self.measurements.follow(options.scrape_s), name="measurements"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        # The loop first, or it would start again what is being stopped; the doors before the engines.
        follower, *others = self._tasks
        await _cancel(others)
        await asyncio.gather(*(door.stop() for door in self.doors.values()))
        if self.monitoring is not None:
            await self.monitoring.stop()
        await self.processes.stop(grace_s=self.options.stop_s)
        await _cancel([follower])
        await self._server.cleanup()
        await self.http.close()

    @property
    def token_file(self) -> Path:
        """The bearer token of alerts, made anew for each run."""
        return self.options.directory / "alert-token"

    async def failed(self) -> None:
        """Wait until a part of this world fails, and raise why. Cancel it when nothing did."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    def apply(self, manifests: Sequence[Object]) -> None:
        """Write what a person wrote. Raises what the API would refuse, before anything is written."""
        for manifest in manifests:
            admit = self.defaults.get(Kind(manifest["kind"]))
            if admit is not None:
                admit(manifest)
        for manifest in manifests:
            self.store.apply(manifest)

    def start_loop(self) -> None:
        """Begin to reconcile."""
        self._tasks.append(asyncio.create_task(self._loop(), name="loop"))

    async def start_alerts(self, programs: Programs | None) -> bool:
        """Raise alerts: through Prometheus and Alertmanager where they are given, else by judging the signals here.

        False when the programs did not start; then they were stopped again and the signals are judged here.
        """
        if programs is not None:
            monitoring = Monitoring(programs, self.options.directory / "monitoring", self.http, self.options.scrape_s)
            if await monitoring.start(
                rules=alert_rules.rule_file(self.options.windows),
                operator=f"{LOOPBACK}:{self.operator_port}",
                webhook=f"http://{LOOPBACK}:{self.operator_port}/alerts",
                token_file=self.token_file,
            ):
                self.monitoring = monitoring
                self._tasks.append(asyncio.create_task(self._follow_targets(monitoring), name="targets"))
                return True
            await monitoring.stop()
        self._tasks.append(asyncio.create_task(self._judge_signals(), name="signals"))
        return programs is None

    async def _follow_targets(self, monitoring: Monitoring) -> None:
        before: Sequence[Target] | None = None
        while True:
            targets = [target for pod in engines(self.store) if (target := _target(pod)) is not None]
            if targets != before:
                monitoring.write_targets(targets)
                before = targets
            await asyncio.sleep(min(1.0, self.options.scrape_s))

    async def _judge_signals(self) -> None:
        alerts = LocalAlerts(self.measurements, self.options.windows)
        while True:
            if self.metrics.report is not None:
                for hint in alerts.judge(self.metrics.report, now=self.store.now()):
                    self._take_hint(hint)
            await asyncio.sleep(self.options.scrape_s)

    async def _loop(self) -> None:
        world, writer, memory = LocalWorld(self.store, self.measurements), LocalWriter(self.store), Memory()
        while True:
            self.wake.clear()
            began = time.monotonic()
            report = await reconcile.cycle(
                world=world,
                writer=writer,
                catalog=self.catalog,
                settings=self.settings,
                memory=memory,
                now=self.store.now(),
            )
            self._health.turned()
            self.metrics.observe(report, seconds=time.monotonic() - began)
            self.on_report(report)
            with contextlib.suppress(TimeoutError):
                longest_s = self.settings.busy_s if report.is_busy else self.settings.resync_s
                await asyncio.wait_for(self.wake.wait(), longest_s)
            await asyncio.sleep(self.settings.debounce_s)

    async def _serve_operator(self) -> None:
        """Probes, metrics and the alerts' webhook: the same application as in a cluster, on a loopback port."""
        self.options.directory.mkdir(parents=True, exist_ok=True)
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(secrets.token_urlsafe(32))
        self._health = server.Health(self.settings, time.monotonic, is_leader=True, is_complete=True)
        alerts = alerts_handler(token_file=str(self.token_file), wake=self._take_hint, count=self.metrics.alert)
        listen = replace(self.settings.server, host=LOOPBACK, port=0)
        self._server = await server.serve(server.application(self._health, self.metrics, alerts), listen)
        self.operator_port = int(self._server.addresses[0][1])

    def _take_hint(self, hint: Hint) -> bool:
        """An alert is a reason to look at everything; it decides nothing."""
        self.on_alert(hint)
        self.wake.set()
        return True

    def _note(self, key: Key) -> None:
        """Wake the loop for what it has not written itself; its own status writes are not news."""
        kind = key[0]
        if kind is Kind.SERVICE:
            self._services_changed.set()
        elif kind in _WAKING:
            self.wake.set()
        elif kind in _DECLARED:
            found = self.store.get(*key)
            generation = int(found["metadata"]["generation"]) if found is not None else 0
            if self._generations.get(key) != generation:
                self._generations[key] = generation
                self.wake.set()

    async def _follow_services(self) -> None:
        while True:
            await self._services_changed.wait()
            self._services_changed.clear()
            services = {_key(item): item for item in self.store.objects(Kind.SERVICE)}
            for key in self.doors.keys() - services.keys():
                await self.doors.pop(key).stop()
            for key in sorted(services.keys() - self.doors.keys()):
                door = FrontDoor(partial(ready_backends, self.store, services[key]), self.http)
                wanted = self.options.port + len(self.ports) if self.options.port else 0
                self.ports[key] = await door.start(self.ports.get(key, wanted))
                self.doors[key] = door


def engines(store: Store) -> Sequence[Object]:
    """Pods with a running process, draining ones included."""
    return [pod for pod in store.objects(Kind.POD) if pods.ports_of(pod) is not None]


def _target(pod: Object) -> Target | None:
    ports = pods.ports_of(pod)
    if ports is None:
        return None
    return Target(f"{LOOPBACK}:{ports[1]}", {"pod": pod["metadata"]["name"]})


def _key(item: Object) -> DeploymentKey:
    return DeploymentKey(item["metadata"]["namespace"], item["metadata"]["name"])


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            logger.error("a task of the embedded world failed", exc_info=outcome)
