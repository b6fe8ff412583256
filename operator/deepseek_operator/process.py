"""The operator as a process: leads or waits, watches the cluster, turns the loop, answers probes and alerts.

Whatever ends — the lease, a watch, the loop — ends the process: it starts again from what is in the
cluster, which is simpler to be right about than any repair.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import kopf

from deepseek_operator import handlers, reconcile
from deepseek_operator.alerts import Hint, alerts_handler
from deepseek_operator.apply import KubernetesWriter
from deepseek_operator.cache import ObjectCache
from deepseek_operator.client import Client, own_namespace
from deepseek_operator.errors import LeaseLostError, OperatorError
from deepseek_operator.kubernetes_world import KubernetesWorld
from deepseek_operator.leader import Elector
from deepseek_operator.metrics import Metrics
from deepseek_operator.prometheus import PrometheusMeasurements
from deepseek_operator.server import Health, application, serve
from deepseek_operator.settings import FIELD_MANAGER, Settings
from deepseek_operator.world import Kind
from deepseek_planner.catalog import Catalog

logger = logging.getLogger(__name__)

_SHORTEST_CYCLE_S = 1.0
"""Between two cycles at least, whatever happens in the cluster."""
_STOP_S = 3.0


_MOST_HINTS = 1000


class Process:
    """One operator process from start to end."""

    def __init__(self, settings: Settings, catalog: Callable[[], Catalog]) -> None:
        self._settings = settings
        self._catalog = catalog
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._hints = 0
        self._metrics = Metrics()
        self._health = Health(settings, time.monotonic)
        self._tasks: list[asyncio.Task[Any]] = []
        self._measurements: PrometheusMeasurements | None = None
        if settings.prometheus_url:
            self._measurements = PrometheusMeasurements(settings.prometheus_url, settings.measurement_window_s)

    async def run(self) -> int:
        """Exit code: 0 after a signal, 1 when anything else ended the process."""
        self._catch_signals()
        settings = self._settings
        client = await Client.connect()
        elector = Elector(
            client,
            settings.leader,
            namespace=settings.leader.namespace or own_namespace("default"),
            wall=_now,
            monotonic=time.monotonic,
        )
        alerts = alerts_handler(
            token_file=settings.server.alert_token_file,
            wake=self._take_hint,
            leads=lambda: self._health.is_leader,
            count=self._metrics.alert,
        )
        server = await serve(application(self._health, self._metrics, alerts), settings.server)
        try:
            if settings.leader.enabled and not await self._unless_stopped(elector.acquire()):
                return 0
            return await self._lead(client, elector)
        finally:
            self._health.is_leader = False
            for task in self._tasks:
                task.cancel()
            # The lease first: a successor may begin while the rest of us winds down.
            await elector.release()
            await asyncio.wait([*self._tasks, asyncio.create_task(server.cleanup())], timeout=_STOP_S)
            if self._measurements is not None:
                await self._measurements.close()
            await client.close()

    async def _lead(self, client: Client, elector: Elector) -> int:
        """Act until something ends."""
        settings = self._settings
        self._health.is_leader = True
        self._health.turned()
        kinds = await _kinds(client, settings.namespaces)
        cache = ObjectCache(kinds, self._wake.set)
        world = KubernetesWorld(cache, self._measurements, multi_node=Kind.MULTI_NODE_GROUP in kinds)
        fence = (lambda: elector.is_leader) if settings.leader.enabled else (lambda: True)
        writer = KubernetesWriter(client, cache, instance=elector.identity, may_write=fence, clock=_now)
        if settings.leader.enabled:
            self._start(elector.hold(), "the lease")
        self._start(self._relist(client, cache), "reading the cluster")
        self._start(self._turn(world, writer, cache), "the loop")
        # Last, because kopf cancels at its end what was started after it.
        self._start(self._watch(cache), "watching the cluster")
        return await self._until_something_ends()

    async def _turn(self, world: KubernetesWorld, writer: KubernetesWriter, cache: ObjectCache) -> None:
        """Cycle after cycle: when something woke us, and else every so often."""
        memory, settings, pause_s = reconcile.Memory(), self._settings, 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause_s)
            await asyncio.sleep(settings.debounce_s)
            self._wake.clear()
            pause_s = settings.busy_s
            if not cache.is_complete:
                continue
            self._hints, began = 0, time.monotonic()
            try:
                report = await reconcile.cycle(
                    world=world, writer=writer, catalog=self._catalog(), settings=settings, memory=memory, now=_now()
                )
            except LeaseLostError:
                raise
            except Exception:
                # Tried again, because engines serve on without us; if it stays so, the probe ends this process.
                logger.exception("the cycle failed")
                self._metrics.failed()
                await asyncio.sleep(settings.busy_s)
                continue
            self._health.turned()
            took_s = time.monotonic() - began
            self._metrics.observe(report, seconds=took_s)
            logger.debug("cycle took %.3f s; %s", took_s, "busy" if report.is_busy else "settled")
            pause_s = settings.busy_s if report.is_busy else settings.resync_s
            await asyncio.sleep(max(0.0, _SHORTEST_CYCLE_S - took_s))

    async def _relist(self, client: Client, cache: ObjectCache) -> None:
        """Read every kind in full, now and then again: a watch does not tell what was deleted while it was cut."""
        while True:
            pause_s = self._settings.relist_s
            try:
                for kind in cache.kinds:
                    items, version = await client.list_objects(kind, self._settings.namespaces)
                    gone = cache.replace(kind, items, version)
                    if gone:
                        logger.warning("%d objects of kind %s were gone unnoticed", gone, kind)
                self._health.heard()
                self._health.is_complete = cache.is_complete
                self._wake.set()
            except OperatorError as error:
                logger.warning("reading the cluster: %s", error)
                pause_s = self._settings.busy_s
            await asyncio.sleep(pause_s)

    async def _watch(self, cache: ObjectCache) -> None:
        """kopf, until it ends; its signal handlers are replaced by ours."""
        namespaces = self._settings.namespaces
        before = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
        tasks = await kopf.spawn_tasks(
            registry=handlers.registry(cache, seen=self._health.heard),
            settings=handlers.settings(cache.kinds),
            clusterwide=not namespaces,
            namespaces=namespaces,
            standalone=True,
            # kopf's own guess asks for a user name, and the image's user has none.
            identity=cast("Any", FIELD_MANAGER),
        )
        self._catch_signals()
        await kopf.run_tasks(tasks, ignored=before)

    async def _until_something_ends(self) -> int:
        stopped = asyncio.create_task(self._stop.wait(), name="a signal")
        done, _ = await asyncio.wait([stopped, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        if stopped in done:
            logger.info("stopping after a signal")
            return 0
        stopped.cancel()
        for task in done:
            fault = task.exception()
            if isinstance(fault, LeaseLostError) or fault is None:
                logger.error("%s ended; so does this process", task.get_name())
            else:
                logger.error("%s failed; so does this process", task.get_name(), exc_info=fault)
        return 1

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """True when the work is done, False when a signal came first."""
        task, stopped = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        done, pending = await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        for other in pending:
            other.cancel()
        if task in done:
            task.result()
        return task in done

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    def _take_hint(self, _: Hint) -> bool:
        """An alert is a reason to look at everything; what it says is not looked at."""
        if self._hints >= _MOST_HINTS:
            return False
        self._hints += 1
        self._wake.set()
        return True

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)


async def _kinds(client: Client, namespaces: Sequence[str]) -> tuple[Kind, ...]:
    """Everything but the LeaderWorkerSets, where they are not served to us."""
    has_sets = await client.is_served(Kind.MULTI_NODE_GROUP, namespaces)
    return tuple(kind for kind in Kind if kind is not Kind.MULTI_NODE_GROUP or has_sets)


def _now() -> datetime:
    return datetime.now(UTC)
