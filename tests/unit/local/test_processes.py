from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import aiohttp
import pytest

from deepseek_operator.local import pods
from deepseek_operator.local.frontdoor import FrontDoor, ready_backends
from deepseek_operator.local.keeper import Machine, ProcessSettings
from deepseek_operator.local.processes import Processes
from deepseek_operator.local.store import Store
from deepseek_operator.world import Kind
from deepseek_runtime.launchspec import Engine, LaunchSpec, Weights
from support.waiting import until

STAND_IN = Path(__file__).parents[2] / "support" / "stand_in_engine.py"
LABELS = {"serving.deepseek-operator.dev/deployment": "chat"}


def launch_spec():
    engine = Engine(max_model_len=128, max_num_seqs=4, max_num_batched_tokens=128, kv_cache_bytes=1 << 20)
    return LaunchSpec(
        namespace="team",
        name="chat",
        model="deepseek-tiny",
        served_model_name="deepseek-tiny",
        weights=Weights(path="/nowhere", cache_path="/var/cache/deepseek"),
        accelerator="cpu",
        precision="bf16",
        native_precision="bf16",
        engine=engine,
        pool="here",
        capacity_type="OnDemand",
    )


def config_map(price="0.05"):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "chat-cpu", "namespace": "team"},
        "data": {"launchspec.json": launch_spec().to_json(), "price.json": f'{{"usdPerHour": "{price}"}}'},
    }


def group(replicas=1, memory="1Gi"):
    container = {
        "name": "engine",
        "image": "x",
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "PLAIN", "value": "1"},
        ],
        "resources": {"requests": {"memory": memory}},
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "launch", "configMap": {"name": "chat-cpu"}}],
        "terminationGracePeriodSeconds": 5,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat-cpu", "namespace": "team"},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": LABELS}, "spec": spec}},
    }


SERVICE = {"metadata": {"namespace": "team"}, "spec": {"selector": LABELS}}


class Machinery:
    def __init__(self, store, processes, http, settings):
        self.store, self.processes, self.http, self.settings = store, processes, http, settings

    def pods(self):
        return self.store.objects(Kind.POD)

    def ready(self):
        return [pod["metadata"]["name"] for pod in self.pods() if pods.is_ready(pod)]

    def group(self):
        return self.store.get(Kind.ENGINE_GROUP, "team", "chat-cpu")


@pytest.fixture
async def make(tmp_path):
    made = []

    async def build(*arguments, memory_bytes=8 * 2**30):
        def command(settings, launch_file):
            return [settings.runtime_python, str(STAND_IN), str(launch_file), *arguments]

        settings = ProcessSettings(
            runtime_python=sys.executable,
            directory=tmp_path,
            weights_cache=tmp_path / "cache",
            node="here",
            memory_bytes=memory_bytes,
            poll_s=0.05,
            backoff_first_s=0.1,
        )
        store, http = Store(), aiohttp.ClientSession()
        processes = Processes(Machine(store, settings, http, command))
        made.append((processes, processes.start(), http))
        return Machinery(store, processes, http, settings)

    yield build
    for processes, task, http in made:
        await processes.stop(grace_s=5)
        task.cancel()
        await http.close()


async def test_a_deployment_becomes_ready_processes_with_pods_and_status(make):
    world = await make()
    world.store.apply(config_map())
    world.store.apply(group(2))

    await until(lambda: len(world.ready()) == 2)
    await until(lambda: world.group()["status"].get("readyReplicas") == 2)
    pod = world.pods()[0]
    assert pod["metadata"]["labels"] == LABELS
    assert pod["spec"]["nodeName"] == "here"
    assert pod["metadata"]["ownerReferences"][0]["name"] == "chat-cpu"
    assert pod["status"]["phase"] == "Running"
    assert len({backend.port for backend in ready_backends(world.store, SERVICE)}) == 2
    assert len(world.processes.pids) == 2


async def test_the_launch_spec_on_disk_is_the_config_maps_with_own_ports_and_cache(make, tmp_path):
    world = await make()
    world.store.apply(config_map())
    world.store.apply(group(1))
    await until(world.ready)
    name = world.ready()[0]

    written = LaunchSpec.from_json((tmp_path / "pods" / "team" / name / "launchspec.json").read_text())
    assert (written.port, written.metrics_port) == pods.ports_of(world.pods()[0])
    assert written.weights.cache_path == str(tmp_path / "cache")
    assert written.engine == launch_spec().engine


