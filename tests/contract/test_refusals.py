"""``plan`` and the embedded world refuse what the cluster refuses, with the same words (the cluster's half is in
tests/integration/test_crds.py, over the same table).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from deepseek_operator.api.convert import deployment_input
from deepseek_operator.pools import declared_offerings, pool_problems
from deepseek_planner import catalog
from deepseek_planner.errors import InputError
from support.bad_deployments import BAD_POOLS, BY_RULE, BY_SCHEMA, GOOD, POOL, REMOVE, Bad, changed

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture(scope="module")
def facts():
    return catalog.load()


def problems(obj, facts):
    with pytest.raises(InputError) as refused:
        deployment_input(obj, catalog=facts, in_cluster=True)
    return refused.value.problems


def test_the_good_one_is_accepted(facts):
    assert deployment_input(GOOD, catalog=facts, in_cluster=True).model == "deepseek-v3.1"


@pytest.mark.parametrize("bad", BY_RULE, ids=lambda bad: bad.name)
def test_a_rule_refuses_with_field_value_and_remedy(facts, bad: Bad):
    found = [item for item in problems(changed(bad.path, bad.value), facts) if item.field == bad.reported_at]
    assert any(bad.says in f"{item.message}; {item.remedy}" for item in found)
    assert all(item.value and item.remedy for item in found)


@pytest.mark.parametrize("bad", BY_SCHEMA, ids=lambda bad: bad.name)
def test_what_the_schema_refuses_is_refused_at_the_same_field(facts, bad: Bad):
    found = [item for item in problems(changed(bad.path, bad.value), facts) if item.field == bad.reported_at]
    assert found
    assert all(item.message and item.value and item.remedy for item in found)


@pytest.mark.parametrize("bad", BAD_POOLS, ids=lambda bad: bad.name)
def test_pools_are_refused_likewise(facts, bad: Bad):
    found = [str(item) for item in pool_problems(changed(bad.path, bad.value, POOL), catalog=facts)]
    assert any(bad.says in text and text.startswith(bad.reported_at) for text in found)


def test_a_path_is_for_the_embedded_world(facts):
    obj = changed("spec.model", {"name": "deepseek-tiny", "source": {"path": "/tmp/tiny"}})
    assert deployment_input(obj, catalog=facts).own_weights
    assert [item.field for item in problems(obj, facts)] == ["spec.model.source.path"]


def test_all_problems_are_said_at_once_in_the_order_of_the_fields(facts):
    obj = changed("spec.model.name", "deepseek-v31")
    obj["spec"]["workload"] = {"requestsPerMinute": {"expected": -5}, "tenants": []}
    obj["spec"]["objectives"] = {"timeToFirstToken": {"p95": "soon"}}
    obj["spec"]["placement"] = {"accelerators": {"allow": ["h1000"]}}
    obj["metadata"]["name"] = "Chat"
    assert [item.field for item in problems(obj, facts)] == [
        "metadata.name",
        "spec.model.name",
        "spec.workload.requestsPerMinute.expected",
        "spec.workload.tenants",
        "spec.objectives.timeToFirstToken.p95",
        "spec.objectives.maxUSDPerHour",
        "spec.placement.accelerators.allow[0]",
    ]


@pytest.mark.parametrize(
    ("path", "value", "field", "says"),
    [
        ("spec.model.name", "deepseek-v31", "spec.model.name", "did you mean deepseek-v3.1"),
        ("spec.model.name", "llama", "spec.model.name", "known are "),
        ("spec.model.name", "deepseek-tiny", "spec.model.source", "say where its weights are"),
        (
            "spec.placement.accelerators",
            {"deny": ["h1000"]},
            "spec.placement.accelerators.deny[0]",
            "did you mean h100",
        ),
        (
            "spec.placement.accelerators",
            {"allow": ["h100"], "deny": ["NVIDIA-H100-80GB-HBM3"]},
            "spec.placement.accelerators.deny",
            "take it out of allow",
        ),
        ("kind", "Deployment", "kind", "write kind: DeepSeekDeployment"),
        ("apiVersion", "v1", "apiVersion", "write apiVersion: serving.deepseek-operator.dev/v1alpha1"),
        ("metadata.name", REMOVE, "metadata.name", "use at most 40"),
    ],
)
def test_what_only_the_catalogue_knows(facts, path, value, field, says):
    found = [item for item in problems(changed(path, value), facts) if item.field == field]
    assert any(says in item.remedy for item in found)


def test_an_empty_histogram_is_that_and_nothing_else(facts):
    load = {"inputTokens": {"histogram": []}, "outputTokens": {"histogram": []}, "sharedPrefixTokens": 5}
    found = problems(changed("spec.workload", {"requestsPerMinute": {"expected": 1}, **load}), facts)
    assert [f"{item.field} {item.message}" for item in found] == [
        "spec.workload.inputTokens.histogram has fewer than 1 entries",
        "spec.workload.outputTokens.histogram has fewer than 1 entries",
    ]


def test_a_null_is_a_field_left_out(facts):
    assert deployment_input(changed("spec.scaling", None), catalog=facts).constraints.min_replicas == 1


def test_an_alias_is_an_accelerator(facts):
    obj = changed("spec.placement.accelerators", {"allow": ["h100_sxm", "h100", "NVIDIA-L4"]})
    assert deployment_input(obj, catalog=facts).constraints.allow_accelerators == ("h100", "l4")


EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_are_accepted(facts, path):
    documents = [item for item in yaml.safe_load_all(path.read_text()) if item]
    assert documents
    pools = [item for item in documents if item["kind"] == "AcceleratorPool"]
    assert len(declared_offerings(pools, catalog=facts, now=NOW)) == len(pools)
    for obj in documents:
        if obj["kind"] == "DeepSeekDeployment":
            assert deployment_input(obj, catalog=facts).key.name == obj["metadata"]["name"]
