"""The chart as it renders, without a cluster and without a helm binary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "deepseek-operator"
RELEASE = "prices"
NAMESPACE = "serving"

Objects = list[dict[str, Any]]


def render(**values: Any) -> Objects:
    """Values to objects, the test hook included."""
    with helm_python.Chart.load(str(CHART)) as chart:
        files = chart.render(values=values, name=RELEASE, namespace=NAMESPACE)
    documents = [
        document for path in sorted(files) if path.endswith(".yaml") for document in yaml.safe_load_all(files[path])
    ]
    return [document for document in documents if document]


def of_kind(objects: Objects, kind: str) -> Objects:
    return [item for item in objects if item["kind"] == kind]


def the(objects: Objects, kind: str, namespace: str | None = None) -> dict[str, Any]:
    """The only object of a kind (in a namespace)."""
    found = [
        item for item in of_kind(objects, kind) if namespace is None or item["metadata"].get("namespace") == namespace
    ]
    assert len(found) == 1, [item["metadata"]["name"] for item in of_kind(objects, kind)]
    return found[0]


def rules(objects: Objects, kind: str, namespace: str | None = None) -> set[tuple[str, str, str]]:
    """(API group, resource, verb) granted by the roles of a kind."""
    return {
        (group, resource, verb)
        for role in of_kind(objects, kind)
        if namespace is None or role["metadata"].get("namespace") == namespace
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
