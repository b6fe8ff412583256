"""The webhook that Alertmanager calls. An alert never acts: it wakes the loop, which looks for itself.

The answer is part of a contract. 200 says that the loop will wake; 503 says try again, which Alertmanager does
at once and with growing pauses; every other code says that this notification is lost until the next one. So 503
is for whatever time may heal (no leader, a full queue, a token that is not there yet), 4xx for what it cannot.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from deepseek_planner.errors import Problem
from deepseek_planner.snapshot import DeploymentKey

logger = logging.getLogger(__name__)

VERSION = "4"
STATES = ("firing", "resolved")
MOST_BYTES = 1 << 20
MOST_REMEMBERED = 4096
"""Alerts whose repetition is recognised."""
RETRY_AFTER_S = 5

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Outcome(StrEnum):
    """What became of a notification. Values are API: the ``deepseek_alerts_total`` metric shows them."""

    QUEUED = "queued"
    DUPLICATE = "duplicate"
    UNAUTHORIZED = "unauthorized"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Hint:
    """One alert as a reason to look: which, about whom, since when."""

    alert: str
    status: str
    key: DeploymentKey | None
    """None for an alert that names no deployment."""
    starts_at: str
    fingerprint: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """Equal for repetitions of one notification: an alert that fires again starts anew."""
        return self.fingerprint, self.starts_at, self.status


@dataclass(slots=True)
class _Seen:
    """Remembers the newest alerts, so that a repeated notification wakes nobody."""

    hints: OrderedDict[tuple[str, str, str], None] = field(default_factory=OrderedDict)

    def knows(self, hint: Hint) -> bool:
        return hint.identity in self.hints

    def remember(self, hint: Hint) -> None:
        self.hints[hint.identity] = None
        self.hints.move_to_end(hint.identity)
        while len(self.hints) > MOST_REMEMBERED:
            self.hints.popitem(last=False)


def alerts_handler(
    *,
    token_file: str,
    wake: Callable[[Hint], bool],
    leads: Callable[[], bool] = lambda: True,
    count: Callable[[Outcome], None] = lambda _: None,
) -> Handler:
    """The handler of ``POST /alerts``.

    ``token_file`` is read for each notification, so that a rotated token works at once. ``wake`` queues a hint and
    says whether it could; ``leads`` whether this process acts at all; ``count`` hears every outcome.
    """
    seen = _Seen()

    async def handle(request: web.Request) -> web.Response:
        refused = _refused(request.headers.get("Authorization", ""), token_file)
        if refused is not None:
            count(Outcome.UNAUTHORIZED if refused.status == HTTPStatus.UNAUTHORIZED else Outcome.UNAVAILABLE)
            return refused
        if not leads():
            count(Outcome.UNAVAILABLE)
            return _later("this process does not lead; ask the one that does")
        body = await _read(request)
        if body is None:
            count(Outcome.TOO_LARGE)
            text = (
                f"the notification is larger than {MOST_BYTES} bytes; set max_alerts in Alertmanager's webhook_configs"
            )
            return _answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": text})
        hints, problems = parse(body)
        if problems:
            count(Outcome.MALFORMED)
            fields = [{"field": p.field, "value": p.value, "message": p.message, "remedy": p.remedy} for p in problems]
            return _answer(HTTPStatus.BAD_REQUEST, {"problems": fields})
        return _queue(hints, seen, wake, count)

    return handle


def parse(body: bytes) -> tuple[tuple[Hint, ...], tuple[Problem, ...]]:
    """Alertmanager's notification as hints, or everything that is wrong with it."""
    remedy = "send what Alertmanager's webhook_configs send (payload version 4)"
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        return (), (Problem("(body)", _shown(body), f"is not JSON: {error}", remedy),)
    if not isinstance(payload, dict):
        return (), (Problem("(body)", _shown(payload), "is not an object", remedy),)
    problems: list[Problem] = []
    if payload.get("version") != VERSION:
        problems.append(Problem("version", _shown(payload.get("version")), f'is not "{VERSION}"', remedy))
    alerts = payload.get("alerts")
    if not isinstance(alerts, list) or not alerts:
        problems.append(Problem("alerts", _shown(alerts), "is not a list of at least one alert", remedy))
        alerts = []
    hints = [_hint(alert, f"alerts[{index}]", problems) for index, alert in enumerate(alerts)]
    return (tuple(hint for hint in hints if hint is not None), ()) if not problems else ((), tuple(problems))


