"""The CRDs on a real API server: accepted, defaulting, refusing with the remedy, shown as the docs show it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from kubernetes import client

from deepseek_operator.api.deployment import DeepSeekDeploymentSpec
from deepseek_operator.api.pool import AcceleratorPoolSpec
from support.bad_deployments import BAD_POOLS, BY_RULE, BY_SCHEMA, GOOD, POOL, Bad, changed
from support.kubernetes_api import RefusedError, apply, request

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("crds")]

ROOT = Path(__file__).parents[2]
GROUP = "/apis/serving.deepseek-operator.dev/v1alpha1"
POOLS = f"{GROUP}/acceleratorpools"


def deployments(namespace: str) -> str:
    return f"{GROUP}/namespaces/{namespace}/deepseekdeployments"


def in_namespace(obj: dict, namespace: str) -> dict:
    return {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}


def create(api: client.ApiClient, path: str, obj: dict) -> dict:
    """Dry run: what would be stored, or the refusal."""
    return request(api, "POST", path, obj, [("dryRun", "All"), ("fieldValidation", "Strict")])


def refusal(api: client.ApiClient, path: str, obj: dict) -> str:
    with pytest.raises(RefusedError) as refused:
        create(api, path, obj)
    assert refused.value.status in {400, 422}
    return str(refused.value)


def test_defaults_of_the_server_are_those_of_the_types(api, dry_namespace):
    stored = create(api, deployments(dry_namespace), in_namespace(GOOD, dry_namespace))["spec"]
    typed = DeepSeekDeploymentSpec.model_validate(GOOD["spec"])
    assert stored == typed.model_dump(mode="json", by_alias=True, exclude_none=True)


def test_defaults_inside_what_was_begun(api, dry_namespace):
    obj = changed("spec.placement", {"accelerators": {"deny": ["v100"]}})
    stored = create(api, deployments(dry_namespace), in_namespace(obj, dry_namespace))["spec"]
    typed = DeepSeekDeploymentSpec.model_validate(obj["spec"])
    assert stored == typed.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert stored["placement"]["maxSpotPercent"] == 100


def test_a_percentile_of_ones_own_replaces_the_default(api, dry_namespace):
    obj = changed("spec.objectives.timeToFirstToken", {"p50": "500ms"})
    stored = create(api, deployments(dry_namespace), in_namespace(obj, dry_namespace))["spec"]
    assert stored["objectives"]["timeToFirstToken"] == {"p50": "500ms"}


@pytest.mark.parametrize("written", ["1.42s", "3.4ms", "1500us", "0.5s", "1m30s"])
def test_durations_are_those_of_go(api, dry_namespace, written):
    obj = changed("spec.objectives.timePerOutputToken", {"p95": written})
    stored = create(api, deployments(dry_namespace), in_namespace(obj, dry_namespace))["spec"]
    assert stored["objectives"]["timePerOutputToken"] == {"p95": written}


def test_defaults_of_pools(api):
    stored = create(api, POOLS, POOL)["spec"]
    typed = AcceleratorPoolSpec.model_validate(POOL["spec"])
    assert stored == typed.model_dump(mode="json", by_alias=True, exclude_none=True)


@pytest.mark.parametrize("bad", BY_RULE, ids=lambda bad: bad.name)
def test_a_rule_refuses_with_field_and_remedy(api, dry_namespace, bad: Bad):
    text = refusal(api, deployments(dry_namespace), in_namespace(changed(bad.path, bad.value), dry_namespace))
    assert bad.says in text
    if bad.path != "metadata.name":  # a rule of the whole object is reported at its root
        assert bad.reported_at in text


@pytest.mark.parametrize("bad", BY_SCHEMA, ids=lambda bad: bad.name)
def test_the_schema_refuses_at_the_field(api, dry_namespace, bad: Bad):
    text = refusal(api, deployments(dry_namespace), in_namespace(changed(bad.path, bad.value), dry_namespace))
    assert bad.reported_at in text


@pytest.mark.parametrize("bad", BAD_POOLS, ids=lambda bad: bad.name)
def test_a_rule_refuses_a_pool(api, bad: Bad):
    assert bad.says in refusal(api, POOLS, changed(bad.path, bad.value, POOL))


def test_several_problems_are_said_at_once(api, dry_namespace):
    obj = changed("spec.objectives", {"timeToFirstToken": {"p95": "soon"}, "maxUSDPerMillionTokens": -1})
    text = refusal(api, deployments(dry_namespace), in_namespace(obj, dry_namespace))
    assert "there is no budget" in text
    assert "is not a duration above 0" in text
    assert "is not an amount of US dollars above 0" in text


def test_an_empty_histogram_breaks_no_rule_beside(api, dry_namespace):
    load = {"inputTokens": {"histogram": []}, "outputTokens": {"histogram": []}, "sharedPrefixTokens": 5}
    obj = changed("spec.workload", {"requestsPerMinute": {"expected": 1}, **load})
    text = refusal(api, deployments(dry_namespace), in_namespace(obj, dry_namespace))
    assert text.count("Invalid value") == 2


EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*.yaml") if "demo" not in path.parts)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_are_accepted(api, dry_namespace, path: Path):
    documents = [item for item in yaml.safe_load_all(path.read_text()) if item]
    assert documents
    for obj in documents:
        if obj["kind"] == "AcceleratorPool":
            apply(api, POOLS, obj, dry_run=True)
        else:
            apply(api, deployments(dry_namespace), in_namespace(obj, dry_namespace), dry_run=True)


def test_the_same_file_twice_changes_nothing(api, namespace):
    obj = in_namespace(yaml.safe_load((ROOT / "examples" / "chat.yaml").read_text()), namespace)
    first = apply(api, deployments(namespace), obj)["metadata"]
    second = apply(api, deployments(namespace), obj)["metadata"]
    assert first["resourceVersion"] == second["resourceVersion"]
    assert second["generation"] == 1


def test_a_status_goes_through_its_own_door_only(api, namespace):
    path = deployments(namespace)
    apply(api, path, in_namespace(GOOD, namespace))
    status = {"status": {"replicas": 2}}
    merge = {"content_type": "application/merge-patch+json"}
    assert "status" not in request(api, "PATCH", f"{path}/chat", status, **merge)
    assert request(api, "PATCH", f"{path}/chat/status", status, **merge)["status"] == {"replicas": 2}


FULL_STATUS = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Ready",
            "message": "",
            "lastTransitionTime": "2026-11-22T08:00:00Z",
            "observedGeneration": 1,
        }
    ],
    "summary": "1 x 8 H200 fp8 spot + 1 x 8 A100-80 int4",
    "modelName": "deepseek-v3.1",
    "endpoint": "http://chat.team-a.svc:8000/v1",
    "replicas": 2,
    "readyReplicas": 2,
    "plan": {"digest": "9c1e", "usdPerHour": "41.20", "usdPerMillionTokens": "1.91"},
    "actual": {"window": "1h", "usdPerHour": "39.80", "usdPerMillionTokens": "1.87"},
    "lastMove": {
        "at": "2026-11-22T08:00:00Z",
        "from": "a",
        "to": "b",
        "reason": "CheaperPlan",
        "savedUSDPerHour": "-6",
    },
}


def test_kubectl_get_shows_the_screen_of_the_docs(api, namespace):
    path = deployments(namespace)
    apply(api, path, in_namespace(GOOD, namespace))
    merge = {"content_type": "application/merge-patch+json"}
    stored = request(api, "PATCH", f"{path}/chat/status", {"status": FULL_STATUS}, **merge)
    assert stored["status"] == FULL_STATUS  # nothing of it was pruned
    table = request(api, "GET", path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    names = [column["name"] for column in table["columnDefinitions"]]
    assert names == ["Name", "Model", "Plan", "Ready", "Replicas", "$/H", "$/MTok", "Actual", "Status", "Age"]
    cells = table["rows"][0]["cells"]
    summary = FULL_STATUS["summary"]
    assert cells[:9] == ["chat", "deepseek-v3.1", summary, 2, 2, "41.20", "1.91", "1.87", "Ready"]


def test_short_names(api):
    resources = request(api, "GET", GROUP)["resources"]
    short = {item["name"]: item.get("shortNames") for item in resources}
    assert short["deepseekdeployments"] == ["dsd"]
    assert short["acceleratorpools"] == ["apool"]
    assert "deepseekdeployments/status" in short
    assert "deepseekdeployments/scale" not in short
