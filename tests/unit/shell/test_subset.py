"""When an apply would change nothing, it is not made."""

from __future__ import annotations

import pytest

from deepseek_operator.subset import is_subset


@pytest.mark.parametrize(
    ("desired", "observed"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": {"b": []}}, {"a": {}}),
        ({"a": {}}, {}),
        ({"paused": False}, {}),
        ({"replicas": 0}, {}),
        ({"resources": {"requests": {"cpu": "300m"}}}, {"resources": {"requests": {"cpu": "0.3"}}}),
        ({"requests": {"memory": "2560Mi"}}, {"requests": {"memory": "2684354560"}}),
        ({"containers": [{"name": "a"}]}, {"containers": [{"name": "sidecar"}, {"name": "a", "image": "x"}]}),
        ({"ownerReferences": [{"uid": "1"}]}, {"ownerReferences": [{"uid": "2"}, {"uid": "1"}]}),
        (
            {"ports": [{"port": 8000, "targetPort": 8000, "protocol": "TCP"}]},
            {"ports": [{"port": 8000, "targetPort": 8000, "protocol": "TCP", "nodePort": 31000}]},
        ),
    ],
)
def test_nothing_to_do(desired, observed):
    assert is_subset(desired, observed)


@pytest.mark.parametrize(
    ("desired", "observed"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {}),
        ({"a": {"b": 1}}, {"a": None}),
        ({"replicas": 1}, {"replicas": 0}),
        ({"containers": [{"name": "a", "image": "x"}]}, {"containers": [{"name": "a", "image": "y"}]}),
        ({"containers": [{"name": "a"}]}, {"containers": []}),
        ({"requests": {"cpu": "300m"}}, {"requests": {"cpu": "3"}}),
        # A list that is not keyed is ours as a whole: what someone added is not wanted.
        ({"egress": [{"ports": [{"port": 443}]}]}, {"egress": [{"ports": [{"port": 443}, {"port": 22}]}]}),
        ({"args": ["serve"]}, {"args": ["serve", "--more"]}),
    ],
)
def test_something_to_do(desired, observed):
    assert not is_subset(desired, observed)
