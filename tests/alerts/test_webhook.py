"""The webhook's contract with Alertmanager: 200 only when queued, 503 to be asked again, 4xx with the remedy."""

from __future__ import annotations

import copy
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from deepseek_operator import alerts
from deepseek_operator.alerts import Outcome, alerts_handler
from deepseek_planner.snapshot import DeploymentKey

TOKEN = "a-secret-of-the-test"
NOTIFICATION = {
    "version": "4",
    "groupKey": "{}",
    "status": "firing",
    "receiver": "operator",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "UtilizationLow", "namespace": "team-a", "name": "chat"},
            "annotations": {},
            "startsAt": "2026-11-20T12:00:00.123456789Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": "c0ffee",
        }
    ],
}


class Webhook:
    """The handler behind a real server, with a queue of its own."""

    def __init__(self, token_file):
        self.queued, self.outcomes = [], []
        self.room, self.leads = 10, True
        self.client = None
        self.handler = alerts_handler(
            token_file=str(token_file), wake=self._wake, leads=lambda: self.leads, count=self.outcomes.append
        )

    def _wake(self, hint):
        if len(self.queued) >= self.room:
            return False
        self.queued.append(hint)
        return True

    async def post(self, content, token=TOKEN, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return await self.client.post("/alerts", data=body, headers=headers)


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


@pytest.fixture
async def webhook(token_file):
    made = Webhook(token_file)
    application = web.Application()
    application.router.add_post("/alerts", made.handler)
    async with TestClient(TestServer(application)) as client:
        made.client = client
        yield made


def changed(**changes):
    content = copy.deepcopy(NOTIFICATION)
    content["alerts"][0].update(changes)
    return content


async def test_an_alert_is_queued_and_acknowledged(webhook):
    answer = await webhook.post(NOTIFICATION)
    assert answer.status == 200
    assert await answer.json() == {"queued": 1, "known": 0}
    (hint,) = webhook.queued
    assert (hint.alert, hint.status, hint.key) == ("UtilizationLow", "firing", DeploymentKey("team-a", "chat"))
    assert webhook.outcomes == [Outcome.QUEUED]


async def test_a_repetition_wakes_nobody(webhook):
    await webhook.post(NOTIFICATION)
    answer = await webhook.post(NOTIFICATION)
    assert (answer.status, await answer.json()) == (200, {"queued": 0, "known": 1})
    assert len(webhook.queued) == 1


@pytest.mark.parametrize(
    "change", [{"status": "resolved"}, {"startsAt": "2026-11-20T13:00:00Z"}, {"fingerprint": "decaf"}]
)
async def test_another_state_start_or_alert_is_no_repetition(webhook, change):
    await webhook.post(NOTIFICATION)
    await webhook.post(changed(**change))
    assert len(webhook.queued) == 2


async def test_an_alert_without_a_deployment_wakes_too(webhook):
    assert (await webhook.post(changed(labels={"alertname": "Watchdog"}))).status == 200
    assert webhook.queued[0].key is None


async def test_a_full_queue_asks_to_come_again_and_forgets_nothing(webhook):
    both = copy.deepcopy(NOTIFICATION)
    both["alerts"].append({**both["alerts"][0], "fingerprint": "decaf"})
    webhook.room = 1
    answer = await webhook.post(both)
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    webhook.room = 10
    answer = await webhook.post(both)
    assert (answer.status, await answer.json()) == (200, {"queued": 1, "known": 1})
    assert [hint.fingerprint for hint in webhook.queued] == ["c0ffee", "decaf"]


async def test_who_does_not_lead_takes_nothing(webhook):
    webhook.leads = False
    assert (await webhook.post(NOTIFICATION)).status == 503
    assert webhook.queued == []
    assert webhook.outcomes == [Outcome.UNAVAILABLE]


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x"])
async def test_a_wrong_token_is_refused(webhook, token):
    answer = await webhook.post(NOTIFICATION, token=token)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert webhook.outcomes == [Outcome.UNAUTHORIZED]
    assert webhook.queued == []


async def test_the_right_token_in_another_scheme_is_refused(webhook):
    assert (await webhook.post(NOTIFICATION, token=None, Authorization=f"Basic {TOKEN}")).status == 401
    assert (await webhook.post(NOTIFICATION, token=None, Authorization=f"bearer  {TOKEN} ")).status == 200


async def test_a_rotated_token_works_at_once(webhook, token_file):
    token_file.write_text("another")
    assert (await webhook.post(NOTIFICATION)).status == 401
    assert (await webhook.post(NOTIFICATION, token="another")).status == 200


async def test_an_empty_or_missing_token_lets_nobody_in(webhook, token_file):
    token_file.write_text("")
    assert (await webhook.post(NOTIFICATION, token="")).status == 503
    token_file.unlink()
    assert (await webhook.post(NOTIFICATION)).status == 503
    assert webhook.queued == []


async def test_without_a_token_file_alerts_are_refused():
    application = web.Application()
    application.router.add_post("/alerts", alerts_handler(token_file="", wake=lambda _: True))
    async with TestClient(TestServer(application)) as client:
        answer = await client.post("/alerts", json=NOTIFICATION, headers={"Authorization": "Bearer "})
        assert answer.status == 401
        assert "DEEPSEEK_ALERT_TOKEN_FILE" in (await answer.json())["error"]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"{", "(body)"),
        (b"\xff\xfe", "(body)"),
        (b"[" * 100_000, "(body)"),
        ([], "(body)"),
        ({}, "version"),
        ({"version": "9", "alerts": NOTIFICATION["alerts"]}, "version"),
        ({"version": "4", "alerts": 7}, "alerts"),
        ({"version": "4", "alerts": []}, "alerts"),
        ({"version": "4", "alerts": ["x"]}, "alerts[0]"),
        (changed(status="maybe"), "alerts[0].status"),
        (changed(startsAt="yesterday"), "alerts[0].startsAt"),
        (changed(startsAt=1), "alerts[0].startsAt"),
        (changed(fingerprint=""), "alerts[0].fingerprint"),
        (changed(labels={"alertname": 3}), "alerts[0].labels"),
        (changed(labels={"name": "chat"}), "alerts[0].labels.alertname"),
    ],
)
async def test_a_malformed_notification_is_explained(webhook, content, field):
    answer = await webhook.post(content)
    assert answer.status == 400
    problems = (await answer.json())["problems"]
    assert field in [problem["field"] for problem in problems]
    assert all(problem["message"] and problem["remedy"] for problem in problems)
    assert all(len(problem["value"]) <= 80 for problem in problems)
    assert webhook.queued == []
    assert webhook.outcomes == [Outcome.MALFORMED]


