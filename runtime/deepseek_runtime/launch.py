"""The supervisor, process 1 of the pod: weights, engine, checks, meter, drain, and one honest exit code."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from deepseek_runtime import engine_args, health, sharding, shared_state, weights
from deepseek_runtime.accounting import TICK_S, Account
from deepseek_runtime.drain import Lifecycle, Phase, drain
from deepseek_runtime.engine_client import EngineClient, EngineError
from deepseek_runtime.exposition import Exposition
from deepseek_runtime.failure import Failure, Reason, report
from deepseek_runtime.follower import Leader
from deepseek_runtime.launchspec import LaunchSpec, LaunchSpecError
from deepseek_runtime.metering import DEFAULT_WINDOW_S
from deepseek_runtime.middleware import PROBE_VARIABLE
from deepseek_runtime.pricing import PriceFile
from deepseek_runtime.process import EngineProcess
from deepseek_runtime.shared_state import SharedState
from deepseek_runtime.waiting import Stopwatch, in_thread
from deepseek_runtime.web import application

_SCRAPE_EVERY_S = 5.0
_HEALTH_POLL_S = 0.25
_PROBE_TIMEOUT_S = 60.0
_TURNS_WITHIN_S = 30.0


def say(text: str) -> None:
    """One line to the pod's log."""
    sys.stderr.write(f"deepseek-runtime: {text}\n")
    sys.stderr.flush()


def serve(launchspec: Path) -> int:
    """Run the engine that the file describes until it is told to stop; returns the exit code."""
    try:
        reason, message = asyncio.run(_serve(launchspec))
    except Failure as failure:
        reason, message = failure.reason, str(failure)
    say(f"{reason.text}: {message}")
    if reason is not Reason.DRAINED:
        report(reason, message)
    return reason.exit_code


async def _serve(launchspec: Path) -> tuple[Reason, str]:
    spec = _read(launchspec)
    sharding.rank(spec, os.environ)  # refuses a pod that cannot know its place, before anything is loaded
    price = PriceFile(launchspec.parent / "price.json", say=say)
    window_s = float(os.environ.get("DEEPSEEK_METER_WINDOW_S", DEFAULT_WINDOW_S))
    return await Supervisor(spec, price, directory=_runtime_directory(), window_s=window_s).run()


def _read(path: Path) -> LaunchSpec:
    try:
        return LaunchSpec.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"--launchspec: {str(path)!r}: {error.strerror}; mount the group's ConfigMap there"
    except LaunchSpecError as error:
        problem = f"--launchspec: {path}: {error}"
    raise Failure(Reason.INVALID_LAUNCH_SPEC, problem)


def _runtime_directory() -> Path:
    """Where totals live. A named one outlives the container: a restart within the pod goes on from them."""
    named = os.environ.get("DEEPSEEK_RUNTIME_DIR")
    if not named:
        return Path(tempfile.mkdtemp(prefix="deepseek-"))
    Path(named).mkdir(parents=True, exist_ok=True)
    return Path(named)


