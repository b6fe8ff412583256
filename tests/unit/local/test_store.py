from __future__ import annotations

from datetime import UTC, datetime

import pytest

from deepseek_operator.local.store import Store
from deepseek_operator.world import Kind

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_store(**kwargs):
    return Store(now=lambda: NOW, **kwargs)


def config_map(name="a", data="1", owner=None):
    metadata = {"name": name, "namespace": "team"}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner, "name": "x", "kind": "y", "controller": True}]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": data}}


def group(replicas=1):
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "g", "namespace": "team"},
        "spec": {"replicas": replicas},
    }


def test_a_new_object_gets_an_identity_and_generation_one():
    stored = make_store(new_uid=lambda: "u-1").apply(config_map())

    assert stored["metadata"]["uid"] == "u-1"
    assert stored["metadata"]["generation"] == 1
    assert stored["metadata"]["creationTimestamp"] == "2026-01-02T03:04:05Z"


def test_applying_the_same_twice_writes_nothing():
    store = make_store()
    seen = []
    first = store.apply(config_map())
    store.watch(seen.append)

    assert store.apply(config_map()) == first
    assert seen == []


def test_a_changed_spec_counts_a_generation_and_keeps_uid_and_status():
    store = make_store()
    before = store.apply(group(1))
    store.write_status(Kind.ENGINE_GROUP, "team", "g", {"readyReplicas": 1})
    after = store.apply(group(2))

    assert after["metadata"]["generation"] == 2
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
    assert after["status"] == {"readyReplicas": 1}


def test_a_changed_label_writes_but_counts_no_generation():
    store = make_store()
    store.apply(group())
    labelled = group()
    labelled["metadata"]["labels"] = {"x": "y"}

    assert store.apply(labelled)["metadata"]["generation"] == 1
    assert store.get(Kind.ENGINE_GROUP, "team", "g")["metadata"]["labels"] == {"x": "y"}


def test_status_of_a_manifest_is_ignored_and_an_equal_status_writes_nothing():
    store = make_store()
    store.apply({**group(), "status": {"readyReplicas": 7}})
    assert "status" not in store.get(Kind.ENGINE_GROUP, "team", "g")

    store.write_status(Kind.ENGINE_GROUP, "team", "g", {"readyReplicas": 1})
    version = store.get(Kind.ENGINE_GROUP, "team", "g")["metadata"]["resourceVersion"]
    store.write_status(Kind.ENGINE_GROUP, "team", "g", {"readyReplicas": 1})
    assert store.get(Kind.ENGINE_GROUP, "team", "g")["metadata"]["resourceVersion"] == version


def test_scaling_changes_only_replicas():
    store = make_store()
    store.apply(group(2))
    store.scale(Kind.ENGINE_GROUP, "team", "g", 1)

    assert store.get(Kind.ENGINE_GROUP, "team", "g")["spec"] == {"replicas": 1}
    assert store.get(Kind.ENGINE_GROUP, "team", "g")["metadata"]["generation"] == 2
    with pytest.raises(KeyError):
        store.scale(Kind.ENGINE_GROUP, "team", "absent", 1)


def test_what_an_owner_owned_goes_with_it_and_pods_are_only_marked():
    store = make_store()
    owner = store.apply(group())["metadata"]["uid"]
    store.apply(config_map("owned", owner=owner))
    store.apply(config_map("stranger"))
    pod = {**config_map("pod", owner=owner), "kind": "Pod"}
    store.apply(pod)

    store.delete(Kind.ENGINE_GROUP, "team", "g")

    assert [item["metadata"]["name"] for item in store.objects(Kind.CONFIG_MAP)] == ["stranger"]
    assert store.get(Kind.POD, "team", "pod")["metadata"]["deletionTimestamp"] == "2026-01-02T03:04:05Z"


def test_lists_are_sorted_copies():
    store = make_store()
    store.apply(config_map("b"))
    store.apply(config_map("a"))
    listed = store.objects(Kind.CONFIG_MAP)
    listed[0]["data"]["k"] = "changed"

    assert [item["metadata"]["name"] for item in store.objects(Kind.CONFIG_MAP)] == ["a", "b"]
    assert store.get(Kind.CONFIG_MAP, "team", "a")["data"] == {"k": "1"}


def test_defaults_are_filled_in_and_a_refused_object_leaves_the_old_one():
    def admit(item):
        if item["data"]["k"] == "bad":
            raise ValueError("data.k: bad")
        return {**item, "data": {"added": "x", **item["data"]}}

    store = make_store(defaults={Kind.CONFIG_MAP: admit})
    store.apply(config_map())
    with pytest.raises(ValueError, match=r"data\.k"):
        store.apply(config_map(data="bad"))

    assert store.get(Kind.CONFIG_MAP, "team", "a")["data"] == {"added": "x", "k": "1"}
