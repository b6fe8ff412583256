"""What the operator does to a cluster, seen through the API."""

from __future__ import annotations

import json
import time

import pytest

from deepseek_operator.world import Kind
from support.cluster import CHILDREN, until, versions

pytestmark = pytest.mark.cluster


def serve(scene, **spec):
    """Apply a deployment and play its controllers until it is ready."""
    scene.apply(**spec)
    until(scene.groups, what="a group of engines")
    scene.run_pods()
    scene.wait_for("Ready", "True", "Ready")
    scene.wait_for("Reconciling", "False", "UpToDate")


def shapes(children):
    """What a person would call the same objects: names, specs, data; not versions and times."""
    return {
        key: {part: item.get(part) for part in ("spec", "data")}
        | {"labels": item["metadata"]["labels"], "annotations": _ours(item)}
        for key, item in children.items()
        if key[0] != "Service"  # its address is the cluster's
    }


def _ours(item):
    annotations = item["metadata"].get("annotations") or {}
    return {name: value for name, value in annotations.items() if name.startswith("serving.deepseek-operator.dev/")}


def everything(scene):
    pods = scene.cluster.list(Kind.POD, scene.namespace)
    pool = scene.cluster.get(Kind.POOL, "", scene.namespace)
    own = {"kind": "DeepSeekDeployment", **scene.resource()}
    listed = [{**item, "kind": kind} for (kind, _), item in scene.children().items()]
    return versions([*listed, *({**pod, "kind": "Pod"} for pod in pods), pool, own])


def quiet(scene, for_s=5.0):
    """Everything, once nothing has changed for a while: controllers count the new pods, a busy machine takes longer."""
    found, since = everything(scene), time.monotonic()
    while time.monotonic() - since < for_s:
        time.sleep(0.2)
        now = everything(scene)
        if now != found:
            found, since = now, time.monotonic()
    return found


def test_from_apply_to_ready(scene, operate):
    operator = operate()
    serve(scene)
    children = scene.children()
    assert {kind for kind, _ in children} == {str(kind) for kind in CHILDREN}
    resource = scene.resource()
    for item in children.values():
        (reference,) = item["metadata"]["ownerReferences"]
        assert (reference["uid"], reference["controller"]) == (resource["metadata"]["uid"], True)
    assert "finalizers" not in resource["metadata"]
    assert "annotations" not in resource["metadata"]
    status = resource["status"]
    assert status["observedGeneration"] == status["fleetGeneration"] == 1
    assert status["summary"] == "1 x 1 CPU bf16"
    assert status["plan"]["usdPerHour"] == "0.0500"
    assert status["endpoint"] == f"http://chat.{scene.namespace}.svc:8000/v1"
    assert len(json.dumps(status)) <= 8192
    reasons = [item["reason"] for item in scene.cluster.events(scene.namespace)]
    assert {"Planned", "MoveStarted", "Ready", "MoveCompleted"} <= set(reasons)
    assert len(reasons) == len(set(reasons))
    for line in (
        f'deepseek_pool_usd_per_node_hour{{pool="{scene.namespace}"}} 0.2',
        f'deepseek_moves_total{{name="chat",namespace="{scene.namespace}",outcome="Completed"',
    ):
        until(lambda line=line: line in operator.ask("/metrics")[1], what=line)


def test_what_is_applied_twice_and_left_alone_is_not_written_again(scene, operate):
    operate()
    serve(scene)
    before, events = quiet(scene), len(scene.cluster.events(scene.namespace))
    scene.apply()
    scene.apply_pool()
    time.sleep(20)
    assert everything(scene) == before
    assert len(scene.cluster.events(scene.namespace)) == events


def test_no_spec_of_a_person_is_written(scene, operate):
    operate()
    serve(scene)
    for item in (scene.resource(), scene.cluster.get(Kind.POOL, "", scene.namespace)):
        fields = {entry["manager"]: entry for entry in item["metadata"]["managedFields"]}
        assert fields["deepseek-operator"]["subresource"] == "status"
        assert set(fields["deepseek-operator"]["fieldsV1"]) == {"f:status"}
        assert item["metadata"]["generation"] == 1


@pytest.mark.parametrize("alive_s", [0.2, 0.8, 1.5, 2.5])
def test_killed_at_any_moment_it_ends_in_the_same_objects(scene, operate, alive_s):
    """Killed so long after an edit that replaces the engines, and started again."""
    first = operate()
    serve(scene)
    scene.apply(engine={"extraArgs": ["--seed=1"]})
    time.sleep(alive_s)
    first.kill()
    operate()
    until(lambda: _converged(scene), what="the edit is carried out", timeout_s=60, every_s=0.5)
    disturbed = shapes(scene.children())

    scene.apply()
    until(lambda: _converged(scene), what="the edit is taken back", timeout_s=60, every_s=0.5)
    scene.apply(engine={"extraArgs": ["--seed=1"]})
    until(lambda: _converged(scene), what="the edit is carried out again", timeout_s=60, every_s=0.5)
    assert shapes(scene.children()) == disturbed


def _converged(scene):
    scene.run_pods()
    resource = scene.resource()
    is_seen = resource["status"].get("fleetGeneration") == resource["metadata"]["generation"]
    maps = [key for key in scene.children() if key[0] == "ConfigMap"]
    return is_seen and len(scene.groups()) == 1 and len(maps) == 1


