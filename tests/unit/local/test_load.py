from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from deepseek_operator.local import load, traffic
from deepseek_operator.local.traffic import Arrival

TRACE = "# a comment\ntimestamp_s,input_tokens,output_tokens\n0,100,10\n1,200,20\n4,300,30\n"


class Server:
    """Answers like an engine; ``fault`` names what goes wrong with every third request."""

    def __init__(self):
        self.fault = ""
        self.asked = []
        self.times = []

    async def completions(self, request):
        asked = await request.json()
        self.times.append(asyncio.get_running_loop().time())
        self.asked.append(asked)
        fault = self.fault if len(self.asked) % 3 == 0 else ""
        usage = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": asked["max_tokens"]}
        if fault == "500":
            return web.json_response({"error": "broken"}, status=500)
        if not asked["stream"]:
            return web.json_response({"choices": [{"text": "x"}], "usage": usage})
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(asked["max_tokens"]):
            await asyncio.sleep(0.005)
            await answer.write(b'data: {"choices": [{"text": "x"}]}\n\n')
        if fault == "abort":
            request.transport.abort()
            return answer
        if fault == "error event":
            await answer.write(b'data: {"error": {"message": "engine died"}}\n\n')
        await answer.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
        if fault != "no done":
            await answer.write(b"data: [DONE]\n\n")
        return answer


@pytest.fixture
async def server():
    made = Server()
    app = web.Application()
    app.router.add_post("/v1/completions", made.completions)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def send(server, arrivals, stream_percent=100):
    async with aiohttp.ClientSession() as http:
        run = load.Load(http, server.url, "tiny", stream_percent)
        await run.run(arrivals)
    return load.summarize(run.outcomes)


async def test_a_clean_run_counts_tokens_and_latencies(server):
    summary = await send(server, [Arrival(0, 7, 5)] * 4)

    assert summary.is_clean
    assert (summary.requests, summary.input_tokens, summary.output_tokens) == (4, 28, 20)
    assert summary.first_token_s["p50"] >= 0.005
    assert 0.004 < summary.per_token_s["p50"] < 0.05


async def test_half_of_the_requests_stream_when_asked_for_half(server):
    await send(server, [Arrival(0, 7, 2)] * 10, stream_percent=50)

    assert sum(asked["stream"] for asked in server.asked) == 5


@pytest.mark.parametrize("fault", ["abort", "no done", "error event"])
async def test_a_stream_that_does_not_come_whole_is_cut(server, fault):
    server.fault = fault
    summary = await send(server, [Arrival(0, 7, 3)] * 6)

    assert (summary.cut, summary.non_2xx, summary.good) == (2, 0, 4)
    assert not summary.is_clean
    assert summary.errors


async def test_an_error_status_is_non_2xx(server):
    server.fault = "500"
    summary = await send(server, [Arrival(0, 7, 3)] * 6, stream_percent=50)

    assert (summary.non_2xx, summary.cut, summary.unanswered) == (2, 0, 0)


async def test_a_server_that_is_not_there_leaves_requests_unanswered(server):
    server.url = "http://127.0.0.1:1"
    summary = await send(server, [Arrival(0, 7, 3)] * 2)

    assert (summary.unanswered, summary.good) == (2, 0)


async def test_requests_leave_on_time_while_earlier_ones_are_still_answered(server):
    await send(server, [Arrival(0.0, 2, 60), Arrival(0.1, 2, 2), Arrival(0.2, 2, 2)])

    assert server.times[2] - server.times[0] == pytest.approx(0.2, abs=0.08)


def test_a_trace_is_read_scaled_and_repeated(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text(TRACE)
    scaled = traffic.scale(traffic.read(file), divide_tokens=10, requests_per_s=1.0)
    again = [next(numbers) for numbers in [traffic.repeat(scaled)] for _ in range(4)]

    assert [arrival.at_s for arrival in scaled] == [0, 0.5, 2.0]
    assert [arrival.input_tokens for arrival in scaled] == [10, 20, 30]
    assert [arrival.output_tokens for arrival in scaled] == [2, 2, 3]
    assert again[3].at_s == 3.0


def test_prompts_have_the_length_asked_for_and_differ():
    first, second = (traffic.prompt(Arrival(0, 50, 1), seed=seed) for seed in (1, 2))

    assert len(first) == len(second) == 50
    assert first != second
    assert first == traffic.prompt(Arrival(0, 50, 1), seed=1)


@pytest.mark.parametrize(
    ("text", "said"), [("", "no request"), ("a,b\n1,2\n", "timestamp_s"), ("timestamp_s,input_tokens\n1,2\n", "output")]
)
def test_a_trace_that_cannot_be_read_says_what_it_needs(tmp_path, text, said, capsys):
    file = tmp_path / "trace.csv"
    file.write_text(text)

    assert load.main(["--url", "http://127.0.0.1:1", "--model", "m", "--trace", str(file)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--stream", "150%"], ["--rate", "-1"], ["--requests", "0"]])
def test_bad_options_are_refused_with_the_value(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        load.parse(["--url", "u", "--model", "m", "--trace", "t", *option])

    assert stopped.value.code == 2
    assert option[0] in capsys.readouterr().err


@pytest.mark.parametrize(("percent", "value"), [(50, 2), (95, 4), (1, 1)])
def test_percentiles_are_of_the_values_themselves(percent, value):
    assert load.percentile([4, 1, 3, 2], percent) == value
    assert load.percentile([], percent) is None