async def test_all_problems_are_told_at_once(webhook):
    answer = await webhook.post({"version": "3", "alerts": [{"status": "x"}]})
    fields = {problem["field"] for problem in (await answer.json())["problems"]}
    wanted = {"version", "alerts[0].status", "alerts[0].startsAt", "alerts[0].fingerprint", "alerts[0].labels"}
    assert fields == wanted


async def test_a_notification_too_large_is_refused_with_and_without_a_length(webhook):
    async def chunks():
        for _ in range(20):
            yield b" " * (alerts.MOST_BYTES // 10)

    assert (await webhook.post(b" " * (alerts.MOST_BYTES + 1))).status == 413
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert (await webhook.client.post("/alerts", data=chunks(), headers=headers)).status == 413
    assert webhook.outcomes == [Outcome.TOO_LARGE] * 2


async def test_memory_of_repetitions_is_bounded(webhook, monkeypatch):
    monkeypatch.setattr(alerts, "MOST_REMEMBERED", 2)
    for fingerprint in ("a", "b", "c", "c", "a"):
        await webhook.post(changed(fingerprint=fingerprint))
    assert [hint.fingerprint for hint in webhook.queued][:3] == ["a", "b", "c"]
    assert [hint.fingerprint for hint in webhook.queued][3:] == ["a"]
