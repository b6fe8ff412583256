"""The supervisor around a real process that has vLLM's manners: ready, crash, stuck, drain."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from deepseek_runtime import health
from deepseek_runtime.engine_args import Command
from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.launch import Supervisor, serve
from deepseek_runtime.launchspec import Weights
from deepseek_runtime.pricing import PriceFile
from support import scripted_engine
from support.launch_specs import launch_spec, write_checkpoint, write_reference
from support.ports import free_ports
from support.waiting import until


class Pod:
    """A supervisor in this process, its engine in another."""

    def __init__(self, directory: Path, *, fault: str = "", **changes: object) -> None:
        self.port, self.metrics_port = free_ports(2)
        checkpoint = write_checkpoint(directory / "weights")
        write_reference(checkpoint)
        spec = launch_spec(
            weights=Weights(path=str(checkpoint)), port=self.port, metrics_port=self.metrics_port, **changes
        )
        (directory / "price.json").write_text('{"usdPerReplicaHour": "3.60"}')
        script = (scripted_engine.__file__, str(self.port), str(checkpoint))
        self.supervisor = Supervisor(
            spec,
            PriceFile(directory / "price.json"),
            directory=directory,
            command=lambda *_, **__: Command(arguments=script, env={"FAULT": fault}),
            watch_now=lambda: health.Watch(
                asyncio.get_running_loop().time(), probe_every_s=0.5, stalled_after_s=1, silent_after_s=1
            ),
        )
        self.task: asyncio.Task[tuple[Reason, str]] | None = None

    def start(self) -> asyncio.Task[tuple[Reason, str]]:
        self.task = asyncio.create_task(self.supervisor.run())
        return self.task

    async def ready(self) -> None:
        task = self.start()
        await until(lambda: self.supervisor.is_ready or task.done())
        assert not task.done(), task.result()

    def terminate(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    async def stream(self, session: aiohttp.ClientSession, tokens: int) -> tuple[int, int, bool]:
        asked = {"prompt": "hello", "max_tokens": tokens, "stream": True}
        async with session.post(f"http://127.0.0.1:{self.port}/v1/completions", json=asked) as answer:
            text = await answer.text()
        return answer.status, text.count('"text"'), text.rstrip().endswith("[DONE]")

    async def metric(self, name: str, **labels: str) -> float | None:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = [line for line in lines if line.startswith(name + "{") and all(each in line for each in wanted)]
        return float(found[0].rsplit(" ", 1)[1]) if found else None


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepseek_runtime.launch.TICK_S", 0.05)
    monkeypatch.setattr("deepseek_runtime.launch._SCRAPE_EVERY_S", 0.1)
    monkeypatch.setattr("deepseek_runtime.launch._PROBE_TIMEOUT_S", 0.5)
    monkeypatch.setattr("deepseek_runtime.drain.QUIET_S", 0.1)
    monkeypatch.setenv("DEEPSEEK_HOST", "127.0.0.1")


async def test_it_serves_meters_and_drains_without_cutting_a_stream(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pod = Pod(tmp_path, drain_delay_s=1)
    await pod.ready()
    async with aiohttp.ClientSession() as session:
        long = [asyncio.create_task(pod.stream(session, 100)) for _ in range(4)]
        await asyncio.sleep(0.3)
        assert await pod.metric("deepseek_requests_in_flight") == 4
        pod.terminate()
        await until(lambda: not pod.supervisor.is_ready, timeout_s=1)
        for _ in range(5):  # endpoints are told late: these must be served too
            assert await pod.stream(session, 3) == (200, 3, True)
            await asyncio.sleep(0.1)
        assert await asyncio.gather(*long) == [(200, 100, True)] * 4
        assert await pod.metric("deepseek_tokens_total", direction="output") == 4 * 100 + 5 * 3
        assert await pod.metric("deepseek_tokens_total", direction="input") == 9 * 4
    assert pod.task is not None
    assert (await pod.task)[0] is Reason.DRAINED
    assert "SIGTERM with 0 in flight" in capfd.readouterr().out
    totals = json.loads((tmp_path / "meter.json").read_text())
    assert totals["tokens"] == [36, 0, 415]
    assert totals["seconds"]["draining"] > 1
    assert 0 < float(totals["usd"]) < 0.1


async def test_a_request_longer_than_the_timeout_is_cut_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepseek_runtime.engine_args.STOP_TIMEOUT_S", 0.5)
    pod = Pod(tmp_path, drain_timeout_s=1)
    await pod.ready()
    async with aiohttp.ClientSession() as session:
        stream = asyncio.create_task(pod.stream(session, 5000))
        await asyncio.sleep(0.3)
        pod.terminate()
        assert pod.task is not None
        reason, message = await pod.task
        assert reason is Reason.DRAIN_TIMED_OUT
        assert message == "1 requests were cut: drain_timeout_s is 1"
        stream.cancel()


async def test_stopped_while_starting_it_ends_at_once(tmp_path: Path) -> None:
    pod = Pod(tmp_path, fault="stuck")
    task = pod.start()
    await asyncio.sleep(0.1)
    pod.terminate()
    assert (await asyncio.wait_for(task, 5))[0] is Reason.DRAINED


async def test_a_killed_engine_ends_the_pod_as_a_failure(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    await pod.ready()
    assert pod.supervisor._process is not None
    os.kill(pod.supervisor._process.pid, signal.SIGKILL)
    assert pod.task is not None
    with pytest.raises(Failure, match="ended by itself with code -9") as caught:
        await pod.task
    assert caught.value.reason is Reason.ENGINE_CRASHED
    assert not pod.supervisor.is_ready


@pytest.mark.parametrize(
    ("fault", "reason", "message"),
    [
        ("ends-at-start", Reason.ENGINE_START_FAILED, "ValueError: No available memory for the cache blocks"),
        # What the scripted engine says in the words of one that lacks a kernel.
        ("cannot-generate", Reason.ENGINE_START_FAILED, "answers /health and cannot generate: .*NotImplementedError"),
        ("wrong-logits", Reason.WRONG_LOGITS, r"= 1\.000 nats"),
        ("unhealthy", Reason.ENGINE_CRASHED, "unhealthy"),
        ("stuck", Reason.ENGINE_STUCK, "an idle engine did not generate one token"),
    ],
)
async def test_what_ends_the_pod(tmp_path: Path, fault: str, reason: Reason, message: str) -> None:
    task = Pod(tmp_path, fault=fault).start()
    with pytest.raises(Failure, match=message) as caught:
        await asyncio.wait_for(task, 20)
    assert caught.value.reason is reason


async def test_requests_that_wait_without_a_token_end_the_pod(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    await pod.ready()
    pod.supervisor._state.enter(0)  # a request whose engine computes nothing
    assert pod.task is not None
    with pytest.raises(Failure, match="1 requests wait and no token was computed in 1 s") as caught:
        await asyncio.wait_for(pod.task, 20)
    assert caught.value.reason is Reason.ENGINE_STUCK


async def test_an_idle_engine_is_probed_and_nothing_of_it_counts_as_served(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    await pod.ready()
    await asyncio.sleep(1.5)
    assert (await pod.metric("vllm:generation_tokens_total") or 0) > 2
    assert await pod.metric("deepseek_tokens_total", direction="output") == 0
    assert await pod.metric("deepseek_actual_usd_per_million_tokens") is None
    assert await pod.metric("deepseek_actual_usd_per_hour") == pytest.approx(3.6)
    pod.terminate()
    assert pod.task is not None
    await pod.task


async def test_live_before_ready_and_not_ready_before_checked(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.start()
    async with aiohttp.ClientSession() as session:
        seen: Callable[[str], str] = f"http://127.0.0.1:{pod.metrics_port}/{{}}".format
        await asyncio.sleep(0.1)
        async with session.get(seen("livez")) as live, session.get(seen("readyz")) as ready:
            assert (live.status, ready.status) == (200, 503)
        await until(lambda: pod.supervisor.is_ready)
        async with session.get(seen("readyz")) as ready:
            assert ready.status == 200
    pod.terminate()
    assert pod.task is not None
    await pod.task


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        (None, Reason.INVALID_LAUNCH_SPEC, "No such file"),
        ("{", Reason.INVALID_LAUNCH_SPEC, "not JSON"),
        ('{"version": 2}', Reason.INVALID_LAUNCH_SPEC, "reads version 1"),
        ("absent weights", Reason.WEIGHTS_NOT_FOUND, "weights.path: '/nowhere': no config.json there"),
    ],
)
def test_an_end_is_told_to_kubernetes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, reason: Reason, message: str
) -> None:
    monkeypatch.setenv("TERMINATION_MESSAGE_PATH", str(tmp_path / "termination"))
    path = tmp_path / "launchspec.json"
    if text == "absent weights":
        text = launch_spec(weights=Weights(path="/nowhere"), metrics_port=free_ports(1)[0]).to_json()
    if text is not None:
        path.write_text(text)
    assert serve(path) == reason.exit_code
    told = json.loads((tmp_path / "termination").read_text())
    assert told["reason"] == reason.text
    assert message in told["message"]


def test_every_reason_has_an_exit_code_of_its_own() -> None:
    codes = [reason.exit_code for reason in Reason]
    assert len(set(codes)) == len(codes)
    assert all((code == 0) == (reason is Reason.DRAINED) for reason, code in zip(Reason, codes, strict=True))
