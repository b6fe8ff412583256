"""The front door of the engine: an ASGI middleware that counts, times and, while draining, closes connections.

It runs inside vLLM's server for every request, so it does no I/O and keeps nothing per token but two timestamps.
TTFT: whole request received -> first token byte sent. TPOT: (last token - first token) / (n - 1), n >= 2.
n is what the answer's usage says, else its events: a busy server joins tokens, so that TPOT errs on the slow side.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from deepseek_runtime import shared_state as slots
from deepseek_runtime.shared_state import SharedState

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PROBE_VARIABLE = "DEEPSEEK_PROBE_TOKEN"
PROBE_HEADER = b"x-deepseek-probe"
_USAGE = re.compile(rb'"completion_tokens":\s*(\d+)')
_REFUSED = b'{"error":{"message":"this engine is stopping; send the request again","type":"unavailable","code":503}}'


class FrontDoor:
    """Named by ``--middleware``: vLLM wraps its application in it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._state = SharedState(Path(os.environ[slots.VARIABLE]))
        self._probe_token = os.environ.get(PROBE_VARIABLE, "").encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or self._is_probe(scope):
            await self.app(scope, receive, send)
            return
        if self._state.get(slots.REFUSING):
            self._state.add(slots.REJECTED, 1)
            await _refuse(send)
            return
        request = _Request(self._state, receive, send)
        self._state.enter(time.monotonic())
        try:
            await self.app(scope, request.receive, request.send)
        except BaseException:
            request.broken = True
            raise
        finally:
            self._state.leave(time.monotonic())
            request.record()

    def _is_probe(self, scope: Scope) -> bool:
        if not self._probe_token:
            return False
        return any(name == PROBE_HEADER and value == self._probe_token for name, value in scope["headers"])


class _Request:
    """One request's way through: when it came, when its first and last token went, how it ended."""

    __slots__ = ("_first", "_last", "_receive", "_received", "_send", "_state", "_status", "_streamed", "_tokens",
                 "_whole", "broken", "gone")  # fmt: skip

    def __init__(self, state: SharedState, receive: Receive, send: Send) -> None:
        self._state, self._receive, self._send = state, receive, send
        self._received = time.monotonic()
        self._first = self._last = 0.0
        self._tokens = self._status = 0
        self._streamed = self._whole = False
        self.broken = self.gone = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = not self._whole
        elif not message.get("more_body"):
            self._received = time.monotonic()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start(message)
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            if self._streamed and body:
                self._event(body)
            self._whole = not message.get("more_body")
        await self._send(message)

    def _start(self, message: Message) -> None:
        headers = list(message.get("headers", ()))
        self._status = message["status"]
        self._streamed = any(
            name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers
        )
        if self._state.get(slots.CLOSING):
            message["headers"] = [*headers, (b"connection", b"close")]

    def _event(self, body: bytes) -> None:
        """A chunk of server-sent events, as a rule exactly one."""
        if body.startswith(b'data: {"error"'):
            self.broken = True
            return
        found = _USAGE.search(body)
        usage_only = b'"choices":[]' in body
        if not usage_only and not body.startswith(b"data: [DONE]"):
            now = time.monotonic()
            if not self._first:
                self._first = now
                self._state.observe(slots.TTFT, slots.TTFT_BOUNDS, now - self._received)
            self._last = now
            if b'"role":"assistant"' not in body:  # a chat opens with a chunk that holds no token
                self._tokens += body.count(b"data: ")
        if found:
            self._tokens = int(found.group(1))

    def record(self) -> None:
        """The request is over: one outcome, and its pace where it had one."""
        if self._status >= 500 or (self.broken and not self.gone):
            outcome = slots.FAILED
        elif self._status >= 400:
            outcome = slots.REJECTED
        else:
            outcome = slots.SUCCEEDED if self._whole else slots.ABORTED
        self._state.add(outcome, 1)
        if outcome == slots.SUCCEEDED and self._tokens >= 2 and self._last > self._first:
            pace = (self._last - self._first) / (self._tokens - 1)
            self._state.observe(slots.TPOT, slots.TPOT_BOUNDS, pace)


async def _refuse(send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_REFUSED)).encode()),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSED})
