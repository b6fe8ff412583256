"""Real Prometheus and Alertmanager: what is scraped, what fires, and what reaches the webhook with its token."""

from __future__ import annotations

import os

import aiohttp
import pytest
from aiohttp import web

from deepseek_operator.local.monitoring import Monitoring, Target, find_programs
from support.waiting import until

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.skipif(find_programs() is None, reason="apt-get install prometheus prometheus-alertmanager"),
]

RULES = {
    "groups": [
        {
            "name": "test",
            "rules": [
                {
                    "alert": "TooMuch",
                    "expr": 'tokens_total{name="chat"} > 10',
                    "labels": {"signal": "CostPerTokenHigh"},
                }
            ],
        }
    ]
}


class Receiver:
    """Serves metrics and takes alerts."""

    def __init__(self):
        self.value = 1
        self.alerts = []

    async def metrics(self, _):
        return web.Response(text=f'tokens_total{{namespace="demo",name="chat"}} {self.value}\n')

    async def webhook(self, request):
        self.alerts.append((request.headers.get("Authorization"), await request.json()))
        return web.Response()


async def test_an_alert_fires_reaches_the_webhook_with_its_token_and_is_resolved(tmp_path):
    receiver = Receiver()
    app = web.Application()
    app.router.add_get("/metrics", receiver.metrics)
    app.router.add_post("/alerts", receiver.webhook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"127.0.0.1:{runner.addresses[0][1]}"
    token = tmp_path / "token"
    token.write_text("secret")
    async with aiohttp.ClientSession() as http:
        monitoring = Monitoring(find_programs(), tmp_path / "monitoring", http, interval_s=0.5)
        started = await monitoring.start(
            rules=RULES, operator=address, webhook=f"http://{address}/alerts", token_file=token
        )
        pids = monitoring.pids
        monitoring.write_targets([Target(address, {"pod": "chat-1"})])
        try:
            assert started, "not ready: see the logs in tmp_path"
            receiver.value = 11
            await until(lambda: receiver.alerts, timeout_s=20)
            receiver.value = 1
            await until(lambda: len(receiver.alerts) > 1, timeout_s=20)
        finally:
            await monitoring.stop()
            await runner.cleanup()

    authorization, body = receiver.alerts[0]
    assert authorization == "Bearer secret"
    assert body["status"] == "firing"
    assert body["alerts"][0]["labels"]["signal"] == "CostPerTokenHigh"
    assert receiver.alerts[-1][1]["status"] == "resolved"
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
