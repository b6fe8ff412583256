"""A real Prometheus and a real Alertmanager on loopback: scraped, alerted, delivered, measured."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web

from deepseek_operator import alert_rules, dashboard
from deepseek_operator.alerts import Outcome, alerts_handler
from deepseek_operator.local.monitoring import Monitoring, Target, find_programs
from deepseek_operator.prometheus import PrometheusMeasurements
from deepseek_planner.signals import SIGNALS, windows
from support.fleets import KEY, deployment
from support.prometheus_programs import INSTALL

pytestmark = pytest.mark.prometheus

INTERVAL_S = 0.5
WINDOW_S = 6.0
SHORT = windows(window_s=WINDOW_S, for_s=1.0, keep_firing_s=1.0)
WHO = 'namespace="team-a",name="chat"'
TOKEN = "of-the-test"


@dataclass
class Engine:
    """Counters of one engine under a load that a test turns up and down, as an engine exposes them."""

    requests_per_s: float = 4.0
    tokens_per_request: float = 100.0
    capacity: float = 4000.0
    first_token_s: float = 0.15
    usd_per_hour: float = 3.6
    started: float = field(default_factory=time.monotonic)
    requests: float = 0.0
    ready: int = 1
    waiting_per_s: float = 0.0
    waiting: float = 0.0

    def metrics(self) -> str:
        now = time.monotonic()
        elapsed_s, self.started = now - self.started, now
        self.requests += elapsed_s * self.requests_per_s
        self.waiting += elapsed_s * self.waiting_per_s
        self.spend = getattr(self, "spend", 0.0) + elapsed_s * self.usd_per_hour / 3600
        requests, tokens = self.requests, self.requests * self.tokens_per_request
        lines = [
            f'deepseek_requests_total{{{WHO},outcome="succeeded"}} {requests * 0.75}',
            f'deepseek_requests_total{{{WHO},outcome="rejected"}} {requests * 0.25}',
            f'deepseek_tokens_total{{{WHO},direction="input"}} {tokens * 0.8}',
            f'deepseek_tokens_total{{{WHO},direction="output"}} {tokens * 0.2}',
            f"deepseek_engine_ready{{{WHO}}} {self.ready}",
            f"deepseek_requests_in_flight{{{WHO}}} {self.waiting}",
            f"deepseek_spend_usd_total{{{WHO}}} {self.spend:.9f}",
            f"vllm:request_prompt_tokens_sum{{{WHO}}} {tokens * 0.8}",
            f"vllm:request_prompt_tokens_count{{{WHO}}} {requests}",
            f"vllm:request_generation_tokens_sum{{{WHO}}} {tokens * 0.2}",
            f"vllm:request_generation_tokens_count{{{WHO}}} {requests}",
            # The operator's own.
            f"deepseek_plan_capacity_tokens_per_second{{{WHO}}} {self.capacity}",
            f'deepseek_plan_usd_per_million_tokens{{{WHO},model="m"}} 2.5',
            f'deepseek_objective_seconds{{{WHO},objective="TimeToFirstToken",percentile="95"}} 1',
        ]
        for bound in (0.1, 0.2, 1.0, 2.0, float("inf")):
            count = requests if self.first_token_s <= bound else 0.0
            le = "+Inf" if bound == float("inf") else bound
            lines.append(f'deepseek_time_to_first_token_seconds_bucket{{{WHO},le="{le}"}} {count}')
        return "\n".join(lines) + "\n"


@dataclass
class Stage:
    """Everything of one test: engine, webhook, both programs."""

    engine: Engine
    monitoring: Monitoring
    http: aiohttp.ClientSession
    queued: list = field(default_factory=list)
    outcomes: list = field(default_factory=list)
    has_room: bool = True

    def wake(self, hint):
        if self.has_room:
            self.queued.append(hint)
        return self.has_room

    def measurements(self):
        return PrometheusMeasurements(self.monitoring.prometheus_url, window_s=WINDOW_S, session=self.http)

    async def query(self, expression):
        url = f"{self.monitoring.prometheus_url}/api/v1/query"
        async with self.http.post(url, data={"query": expression}) as answer:
            return await answer.json()


async def until(claim, what, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = claim()
        found = await found if asyncio.iscoroutine(found) else found
        if found:
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"{what}: not within {timeout_s} s")


@pytest.fixture
async def stage(tmp_path):
    programs = find_programs()
    if programs is None:  # Debian packages, and PyPI has none
        pytest.skip(f"prometheus and prometheus-alertmanager are not installed: {INSTALL}")
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    async with aiohttp.ClientSession() as http:
        monitoring = Monitoring(programs, tmp_path / "monitoring", http, INTERVAL_S)
        made = Stage(Engine(), monitoring, http)
        handler = alerts_handler(token_file=str(token_file), wake=made.wake, count=made.outcomes.append)
        application = web.Application()

        async def metrics(_):
            return web.Response(text=made.engine.metrics())

        application.add_routes([web.get("/metrics", metrics), web.post("/alerts", handler)])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            started = await monitoring.start(
                rules=alert_rules.rule_file(SHORT),
                operator="127.0.0.1:9",  # the engine's exporter shows the operator's series too
                webhook=f"http://127.0.0.1:{port}/alerts",
                token_file=token_file,
            )
            assert started, "Prometheus or Alertmanager did not become ready"
            # Labels of the scrape that differ from the engine's own: the engine's must win.
            monitoring.write_targets([Target(f"127.0.0.1:{port}", {"namespace": "monitoring", "pod": "engine-0"})])
            yield made
        finally:
            await monitoring.stop()
            await runner.cleanup()


async def test_an_alert_is_delivered_retried_and_resolved(stage):
    stage.has_room = False
    # 400 tokens/s of 4000: too little, and $2.50 per million as planned.
    await until(lambda: Outcome.UNAVAILABLE in stage.outcomes, "a notification that is answered with 503")
    assert stage.queued == []
    stage.has_room = True
    await until(lambda: stage.queued, "the retry of the notification")
    hint = stage.queued[0]
    assert (hint.alert, hint.status, hint.key) == ("UtilizationLow", "firing", KEY)
    stage.engine.capacity = 800.0
    await until(lambda: any(hint.status == "resolved" for hint in stage.queued), "the end of the alert")
    assert {hint.alert for hint in stage.queued} == {"UtilizationLow"}
    assert Outcome.UNAUTHORIZED not in stage.outcomes
    assert Outcome.MALFORMED not in stage.outcomes


async def test_late_first_tokens_fire_the_burn_and_a_high_cost_its_alert(stage):
    stage.engine.capacity, stage.engine.first_token_s, stage.engine.usd_per_hour = 800.0, 1.5, 9.0
    wanted = {"TimeToFirstTokenBurn", "CostPerTokenHigh"}
    await until(lambda: {hint.alert for hint in stage.queued} >= wanted, f"{wanted} firing")
    harmless = {"UtilizationLow"}  # in the first seconds, since this test's alerts wait for less than their window
    assert {hint.alert for hint in stage.queued} <= wanted | harmless


async def test_load_and_service_are_measured_as_they_are(stage):
    one = deployment()
    silent = replace(one, key=replace(KEY, name="silent"))
    measurements = stage.measurements()

    async def full():
        found = await measurements.measured([one, silent], now=datetime.now(UTC))
        return found if found and found[KEY].covered_s >= WINDOW_S else None

    first = await until(lambda: measurements.measured([one], now=datetime.now(UTC)), "first measurements")
    assert first[KEY].covered_s < WINDOW_S, "a young series does not fill the window"
    seen = (await until(full, "a full window"))[KEY]
    assert set(await measurements.measured([one, silent], now=datetime.now(UTC))) == {KEY}
    assert seen.requests_per_min == pytest.approx(240, rel=0.2)
    assert seen.peak_requests_per_min == pytest.approx(240, rel=0.2)
    assert len(seen.minutes) >= 5
    assert seen.minutes[-1] == pytest.approx(240, rel=0.2)
    assert seen.tokens_per_s == pytest.approx(400, rel=0.2)
    assert seen.mean_input_tokens == pytest.approx(80, rel=0.02)
    assert seen.mean_output_tokens == pytest.approx(20, rel=0.02)
    assert seen.usd_per_hour / 1e6 == pytest.approx(3.6, rel=0.2)
    assert seen.usd_per_million_tokens / 1e6 == pytest.approx(2.5, rel=0.2)
    assert 0.1 <= seen.time_to_first_token_s <= 0.2
    assert seen.time_per_output_token_s is None, "no such series: absent, not zero"


async def test_requests_that_pile_up_are_demand_too(stage):
    stage.engine.requests_per_s, stage.engine.waiting_per_s = 0.0, 4.0
    one, measurements = deployment(), stage.measurements()

    async def full():
        found = await measurements.measured([one], now=datetime.now(UTC))
        return found if found and found[KEY].covered_s >= WINDOW_S else None

    seen = (await until(full, "a full window"))[KEY]
    assert seen.requests_per_min == pytest.approx(240, rel=0.2)
    assert seen.peak_requests_per_min == pytest.approx(240, rel=0.3)


async def test_engines_that_only_start_say_nothing_about_the_demand(stage):
    stage.engine.ready, stage.engine.requests_per_s = 0, 0.0
    one, measurements = deployment(), stage.measurements()

    async def scraped():
        answer = await stage.query(f'count_over_time(deepseek_engine_ready{{namespace="team-a"}}[{WINDOW_S:.0f}s]) > 3')
        return answer["data"]["result"]

    await until(scraped, "a few scrapes of an engine that is not ready")
    assert await measurements.measured([one], now=datetime.now(UTC)) == {}
    stage.engine.ready = 1
    found = await until(lambda: measurements.measured([one], now=datetime.now(UTC)), "measurements once it is ready")
    assert found[KEY].covered_s < WINDOW_S


async def test_what_is_gone_is_absent_and_never_zero(stage):
    one, measurements = deployment(), stage.measurements()
    await until(lambda: measurements.measured([one], now=datetime.now(UTC)), "measurements")
    stage.monitoring.write_targets([])

    async def faded():
        found = await measurements.measured([one], now=datetime.now(UTC))
        return KEY not in found or found[KEY].covered_s < WINDOW_S

    await until(faded, "an engine that nobody scrapes any more leaves the window uncovered")
    await stage.monitoring.stop()
    assert await measurements.measured([one], now=datetime.now(UTC)) == {}


async def test_prometheus_reads_every_expression_of_the_dashboard_and_the_rules(stage):
    await until(lambda: stage.measurements().measured([deployment()], now=datetime.now(UTC)), "measurements")
    expressions = [signal.expression(SHORT) for signal in SIGNALS]
    for panel in json.loads(dashboard.text())["panels"]:
        expressions += [line["expr"].replace("$namespace", ".*").replace("$name", ".*") for line in panel["targets"]]
    for expression in expressions:
        answer = await stage.query(expression)
        assert answer["status"] == "success", f"{expression}: {answer}"
        who = [(item["metric"].get("namespace"), item["metric"].get("name")) for item in answer["data"]["result"]]
        assert set(who) <= {("team-a", "chat")}, expression