@dataclass(slots=True)
class Supervisor:
    """One engine's life. Everything that blocks is awaited, so that probes and signals are always answered."""

    spec: LaunchSpec
    price: PriceFile
    directory: Path
    window_s: float = DEFAULT_WINDOW_S
    python: str = sys.executable
    command: Callable[..., engine_args.Command] = engine_args.command
    watch_now: Callable[[], health.Watch] = lambda: health.Watch(time.monotonic())
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    exposition: Exposition = field(init=False)
    _account: Account = field(init=False)
    _state: SharedState = field(init=False)
    _session: aiohttp.ClientSession = field(init=False)
    _client: EngineClient = field(init=False)
    _watch: health.Watch = field(init=False)
    _process: EngineProcess | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _scraping: asyncio.Lock = field(default_factory=asyncio.Lock)
    _probe_token: str = field(default_factory=lambda: secrets.token_hex(8))
    _cold_start: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._state = SharedState(self._state_file, create=True)
        self._state.engine_is_new()
        self._account = Account(
            self.spec,
            self.price,
            self._state,
            self.lifecycle,
            totals=self.directory / "meter.json",
            window_s=self.window_s,
            say=say,
        )
        self.exposition = Exposition(self.spec, self._account.meter, self._state, self._cold_start)
        self.exposition.follows = self._follows

    async def run(self) -> tuple[Reason, str]:
        """From nothing to drained; raises :class:`Failure` for every other end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._asked_to_stop, number)
        async with aiohttp.ClientSession() as self._session:
            spec = self.spec
            self._client = EngineClient(
                self._session, port=spec.port, model=spec.served_model_name, probe_token=self._probe_token
            )
            runner = web.AppRunner(application(self), access_log=None)
            await runner.setup()
            accounting = asyncio.create_task(self._account.run())
            try:
                await self._listen(runner)
                return await self._live()
            finally:
                self.exposition.ready = False
                if self._process is not None:
                    await self._process.end(grace_s=0)
                accounting.cancel()
                self._account.tick()
                self._account.save()
                self.lifecycle.go(Phase.STOPPED)
                await runner.cleanup()

    # -- its life, in order ------------------------------------------------------------------------------------

    async def _live(self) -> tuple[Reason, str]:
        began = time.monotonic()
        stopped = asyncio.create_task(self._stop.wait())
        working = asyncio.create_task(self._start())
        try:
            await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                return Reason.DRAINED, "stopped before it was ready; nothing was in flight"
            await working
            self._become_ready(began)
            working = asyncio.create_task(self._leader.watch() if self._follows else self._keep_watch())
            await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
            working.cancel()
            return await self._drain()
        finally:
            stopped.cancel()
            working.cancel()

    async def _start(self) -> None:
        watch = Stopwatch(self._cold_start, say=say)
        checkpoint = await in_thread(lambda: weights.resolve(self.spec, say=say))
        watch.done("weights")
        await self._launch(checkpoint)
        watch.done("engine")
        if not self._follows:
            asked = self.exposition.asked_ourselves
            await health.gate(self._client, self.spec, checkpoint.directory, asked=asked, say=say)
            watch.done("warmup")

    async def _launch(self, checkpoint: weights.Checkpoint) -> None:
        host = os.environ.get("DEEPSEEK_HOST", "0.0.0.0")  # noqa: S104 - a pod is reached by its address
        command = self.command(
            self.spec, checkpoint=checkpoint.directory, checkpoint_format=checkpoint.format, env=os.environ, host=host
        )
        ours = {shared_state.VARIABLE: str(self._state_file), PROBE_VARIABLE: self._probe_token}
        self._process = EngineProcess.start([self.python, *command.arguments], env={**command.env, **ours})
        say(f"engine: process {self._process.pid}")
        while self._is_alive():
            if self._follows or await self._client.health() == 200:
                return
            await asyncio.sleep(_HEALTH_POLL_S)
        raise Failure(
            Reason.ENGINE_START_FAILED,
            f"the engine ended with code {self._process.exit_code} before it was ready: {self._process.last_error()}",
        )

    def _become_ready(self, began: float) -> None:
        self._watch = self.watch_now()
        self._account.works = self._works
        self.lifecycle.go(Phase.READY)
        self.exposition.ready = True
        say(f"ready after {time.monotonic() - began:.1f} s")

    async def _keep_watch(self) -> None:
        """Return never; raise why the engine can no longer serve."""
        scraped_at = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            self._check_alive()
            self._watch.heard(time.monotonic(), status=await self._client.health())
            self.exposition.ready = self._works()
            if self._watch.is_dead:
                raise Failure(Reason.ENGINE_CRASHED, f"the engine is unhealthy: {self._last_error()}")
            if time.monotonic() - scraped_at >= _SCRAPE_EVERY_S:
                scraped_at = time.monotonic()
                await self._check_progress()

    async def _check_progress(self) -> None:
        await self.scrape()
        engine, in_flight = self.exposition.engine, self._state.get(shared_state.IN_FLIGHT)
        self._watch.observe(time.monotonic(), work_done=engine.work_done if engine else None, in_flight=in_flight)
        if self._watch.is_stalled:
            waited = self._watch.stalled_after_s
            raise Failure(
                Reason.ENGINE_STUCK, f"{in_flight:.0f} requests wait and no token was computed in {waited:.0f} s"
            )
        if not self._watch.wants_probe(in_flight=in_flight):
            return
        try:
            self.exposition.asked_ourselves(await self._client.generate_one("ping", timeout_s=_PROBE_TIMEOUT_S))
        except EngineError as error:
            self._check_alive()
            raise Failure(Reason.ENGINE_STUCK, f"an idle engine did not generate one token: {error}") from None
        self._watch.probed()

    async def _drain(self) -> tuple[Reason, str]:
        self.lifecycle.go(Phase.DRAINING)
        self.exposition.ready = False
        spec, process = self.spec, self._process
        assert process is not None
        if self._follows:
            await self._leader.outlive(timeout_s=spec.drain_delay_s + spec.drain_timeout_s)
            await process.end(grace_s=engine_args.STOP_TIMEOUT_S)
            return Reason.DRAINED, "the leader has ended"
        say(f"draining: {self._state.get(shared_state.IN_FLIGHT):.0f} requests in flight")
        finished = await drain(
            self._state,
            delay_s=spec.drain_delay_s,
            timeout_s=spec.drain_timeout_s,
            alive=self._is_alive,
            hurry=self._hurry,
        )
        await self.scrape()
        self._check_alive()
        cut = self._state.get(shared_state.IN_FLIGHT)
        await process.end(grace_s=2 * engine_args.STOP_TIMEOUT_S)
        if not finished:
            return Reason.DRAIN_TIMED_OUT, f"{cut:.0f} requests were cut: drain_timeout_s is {spec.drain_timeout_s}"
        return Reason.DRAINED, "every request was answered"

    # -- around it ---------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        return self.lifecycle.phase is Phase.READY and self._works()

    @property
    def is_live(self) -> bool:
        """The supervisor itself still turns; it ends the pod when the engine does not."""
        return time.monotonic() - self._account.ticked_at < _TURNS_WITHIN_S

    async def scrape(self) -> None:
        """Read the engine's counters now."""
        async with self._scraping:  # an older answer must not come after a newer one
            serving = self.lifecycle.phase in (Phase.READY, Phase.DRAINING) and not self._follows
            engine = self.exposition.engine = await self._client.metrics() if serving and self._is_alive() else None
            if engine is not None:
                self._account.meter.engine_counted(engine.finished_tokens)
            self._account.tick()

    @property
    def _follows(self) -> bool:
        return sharding.rank(self.spec, os.environ) > 0

    @property
    def _leader(self) -> Leader:
        return Leader(self._session, self.spec, os.environ)

    @property
    def _state_file(self) -> Path:
        return self.directory / "front-door.state"

    def _works(self) -> bool:
        return self._is_alive() and self._watch.is_healthy

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.exit_code is None

    def _check_alive(self) -> None:
        if self._process is not None and self._process.exit_code is not None:
            raise Failure(
                Reason.ENGINE_CRASHED,
                f"the engine ended by itself with code {self._process.exit_code}: {self._last_error()}",
            )

    def _last_error(self) -> str:
        return self._process.last_error() if self._process is not None else ""

    def _asked_to_stop(self, number: int) -> None:
        if self._stop.is_set() and number == signal.SIGINT:
            self._hurry.set()
        self._stop.set()

    async def _listen(self, runner: web.AppRunner) -> None:
        try:
            await web.TCPSite(runner, os.environ.get("DEEPSEEK_HOST"), self.spec.metrics_port).start()
        except OSError as error:
            raise Failure(
                Reason.INVALID_LAUNCH_SPEC, f"metrics_port: {self.spec.metrics_port}: {error.strerror}; free the port"
            ) from None
