"""Real vLLM on this machine's CPU, run as the pod runs it: by the interpreter of the runtime's environment."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from deepseek_runtime.launchspec import LaunchSpec, Weights
from deepseek_runtime.tiny_checkpoint import ARCHITECTURE
from support.launch_specs import launch_spec
from support.ports import free_ports

ROOT = Path(__file__).resolve().parents[3]
READY_WITHIN_S = 300  # 15 s on an idle machine


def command(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``deepseek-runtime`` to its end."""
    return subprocess.run(
        [python, "-m", "deepseek_runtime", *arguments],
        env=environment(), capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "runtime"), "DEEPSEEK_HOST": "127.0.0.1", **more}


@pytest.fixture(scope="session")
def checkpoint(runtime_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "deepseek-tiny"
    began = time.monotonic()
    made = command(runtime_python, "tiny-checkpoint", str(directory))
    assert made.returncode == 0, made.stderr
    assert time.monotonic() - began < 60
    return directory


@dataclass
class Engine:
    """One engine pod as a process."""

    spec: LaunchSpec
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    @property
    def termination(self) -> dict[str, str]:
        told: dict[str, str] = json.loads((self.directory / "termination").read_text())
        return told

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.spec.port}"

    def is_ready(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.spec.metrics_port}/readyz", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def wait_ready(self) -> Engine:
        until = time.monotonic() + READY_WITHIN_S
        while not self.is_ready():
            assert self.process.poll() is None, self.log[-3000:]
            assert time.monotonic() < until, self.log[-3000:]
            time.sleep(0.25)
        return self

    def wait_end(self, seconds: float) -> int:
        return self.process.wait(timeout=seconds)

    def post(self, path: str, **body: Any) -> requests.Response:
        return requests.post(self.url + path, json={"model": self.spec.served_model_name, **body}, timeout=60)

    def metrics(self) -> dict[str, float]:
        """Samples as text -> value, common labels left out."""
        text = requests.get(f"http://127.0.0.1:{self.spec.metrics_port}/metrics", timeout=10).text
        common = {"namespace", "name", "model", "accelerator", "precision", "capacity_type", "pool"}
        found = {}
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.partition("{")
            kept = [each for each in labels.rstrip("}").split(",") if each.partition("=")[0] not in common]
            found[name + ("{" + ",".join(kept) + "}" if kept else "")] = float(value)
        return found

    def pids(self) -> list[int]:
        """Processes of the engine itself, the server first."""
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=True)
        server = int(children.stdout.split()[0])
        cores = subprocess.run(
            ["pgrep", "-P", str(server), "-f", "EngineCore"], capture_output=True, text=True, check=True
        )
        return [server, *map(int, cores.stdout.split())]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


Starter = Callable[..., Engine]


@pytest.fixture(scope="module")
def start(runtime_python: str, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Start engines; what still runs at the end of the module is killed."""
    started: list[Engine] = []

    def starter(*, program: str = "", **changes: Any) -> Engine:
        directory = tmp_path_factory.mktemp("engine")
        port, metrics_port = free_ports(2)
        weights = changes.pop("weights", Weights(path=str(checkpoint)))
        spec = launch_spec(architecture=ARCHITECTURE, weights=weights, port=port, metrics_port=metrics_port, **changes)
        (directory / "launchspec.json").write_text(spec.to_json())
        (directory / "price.json").write_text('{"usdPerReplicaHour": "3.60", "source": "test"}')
        run = ["-c", program] if program else ["-m", "deepseek_runtime"]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [runtime_python, *run, "serve", "--launchspec", str(directory / "launchspec.json")],
                env=environment(
                    TERMINATION_MESSAGE_PATH=str(directory / "termination"), DEEPSEEK_RUNTIME_DIR=str(directory)
                ),
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        started.append(Engine(spec, directory, process))
        return started[-1]

    yield starter
    for each in started:
        each.end()
