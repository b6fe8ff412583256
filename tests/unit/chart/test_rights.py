"""The chart grants what the operator's client says it asks for, verb by verb, and nothing else."""

from __future__ import annotations

import pytest

from deepseek_operator.client import PERMISSIONS
from support.charts import NAMESPACE, of_kind, render, rules, the


def asked(*scopes: str, multi_node: bool = False):
    return {
        (item.group, item.resource, verb)
        for item in PERMISSIONS
        if item.scope in scopes and (multi_node or not item.is_optional)
        for verb in item.verbs
    }


@pytest.mark.parametrize("multi_node", [False, True])
def test_cluster_wide(multi_node):
    objects = render(multiNode={"enabled": multi_node})
    assert rules(objects, "ClusterRole") == asked("cluster", "namespace", multi_node=multi_node)
    assert rules(objects, "Role", NAMESPACE) == asked("own")


@pytest.mark.parametrize("multi_node", [False, True])
def test_in_chosen_namespaces(multi_node):
    objects = render(rbac={"namespaces": ["team-a", "team-b"]}, multiNode={"enabled": multi_node})
    assert rules(objects, "ClusterRole") == asked("cluster")
    for namespace in ("team-a", "team-b"):
        assert rules(objects, "Role", namespace) == asked("namespace", multi_node=multi_node)
    assert rules(objects, "Role", NAMESPACE) == asked("own")


def test_no_wildcards_no_secrets_no_escalation():
    granted = rules(render(), "ClusterRole") | rules(render(), "Role")
    assert not {right for right in granted if "*" in right}
    assert not {right for right in granted if right[1] == "secrets" or right[2] in {"escalate", "bind", "impersonate"}}


def test_a_lease_is_read_and_written_by_name_only():
    role = the(render(leaderElection={"leaseName": "mine"}), "Role")
    named = [rule for rule in role["rules"] if "resourceNames" in rule]
    assert [rule["resourceNames"] for rule in named] == [["mine"]]
    assert [rule["verbs"] for rule in role["rules"] if "resourceNames" not in rule] == [["create"]]


@pytest.mark.parametrize("values", [{}, {"rbac": {"namespaces": ["team-a"]}}])
def test_every_role_is_bound_to_the_operators_account(values):
    objects = render(**values)
    account = the(objects, "ServiceAccount")["metadata"]["name"]
    for kind in ("Role", "ClusterRole"):
        roles = {(item["metadata"].get("namespace"), item["metadata"]["name"]) for item in of_kind(objects, kind)}
        bound = set()
        for binding in of_kind(objects, f"{kind}Binding"):
            assert binding["roleRef"]["kind"] == kind
            assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]
            bound.add((binding["metadata"].get("namespace"), binding["roleRef"]["name"]))
        assert bound == roles
