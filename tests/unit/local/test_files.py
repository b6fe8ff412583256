from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_operator.local import files
from deepseek_operator.local.admission import defaulters
from deepseek_operator.world import Kind
from deepseek_planner import catalog
from deepseek_planner.errors import InputError

EXAMPLES = Path(__file__).parents[3] / "examples" / "demo"


@pytest.fixture(scope="module")
def admit():
    return defaulters(catalog.load())


def write(tmp_path, text):
    file = tmp_path / "file.yaml"
    file.write_text(text)
    return file


def test_the_demos_own_files_are_admitted_with_defaults(admit):
    deployment = files.read(EXAMPLES / "deployment.yaml", kinds=[Kind.DEPLOYMENT])[0]
    pool = files.read(EXAMPLES / "pools.yaml", kinds=[Kind.POOL])[0]

    assert admit[Kind.DEPLOYMENT](deployment)["spec"]["paused"] is False
    assert admit[Kind.POOL](pool)["spec"]["gpusPerNode"] == 2


def test_weights_at_a_relative_path_are_those_of_the_folder_it_is_read_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deployment = files.read(EXAMPLES / "deployment.yaml", kinds=[Kind.DEPLOYMENT])[0]

    assert deployment["spec"]["model"]["source"]["path"] == str(tmp_path / ".cache" / "deepseek-tiny")


def test_the_default_pool_is_admitted_and_priced_per_vcpu(admit):
    pool = admit[Kind.POOL](files.default_pool(slots=4))

    assert pool["spec"]["price"]["usdPerNodeHour"] == "0.23184"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no resource in it"),
        ("a: [", "is not YAML"),
        ("kind: Secret\nmetadata: {name: x}\n", "'Secret'"),
        ("- 1\n", "list: is not an object"),
        ("kind: DeepSeekDeployment\n", "metadata.name"),
        ("kind: DeepSeekDeployment\nmetadata: {name: [x]}\n", "metadata.name"),
        ("kind: DeepSeekDeployment\nmetadata: {name: x}\n---\n" * 2, "document 1 and"),
        ("kind: List\nitems: 5\n", "items: int: is not a list"),
        ("a: &a [*a]\n", "is nested more than 64 levels deep"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_to_do(tmp_path, text, said):
    with pytest.raises(InputError) as refused:
        files.read(write(tmp_path, text), kinds=[Kind.DEPLOYMENT])

    assert said in str(refused.value)


def test_a_source_of_another_form_is_left_for_admission(tmp_path, admit):
    text = "kind: DeepSeekDeployment\nmetadata: {name: x}\nspec: {model: {name: deepseek-v3, source: 5}}\n"
    (deployment,) = files.read(write(tmp_path, text), kinds=[Kind.DEPLOYMENT])
    with pytest.raises(InputError, match="source: 5: is not an object"):
        admit[Kind.DEPLOYMENT](deployment)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        files.read(tmp_path / "absent.yaml", kinds=[Kind.DEPLOYMENT])


def test_several_documents_and_lists_are_read(tmp_path):
    one = "kind: DeepSeekDeployment\nmetadata: {name: %s}\n"
    listed = "kind: List\nitems: [{kind: DeepSeekDeployment, metadata: {name: c}}]\n"
    found = files.read(write(tmp_path, f"{one % 'a'}---\n{one % 'b'}---\n{listed}"), kinds=[Kind.DEPLOYMENT])

    assert [item["metadata"]["name"] for item in found] == ["a", "b", "c"]
    assert found[0]["metadata"]["namespace"] == "default"


def test_every_problem_of_a_deployment_is_said_at_once(admit):
    deployment = files.read(EXAMPLES / "deployment.yaml", kinds=[Kind.DEPLOYMENT])[0]
    spec = {
        **deployment["spec"],
        "model": {"name": "deepseek-v9"},
        "workload": {"requestsPerMinute": {"expected": -1}},
        "objectives": {},
    }
    with pytest.raises(InputError) as refused:
        admit[Kind.DEPLOYMENT]({**deployment, "spec": spec})

    fields = " ".join(problem.field for problem in refused.value.problems)
    assert "spec.workload.requestsPerMinute.expected" in fields
    assert "maxUSDPerHour" in fields


def test_a_pool_of_an_unknown_accelerator_is_refused(admit):
    pool = files.default_pool(slots=1)
    with pytest.raises(InputError, match="abacus"):
        admit[Kind.POOL]({**pool, "spec": {**pool["spec"], "accelerator": "abacus"}})