def test_an_impossible_edit_keeps_every_object(scene, operate):
    operate()
    serve(scene)
    before = {key: item["metadata"]["uid"] for key, item in scene.children().items()}
    scene.apply(objectives={"timeToFirstToken": {"p95": "1ms"}})
    planned = scene.wait_for("Planned", "False", "NoFeasiblePlan")
    assert "would be feasible: TTFT >= " in planned["message"]
    assert scene.condition("Ready")["status"] == "True"
    time.sleep(3)
    assert {key: item["metadata"]["uid"] for key, item in scene.children().items()} == before


def test_an_unknown_model_is_told_with_field_value_and_remedy(scene, operate):
    operate()
    serve(scene)
    before = versions([{**item, "kind": kind} for (kind, _), item in scene.children().items()])
    scene.apply(model={"name": "deepseek-v9"})
    message = scene.wait_for("Stalled", "True", "InvalidSpec")["message"]
    assert message.startswith('spec.model.name: "deepseek-v9": ')
    assert scene.condition("Ready") | {"message": ""} == scene.condition("Ready") | {"message": ""}
    assert scene.condition("Ready")["status"] == "True"
    assert versions([{**item, "kind": kind} for (kind, _), item in scene.children().items()]) == before


def test_what_belongs_to_someone_else_is_not_taken(scene, operate):
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "chat", "namespace": scene.namespace},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]},
    }
    before = scene.cluster.apply(theirs)
    operate()
    scene.apply()
    stalled = scene.wait_for("Stalled", "True", "NameTaken")
    assert f"Service {scene.namespace}/chat" in stalled["message"]
    assert scene.cluster.get(Kind.SERVICE, scene.namespace, "chat") == before


def test_a_changed_child_is_repaired_and_a_deleted_one_made_again(scene, operate):
    operate()
    serve(scene)
    (group,) = scene.groups()
    name = group["metadata"]["name"]
    scene.cluster.patch(Kind.SERVICE, scene.namespace, "chat", {"spec": {"publishNotReadyAddresses": True}})
    scene.cluster.delete(Kind.DISRUPTION_BUDGET, scene.namespace, "chat")
    scene.cluster.delete(Kind.CONFIG_MAP, scene.namespace, name)
    scene.cluster.patch(Kind.ENGINE_GROUP, scene.namespace, name, {"spec": {"replicas": 0}})

    def repaired():
        children = scene.children()
        service = children["Service", "chat"]["spec"]
        return (
            not service.get("publishNotReadyAddresses")
            and ("PodDisruptionBudget", "chat") in children
            and ("ConfigMap", name) in children
            and children["Deployment", name]["spec"]["replicas"] == 1
        )

    until(repaired, what="everything is as it was")


def test_a_price_reaches_the_pods_files_and_nothing_else(scene, operate):
    operate()
    serve(scene)
    (group,) = scene.groups()
    scene.apply_pool(price={"usdPerNodeHour": "0.24"})

    def price():
        found = scene.cluster.get(Kind.CONFIG_MAP, scene.namespace, group["metadata"]["name"])
        return json.loads(found["data"]["price.json"])["usdPerReplicaHour"] == "0.06"

    until(price, what="the new price is in the pods' files")
    assert scene.groups()[0]["spec"] == group["spec"]
    assert scene.groups()[0]["metadata"]["uid"] == group["metadata"]["uid"]


def test_an_upgrade_touches_no_engine(scene, operate):
    first = operate()
    serve(scene)
    (before,) = scene.groups()
    assert first.stop() == 0
    operate(DEEPSEEK_CPU_IMAGE="engine:next")
    time.sleep(4)
    assert scene.groups() == [before]


def test_of_two_operators_one_leads_and_the_other_takes_over(scene, operate):
    first = operate()
    until(lambda: first.leads, what="the first leads")
    second = operate()
    time.sleep(4)
    assert not second.leads
    first.kill()
    until(lambda: second.leads, what="the second leads", timeout_s=3 + 10)
    serve(scene)


def test_a_stopped_operator_gives_the_lease_back(scene, operate):
    lasting = {"DEEPSEEK_LEASE_DURATION": "120", "DEEPSEEK_LEASE_RENEW_DEADLINE": "60"}
    first = operate(**lasting)
    until(lambda: first.leads, what="the first leads")
    second = operate(**lasting)
    assert first.stop() == 0
    until(lambda: second.leads, what="the second leads long before the lease would end", timeout_s=30)


def test_a_deleted_deployment_leaves_nothing_that_its_owner_would_not_take_along(scene, operate):
    """Without a garbage collector the children stay; that they name their owner is what it goes by."""
    operate()
    serve(scene)
    uid = scene.resource()["metadata"]["uid"]
    scene.cluster.delete(Kind.DEPLOYMENT, scene.namespace, "chat")
    until(lambda: not scene.resource(), what="the resource is gone at once")
    before = {key: item["metadata"]["uid"] for key, item in scene.children().items()}
    time.sleep(3)
    left = scene.children()
    assert all(item["metadata"]["ownerReferences"][0]["uid"] == uid for item in left.values())
    # Nothing is made again for a resource that is gone.
    assert {key: item["metadata"]["uid"] for key, item in left.items()}.items() <= before.items()