async def test_a_new_price_reaches_the_running_engine_without_a_restart(make, tmp_path):
    world = await make()
    world.store.apply(config_map("0.05"))
    world.store.apply(group(1))
    await until(world.ready)
    name, pids = world.ready()[0], world.processes.pids
    file = tmp_path / "pods" / "team" / name / "price.json"
    world.store.apply(config_map("0.09"))

    await until(lambda: "0.09" in file.read_text())
    assert world.processes.pids == pids


async def test_scaling_down_under_load_cuts_no_request(make):
    world = await make("--token-s", "0.02")
    world.store.apply(config_map())
    world.store.apply(group(2))
    await until(lambda: len(world.ready()) == 2)
    door = FrontDoor(lambda: ready_backends(world.store, SERVICE), world.http)
    url = f"http://127.0.0.1:{await door.start(0)}/v1/completions"

    async def ask(delay_s):
        await asyncio.sleep(delay_s)
        body = {"stream": True, "max_tokens": 20}
        async with world.http.post(url, json=body) as answer:
            return answer.status, (await answer.text()).endswith("data: [DONE]\n\n")

    asking = [asyncio.create_task(ask(index * 0.02)) for index in range(60)]
    await asyncio.sleep(0.4)
    world.store.scale(Kind.ENGINE_GROUP, "team", "chat-cpu", 1)
    answers = await asyncio.gather(*asking)
    await until(lambda: len(world.pods()) == 1)
    await door.stop()

    assert answers == [(200, True)] * 60
    assert len(door.counts.by_pod) == 2
    assert len(world.processes.pids) == 1


async def test_a_scale_down_takes_what_does_not_serve_first(make):
    world = await make("--start-s", "0.5")
    world.store.apply(config_map())
    world.store.apply(group(1))
    await until(world.ready)
    serving = world.ready()
    world.store.scale(Kind.ENGINE_GROUP, "team", "chat-cpu", 2)
    await until(lambda: len(world.pods()) == 2)
    world.store.scale(Kind.ENGINE_GROUP, "team", "chat-cpu", 1)

    await until(lambda: len(world.pods()) == 1)
    assert world.ready() == serving


async def test_a_crash_is_restarted_with_back_off_and_its_last_words_are_kept(make):
    world = await make("--crash")
    world.store.apply(config_map())
    world.store.apply(group(1))

    def restarts():
        found = world.pods()
        statuses = found[0].get("status", {}).get("containerStatuses") if found else None
        return statuses[0]["restartCount"] if statuses else 0

    await until(lambda: restarts() >= 2)
    status = world.pods()[0]["status"]["containerStatuses"][0]
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert "no such checkpoint" in status["lastState"]["terminated"]["message"]
    assert world.ready() == []


async def test_an_engine_that_dies_comes_back_with_a_new_process(make):
    world = await make()
    world.store.apply(config_map())
    world.store.apply(group(1))
    await until(world.ready)
    (pid,) = world.processes.pids.values()
    os.kill(pid, 9)

    await until(lambda: world.ready() and set(world.processes.pids.values()) - {pid})
    assert world.pods()[0]["status"]["containerStatuses"][0]["restartCount"] == 1


async def test_a_pod_that_the_machine_has_no_memory_for_waits_and_says_so(make):
    world = await make(memory_bytes=1.5 * 2**30)
    world.store.apply(config_map())
    world.store.apply(group(2, memory="1Gi"))
    await until(lambda: len(world.ready()) == 1)
    pending = next(pod for pod in world.pods() if not pods.is_ready(pod))

    condition = pending["status"]["conditions"][0]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")
    assert "0.5 GiB" in condition["message"]
    assert len(world.processes.pids) == 1


async def test_stopping_leaves_no_process(make):
    world = await make()
    world.store.apply(config_map())
    world.store.apply(group(2))
    await until(lambda: len(world.ready()) == 2)
    pids = list(world.processes.pids.values())
    await world.processes.stop(grace_s=5)

    assert world.pods() == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("text", "number"), [("300m", 0.3), ("2.5Gi", 2.5 * 2**30), ("1", 1), (2, 2), ("1500M", 1.5e9), ("1Ki", 1024)]
)
def test_quantities_read_as_kubernetes_writes_them(text, number):
    assert pods.quantity(text) == number
