"""Placements become manifests: restricted, drained, and the same for the same wishes."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from deepseek_operator import render
from deepseek_operator.render.names import Placed, read_placement
from deepseek_operator.settings import EngineSettings
from deepseek_planner.hardware import CapacityType, Price
from deepseek_planner.models import Precision
from deepseek_planner.snapshot import Shape
from deepseek_planner.units import micro_usd
from deepseek_runtime.launchspec import LaunchSpec
from support.objects import deployment, merged
from support.shells import CPU, group, launched, offering

H100 = Shape("h100", Precision.FP8, 8, 1, 1, 8, 1)
TWO_NODES = Shape("h100", Precision.FP8, 8, 2, 1, 1, 2)


def pod(resource, shape=CPU, **changes):
    return group(resource, shape, **changes)["spec"]["template"]


def container(resource, shape=CPU, **changes):
    return pod(resource, shape, **changes)["spec"]["containers"][0]


def v3(**spec):
    resource = deployment(**spec)
    resource["spec"]["model"] = {"name": "deepseek-v3"}
    resource["spec"]["objectives"]["maxUSDPerHour"] = "100"
    return resource


# Identity


def test_a_price_or_an_image_changes_no_engine():
    resource = deployment()
    one = group(resource)
    dearer = group(resource, price=Price(micro_usd("9"), "another", date(2026, 12, 1)))
    upgraded = group(resource, settings=EngineSettings(cpu_image="engine:next"))
    assert dearer == one
    assert upgraded["metadata"]["name"] == one["metadata"]["name"]
    assert upgraded["spec"]["template"] != one["spec"]["template"]


@pytest.mark.parametrize(
    "wish",
    [
        {"pod": {"priorityClassName": "high"}},
        {"pod": {"labels": {"team": "a"}}},
        {"placement": {"nodeSelector": {"disk": "fast"}}},
        {"placement": {"tolerations": [{"key": "k", "operator": "Exists"}]}},
        {"engine": {"extraArgs": ["--seed=1"]}},
        {"engine": {"env": [{"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"}]}},
        {"model": {"source": {"persistentVolumeClaim": {"name": "other", "path": "v3"}}}},
        {"workload": {"outputTokens": {"max": 5000}}},
    ],
)
def test_another_wish_is_another_engine(wish):
    assert launched(deployment(**wish)).target.launch_hash != launched(deployment()).target.launch_hash


@pytest.mark.parametrize(
    "wish",
    [
        {"objectives": {"maxUSDPerHour": "2.00", "priority": 7}},
        {"workload": {"requestsPerMinute": {"expected": 90}}},
        {"scaling": {"maxReplicas": 3}},
        {"paused": True},
    ],
)
def test_another_load_or_budget_is_the_same_engine(wish):
    assert launched(deployment(**wish)).target == launched(deployment()).target


def test_the_identity_is_the_launch_specs_own_where_nothing_special_is_asked():
    launch = launched(v3(), H100)
    assert launch.target.launch_hash == launch.spec.digest
    assert launch.target.name == f"chat-h100-fp8-tp8-ep8-{launch.spec.digest[:6]}"


def test_long_names_stay_labels_and_stay_apart():
    long = "d" * 40
    one, other = launched(deployment(name=long)), launched(deployment(name=long, engine={"extraArgs": ["--seed=1"]}))
    assert len(one.target.name) <= 63
    assert one.target.name != other.target.name
    assert len(launched(v3(name=long), TWO_NODES).target.name) <= 45


def test_the_placement_is_read_back_from_the_annotation():
    launch, made = launched(deployment()), group(deployment())
    expected = Placed(CPU, "machines", CapacityType.SPOT, launch.target.launch_hash)
    assert read_placement(made["metadata"]["annotations"]) == expected
    assert read_placement(made["spec"]["template"]["metadata"]["annotations"]) == expected
    assert read_placement({}) is None


# Launch spec


def test_the_files_are_what_the_pod_reads():
    resource, launch = deployment(), launched(deployment())
    price = render.price_document(micro_usd("0.25"), Price(micro_usd("2"), "a list", date(2026, 11, 1)))
    files = render.config_map(resource, launch.target.name, launch.spec.to_json(), price)
    assert LaunchSpec.from_json(files["data"]["launchspec.json"]) == launch.spec
    assert files["data"]["price.json"] == '{"usdPerReplicaHour":"0.25","source":"a list","asOf":"2026-11-01"}'
    assert "price.json" not in render.config_map(resource, "n", "{}", None)["data"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, {"repository": "deepseek-ai/DeepSeek-V3-0324", "cache_path": "/var/cache/deepseek"}),
        ({"huggingFace": {"repo": "a/b", "revision": "1f"}}, {"repository": "a/b", "revision": "1f"}),
        ({"persistentVolumeClaim": {"name": "c", "path": "x/y"}}, {"path": "/weights/x/y", "cache_path": ""}),
        ({"persistentVolumeClaim": {"name": "c"}}, {"path": "/weights"}),
        ({"uri": "s3://bucket/v3"}, {"uri": "s3://bucket/v3", "cache_path": "/var/cache/deepseek"}),
    ],
)
def test_weights(source, expected):
    resource = v3()
    resource["spec"]["model"]["source"] = source
    weights = launched(resource, H100).spec.weights
    assert {name: getattr(weights, name) for name in expected} == expected


def test_another_precision_comes_from_its_own_checkpoint():
    int4 = replace(H100, precision=Precision.INT4)
    assert launched(v3(), int4).spec.weights.repository == "cognitivecomputations/DeepSeek-V3-0324-AWQ"
    resource = v3()
    resource["spec"]["model"]["source"] = {"huggingFace": {"repo": "a/b"}}
    assert launched(resource, int4).spec.weights.repository == "a/b"


def test_the_architecture_is_checked_against_the_catalogue():
    facts = launched(v3(), H100).spec.architecture
    assert facts["num_hidden_layers"] == 61
    assert facts["hidden_size"] == 7168
    assert facts["n_routed_experts"] == 256
    assert facts["kv_lora_rank"] == 512


# Pods


def test_pods_are_restricted():
    for shape, resource in ((CPU, deployment()), (H100, v3())):
        template = pod(resource, shape)
        context = template["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == 65532
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert template["spec"]["automountServiceAccountToken"] is False
        (engine,) = template["spec"]["containers"]
        assert engine["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not [volume for volume in template["spec"]["volumes"] if "hostPath" in volume]


def test_the_grace_period_outlasts_the_drain():
    for tokens in (128, 4000, 100_000):
        resource = deployment(workload={"outputTokens": {"max": tokens}})
        spec = launched(resource).spec
        assert pod(resource)["spec"]["terminationGracePeriodSeconds"] > spec.drain_delay_s + spec.drain_timeout_s
        assert spec.drain_timeout_s >= min(900, tokens / 10)


def test_images_by_accelerator():
    settings = EngineSettings(cuda_image="engine:cuda", cpu_image="engine:cpu")
    assert container(deployment(), settings=settings)["image"] == "engine:cpu"
    assert container(v3(), H100, settings=settings)["image"] == "engine:cuda"


def test_a_gpu_engine_asks_for_its_gpus_and_tolerates_their_taint():
    engine = container(v3(), H100)
    assert engine["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert engine["resources"]["requests"]["nvidia.com/gpu"] == "8"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod(v3(), H100)["spec"][
        "tolerations"
    ]


def test_a_cpu_engine_leaves_room_for_the_node():
    asked = container(deployment())["resources"]
    assert asked["requests"]["cpu"] == "300m"
    assert asked["requests"]["memory"] == asked["limits"]["memory"] == "2560Mi"
    assert "cpu" not in asked["limits"]


def test_where_pods_go():
    resource = deployment(placement={"nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "mine"}]})
    spec = pod(resource)["spec"]
    assert spec["nodeSelector"] == {"pool": "machines", "disk": "fast"}
    assert spec["tolerations"] == [{"key": "spot", "operator": "Exists"}, {"key": "mine"}]


def test_what_pods_carry_never_replaces_what_is_ours():
    wishes = {
        "labels": {"team": "a", "serving.deepseek-operator.dev/group": "evil"},
        "annotations": {"note": "b"},
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
    }
    resource = merged(deployment(), {"spec": {"pod": wishes}})
    # Past the rules of the API, as if an older release had let it through.
    launch = replace(launched(deployment()), request=render.pod_request(resource))
    made = render.engine_group(resource, launch, 1, offering=offering(CPU), settings=EngineSettings())
    template = made["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"]["serving.deepseek-operator.dev/group"] == made["metadata"]["name"]
    assert template["metadata"]["annotations"]["note"] == "b"
    assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert template["spec"]["priorityClassName"] == "high"
    assert template["spec"]["runtimeClassName"] == "nvidia"


def test_volumes():
    resource = deployment()
    spec = pod(resource)["spec"]
    volumes = {volume.pop("name"): volume for volume in spec["volumes"]}
    assert volumes["weights"] == {"persistentVolumeClaim": {"claimName": "tiny", "readOnly": True}}
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
    mounts = {mount["name"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts["weights"] == {"name": "weights", "mountPath": "/weights", "readOnly": True}
    assert mounts["launch"]["mountPath"] == "/etc/deepseek"
    assert "subPath" not in mounts["launch"]


@pytest.mark.parametrize(
    ("cache", "volume"),
    [
        ({}, {"emptyDir": {}}),
        ({"hostPath": "/cache"}, {"hostPath": {"path": "/cache", "type": "DirectoryOrCreate"}}),
        ({"persistentVolumeClaim": "c"}, {"persistentVolumeClaim": {"claimName": "c"}}),
    ],
)
def test_downloads_go_to_the_pools_cache(cache, volume):
    spec = pod(v3(), H100, weights_cache=cache)["spec"]
    assert {"name": "cache", **volume} in spec["volumes"]
    assert {"name": "cache", "mountPath": "/var/cache/deepseek"} in spec["containers"][0]["volumeMounts"]


def test_a_token_comes_from_its_secret_and_is_in_no_file():
    resource = v3()
    secret = {"name": "hub", "key": "token"}
    resource["spec"]["model"]["source"] = {"huggingFace": {"repo": "a/b", "tokenSecretRef": secret}}
    env = container(resource, H100)["env"]
    assert {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": secret}} in env
    assert "hub" not in launched(resource, H100).spec.to_json()


def test_probes_ask_the_supervisor():
    engine = container(deployment())
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert engine[probe]["httpGet"] == {"path": path, "port": 8001}


# Groups


def test_a_rollout_that_nobody_asked_for_takes_no_serving_engine():
    assert group(deployment())["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_replicas_do_not_change_the_template_hash():
    name = "serving.deepseek-operator.dev/template-hash"
    one, two = group(deployment(), replicas=1), group(deployment(), replicas=2)
    assert one["metadata"]["annotations"][name] == two["metadata"]["annotations"][name]
    assert (one["spec"]["replicas"], two["spec"]["replicas"]) == (1, 2)


def test_engines_over_several_nodes_are_a_leader_and_its_workers():
    made = group(v3(), TWO_NODES)
    assert made["apiVersion"] == "leaderworkerset.x-k8s.io/v1"
    parts = made["spec"]["leaderWorkerTemplate"]
    assert parts["size"] == 2
    roles = [
        parts[part]["metadata"]["labels"]["serving.deepseek-operator.dev/role"]
        for part in ("leaderTemplate", "workerTemplate")
    ]
    assert roles == ["server", "worker"]
    asked = parts["workerTemplate"]["spec"]["containers"][0]["resources"]["limits"]
    assert asked == {"nvidia.com/gpu": "8"}


# Around the engines


def around(resource, **settings):
    return render.base(resource, render.pod_request(resource), EngineSettings(**settings))


def test_every_child_is_owned_and_blocks_no_delete():
    resource = deployment()
    children = [*around(resource), group(resource), render.config_map(resource, "n", "{}", None)]
    for child in children:
        (reference,) = child["metadata"]["ownerReferences"]
        assert reference["uid"] == resource["metadata"]["uid"]
        assert reference["controller"] is True
        assert "blockOwnerDeletion" not in reference


MARKS = (
    "app.kubernetes.io/instance",
    "argocd.argoproj.io",
    "helm.toolkit.fluxcd.io",
    "helm.sh",
    "kustomize.toolkit.fluxcd.io",
    "meta.helm.sh",
)


@pytest.mark.parametrize("mark", MARKS)
def test_children_carry_no_mark_of_another_tool(mark):
    resource = deployment()
    for child in [*around(resource), group(resource), render.config_map(resource, "n", "{}", None)]:
        assert mark not in str(child)
        assert child["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "deepseek-operator"


def test_the_service_finds_servers_only():
    service, budget, _ = around(deployment())
    assert service["metadata"]["name"] == "chat"
    assert service["spec"]["publishNotReadyAddresses"] is False
    labels = pod(deployment())["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_network_lets_in_requests_and_out_to_weights():
    _, _, policy = around(deployment(), monitoring_namespace="monitoring")
    requests, metrics, _ = policy["spec"]["ingress"]
    assert requests == {"ports": [{"protocol": "TCP", "port": 8000}]}
    assert metrics["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert {"ports": [{"protocol": "TCP", "port": 443}]} in policy["spec"]["egress"]


def test_a_port_in_the_weights_address_is_let_out():
    resource = v3()
    resource["spec"]["model"]["source"] = {"uri": "https://store.example:9000/v3"}
    _, _, policy = around(resource)
    ports = [rule["ports"] for rule in policy["spec"]["egress"] if "ports" in rule]
    assert [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 9000}] in ports


def test_the_endpoint():
    assert render.endpoint(deployment()) == "http://chat.team-a.svc:8000/v1"
