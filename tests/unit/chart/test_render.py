"""What the chart renders: every switch, every image, and no more rights than the pods need."""

from __future__ import annotations

import json

import pytest
import yaml

from support.charts import CHART, NAMESPACE, ROOT, of_kind, render, the

ALL_ON = {
    "serviceMonitor": {"enabled": True},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
    "prometheus": {"url": "http://prometheus.monitoring:9090"},
    "rbac": {"namespaces": ["team-a", "team-b"]},
}


def pods(objects):
    templates = [item["spec"]["template"]["spec"] for item in of_kind(objects, "Deployment")]
    return templates + [item["spec"] for item in of_kind(objects, "Pod")]


@pytest.mark.parametrize("values", [{}, ALL_ON], ids=["defaults", "all on"])
def test_pods_satisfy_the_restricted_standard(values):
    found = pods(render(**values))
    assert len(found) == 2
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
        for volume in pod.get("volumes", []):
            assert set(volume) - {"name"} <= {"secret", "emptyDir", "configMap", "projected"}
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in security
            assert not any("hostPort" in port for port in container.get("ports", []))
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]


def test_own_prices_are_mounted_as_a_folder_so_that_a_change_arrives():
    (container,) = the(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert not any(mount["name"] == "prices" for mount in container["volumeMounts"])
    pod = the(render(prices={"configMap": {"name": "ours", "key": "list.csv"}}), "Deployment")["spec"]["template"][
        "spec"
    ]
    (mount,) = (item for item in pod["containers"][0]["volumeMounts"] if item["name"] == "prices")
    assert mount == {"name": "prices", "mountPath": "/etc/deepseek-operator/prices", "readOnly": True}
    (volume,) = (item for item in pod["volumes"] if item["name"] == "prices")
    assert volume["configMap"] == {"name": "ours", "items": [{"key": "list.csv", "path": "prices.csv"}]}


def test_only_the_operator_gets_an_api_token():
    deployment, test = pods(render())
    assert deployment["automountServiceAccountToken"] is True
    assert test["automountServiceAccountToken"] is False


def test_probes_ask_the_port_that_the_service_offers():
    objects = render()
    (container,) = the(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8080}
    assert {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe", "startupProbe")} == {
        "http"
    }
    (port,) = the(objects, "Service")["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (8080, "http")


def test_the_service_and_the_budget_select_the_operator_and_not_the_test_pod():
    objects = render()
    labels = the(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    test = the(objects, "Pod")["metadata"]["labels"]
    for selector in (
        the(objects, "Service")["spec"]["selector"],
        the(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
        assert not selector.items() <= test.items()


def test_a_drain_is_never_blocked():
    budget = the(render(), "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_a_digest_wins_over_a_tag():
    digest = "sha256:" + "a" * 64
    objects = render(image={"repository": "registry.example/op", "tag": "v9", "digest": digest})
    images = {container["image"] for pod in pods(objects) for container in pod["containers"]}
    assert images == {f"registry.example/op@{digest}"}


def test_the_default_tag_is_the_charts_app_version():
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    (container,) = the(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith(f":{version}")


def test_an_existing_token_is_used_and_none_is_made():
    objects = render(alerts={"existingSecret": {"name": "mine", "key": "bearer"}})
    assert not of_kind(objects, "Secret")
    volumes = the(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    (secret,) = [volume["secret"] for volume in volumes if "secret" in volume]
    assert secret["secretName"] == "mine"
    assert secret["items"] == [{"key": "bearer", "path": "token"}]


def test_a_token_is_made_where_none_is_given():
    assert len(the(render(), "Secret")["data"]["token"]) >= 48


def test_objects_of_the_prometheus_operator_and_grafana_come_only_when_asked_for():
    kinds = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"}
    assert not kinds & {item["kind"] for item in render()}
    assert kinds <= {item["kind"] for item in render(**ALL_ON)}


def test_engines_keep_their_own_namespace_and_name_labels_when_scraped():
    monitor = the(render(**ALL_ON), "PodMonitor")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True
    assert monitor["namespaceSelector"] == {"matchNames": ["team-a", "team-b"]}
    assert the(render(podMonitor={"enabled": True}), "PodMonitor")["spec"]["namespaceSelector"] == {"any": True}


def test_rules_are_shipped_word_for_word():
    shipped = [item["spec"] for item in of_kind(render(**ALL_ON), "PrometheusRule")]
    written = [yaml.safe_load(path.read_text()) for path in sorted((CHART / "rules").glob("*.yaml"))]
    assert shipped == written
    assert all(spec["groups"] for spec in shipped)


def test_dashboards_are_shipped_word_for_word():
    config_maps = of_kind(render(**ALL_ON), "ConfigMap")
    shipped = {name: json.loads(text) for item in config_maps for name, text in item["data"].items()}
    written = {path.name: json.loads(path.read_text()) for path in (CHART / "dashboards").glob("*.json")}
    assert shipped == written
    assert shipped


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://prometheus:9090", 9090),
        ("http://prometheus/prefix", 80),
        ("https://prometheus.example", 443),
        ("https://prometheus.example:8443/x", 8443),
    ],
)
def test_the_operator_may_reach_prometheus(url, port):
    policy = the(render(prometheus={"url": url}), "NetworkPolicy")["spec"]
    assert [{"port": port, "protocol": "TCP"}] in [rule["ports"] for rule in policy["egress"]]


def test_metrics_and_alerts_can_be_kept_to_one_namespace():
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    policy = the(render(networkPolicy={"ingressFrom": [peer]}), "NetworkPolicy")["spec"]
    assert [rule["from"] for rule in policy["ingress"]] == [[peer]]


def test_crds_of_the_chart_are_the_generated_ones():
    generated = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    copies = {path.name: path.read_text() for path in (CHART / "files" / "crds").glob("*.yaml")}
    assert copies == generated
    assert len(generated) == 2


def test_crds_are_rendered_unchanged_and_kept():
    generated = {
        crd["metadata"]["name"]: crd
        for path in (ROOT / "crds").glob("*.yaml")
        for crd in yaml.safe_load_all(path.read_text())
    }
    for keep in (True, False):
        rendered = of_kind(render(crds={"keep": keep}), "CustomResourceDefinition")
        assert {crd["metadata"]["name"] for crd in rendered} == set(generated)
        for crd in rendered:
            annotations = crd["metadata"].pop("annotations", {})
            policy = annotations.pop("helm.sh/resource-policy", None)
            assert policy == ("keep" if keep else None)
            if annotations:
                crd["metadata"]["annotations"] = annotations
            assert crd == generated[crd["metadata"]["name"]]


def test_crds_can_be_left_to_others():
    assert not of_kind(render(crds={"install": False}), "CustomResourceDefinition")


def test_the_test_hook_leaves_nothing():
    annotations = the(render(), "Pod")["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "test"
    assert set(annotations["helm.sh/hook-delete-policy"].split(",")) >= {"hook-succeeded", "hook-failed"}


def test_every_namespaced_object_names_its_namespace():
    clusterwide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    for item in render(**ALL_ON):
        if item["kind"] not in clusterwide:
            assert item["metadata"]["namespace"] in {NAMESPACE, "team-a", "team-b"}, item["metadata"]["name"]


def test_two_releases_share_no_cluster_wide_name():
    role = the(render(), "ClusterRole")["metadata"]["name"]
    assert NAMESPACE in role
    assert "prices" in role
