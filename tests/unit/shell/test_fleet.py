"""What runs is read back from the cluster alone."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from deepseek_operator.fleet import failure, fleet
from deepseek_planner.snapshot import DeploymentKey
from support.objects import merged, pod_of
from support.shells import HOUR, group, offering


def read(*pods, groups=(), maps=(), offerings=None):
    return fleet(groups, pods, maps, (offering(),) if offerings is None else offerings).groups


def leaving(pod):
    return merged(pod, {"metadata": {"deletionTimestamp": "2026-11-22T12:00:00Z"}})


def test_a_group_and_its_pods():
    made = group(replicas=4)
    pods = [
        pod_of(made, "a"),
        pod_of(made, "b", ready=False),
        leaving(pod_of(made, "c")),
        merged(pod_of(made, "d", ready=False), {"spec": {"nodeName": ""}}),
    ]
    (found,) = read(*pods, groups=[made])
    assert found.key == DeploymentKey("team-a", "chat")
    assert (found.desired, found.ready, found.starting, found.draining, found.unscheduled) == (4, 1, 2, 1, 1)
    assert found.shape.name == "cpu-bf16-tp1"
    assert (found.pool, str(found.capacity_type)) == ("machines", "Spot")
    assert found.name.endswith(found.launch_hash[:6])


def born(item, at, *, ready_at=None):
    """The item as made at ``at``; for a pod, its Ready condition as of ``ready_at``."""
    made = merged(item, {"metadata": {"creationTimestamp": f"2026-11-22T{at}:00Z"}})
    if ready_at is not None:
        condition = made["status"]["conditions"][1] | {"lastTransitionTime": f"2026-11-22T{ready_at}:00Z"}
        made["status"]["conditions"] = [made["status"]["conditions"][0], condition]
    return made


def at(text):
    return datetime.fromisoformat(f"2026-11-22T{text}:00+00:00")


def test_since_when_engines_run_and_since_when_they_are_not_ready():
    made = born(group(replicas=3), "09:00")
    serves = born(pod_of(made, "a"), "10:00", ready_at="10:05")
    lost_it = born(pod_of(made, "b", ready=False), "09:30", ready_at="11:00")
    fresh = born(pod_of(made, "c", ready=False), "11:30")
    (found,) = read(serves, lost_it, fresh, groups=[made])
    assert found.starts == (at("09:30"), at("10:00"), at("11:30"))
    assert found.unready_since == at("11:00"), "an engine that served until then has waited since then"
    (found,) = read(serves, groups=[made])
    assert found.unready_since is None
    (found,) = read(groups=[made])
    assert found.unready_since == at("09:00"), "a group that gets no pod waits since it was made"


def test_pods_outlive_their_group_and_still_count():
    made = group()
    (found,) = read(pod_of(made, "a"))
    assert (found.desired, found.ready, found.draining) == (0, 0, 1)
    (found,) = read(pod_of(made, "a"), groups=[leaving(made)])
    assert (found.desired, found.ready, found.draining) == (0, 0, 1)


def test_finished_pods_and_workers_do_not_count():
    made = group()
    done = merged(pod_of(made, "a"), {"status": {"phase": "Failed"}})
    worker = merged(pod_of(made, "b"), {"metadata": {"labels": {"serving.deepseek-operator.dev/role": "worker"}}})
    (found,) = read(done, worker, groups=[made])
    assert (found.ready, found.starting, found.draining) == (0, 0, 0)


def test_what_is_not_ours_is_not_seen():
    made = group()
    stranger = merged(made, {"metadata": {"labels": {}, "annotations": {}}})
    stranger["metadata"]["labels"] = {}
    unreadable = merged(made, {"metadata": {"annotations": {"serving.deepseek-operator.dev/placement": "{"}}})
    assert read(groups=[stranger]) == ()
    assert read(groups=[unreadable]) == ()


@pytest.mark.parametrize(("offerings", "expected"), [((offering(),), HOUR / 8), ((), 123_000)])
def test_the_price_is_the_pools_or_the_last_that_was_known(offerings, expected):
    made = group()
    last = {"metadata": made["metadata"], "data": {"price.json": json.dumps({"usdPerReplicaHour": "0.123"})}}
    (found,) = read(groups=[made], maps=[last], offerings=offerings)
    assert found.usd_per_replica_hour == expected


def test_without_any_price_it_is_unknown():
    (found,) = read(groups=[group()], offerings=())
    assert found.usd_per_replica_hour is None


# Why it does not become ready


def starting(**status):
    return merged(pod_of(group(), "a", ready=False), {"status": status})


def container(**state):
    return {"containerStatuses": [{"name": "engine", **state}]}


REPORT = json.dumps({"reason": "WeightsMissing", "message": "no config.json"})


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (starting(), ""),
        (starting(**container(state={"waiting": {"reason": "ContainerCreating"}})), ""),
        (
            starting(**container(state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})),
            "ImagePullBackOff: no such image",
        ),
        (
            starting(
                **container(
                    state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                    lastState={"terminated": {"exitCode": 1, "message": REPORT}},
                )
            ),
            "WeightsMissing: no config.json",
        ),
        (
            starting(**container(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
            "OOMKilled: exit code 137",
        ),
        (
            starting(
                **container(state={"terminated": {"exitCode": 1, "reason": "Error", "message": "a\nlast line\n"}})
            ),
            "Error: last line",
        ),
        (starting(**container(state={"terminated": {"exitCode": 0}})), ""),
        (
            starting(
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": 'persistentvolumeclaim "tiny" not found',
                    }
                ]
            ),
            'Unschedulable: persistentvolumeclaim "tiny" not found',
        ),
    ],
)
def test_why(pod, expected):
    assert failure([pod], None) == expected


def test_a_refused_pod_is_told_by_its_group():
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    made = merged(group(), {"status": {"conditions": [condition]}})
    assert failure([], made) == "FailedCreate: exceeded quota"
    (found,) = read(groups=[made])
    assert found.failure == "FailedCreate: exceeded quota"


def test_a_group_whose_engines_are_ready_has_no_failure():
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "old news"}
    made = merged(group(), {"status": {"conditions": [condition]}})
    (found,) = read(pod_of(made, "a"), groups=[made])
    assert found.failure == ""
