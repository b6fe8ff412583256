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
from decimal import Decimal
from pathlib import Path

import aiohttp
from aiohttp import web

from deepseek_runtime import engine_args, health, sharding, shared_state, weights
from deepseek_runtime.drain import Lifecycle, Phase, drain
from deepseek_runtime.engine_client import EngineClient, EngineError
from deepseek_runtime.exposition import Exposition
from deepseek_runtime.failure import Failure, Reason, report
from deepseek_runtime.launchspec import LaunchSpec, LaunchSpecError
from deepseek_runtime.metering import DEFAULT_WINDOW_S, Meter
from deepseek_runtime.middleware import PROBE_VARIABLE
from deepseek_runtime.pricing import PriceFile
from deepseek_runtime.process import EngineProcess
from deepseek_runtime.shared_state import SharedState
from deepseek_runtime.web import application

_TICK_S = 0.5
_SCRAPE_EVERY_S = 5.0
_HEALTH_POLL_S = 0.25
_PROBE_TIMEOUT_S = 60.0


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
    price = PriceFile(launchspec.parent / "price.json", say=say)
    supervisor = Supervisor(spec, price, directory=_runtime_directory())
    return await supervisor.run()


def _read(path: Path) -> LaunchSpec:
    try:
        return LaunchSpec.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(
            Reason.INVALID_LAUNCH_SPEC,
            f"--launchspec: {str(path)!r}: {error.strerror}; mount the group's ConfigMap there",
        ) from None
    except LaunchSpecError as error:
        raise Failure(Reason.INVALID_LAUNCH_SPEC, f"--launchspec: {path}: {error}") from None


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
    python: str = sys.executable
    command: Callable[..., engine_args.Command] = engine_args.command
    window_s: float = field(default_factory=lambda: float(os.environ.get("DEEPSEEK_METER_WINDOW_S", DEFAULT_WINDOW_S)))
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    cold_start: dict[str, float] = field(default_factory=dict)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _process: EngineProcess | None = None
    _state: SharedState = field(init=False)
    _meter: Meter = field(init=False)
    _exposition: Exposition = field(init=False)
    _client: EngineClient = field(init=False)
    _probe_token: str = field(default_factory=lambda: secrets.token_hex(8))
    _ticked_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        sharding_ = self.spec.sharding
        accelerators = sharding_.tensor_parallel * sharding_.pipeline_parallel * sharding_.data_parallel
        self._state = SharedState(self._state_file, create=True)
        self._state.engine_is_new()
        self._meter = Meter(accelerators=accelerators, now=time.monotonic(), window_s=self.window_s)
        self._exposition = Exposition(self.spec, self._meter, self._state, self.cold_start)

    async def run(self) -> tuple[Reason, str]:
        """From nothing to drained; raises :class:`Failure` for every other end."""
        self._restore_totals()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number)
        async with aiohttp.ClientSession() as session:
            self._client = EngineClient(
                session, port=self.spec.port, model=self.spec.served_model_name, probe_token=self._probe_token
            )
            runner = web.AppRunner(application(self), access_log=None)
            await runner.setup()
            meter = asyncio.create_task(self._meter_forever())
            try:
                await self._listen(runner)
                return await self._live()
            finally:
                meter.cancel()
                self.lifecycle.phase = Phase.STOPPED
                if self._process is not None:
                    await self._process.end(grace_s=0)
                self._tick()
                self._save_totals()
                await runner.cleanup()

    # -- its life, in order ------------------------------------------------------------------------------------

    async def _live(self) -> tuple[Reason, str]:
        began = time.monotonic()
        stopped = asyncio.create_task(self._stop.wait())
        starting = asyncio.create_task(self._start())
        try:
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set() and not starting.done():
                return Reason.DRAINED, "stopped before it was ready; nothing was in flight"
            await starting
            self.lifecycle.go(Phase.READY)
            self._exposition.ready = True
            say(f"ready after {time.monotonic() - began:.1f} s")
            watching = asyncio.create_task(self._watch())
            await asyncio.wait([watching, stopped], return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                await watching
            watching.cancel()
            return await self._drain()
        finally:
            for task in (stopped, starting):
                task.cancel()

    async def _start(self) -> None:
        phase = _Stopwatch(self.cold_start)
        checkpoint = await asyncio.to_thread(weights.resolve, self.spec, say=say)
        phase.done("weights")
        await self._launch(checkpoint)
        phase.done("engine")
        if self._rank == 0:
            await health.gate(self._client, self.spec, checkpoint.directory, asked=self._meter.asked_ourselves, say=say)
        phase.done("warmup")

    async def _launch(self, checkpoint: weights.Checkpoint) -> None:
        host = os.environ.get("DEEPSEEK_HOST", "0.0.0.0")  # noqa: S104 - a pod is reached by its address
        command = self.command(
            self.spec, checkpoint=checkpoint.directory, checkpoint_format=checkpoint.format, env=os.environ, host=host
        )
        ours = {shared_state.VARIABLE: str(self._state_file), PROBE_VARIABLE: self._probe_token}
        self._process = EngineProcess.start([self.python, *command.arguments], env={**command.env, **ours})
        say(f"engine: process {self._process.pid}")
        while self._process.exit_code is None:
            if self._rank or await self._client.is_healthy():
                return
            await asyncio.sleep(_HEALTH_POLL_S)
        raise Failure(
            Reason.ENGINE_START_FAILED,
            f"the engine ended with code {self._process.exit_code} before it was ready: {self._process.last_error()}",
        )

    async def _watch(self) -> None:
        """Return never, or raise why the engine can no longer serve."""
        watch = health.Watch(time.monotonic())
        scraped_at = 0.0
        while True:
            await asyncio.sleep(_TICK_S)
            self._check_alive()
            now = time.monotonic()
            if now - scraped_at < _SCRAPE_EVERY_S or self._rank:
                continue
            scraped_at = now
            await self.scrape()
            engine = self._exposition.engine
            in_flight = self._state.get(shared_state.IN_FLIGHT)
            watch.observe(now, work_done=engine.work_done if engine else None, in_flight=in_flight)
            if watch.is_stalled:
                raise Failure(
                    Reason.ENGINE_STUCK, f"{in_flight:.0f} requests wait and no token was computed in 3 minutes"
                )
            if watch.wants_probe(in_flight=in_flight):
                await self._probe()
                watch.probed()

    async def _probe(self) -> None:
        try:
            self._meter.asked_ourselves(await self._client.generate_one("ping", timeout_s=_PROBE_TIMEOUT_S))
        except EngineError as error:
            self._check_alive()
            raise Failure(Reason.ENGINE_STUCK, f"an idle engine did not generate one token: {error}") from None

    async def _drain(self) -> tuple[Reason, str]:
        self.lifecycle.go(Phase.DRAINING)
        self._exposition.ready = False
        say(f"draining: {self._state.get(shared_state.IN_FLIGHT):.0f} requests in flight")
        spec = self.spec
        finished = await drain(
            self._state,
            delay_s=spec.drain_delay_s,
            timeout_s=spec.drain_timeout_s,
            alive=self._is_alive,
            hurry=self._hurry,
        )
        await self.scrape()
        cut = self._state.get(shared_state.IN_FLIGHT)
        if self._process is not None:
            await self._process.end(grace_s=2 * engine_args.STOP_TIMEOUT_S)
        if not finished:
            return Reason.DRAIN_TIMED_OUT, f"{cut:.0f} requests were cut after drain_timeout_s = {spec.drain_timeout_s}"
        return Reason.DRAINED, "every request was answered"

    # -- around it ---------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        return self.lifecycle.phase is Phase.READY and self._is_alive()

    @property
    def is_live(self) -> bool:
        """The supervisor itself still turns; it ends the pod when the engine does not."""
        return time.monotonic() - self._ticked_at < 30

    @property
    def exposition(self) -> Exposition:
        return self._exposition

    async def scrape(self) -> None:
        """Read the engine's counters now."""
        running = self._process is not None and self.lifecycle.phase in (Phase.READY, Phase.DRAINING)
        metrics = await self._client.metrics() if running and not self._rank else None
        self._exposition.engine = metrics
        if metrics is not None:
            self._meter.engine_counted(metrics.finished_tokens)
        self._tick()

    @property
    def _rank(self) -> int:
        return sharding.rank(self.spec, os.environ)

    @property
    def _state_file(self) -> Path:
        return self.directory / "front-door.state"

    @property
    def _totals_file(self) -> Path:
        return self.directory / "meter.json"

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.exit_code is None

    def _check_alive(self) -> None:
        if self._process is not None and self._process.exit_code is not None:
            raise Failure(
                Reason.ENGINE_CRASHED,
                f"the engine ended by itself with code {self._process.exit_code}: {self._process.last_error()}",
            )

    def _asked_to_stop(self, number: int) -> None:
        if self._stop.is_set() and number == signal.SIGINT:
            self._hurry.set()
        self._stop.set()

    async def _listen(self, runner: web.AppRunner) -> None:
        host = os.environ.get("DEEPSEEK_HOST") or None
        try:
            await web.TCPSite(runner, host, self.spec.metrics_port).start()
        except OSError as error:
            raise Failure(
                Reason.INVALID_LAUNCH_SPEC, f"metrics_port: {self.spec.metrics_port}: {error.strerror}; free the port"
            ) from None

    async def _meter_forever(self) -> None:
        saved_at = 0.0
        while True:
            self._tick()
            if self._ticked_at - saved_at >= _SCRAPE_EVERY_S:
                saved_at = self._ticked_at
                self.price.refresh()
                self._save_totals()
            await asyncio.sleep(_TICK_S)

    def _tick(self) -> None:
        now = self._ticked_at = time.monotonic()
        self._meter.tick(
            now, state=self._meter_state(), usd_per_hour=self._usd_per_hour, busy=self._state.busy_seconds(now)
        )

    def _meter_state(self) -> str:
        match self.lifecycle.phase:
            case Phase.STARTING:
                return "cold_start"
            case Phase.READY:
                return "useful" if self._is_alive() else "lost"
            case Phase.DRAINING:
                return "draining"
            case _:
                return "lost"

    @property
    def _usd_per_hour(self) -> Decimal | None:
        return self.price.price.usd_per_hour if self.price.price else None

    def _restore_totals(self) -> None:
        self.price.refresh()
        if self._meter.restore(
            self._totals_file, identity=self.spec.digest, wall_s=time.time(), usd_per_hour=self._usd_per_hour
        ):
            say("meter: going on from the totals of the container before")

    def _save_totals(self) -> None:
        try:
            self._meter.save(self._totals_file, identity=self.spec.digest, wall_s=time.time())
        except OSError as error:
            say(f"meter: totals cannot be kept ({error}); a restart begins at zero")


class _Stopwatch:
    """Seconds of consecutive phases, noted as they end."""

    def __init__(self, into: dict[str, float]) -> None:
        self._into = into
        self._since = time.monotonic()

    def done(self, phase: str) -> None:
        now = time.monotonic()
        self._into[phase] = now - self._since
        self._since = now
        say(f"{phase}: {self._into[phase]:.1f} s")
