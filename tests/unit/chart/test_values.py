"""values.schema.json: the defaults pass, an unknown or malformed value is refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess

import helm_python
import jsonschema
import pytest
import yaml

from support.charts import CHART, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_chart_lints():
    result = helm_python.lint(str(CHART), strict=True)
    information = 1
    assert not result["errors"]
    assert not [message for message in result["messages"] if message["severity"] > information], result


def test_the_defaults_pass():
    jsonschema.validate(VALUES, SCHEMA)


def closed(schema, where="values"):
    """Paths of objects that would take a key that nobody reads."""
    if schema.get("type") != "object":
        return
    if "properties" in schema:
        if schema.get("additionalProperties") is not False:
            yield where
        for name, child in schema["properties"].items():
            yield from closed(child, f"{where}.{name}")


def test_every_object_with_known_keys_is_closed():
    assert list(closed(SCHEMA)) == []


def test_every_value_of_the_schema_has_a_default_and_the_reverse():
    def leaves(schema, values, where):
        known = set(schema.get("properties", {})) - {"global"}
        if not known:
            return
        assert known == set(values), where
        for name in known:
            leaves(schema["properties"][name], values[name], f"{where}.{name}")

    leaves(SCHEMA, VALUES, "values")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"replica": 2}, "replica"),
        ({"image": {"repo": "x"}}, "repo"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"loop": {"settleSeconds": "60s"}}, "settleSeconds"),
        ({"loop": {"settleSeconds": -1}}, "settleSeconds"),
        ({"prometheus": {"url": "prometheus:9090"}}, "url"),
        ({"rbac": {"namespaces": ["Team_A"]}}, "namespaces"),
        ({"leaderElection": {"leaseDurationSeconds": 0}}, "leaseDurationSeconds"),
        ({"logLevel": "loud"}, "logLevel"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values, names):
    with pytest.raises(helm_python.HelmError, match=names):
        render(**values)


@pytest.mark.skipif(not shutil.which("helm"), reason="helm is not on PATH; the SDK above renders the same chart")
def test_the_helm_binary_lints_and_renders_the_same():
    subprocess.run(["helm", "lint", "--strict", str(CHART)], check=True, capture_output=True)
    values = ["--set", "alerts.existingSecret.name=mine", "--kube-version", "1.35.0"]
    text = subprocess.run(
        ["helm", "template", "prices", str(CHART), "--namespace", "serving", *values],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    def key(item):
        return item["kind"], item["metadata"]["name"]

    by_binary = sorted((item for item in yaml.safe_load_all(text) if item), key=key)
    by_sdk = sorted(render(alerts={"existingSecret": {"name": "mine"}}), key=key)
    assert by_binary == by_sdk
