"""Prometheus and Alertmanager on loopback, where they are installed, with the generated alert rules.

They see what they would see in a cluster: the engines' and the operator's metrics, the same rules, the
same authenticated webhook. Only the waiting times are the caller's.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from deepseek_operator.local import children
from deepseek_operator.local.keeper import LOOPBACK, free_ports

ALERTMANAGERS = ("prometheus-alertmanager", "alertmanager")
"""Debian's name of the program, and everybody else's."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address to scrape, and the labels that say what it is."""

    address: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the two programs are."""

    prometheus: str
    alertmanager: str


def find_programs() -> Programs | None:
    """Both programs, or None: one without the other delivers no alert."""
    prometheus = shutil.which("prometheus")
    alertmanager = next((path for name in ALERTMANAGERS if (path := shutil.which(name))), None)
    return Programs(prometheus, alertmanager) if prometheus and alertmanager else None


@dataclass(slots=True)
class Monitoring:
    """The two processes and their files. Everything lies in ``directory``; nothing outlives :meth:`stop`."""

    programs: Programs
    directory: Path
    http: aiohttp.ClientSession
    interval_s: float
    """How often targets are scraped and rules evaluated."""
    prometheus_port: int = 0
    alertmanager_port: int = 0
    _processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def prometheus_url(self) -> str:
        return f"http://{LOOPBACK}:{self.prometheus_port}"

    @property
    def pids(self) -> Sequence[int]:
        return [process.pid for process in self._processes]

    async def start(
        self, *, rules: Mapping[str, Any], operator: str, webhook: str, token_file: Path, timeout_s: float = 20.0
    ) -> bool:
        """Start both and wait until they are ready; whether they became so in time.

        ``rules`` are groups as in a rule file, ``operator`` is the address of our own metrics, ``webhook``
        the URL that alerts are sent to, with the token in ``token_file``.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self.prometheus_port, self.alertmanager_port = free_ports(2)
        self.write_targets([])
        # JSON is YAML.
        self._write("rules.yaml", rules)
        self._write("alertmanager.yaml", alertmanager_config(webhook, token_file, self.interval_s))
        alertmanager = f"{LOOPBACK}:{self.alertmanager_port}"
        self._write("prometheus.yaml", prometheus_config(self.directory, operator, alertmanager, self.interval_s))
        await self._spawn(
            "alertmanager",
            self.programs.alertmanager,
            f"--config.file={self.directory / 'alertmanager.yaml'}",
            f"--storage.path={self.directory / 'alertmanager'}",
            f"--web.listen-address={alertmanager}",
            "--cluster.listen-address=",
        )
        await self._spawn(
            "prometheus",
            self.programs.prometheus,
            f"--config.file={self.directory / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.directory / 'prometheus'}",
            f"--web.listen-address={LOOPBACK}:{self.prometheus_port}",
        )
        ready = [self._is_ready(port, timeout_s) for port in (self.prometheus_port, self.alertmanager_port)]
        return all(await asyncio.gather(*ready))

    def write_targets(self, targets: Sequence[Target]) -> None:
        """Tell Prometheus which engines there are; it reads the file when it changes."""
        entries = [{"targets": [target.address], "labels": dict(target.labels)} for target in targets]
        self._write("engines.json", entries)

    async def stop(self) -> None:
        """End both processes."""
        await asyncio.gather(*(children.end(process, grace_s=5) for process in self._processes))
        self._processes.clear()

    async def _spawn(self, name: str, *command: str) -> None:
        log = self.directory / f"{name}.log"
        self._processes.append(await children.spawn(command, log=log, env={**os.environ, "GOMAXPROCS": "1"}))

    async def _is_ready(self, port: int, timeout_s: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while loop.time() < deadline:
            try:
                async with self.http.get(f"http://{LOOPBACK}:{port}/-/ready") as answer:
                    if answer.status == 200:
                        return True
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
        return False

    def _write(self, name: str, content: object) -> None:
        partial = self.directory / f".{name}"
        partial.write_text(json.dumps(content, indent=1))
        partial.replace(self.directory / name)


def prometheus_config(directory: Path, operator: str, alertmanager: str, interval_s: float) -> Mapping[str, Any]:
    """Prometheus' configuration. Engines name themselves in their labels, and those win."""
    interval = f"{interval_s * 1000:.0f}ms"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(directory / "rules.yaml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {
                "job_name": "engines",
                "honor_labels": True,
                "file_sd_configs": [{"files": [str(directory / "engines.json")], "refresh_interval": "5s"}],
            },
            {"job_name": "operator", "honor_labels": True, "static_configs": [{"targets": [operator]}]},
        ],
    }


def alertmanager_config(webhook: str, token_file: Path, interval_s: float) -> Mapping[str, Any]:
    """Alertmanager's configuration: everything goes to the operator's webhook, with its token."""
    interval = f"{max(1.0, interval_s):.0f}s"
    receiver = {
        "url": webhook,
        "send_resolved": True,
        "http_config": {"authorization": {"type": "Bearer", "credentials_file": str(token_file)}},
    }
    return {
        "route": {
            "receiver": "operator",
            "group_by": ["alertname", "namespace", "name"],
            "group_wait": "0s",
            "group_interval": interval,
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "operator", "webhook_configs": [receiver]}],
    }
