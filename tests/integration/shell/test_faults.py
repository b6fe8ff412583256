"""What the operator does when the way to the API server is cut, and when alerts come in."""

from __future__ import annotations

import json
import time

import pytest

from deepseek_operator.world import Kind
from support.cluster import until

pytestmark = pytest.mark.cluster

RENEW_DEADLINE_S = 2


def test_cut_watches_come_back_and_miss_nothing(scene, operate, tunnel):
    operator = operate(DEEPSEEK_RELIST="3600")
    until(lambda: operator.leads, what="it leads")
    time.sleep(1)
    assert tunnel.cut() > 5
    scene.apply()
    until(scene.groups, what="what was applied after the cut is seen")
    scene.wait_for("Planned", "True")
    assert operator.process.poll() is None


def test_what_was_deleted_during_a_cut_is_found_gone_by_the_next_full_read(scene, operate, tunnel):
    operator = operate(DEEPSEEK_RELIST="3", DEEPSEEK_LEADER_ELECTION="false")
    scene.apply()
    until(scene.groups, what="a group of engines")
    tunnel.close()
    scene.cluster.delete(Kind.SERVICE, scene.namespace, "chat")
    time.sleep(1)
    tunnel.reopen()
    until(lambda: ("Service", "chat") in scene.children(), what="the service is made again", timeout_s=60)
    assert operator.process.poll() is None


def test_a_leader_without_a_server_ends_before_another_may_begin(operate, tunnel):
    operator = operate()
    until(lambda: operator.leads, what="it leads")
    tunnel.close()
    began = time.monotonic()
    assert operator.process.wait(30) == 1
    # The deadline, one attempt that may be under way, and the process's own end.
    assert time.monotonic() - began < RENEW_DEADLINE_S + 8
    assert "leadership is lost" in operator.log.read_text()


# Alerts

ALERT = {
    "status": "firing",
    "labels": {"alertname": "UtilizationLow", "namespace": "team-a", "name": "chat"},
    "annotations": {},
    "startsAt": "2026-11-22T12:00:00Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "fingerprint": "abc",
}


def notify(operator, token="secret", **changes):
    payload = {"version": "4", "status": "firing", "alerts": [{**ALERT, **changes}]}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    status, text = operator.ask("/alerts", json.dumps(payload).encode(), **headers)
    return status, json.loads(text)


def cycles(operator):
    lines = operator.ask("/metrics")[1].splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("deepseek_cycle_seconds_count"))


def test_an_alert_wakes_the_loop_and_does_nothing_else(scene, operate, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    operator = operate(DEEPSEEK_ALERT_TOKEN_FILE=str(tmp_path / "token"), DEEPSEEK_RESYNC="3600")
    scene.apply()
    scene.wait_for("Planned", "True")
    until(lambda: _rests(operator), what="the loop rests", timeout_s=60)
    children = scene.children()
    until(lambda: _rests(operator, after=_refused), what="a refused alert wakes nobody", timeout_s=60)
    before = cycles(operator)
    assert notify(operator) == (200, {"queued": 1, "known": 0})
    until(lambda: cycles(operator) > before, what="one cycle more")
    until(lambda: _rests(operator, after=_repeated), what="an alert that is known wakes nobody", timeout_s=60)
    assert scene.children() == children


def _refused(operator):
    assert notify(operator, token="wrong")[0] == 401
    assert notify(operator, startsAt="yesterday")[0] == 400


def _repeated(operator):
    assert notify(operator) == (200, {"queued": 0, "known": 1})


def _rests(operator, after=lambda _: None):
    """Whether no cycle follows; asked again where one does, for a node of the cluster may have changed just then."""
    before = cycles(operator)
    after(operator)
    time.sleep(7)
    return cycles(operator) == before


def test_who_does_not_lead_asks_to_be_asked_later(operate, tmp_path):
    (tmp_path / "token").write_text("secret")
    first = operate()
    until(lambda: first.leads, what="the first leads")
    second = operate(DEEPSEEK_ALERT_TOKEN_FILE=str(tmp_path / "token"))
    assert notify(second)[0] == 503


def test_the_probes_and_what_they_say(operate, tunnel):
    operator = operate()
    until(lambda: operator.leads, what="it leads")  # ready is also who waits for the lease
    assert json.loads(operator.ask("/healthz")[1]) == {"ok": True, "leader": True, "problems": []}
    status, text = operator.ask("/metrics")
    assert status == 200
    assert "deepseek_cycle_seconds_bucket" in text
