"""Real engines behind the real loop: requests through the front door, a scale-down, bad edits, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from deepseek_operator.local import children, files, pods
from deepseek_operator.local.admission import defaulters
from deepseek_operator.local.embedded import Embedded, Options
from deepseek_operator.local.load import Load, summarize
from deepseek_operator.local.session import SETTINGS
from deepseek_operator.local.traffic import Arrival
from deepseek_operator.world import Kind
from deepseek_planner import catalog as catalogs
from deepseek_planner.errors import InputError
from deepseek_planner.snapshot import DeploymentKey, Policy
from support.waiting import until

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[3]
KEY = DeploymentKey("demo", "chat")
READY_WITHIN_S = 300  # 20 s on an idle machine


def manifests(checkpoint):
    pools = files.read(ROOT / "examples/demo/pools.yaml", kinds=[Kind.POOL])
    (deployment,) = files.read(ROOT / "examples/demo/deployment.yaml", kinds=[Kind.DEPLOYMENT])
    model = {"name": "deepseek-tiny", "source": {"path": str(checkpoint)}}
    return [*pools, edited(deployment, model=model)]


def edited(deployment, **parts):
    return {**deployment, "spec": {**deployment["spec"], **parts}}


async def test_a_deployment_is_served_shrinks_without_a_lost_request_and_survives_bad_edits(
    tmp_path, runtime_python, checkpoint, engine_environment, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", engine_environment["PYTHONPATH"])
    catalog = catalogs.load()
    options = Options(
        runtime_python=runtime_python, directory=tmp_path, weights_cache=tmp_path / "cache", port=0, scrape_s=1.0
    )
    settings = replace(SETTINGS, policy=Policy(settle_s=0.0), busy_s=1.0)
    async with Embedded(options, settings, catalog, defaulters(catalog)) as world:

        def ready():
            found = world.store.objects(Kind.POD)
            return [pod for pod in found if pods.is_ready(pod) and not pods.is_draining(pod)]

        def status():
            return world.store.get(Kind.DEPLOYMENT, "demo", "chat").get("status", {})

        def condition(kind):
            return {item["type"]: item for item in status().get("conditions", ())}.get(kind, {})

        pool, deployment = manifests(checkpoint)
        world.apply([pool, deployment])
        world.start_loop()
        await until(lambda: len(ready()) == 2, timeout_s=READY_WITHIN_S, poll_s=0.5)
        await until(lambda: condition("Reconciling").get("reason") == "UpToDate", timeout_s=30)
        assert status()["plan"]["usdPerHour"] == "0.1159"

        # Scale 2 -> 1 by an edit, while requests go through the front door.
        load = Load(world.http, f"http://127.0.0.1:{world.ports[KEY]}", "deepseek-tiny")
        sending = asyncio.create_task(load.run(Arrival(0.4 * number, 40, 24) for number in range(60)))
        await asyncio.sleep(4)
        scaling = {"minReplicas": 1, "maxReplicas": 1}
        rate = {"requestsPerMinute": {"expected": 60, "peak": 120}}
        smaller = edited(deployment, scaling=scaling, workload={**deployment["spec"]["workload"], **rate})
        world.apply([smaller])
        await sending
        await until(lambda: len(world.store.objects(Kind.POD)) == 1, timeout_s=60)
        summary = summarize(load.outcomes)
        assert summary.is_clean, summary
        assert len(world.doors[KEY].counts.by_pod) == 2
        assert summary.output_tokens == 60 * 24

        # What cannot be had and what cannot be read change nothing of what serves.
        pids, uids = world.processes.pids, [pod["metadata"]["uid"] for pod in ready()]
        fast = {**smaller["spec"]["objectives"], "timeToFirstToken": {"p95": "1ms"}}
        world.apply([edited(smaller, objectives=fast)])
        await until(lambda: condition("Planned").get("status") == "False", timeout_s=30)
        assert condition("Ready")["status"] == "True"
        assert "TTFT" in condition("Planned")["message"]
        with pytest.raises(InputError, match="minReplicas"):
            world.apply([edited(smaller, scaling={"minReplicas": -1})])
        await asyncio.sleep(3)
        assert world.processes.pids == pids
        assert [pod["metadata"]["uid"] for pod in ready()] == uids
        outcome = Load(world.http, load.url, "deepseek-tiny")
        await outcome.run([Arrival(0, 10, 4)])
        assert summarize(outcome.outcomes).is_clean

        # The meter saw what the clients saw.
        await asyncio.sleep(2)
        assert world.measurements.total("deepseek_tokens_total", KEY) == pytest.approx(61 * 40 + 61 * 24, abs=120)
        assert world.measurements.total("deepseek_spend_usd_total", KEY) > 0
    await until(lambda: not children.survivors(), timeout_s=10)


async def test_ctrl_c_ends_the_command_and_everything_it_started(
    tmp_path, runtime_python, checkpoint, engine_environment
):
    _, deployment = manifests(checkpoint)
    rate = {"requestsPerMinute": {"expected": 60, "peak": 120}}
    file = tmp_path / "chat.yaml"
    file.write_text(yaml.safe_dump(edited(deployment, workload={**deployment["spec"]["workload"], **rate})))
    command = ["-m", "deepseek_operator", "local", "-f", str(file), "--port", "0", "--no-prometheus"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, "--runtime-python", runtime_python, "--directory", str(tmp_path / "run"),
        env=engine_environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    told = []
    async with asyncio.timeout(READY_WITHIN_S):
        async for line in process.stdout:
            told.append(line.decode())
            if "answers at http://127.0.0.1:" in told[-1]:
                break
    assert process.returncode is None, "".join(told)
    started = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    rest = (await process.stdout.read()).decode()

    assert await process.wait() == 0
    assert "nothing is left running" in rest
    assert len(started) >= 2, "a supervisor and its engine"
    await until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()], timeout_s=10)


def descendants(root):
    """Process ids of children and children's children."""
    parents = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(directory.name)] = int((directory / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found, grew = {root}, True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return found - {root}
