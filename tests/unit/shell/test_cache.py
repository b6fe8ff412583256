"""The cache knows the newest state it was told, whoever told it and in whatever order."""

from __future__ import annotations

import pytest

from deepseek_operator.cache import ObjectCache
from deepseek_operator.world import Kind
from support.objects import deployment, merged, node, pod_of


class Woken:
    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1


@pytest.fixture
def woken():
    return Woken()


@pytest.fixture
def cache(woken):
    return ObjectCache((Kind.NODE, Kind.DEPLOYMENT, Kind.POD), woken)


def at(item, version, **changes):
    return merged(item, {"metadata": {"resourceVersion": str(version)}, **changes})


def names(cache, kind=Kind.NODE):
    return [item["metadata"]["name"] for item in cache.objects(kind)]


def test_is_complete_once_every_kind_was_read(cache):
    for kind in cache.kinds:
        assert not cache.is_complete
        cache.replace(kind, [], "1")
    assert cache.is_complete


def test_old_news_is_no_news(cache):
    cache.put(Kind.NODE, at(node(), 9, spec={"unschedulable": True}))
    cache.put(Kind.NODE, at(node(), 8, spec={"unschedulable": False}))
    assert cache.objects(Kind.NODE)[0]["spec"]["unschedulable"] is True


def test_versions_are_numbers(cache):
    cache.put(Kind.NODE, at(node(), 9))
    cache.put(Kind.NODE, at(node(), 10, spec={"unschedulable": True}))
    assert cache.objects(Kind.NODE)[0]["spec"] == {"unschedulable": True}


def test_a_full_read_finds_what_is_gone_but_not_what_is_newer(cache):
    cache.put(Kind.NODE, at(node("gone"), 5))
    cache.put(Kind.NODE, at(node("newer"), 8))
    assert cache.replace(Kind.NODE, [at(node("there"), 4)], "7") == 1
    assert names(cache) == ["newer", "there"]


def test_the_last_word_about_an_object_spares_its_successor(cache):
    cache.put(Kind.NODE, at(node(), 9, metadata={"uid": "second", "resourceVersion": "9"}))
    cache.remove(Kind.NODE, at(node(), 8))
    assert names(cache) == ["node-0"]
    cache.remove(Kind.NODE, at(node(), 10, metadata={"uid": "second", "resourceVersion": "10"}))
    assert names(cache) == []


def test_a_successor_replaces_its_predecessor(cache):
    cache.put(Kind.NODE, at(node(), 9))
    cache.put(Kind.NODE, at(node(), 3, metadata={"uid": "restored", "resourceVersion": "3"}))
    assert cache.objects(Kind.NODE)[0]["metadata"]["uid"] == "restored"


def test_heartbeats_and_our_own_status_wake_nobody(cache, woken):
    beat = {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "1"}]}
    cache.put(Kind.NODE, at(node(), 1, status=beat))
    cache.put(Kind.DEPLOYMENT, deployment())
    before = woken.times
    later = {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2"}]}
    cache.put(Kind.NODE, at(node(), 2, status=later))
    cache.put(Kind.DEPLOYMENT, at(deployment(), 99, status={"replicas": 1}))
    assert woken.times == before
    assert cache.get(Kind.DEPLOYMENT, "team-a", "chat")["status"] == {"replicas": 1}
    cache.put(Kind.NODE, at(node(), 3, spec={"unschedulable": True}))
    assert woken.times == before + 1


@pytest.mark.parametrize(
    ("labels", "requests", "kept"),
    [
        ({"app.kubernetes.io/managed-by": "deepseek-operator"}, {"cpu": "1"}, True),
        ({}, {"nvidia.com/gpu": "1"}, True),
        ({}, {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}, False),
    ],
)
def test_only_pods_that_matter_are_kept(cache, labels, requests, kept):
    container = {"name": "c", "resources": {"requests": requests}}
    template = {"metadata": {"labels": labels, "annotations": {}}, "spec": {"containers": [container]}}
    pod = pod_of({"metadata": {"namespace": "x"}, "spec": {"template": template}}, "p")
    cache.put(Kind.POD, pod)
    assert names(cache, Kind.POD) == (["p"] if kept else [])
