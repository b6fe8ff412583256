"""One pod's process: starts it, watches its readiness, restarts it with back-off, drains it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import aiohttp

from deepseek_operator.local import children, pods
from deepseek_operator.local.pods import EngineState
from deepseek_operator.local.store import Key, Store, timestamp, utc_now
from deepseek_operator.world import Kind
from deepseek_runtime.launchspec import LaunchSpec

LOOPBACK = "127.0.0.1"
DRAIN_DELAY_S = 0
"""A drain's wait for endpoints to go: our front door has stopped sending before the engine hears of it."""
HURRY_S = 5.0
"""Time between SIGINT, which ends a drain early, and SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """How engines run here."""

    runtime_python: str
    """Interpreter of the environment that holds ``deepseek_runtime``, torch and vLLM."""
    directory: Path
    """Where launch specs and logs go."""
    weights_cache: Path
    """Where downloaded weights stay: a pod's own cache path is a path in a container."""
    node: str
    memory_bytes: float
    poll_s: float = 0.5
    backoff_first_s: float = 2.0
    backoff_max_s: float = 60.0
    kill_margin_s: float = 10.0
    """On top of the drain's own limits before a process is killed."""


def engine_command(settings: ProcessSettings, launch_file: Path) -> list[str]:
    """The command of an engine process."""
    return [settings.runtime_python, "-m", "deepseek_runtime", "serve", "--launchspec", str(launch_file)]


@dataclass(frozen=True, slots=True)
class Machine:
    """What every process here needs."""

    store: Store
    settings: ProcessSettings
    http: aiohttp.ClientSession
    command: Callable[[ProcessSettings, Path], list[str]] = engine_command
    now: Callable[[], datetime] = utc_now


