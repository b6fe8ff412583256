"""The engine pod with real vLLM on the CPU. One engine serves the first tests and is drained by the last of them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from deepseek_runtime.launchspec import Weights

from .conftest import Engine, Starter

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(420)]

# The rotary embedding that eager mode turns on is wrong for latent attention on CPUs: an engine without our flag.
WRONG_LOGITS = """
import sys
from deepseek_runtime import __main__, engine_args
engine_args._CPU_FLAGS = ("--enforce-eager",)
sys.exit(__main__.main())
"""


@pytest.fixture(scope="module")
def engine(start: Starter) -> Engine:
    return start(drain_delay_s=3, drain_timeout_s=60).wait_ready()


def stream(engine: Engine, tokens: int) -> tuple[int, int, bool]:
    """(status, tokens, whether it ended as it should). A busy server puts several tokens into one event."""
    body = {"model": "deepseek-tiny", "prompt": "one two", "max_tokens": tokens, "stream": True, "ignore_eos": True}
    body["stream_options"] = {"include_usage": True}
    with requests.post(f"{engine.url}/v1/completions", json=body, timeout=90, stream=True) as answer:
        lines = [line.decode() for line in answer.iter_lines() if line.startswith(b"data: ")]
    failed = any(line.startswith('data: {"error"') for line in lines)
    usage = json.loads(lines[-2].removeprefix("data: ")).get("usage") or {}
    return answer.status_code, usage.get("completion_tokens", 0), lines[-1] == "data: [DONE]" and not failed


def test_it_was_checked_against_the_reference(engine: Engine) -> None:
    assert "check: generated a token; mean |logprob - reference| = 0.0" in engine.log
    metrics = engine.metrics()
    assert metrics["vllm:generation_tokens_total"] >= 2  # the check itself, which is neither served nor demand
    assert metrics["vllm:request_prompt_tokens_count"] == metrics["vllm:request_prompt_tokens_sum"] == 0
    assert metrics['deepseek_tokens_total{direction="input"}'] == 0


def test_it_answers_a_chat_and_meters_what_it_answered(engine: Engine) -> None:
    before = engine.metrics()
    answer = engine.post("/v1/chat/completions", messages=[{"role": "user", "content": "Hello"}], max_tokens=12)
    assert answer.status_code == 200
    usage = answer.json()["usage"]
    after = engine.metrics()
    grown = {
        direction: after[f'deepseek_tokens_total{{direction="{direction}"}}']
        - before[f'deepseek_tokens_total{{direction="{direction}"}}']
        for direction in ("input", "cached", "output")
    }
    assert grown["input"] + grown["cached"] == usage["prompt_tokens"]
    assert grown["output"] == usage["completion_tokens"] == 12
    assert after["deepseek_spend_usd_total"] > before["deepseek_spend_usd_total"]
    assert after["deepseek_actual_usd_per_hour"] == pytest.approx(3.6)
    assert after["deepseek_actual_usd_per_million_tokens"] > 0


def test_logprobs_do_not_need_a_compiler(engine: Engine) -> None:
    answer = engine.post("/v1/completions", prompt="a", max_tokens=2, logprobs=3, top_p=0.9, top_k=5, seed=1)
    assert answer.status_code == 200
    assert len(answer.json()["choices"][0]["logprobs"]["token_logprobs"]) == 2


def test_a_stream_is_timed_at_the_front_door(engine: Engine) -> None:
    before = engine.metrics()
    assert stream(engine, 20)[0] == 200
    after = engine.metrics()
    for name in ("deepseek_time_to_first_token_seconds", "deepseek_time_per_output_token_seconds"):
        assert after[f"{name}_count"] - before[f"{name}_count"] == 1
        assert 0 < after[f"{name}_sum"] - before[f"{name}_sum"] < 5


def test_a_client_that_goes_away_is_no_served_token(engine: Engine) -> None:
    before = engine.metrics()
    body = {"model": "deepseek-tiny", "prompt": "x", "max_tokens": 1500, "stream": True, "ignore_eos": True}
    with requests.post(f"{engine.url}/v1/completions", json=body, timeout=60, stream=True) as answer:
        next(answer.iter_lines())
    until = time.monotonic() + 20
    while (
        engine.metrics()['deepseek_requests_total{outcome="aborted"}']
        == before['deepseek_requests_total{outcome="aborted"}']
    ):
        assert time.monotonic() < until
        time.sleep(0.2)
    after = engine.metrics()
    assert after['deepseek_tokens_total{direction="output"}'] == before['deepseek_tokens_total{direction="output"}']
    assert after["vllm:generation_tokens_total"] > before["vllm:generation_tokens_total"]
    assert after["deepseek_requests_in_flight"] == 0


def test_every_second_of_its_life_is_accounted_for(engine: Engine) -> None:
    metrics = engine.metrics()
    states = {
        state: metrics[f'deepseek_gpu_seconds_total{{state="{state}"}}'] for state in ("useful", "idle", "cold_start")
    }
    assert all(seconds > 0 for seconds in states.values())
    phases = sum(
        metrics[f'deepseek_cold_start_seconds{{phase="{phase}"}}'] for phase in ("weights", "engine", "warmup")
    )
    assert phases == pytest.approx(states["cold_start"], abs=2)
    assert metrics["deepseek_spend_usd_total"] == pytest.approx(sum(states.values()) * 0.001, rel=0.05)


def test_a_price_change_reaches_it_without_a_restart(engine: Engine) -> None:
    (engine.directory / "price.json").write_text('{"usdPerReplicaHour": "36", "source": "test"}')
    first = engine.metrics()
    time.sleep(6)
    second = engine.metrics()
    time.sleep(2)
    third = engine.metrics()
    paid = third["deepseek_spend_usd_total"] - second["deepseek_spend_usd_total"]
    assert paid > 0.015
    assert paid > 2 * (second["deepseek_spend_usd_total"] - first["deepseek_spend_usd_total"]) / 6


def test_it_drains_without_cutting_a_stream_or_refusing_a_request(engine: Engine) -> None:
    with ThreadPoolExecutor(5) as pool:
        long = [pool.submit(stream, engine, 300) for _ in range(4)]
        until = time.monotonic() + 20
        while engine.metrics()["deepseek_requests_in_flight"] < 4:
            assert time.monotonic() < until
            time.sleep(0.05)
        engine.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert not engine.is_ready()
        late = []
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            answer = engine.post("/v1/completions", prompt="late", max_tokens=3)
            late.append((answer.status_code, answer.headers.get("connection")))
        assert set(late) == {(200, "close")}
        assert [each.result() for each in long] == [(200, 300, True)] * 4
    assert engine.wait_end(60) == 0
    assert "Drained: every request was answered" in engine.log
    totals = json.loads((engine.directory / "meter.json").read_text())
    assert totals["tokens"][2] >= 4 * 300 + 3 * len(late)
    assert totals["seconds"]["draining"] > 3


def test_wrong_logits_never_become_ready(start: Starter) -> None:
    engine = start(program=WRONG_LOGITS)
    seen_ready = threading.Event()

    def look() -> None:
        while engine.process.poll() is None:
            if engine.is_ready():
                seen_ready.set()
            time.sleep(0.1)

    looking = threading.Thread(target=look)
    looking.start()
    assert engine.wait_end(300) == 12, engine.log[-3000:]
    looking.join()
    assert not seen_ready.is_set()
    assert engine.termination["reason"] == "WrongLogits"
    assert "this engine computes another model" in engine.termination["message"]


def test_a_killed_core_ends_the_pod_as_a_failure_although_vllm_ends_with_0(start: Starter) -> None:
    engine = start().wait_ready()
    server, core = engine.pids()
    os.kill(core, signal.SIGKILL)
    until = time.monotonic() + 3
    while engine.is_ready():
        assert time.monotonic() < until
        time.sleep(0.1)
    assert engine.wait_end(60) == 11
    assert engine.termination["reason"] == "EngineCrashed"
    for pid in (server, core):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("changes", "code", "reason", "message"),
    [
        ({"weights": Weights(path="/nowhere")}, 3, "WeightsNotFound", "weights.path: '/nowhere': no config.json there"),
        ({"precision": "int8"}, 6, "PrecisionUnsupported", "precision: 'int8' on cpu"),
        ({"engine": {"extra_args": ("--trust-remote-code",)}}, 2, "InvalidLaunchSpec", "runs code from the checkpoint"),
    ],
)
def test_what_cannot_be_served_is_told_to_kubernetes(
    start: Starter, changes: dict[str, object], code: int, reason: str, message: str
) -> None:
    engine = start(**changes)
    assert engine.wait_end(60) == code
    assert engine.termination["reason"] == reason
    assert message in engine.termination["message"]
