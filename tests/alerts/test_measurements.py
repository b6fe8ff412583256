"""Asking Prometheus when it answers badly, late or not at all: absent with a reason, never zero."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deepseek_operator import prometheus
from deepseek_operator.prometheus import PrometheusMeasurements, expressions
from deepseek_planner.demand import LatencyTarget
from deepseek_planner.snapshot import DeploymentKey
from support.fleets import KEY, NOW, deployment

OTHER = DeploymentKey("team-b", "docs")


class Answers:
    """A server in Prometheus' place: every query gets the value that belongs to it, or one answer for all."""

    def __init__(self):
        self.queries = []
        self.values = {
            "covered_s": 900.0,
            "requests_per_min": 60.0,
            "minutes": (30.0, "NaN", 90.0, 60.0),
            "tokens_per_s": 600.0,
            "usd_per_s": 0.001,
            "mean_input_tokens": 500.0,
            "mean_output_tokens": 100.0,
        }
        self.answer = None
        self.delay_s = 0.0

    async def handle(self, request):
        form = await request.post()
        self.queries.append(form["query"])
        await asyncio.sleep(self.delay_s)
        if self.answer is not None:
            status, body = self.answer
            return web.Response(status=status, body=body)
        names = {query: name for name, query in expressions(900.0).items()}
        name = names.get(form["query"], "")
        values = self.values.get(name, 0.25)
        of = [{"namespace": key.namespace, "name": key.name} for key in (KEY, OTHER) if values is not None]
        of.append({"pod": "of-somebody-else"})
        if name == prometheus.MINUTES:
            samples = [[at_s, str(each)] for at_s, each in enumerate(values or (7,))]
            return self._as("matrix", [{"metric": labels, "values": samples} for labels in of])
        value = "7" if values is None else str(values)
        return self._as("vector", [{"metric": labels, "value": [1, value]} for labels in of])

    def _as(self, kind, result):
        return web.json_response({"status": "success", "data": {"resultType": kind, "result": result}})


@pytest.fixture
async def answers():
    made = Answers()
    application = web.Application()
    application.router.add_post("/api/v1/query", made.handle)
    async with TestServer(application) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


@pytest.fixture
async def measurements(answers):
    async with aiohttp.ClientSession() as session:
        yield PrometheusMeasurements(answers.url, window_s=900.0, session=session, timeout_s=0.5)


async def measure(measurements, *deployments):
    return await measurements.measured(deployments or [deployment()], now=NOW)


async def test_all_deployments_are_measured_with_the_same_few_queries(answers, measurements):
    one = deployment()
    found = await measure(measurements, one, replace(one, key=OTHER))
    assert set(found) == {KEY, OTHER}
    assert len(answers.queries) == len(prometheus.QUERIES) + 2
    seen = found[KEY]
    assert (seen.requests_per_min, seen.peak_requests_per_min, seen.tokens_per_s) == (60.0, 90.0, 600.0)
    assert (seen.covered_s, seen.window_s) == (900.0, 900.0)
    assert seen.minutes == (30.0, 90.0, 60.0)
    assert seen.usd_per_hour == 3_600_000
    assert seen.usd_per_million_tokens == pytest.approx(1_666_667, abs=1)
    assert (seen.time_to_first_token_s, seen.time_per_output_token_s) == (0.25, 0.25)


async def test_each_percentile_is_asked_once(answers, measurements):
    one = deployment()
    slow = replace(one, key=OTHER, objectives=replace(one.objectives, time_to_first_token=LatencyTarget(50, 2.0)))
    await measure(measurements, one, slow, replace(one, key=DeploymentKey("team-c", "x")))
    quantiles = [query for query in answers.queries if "histogram_quantile" in query]
    assert sorted(query.split("(")[2].split(",")[0] for query in quantiles) == ["0.5", "0.95", "0.95"]


