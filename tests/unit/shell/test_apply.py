"""The one writer: what need not be written is not, and what is another's stays."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from deepseek_operator import render
from deepseek_operator.apply import KubernetesWriter
from deepseek_operator.cache import ObjectCache
from deepseek_operator.errors import LeaseLostError, NameTakenError, UnreachableError
from deepseek_operator.settings import EngineSettings
from deepseek_operator.world import Event, Kind
from support.objects import deployment, merged


class Api:
    """A server that keeps what is applied, with defaults of its own."""

    def __init__(self):
        self.calls = []
        self.objects = {}
        self.version = 100

    def keep(self, item, **changes):
        self.version += 1
        kept = merged(merged(item, {"metadata": {"resourceVersion": str(self.version), "uid": "u"}}), changes)
        self.objects[item["kind"], item["metadata"]["name"]] = kept
        return kept

    async def apply(self, manifest, *, subresource=""):
        self.calls.append((f"apply {subresource}".strip(), manifest))
        defaults = {"spec": {"clusterIP": "10.0.0.1"}} if manifest["kind"] == "Service" else {}
        return self.keep(manifest, **defaults)

    async def find(self, kind, namespace, name):
        return self.objects.get((str(kind), name))

    async def set_replicas(self, kind, namespace, name, replicas):
        self.calls.append(("scale", replicas))
        return self.keep(self.objects[str(kind), name], spec={"replicas": replicas})

    async def delete(self, kind, namespace, name):
        self.calls.append(("delete", name))
        self.objects.pop((str(kind), name), None)

    async def create_event(self, namespace, event):
        self.calls.append(("event", event))


class Bench:
    def __init__(self):
        self.api = Api()
        self.may_write = True
        self.cache = ObjectCache(tuple(Kind), lambda: None)
        self.writer = KubernetesWriter(
            self.api,
            self.cache,
            instance="operator-0",
            may_write=lambda: self.may_write,
            clock=lambda: datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
        )

    @property
    def verbs(self):
        return [verb for verb, _ in self.api.calls]


@pytest.fixture
def bench():
    return Bench()


def service(resource=None):
    resource = resource or deployment()
    return render.base(resource, render.pod_request(resource), EngineSettings())[0]


async def test_applied_once_and_not_again(bench):
    await bench.writer.apply(service())
    await bench.writer.apply(service())
    assert bench.verbs == ["apply"]


async def test_drift_is_repaired(bench):
    await bench.writer.apply(service())
    drifted = bench.api.keep(bench.api.objects["Service", "chat"], spec={"publishNotReadyAddresses": True})
    bench.cache.put(Kind.SERVICE, drifted)
    await bench.writer.apply(service())
    assert bench.verbs == ["apply", "apply"]


async def test_what_is_no_longer_wanted_shows_as_a_difference(bench):
    more = merged(service(), {"metadata": {"labels": {"old": "label"}}})
    await bench.writer.apply(more)
    await bench.writer.apply(service())
    assert bench.verbs == ["apply", "apply"]
    assert "old" not in bench.api.calls[-1][1]["metadata"]["labels"]


async def test_replicas_are_not_part_of_a_manifests_hash(bench):
    made = {**service(), "kind": "Deployment", "apiVersion": "apps/v1", "spec": {"replicas": 1, "paused": False}}
    await bench.writer.apply(made)
    await bench.writer.scale(Kind.ENGINE_GROUP, "team-a", "chat", 2)
    await bench.writer.scale(Kind.ENGINE_GROUP, "team-a", "chat", 2)
    await bench.writer.apply(merged(made, {"spec": {"replicas": 2}}))
    assert bench.verbs == ["apply", "scale"]


async def test_what_is_another_s_is_not_taken(bench):
    theirs = merged(service(), {"spec": {"selector": {"app": "theirs"}}})
    theirs["metadata"] = {"name": "chat", "namespace": "team-a"}
    bench.api.keep(theirs)
    with pytest.raises(NameTakenError, match="Service team-a/chat exists"):
        await bench.writer.apply(service())
    assert bench.verbs == []


async def test_the_children_of_a_namesake_are_waited_for(bench):
    before = merged(deployment(), {"metadata": {"uid": "an older one"}})
    bench.api.keep(service(before))
    with pytest.raises(UnreachableError, match="predecessor"):
        await bench.writer.apply(service())
    assert bench.verbs == []


async def test_status_is_written_when_it_changed_and_to_that_object_only(bench):
    resource = deployment()
    bench.cache.put(Kind.DEPLOYMENT, resource)
    await bench.writer.write_status(resource, {"replicas": 1})
    await bench.writer.write_status(resource, {"replicas": 1})
    ((verb, body),) = bench.api.calls
    assert verb == "apply status"
    assert set(body) == {"apiVersion", "kind", "metadata", "status"}
    assert body["metadata"]["uid"] == resource["metadata"]["uid"]


async def test_the_status_of_what_is_gone_is_not_written(bench):
    await bench.writer.write_status(deployment(), {"replicas": 1})
    assert bench.verbs == []


async def test_without_the_lease_nothing_is_written(bench):
    await bench.writer.apply(service())
    bench.cache.put(Kind.DEPLOYMENT, deployment())
    bench.may_write = False
    event = Event(deployment(), warning=False, reason="Ready", message="m", action="Serve")
    for write in (
        bench.writer.apply(merged(service(), {"spec": {"type": "Other"}})),
        bench.writer.delete(Kind.SERVICE, "team-a", "chat"),
        bench.writer.scale(Kind.ENGINE_GROUP, "team-a", "chat", 2),
        bench.writer.write_status(deployment(), {"replicas": 1}),
        bench.writer.emit(event),
    ):
        with pytest.raises(LeaseLostError):
            await write
    assert bench.verbs == ["apply"]


async def test_an_event_is_about_its_object(bench):
    resource = deployment()
    await bench.writer.emit(Event(resource, warning=True, reason="NoFeasiblePlan", message="m" * 2000, action="Plan"))
    ((_, body),) = bench.api.calls
    assert body["involvedObject"]["uid"] == resource["metadata"]["uid"]
    assert (body["type"], body["reason"], len(body["message"])) == ("Warning", "NoFeasiblePlan", 1024)
    assert body["metadata"]["namespace"] == "team-a"
