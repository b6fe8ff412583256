"""The Service of the embedded world: one address, each request goes to the ready engine with the least in flight.

An engine that drains gets nothing new from the moment its pod is marked. A connection that fails
before the first byte of an answer is tried again elsewhere; an answer that breaks off later is passed
on broken, never ended as if it were whole.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

from deepseek_operator.local import pods
from deepseek_operator.local.keeper import LOOPBACK
from deepseek_operator.local.store import Store
from deepseek_operator.world import Kind, Object

MAX_BODY_BYTES = 32 * 2**20
ATTEMPTS = 4
RETRY_S = 0.2
KEEPALIVE_S = 3.0
"""For the session that requests go through: the engine's server closes a connection that was idle for 5 seconds."""
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""RFC 9110, section 7.6.1: fields about one connection, not about the message."""
UNSENT = (aiohttp.ClientConnectionError, aiohttp.ServerTimeoutError)
"""Before the first byte of an answer: nothing came back, and asking again changes nothing but who answers."""


@dataclass(frozen=True, slots=True, order=True)
class Backend:
    """One engine that may be sent requests."""

    pod: str
    port: int


@dataclass(slots=True)
class Counts:
    """What went through the door."""

    requests: int = 0
    failed: int = 0
    """Answers other than 2xx, ours included."""
    cut: int = 0
    """Answers that broke off after their first byte."""
    retried: int = 0
    abandoned: int = 0
    """Clients that went away before their answer was whole."""
    by_status: Counter[int] = field(default_factory=Counter)
    by_pod: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class FrontDoor:
    """A reverse proxy on one loopback port over the engines that ``backends`` names at each request."""

    backends: Callable[[], Sequence[Backend]]
    http: aiohttp.ClientSession
    counts: Counts = field(default_factory=Counts)
    in_flight: Counter[str] = field(default_factory=Counter)
    _runner: web.AppRunner | None = None

    async def start(self, port: int) -> int:
        """Listen on ``port`` (0: any free one) of the loopback address; returns the port.

        Raises OSError when it is taken.
        """
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/healthz", self._health)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A request whose client went away is cancelled: nobody pays for tokens that nobody reads.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, port, reuse_address=True).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening and end what is in flight."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _choose(self, tried: set[str]) -> Backend | None:
        able = [backend for backend in self.backends() if backend.pod not in tried]
        return min(able, key=self._load, default=None)

    def _load(self, backend: Backend) -> tuple[int, int, Backend]:
        return self.in_flight[backend.pod], self.counts.by_pod[backend.pod], backend

    async def _health(self, _: web.Request) -> web.Response:
        ready = len(self.backends())
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.counts.requests += 1
        try:
            answer = await self._forward(request, await request.read())
        except asyncio.CancelledError:
            self.counts.abandoned += 1
            raise
        self.counts.by_status[answer.status] += 1
        self.counts.failed += not 200 <= answer.status < 300
        return answer

    async def _forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        tried: set[str] = set()
        for attempt in range(ATTEMPTS):
            backend = self._choose(tried)
            if backend is None and tried:
                # All of them: an engine that closed an idle connection takes a new one.
                await asyncio.sleep(RETRY_S * attempt)
                tried.clear()
                backend = self._choose(tried)
            if backend is None:
                return _unavailable("no engine is ready")
            self.in_flight[backend.pod] += 1
            try:
                async with self._open(request, backend, body) as upstream:
                    self.counts.by_pod[backend.pod] += 1
                    return await self._relay(request, upstream)
            except UNSENT:
                tried.add(backend.pod)
                self.counts.retried += 1
            finally:
                self.in_flight[backend.pod] -= 1
        return _unavailable("no engine could be reached")

    def _open(self, request: web.Request, backend: Backend, body: bytes) -> aiohttp.client._RequestContextManager:
        headers = [
            (name, value)
            for name, value in request.headers.items()
            if name.lower() not in HOP_BY_HOP and name.lower() not in ("host", "content-length")
        ]
        return self.http.request(
            request.method,
            URL(f"http://{LOOPBACK}:{backend.port}{request.raw_path}", encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        )

    async def _relay(self, request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        answer = web.StreamResponse(status=upstream.status, reason=upstream.reason)
        for name, value in upstream.headers.items():
            if name.lower() not in HOP_BY_HOP:
                answer.headers.add(name, value)
        try:
            await answer.prepare(request)
            async for chunk in upstream.content.iter_any():
                await answer.write(chunk)
            await answer.write_eof()
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ConnectionResetError):
            # Either side may have gone; what was sent cannot be taken back.
            self._cut(request)
        return answer

    def _cut(self, request: web.Request) -> None:
        self.counts.cut += 1
        if request.transport is not None:
            request.transport.abort()


def ready_backends(store: Store, service: Object) -> Sequence[Backend]:
    """Ready engines that a Service selects, sorted; draining ones are out at once."""
    selector = service["spec"]["selector"].items()
    found = []
    for pod in store.objects(Kind.POD):
        same = pod["metadata"]["namespace"] == service["metadata"]["namespace"]
        selected = same and selector <= pod["metadata"].get("labels", {}).items()
        ports = pods.ports_of(pod)
        if selected and ports is not None and pods.is_ready(pod) and not pods.is_draining(pod):
            found.append(Backend(pod["metadata"]["name"], ports[0]))
    return sorted(found)


async def wait_until_ready(door: FrontDoor, *, timeout_s: float, poll_s: float = 0.2) -> bool:
    """Whether an engine became ready in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while loop.time() < deadline:
        if door.backends():
            return True
        await asyncio.sleep(poll_s)
    return False


def _unavailable(message: str) -> web.Response:
    error = {"message": f"{message}; try again", "type": "service_unavailable", "code": 503}
    return web.json_response({"error": error}, status=503, headers={"Retry-After": "1"})