async def test_without_objectives_and_deployments_nothing_superfluous_is_asked(answers, measurements):
    one = deployment()
    free = replace(one, objectives=replace(one.objectives, time_to_first_token=None, time_per_output_token=None))
    seen = (await measure(measurements, free))[KEY]
    assert seen.time_to_first_token_s is None
    assert len(answers.queries) == len(prometheus.QUERIES)
    answers.queries.clear()
    assert await measurements.measured([], now=NOW) == {}
    assert answers.queries == []


async def test_coverage_never_exceeds_the_window(answers, measurements):
    answers.values["covered_s"] = 960.0
    assert (await measure(measurements))[KEY].covered_s == 900.0


@pytest.mark.parametrize("missing", prometheus.ESSENTIAL)
@pytest.mark.parametrize("value", [None, "NaN", "+Inf"])
async def test_without_an_essential_number_a_deployment_is_absent(answers, measurements, missing, value):
    answers.values[missing] = (value,) if missing == prometheus.MINUTES and value else value
    assert await measure(measurements) == {}


async def test_probes_of_a_quiet_engine_are_no_latencies_of_requests(answers, measurements):
    answers.values.update(requests_per_min=0.0, tokens_per_s=0.0)
    seen = (await measure(measurements))[KEY]
    assert (seen.time_to_first_token_s, seen.time_per_output_token_s) == (None, None)


async def test_what_is_not_essential_is_none_and_not_zero(answers, measurements):
    answers.values.update(usd_per_s=None, mean_input_tokens="NaN", tokens_per_s=0.0)
    seen = (await measure(measurements))[KEY]
    assert seen.usd_per_hour is None
    assert seen.usd_per_million_tokens is None
    assert seen.mean_input_tokens is None
    assert seen.tokens_per_s == 0.0


async def test_dollars_without_tokens_have_no_cost_per_token(answers, measurements):
    answers.values["tokens_per_s"] = 0.0
    seen = (await measure(measurements))[KEY]
    assert seen.usd_per_hour == 3_600_000
    assert seen.usd_per_million_tokens is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"oops"),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (422, json.dumps({"status": "error", "errorType": "execution", "error": "too many samples"}).encode()),
        (200, json.dumps({"status": "success", "data": {"resultType": "scalar", "result": []}}).encode()),
        (200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": [{}]}}).encode()),
    ],
)
async def test_a_bad_answer_leaves_everything_absent_and_is_told_once(answers, measurements, caplog, status, body):
    answers.answer = (status, body)
    with caplog.at_level(logging.WARNING):
        assert await measure(measurements) == {}
        assert await measure(measurements) == {}
    assert len(caplog.records) == 1
    assert answers.url in caplog.text
    answers.answer = None
    with caplog.at_level(logging.INFO):
        assert set(await measure(measurements)) == {KEY}
    assert "answers again" in caplog.text


async def test_an_endless_answer_is_cut_off(answers, measurements, monkeypatch, caplog):
    monkeypatch.setattr(prometheus, "MOST_BYTES", 1000)
    answers.answer = (200, b" " * 5000)
    assert await measure(measurements) == {}
    assert "more than 1000 bytes" in caplog.text


async def test_a_late_answer_is_not_waited_for(answers, measurements, caplog):
    answers.delay_s = 5.0
    assert await measure(measurements) == {}
    assert "no answer within 0.5 s" in caplog.text


async def test_nobody_there_is_absent(unused_tcp_port, caplog):
    measurements = PrometheusMeasurements(f"http://127.0.0.1:{unused_tcp_port}", window_s=900.0)
    assert await measure(measurements) == {}
    await measurements.close()
    assert "nothing is measured" in caplog.text


@pytest.mark.parametrize("window_s", [10.0, 30.0, 900.0, 3600.0])
def test_steps_cover_the_window_and_none_is_empty(window_s):
    for name, query in expressions(window_s).items():
        assert "{window}" not in query, name
        assert "[0s" not in query
    assert "[15m:1m]) * 60" in expressions(900.0)["covered_s"]
    assert "(rate(deepseek_requests_total[1m]))" in expressions(900.0)["minutes"]
