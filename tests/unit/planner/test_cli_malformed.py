"""Whatever a file holds in place of what it should, ``plan`` names it and exits with 2: no traceback, no plan."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from deepseek_operator.cli import plan
from deepseek_planner import search
from support.bad_deployments import GOOD, POOL

NOW = datetime(2026, 11, 22, tzinfo=UTC)
NODE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "n0",
        "labels": {
            "nvidia.com/gpu.product": "NVIDIA-L4",
            "karpenter.sh/capacity-type": "on-demand",
            "node.kubernetes.io/instance-type": "g6.xlarge",
        },
    },
    "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "x", "effect": "NoSchedule"}], "unschedulable": False},
    "status": {
        "allocatable": {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Kubelet"}],
    },
}
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "x", "labels": {"a": "b"}},
    "spec": {
        "nodeName": "n0",
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}}],
        "initContainers": [{"name": "i", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}}],
        "overhead": {"cpu": "1m"},
    },
    "status": {"phase": "Running"},
}
PRICED = {**POOL, "metadata": {"name": "p", "creationTimestamp": "2026-10-01T00:00:00Z", "generation": 1}}
PRICED["spec"] = {**POOL["spec"], "price": {"usdPerNodeHour": "1"}, "startup": "240s"}
VALUES: tuple[Any, ...] = ("x", 7, float("inf"), True, [5], {}, {"x": 5}, {7: "x"}, None)


def answered(folder: Path, asked: str, offered: str) -> int:
    """Exit code with these two files."""
    for name, text in (("request.yaml", asked), ("pools.yaml", offered)):
        (folder / name).write_text(text, encoding="utf-8")
    parser = argparse.ArgumentParser()
    plan.add_parser(parser.add_subparsers())
    files = ["-f", str(folder / "request.yaml"), "--pools", str(folder / "pools.yaml")]
    return plan.run(parser.parse_args(["plan", *files]), NOW)


@pytest.fixture
def unplanned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could be read is not planned: that would take long, and is not what is tested."""
    monkeypatch.setattr(search, "plan", lambda *_, **__: SimpleNamespace(deployments={}))


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from paths(item, (*path, key))


def replaced(good: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(good)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.mark.usefixtures("unplanned")
@pytest.mark.parametrize("good", [GOOD, PRICED, NODE, POD], ids=lambda good: good["kind"])
def test_any_value_in_any_place_is_read_or_refused_by_name(
    good: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, offered = yaml.safe_dump(GOOD), yaml.safe_dump(POOL)
    for path in paths(good):
        for value in VALUES:
            text = yaml.safe_dump(replaced(good, path, value))
            is_request = good is GOOD
            code = answered(tmp_path, text if is_request else asked, offered if is_request else f"{offered}---\n{text}")
            err = capsys.readouterr().err
            assert code in {0, 2}, (path, value)
            assert bool(err) is (code == 2), (path, value)


@pytest.mark.usefixtures("unplanned")
@pytest.mark.parametrize(
    ("obj", "path", "value", "said"),
    [
        (GOOD, ("metadata",), "x", 'metadata: "x": is not an object; write an object'),
        (GOOD, ("metadata", "namespace"), ["x"], 'metadata.namespace: ["x"]: is not text in quotes'),
        (GOOD, ("metadata", "generation"), "x", 'metadata.generation: "x": is not a whole number'),
        (GOOD, ("spec",), 5, "spec: 5: is not an object; write an object"),
        (PRICED, ("spec",), 5, "spec: 5: is not an object; write an object"),
        (PRICED, ("metadata",), [5], "metadata: [5]: is not an object; write an object"),
        (PRICED, ("metadata", "creationTimestamp"), "x", "is not a time such as 2026-11-20T08:00:00Z"),
        (
            PRICED,
            ("spec", "price", "asOf"),
            "2026-02-30",
            'spec.price.asOf: "2026-02-30": is not a date; write it like',
        ),
        (NODE, ("metadata",), None, "?: metadata: not set: is required"),
        (NODE, ("metadata", "labels", "a"), True, "n0: metadata.labels.a: true: is not text in quotes"),
        (NODE, ("status", "allocatable", "cpu"), "many", 'status.allocatable.cpu: "many": is not a quantity such as'),
        (NODE, ("spec", "taints", 0), "x", 'spec.taints[0]: "x": is not an object'),
        (POD, ("spec", "containers", 0, "resources"), 5, "spec.containers[0].resources: 5: is not an object"),
    ],
)
def test_what_is_of_another_form_is_named_with_its_remedy(
    obj: dict[str, Any],
    path: tuple[Any, ...],
    value: Any,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text, offered = yaml.safe_dump(replaced(obj, path, value)), yaml.safe_dump(POOL)
    if obj is GOOD:
        assert answered(tmp_path, text, offered) == 2
    else:
        assert answered(tmp_path, yaml.safe_dump(GOOD), f"{offered}---\n{text}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.usefixtures("unplanned")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: List\nitems: 5\n", "pools.yaml: items: int: is not a list; write a list of objects"),
        ("kind: List\nitems: [5]\n", "pools.yaml item 1: int: is not an object"),
        ("a: 1\n---\n5\n", "pools.yaml document 2: int: is not an object"),
        ("a: !!int x\n", "pools.yaml: file: is not YAML"),
        ("a: !!timestamp x\n", "pools.yaml: file: is not YAML"),
        ("a: &a {b: *a}\n", "is nested more than 64 levels deep"),
        ("a: .nan\n", "is no value of JSON (nan)"),
        ("a: !!set {x}\n", "is no value of JSON ({'x'})"),
    ],
)
def test_what_is_no_object_is_named_with_its_place(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answered(tmp_path, yaml.safe_dump(GOOD), text) == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("unplanned")
def test_a_day_without_quotes_is_text_as_for_kubectl(tmp_path: Path) -> None:
    offered = yaml.safe_dump(PRICED).replace("usdPerNodeHour: '1'", "usdPerNodeHour: '1'\n    asOf: 2026-11-01")
    assert "asOf: 2026-11-01\n" in offered
    assert answered(tmp_path, yaml.safe_dump(GOOD), offered) == 0