@dataclass(slots=True)
class Keeper:
    """Runs one pod's process: starts it, watches its readiness, restarts it, drains it."""

    machine: Machine
    key: Key
    forget: Callable[[Key], None]
    """Called once, when the process has ended for good."""
    state: EngineState = field(default_factory=EngineState)
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def pid(self) -> int | None:
        running = self.process is not None and self.process.returncode is None
        return self.process.pid if running and self.process is not None else None

    def start(self) -> None:
        self.task = asyncio.create_task(self._keep(), name=f"engine {self.key[2]}")

    def ask_to_stop(self) -> None:
        self.stopping.set()

    async def stop(self, *, grace_s: float) -> None:
        """Drain for at most ``grace_s``, then hurry, then kill; returns when the process is gone."""
        self.ask_to_stop()
        if self.task is None:
            return
        for last_resort in (children.hurry, children.sweep):
            _, late = await asyncio.wait([self.task], timeout=grace_s)
            if late and self.process is not None:
                last_resort(self.process)
            grace_s = min(grace_s, HURRY_S)
        await asyncio.wait([self.task])

    def hurry(self) -> None:
        if self.process is not None:
            children.hurry(self.process)

    def refresh_files(self) -> None:
        """Rewrite what the ConfigMap says when it changed, as a kubelet does for a mounted directory."""
        files = self._config_files()
        if files and files != self.files:
            self._write_files(files)

    @property
    def _directory(self) -> Path:
        return self.machine.settings.directory / "pods" / self.key[1] / self.key[2]

    @property
    def _log(self) -> Path:
        return self.machine.settings.directory / "logs" / f"{self.key[2]}.log"

    @property
    def _termination(self) -> Path:
        return self._directory / "termination-log"

    async def _keep(self) -> None:
        settings = self.machine.settings
        delay_s = settings.backoff_first_s
        try:
            while not self.stopping.is_set():
                began = asyncio.get_running_loop().time()
                await self._run_once()
                if self.stopping.is_set():
                    break
                if asyncio.get_running_loop().time() - began > 10 * settings.backoff_max_s:
                    delay_s = settings.backoff_first_s
                self._report(
                    running=False,
                    ready=False,
                    restarts=self.state.restarts + 1,
                    waiting_reason="CrashLoopBackOff",
                    waiting_message=f"back-off {delay_s:.0f} s; log: {self._log}",
                )
                await _wait(self.stopping, delay_s)
                delay_s = min(2 * delay_s, settings.backoff_max_s)
        finally:
            self.forget(self.key)

    async def _run_once(self) -> None:
        settings = self.machine.settings
        serving, metrics = free_ports(2)
        self.state = replace(self.state, serving_port=serving, metrics_port=metrics)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._termination.unlink(missing_ok=True)
        try:
            self._write_files(self._config_files())
            command = self.machine.command(settings, self._directory / "launchspec.json")
            self.process = await children.spawn(command, log=self._log, env=self._environment())
        except (OSError, KeyError, ValueError) as error:
            self._report(exit_code=127, exit_message=str(error))
            return
        started = timestamp(self.machine.now())
        self._report(running=True, ready=False, started_at=started)
        ended = asyncio.create_task(self.process.wait())
        stopping = asyncio.create_task(self.stopping.wait())
        while not ended.done() and not stopping.done():
            await asyncio.wait([ended, stopping], timeout=settings.poll_s, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done() and not stopping.done():
                self._report(ready=await self._is_ready())
        stopping.cancel()
        if not ended.done():
            await self._drain()
        children.sweep(self.process)
        code = await ended
        self._report(running=False, ready=False, exit_code=code, exit_message=self._last_words())

    def _last_words(self) -> str:
        """The termination message; without one the end of the log (FallbackToLogsOnError)."""
        return children.tail(self._termination, lines=1) or children.tail(self._log)

    async def _drain(self) -> None:
        pod = self.machine.store.get(*self.key)
        grace_s = float(pod["spec"].get("terminationGracePeriodSeconds", 30)) if pod is not None else 30.0
        if self.process is not None:
            await children.end(self.process, grace_s=grace_s + self.machine.settings.kill_margin_s)

    async def _is_ready(self) -> bool:
        url = f"http://{LOOPBACK}:{self.state.metrics_port}/readyz"
        try:
            async with self.machine.http.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _config_files(self) -> Mapping[str, str]:
        store, namespace = self.machine.store, self.key[1]
        pod = store.get(*self.key)
        volumes = pod["spec"].get("volumes", ()) if pod is not None else ()
        names = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
        found = [store.get(Kind.CONFIG_MAP, namespace, name) for name in names]
        return {name: text for item in found if item is not None for name, text in item.get("data", {}).items()}

    def _write_files(self, files: Mapping[str, str]) -> None:
        """Write the ConfigMap's files. In a pod every engine has port 8000; here each has its own."""
        if "launchspec.json" not in files:
            raise KeyError(f"{self.key[2]}: no ConfigMap with launchspec.json is mounted; let the operator write it")
        self._directory.mkdir(parents=True, exist_ok=True)
        spec = LaunchSpec.from_json(files["launchspec.json"])
        here = replace(
            spec,
            port=self.state.serving_port,
            metrics_port=self.state.metrics_port,
            drain_delay_s=DRAIN_DELAY_S,
            weights=replace(spec.weights, cache_path=str(self.machine.settings.weights_cache)),
        )
        for name, text in {**files, "launchspec.json": here.to_json()}.items():
            partial = self._directory / f".{name}"
            partial.write_text(text)
            partial.replace(self._directory / name)
        self.files = dict(files)

    def _environment(self) -> Mapping[str, str]:
        pod = self.machine.store.get(*self.key)
        stated = pod["spec"]["containers"][0].get("env", ()) if pod is not None else ()
        fields = {
            "metadata.name": self.key[2],
            "metadata.namespace": self.key[1],
            "status.podIP": LOOPBACK,
            "spec.nodeName": self.machine.settings.node,
        }
        environment = {
            **os.environ,
            "DEEPSEEK_HOST": LOOPBACK,
            "DEEPSEEK_RUNTIME_DIR": str(self._directory / "totals"),
            "TERMINATION_MESSAGE_PATH": str(self._termination),
        }
        for entry in stated:
            path = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
            if "value" in entry or path in fields:
                environment[entry["name"]] = str(entry.get("value", fields.get(path, "")))
        return environment

    def _report(self, **changes: object) -> None:
        """Note what changed and show it in the pod's status."""
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]
        store = self.machine.store
        pod = store.get(*self.key)
        if pod is None:
            return
        ports = f"{self.state.serving_port},{self.state.metrics_port}"
        annotations = {**pod["metadata"].get("annotations", {}), pods.PORTS_ANNOTATION: ports}
        store.apply({**pod, "metadata": {**pod["metadata"], "annotations": annotations}})
        status = pods.pod_status(pod, self.state, now=timestamp(self.machine.now()))
        store.write_status(*self.key, status)


def free_ports(count: int) -> tuple[int, ...]:
    """Loopback ports that nobody listens on. Held together while choosing, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return tuple(int(each.getsockname()[1]) for each in sockets)
    finally:
        for each in sockets:
            each.close()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most so many seconds."""
    task = asyncio.create_task(event.wait())
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