def _hint(alert: Any, where: str, problems: list[Problem]) -> Hint | None:
    before = len(problems)

    def require(holds: object, name: str, value: object, message: str, remedy: str) -> None:
        if not holds:
            problems.append(Problem(f"{where}{name}", _shown(value), message, remedy))

    if not isinstance(alert, dict):
        require(False, "", alert, "is not an object", "send each alert as an object")  # noqa: FBT003
        return None
    status, starts_at, fingerprint = alert.get("status"), alert.get("startsAt"), alert.get("fingerprint")
    labels = alert.get("labels")
    require(status in STATES, ".status", status, "is not a status", f"write one of {', '.join(STATES)}")
    require(_is_time(starts_at), ".startsAt", starts_at, "is not a time", "write it like 2026-11-20T12:00:00Z")
    require(fingerprint and isinstance(fingerprint, str), ".fingerprint", fingerprint, "is missing", "send it as text")
    is_map = isinstance(labels, dict) and all(isinstance(value, str) for value in labels.values())
    require(is_map, ".labels", labels, "is not a map of texts", "send the alert's labels")
    if is_map and labels is not None:
        require(labels.get("alertname"), ".labels.alertname", labels.get("alertname"), "is missing", "name the alert")
    if len(problems) > before or labels is None:
        return None
    namespace, name = labels.get("namespace", ""), labels.get("name", "")
    key = DeploymentKey(namespace, name) if namespace and name else None
    return Hint(labels["alertname"], str(status), key, str(starts_at), str(fingerprint))


def _queue(
    hints: tuple[Hint, ...], seen: _Seen, wake: Callable[[Hint], bool], count: Callable[[Outcome], None]
) -> web.Response:
    """Wake for what is new. What was queued stays known, so that a retry of the rest does not repeat it."""
    queued = 0
    for hint in hints:
        if seen.knows(hint):
            count(Outcome.DUPLICATE)
            continue
        if not wake(hint):
            count(Outcome.UNAVAILABLE)
            return _later("the queue is full; the loop is busy with what came before")
        seen.remember(hint)
        queued += 1
        count(Outcome.QUEUED)
        logger.info("%s is %s for %s", hint.alert, hint.status, hint.key or "no deployment")
    return _answer(HTTPStatus.OK, {"queued": queued, "known": len(hints) - queued})


def _refused(authorization: str, token_file: str) -> web.Response | None:
    """Why the caller may not speak; None when it may."""
    if not token_file:
        text = "no alerts are taken: set DEEPSEEK_ALERT_TOKEN_FILE to a file with the token"
        return _answer(HTTPStatus.UNAUTHORIZED, {"error": text})
    try:
        token = Path(token_file).read_bytes().strip()
    except OSError as error:
        logger.warning("the token of the alerts cannot be read: %s", error)
        token = b""
    if not token:
        return _later("the token of the alerts cannot be read, or is empty")
    scheme, _, given = authorization.partition(" ")
    # Both sides as bytes: the comparison takes the same time wherever they differ.
    is_same = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), token)
    if is_same and scheme.lower() == "bearer":
        return None
    text = "the bearer token is missing or wrong; set authorization.credentials_file in Alertmanager's http_config"
    return _answer(HTTPStatus.UNAUTHORIZED, {"error": text}, {"WWW-Authenticate": 'Bearer realm="alerts"'})


async def _read(request: web.Request) -> bytes | None:
    """The body; None when it is too large."""
    if request.content_length is not None and request.content_length > MOST_BYTES:
        return None
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _is_time(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        # Alertmanager writes nanoseconds, of which Python reads six digits or fewer.
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _shown(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _later(text: str) -> web.Response:
    return _answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": text}, {"Retry-After": str(RETRY_AFTER_S)})


def _answer(status: HTTPStatus, content: Any, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(content, status=status, headers=headers)
