"""/livez, /readyz and /metrics of the pod, on a port of their own."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from deepseek_runtime.exposition import Exposition


class Supervised(Protocol):
    """What the endpoints ask of the supervisor."""

    @property
    def is_live(self) -> bool: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def exposition(self) -> Exposition: ...
    async def scrape(self) -> None: ...


def application(supervisor: Supervised) -> web.Application:
    """The endpoints as an aiohttp application."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(supervisor.exposition)

    async def livez(_: web.Request) -> web.Response:
        return _answer(supervisor.is_live)

    async def readyz(_: web.Request) -> web.Response:
        return _answer(supervisor.is_ready)

    async def metrics(_: web.Request) -> web.Response:
        await supervisor.scrape()
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


def _answer(ok: bool) -> web.Response:  # noqa: FBT001 - it is the answer
    return web.Response(text="ok\n" if ok else "no\n", status=200 if ok else 503)
