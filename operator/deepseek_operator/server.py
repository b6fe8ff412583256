"""The HTTP server of the operator: probes, metrics, alerts."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from deepseek_operator.metrics import Metrics
from deepseek_operator.settings import ServerSettings, Settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STARTING_S = 120.0
"""A first read of a large cluster may take so long."""


@dataclass(slots=True)
class Health:
    """When this process last did what it is for. Times are of one monotonic clock."""

    settings: Settings
    monotonic: Callable[[], float]
    is_leader: bool = False
    is_complete: bool = False
    """Whether the whole cluster was read once."""
    last_turn: float = field(init=False)
    """When the loop last came round."""
    last_news: float = field(init=False)
    """When the cluster was last seen, by an event or a full read."""

    def __post_init__(self) -> None:
        self.last_turn = self.last_news = self.monotonic()

    def turned(self) -> None:
        self.last_turn = self.monotonic()

    def heard(self) -> None:
        self.last_news = self.monotonic()

    def problems(self) -> list[str]:
        """What is wrong so that only a new process helps. A process that does not lead has nothing to do."""
        silent_s = self.monotonic() - self.last_turn
        limit_s = _STARTING_S + 2 * self.settings.resync_s
        return [f"no cycle for {silent_s:.0f} s"] if self.is_leader and silent_s > limit_s else []

    def shortcomings(self) -> list[str]:
        """What keeps it from acting on the cluster as it is."""
        if not self.is_leader:
            return []
        deaf_s = self.monotonic() - self.last_news
        found = [] if self.is_complete else ["the cluster is not read yet"]
        found += [f"no news of the cluster for {deaf_s:.0f} s"] if deaf_s > 3 * self.settings.relist_s else []
        return found + self.problems()


def application(health: Health, metrics: Metrics, alerts: Handler) -> web.Application:
    """Routes: ``/healthz /readyz /metrics`` and ``POST /alerts``."""

    async def healthz(_: web.Request) -> web.Response:
        return _verdict(health, health.problems())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(health, health.shortcomings())

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.expose(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(client_max_size=1 << 20)
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", exposition),
            web.post("/alerts", alerts),
        ]
    )
    return app


async def serve(app: web.Application, settings: ServerSettings) -> web.AppRunner:
    """Listen until the runner is cleaned up."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.port).start()
    return runner


def _verdict(health: Health, problems: list[str]) -> web.Response:
    document = {"ok": not problems, "leader": health.is_leader, "problems": problems}
    return web.json_response(document, status=503 if problems else 200, dumps=json.dumps)
