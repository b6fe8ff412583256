"""Settings are read once, and every problem is told at once."""

from __future__ import annotations

import pytest

from deepseek_operator.errors import SettingsError
from deepseek_operator.settings import Settings, from_environment


def test_nothing_set_gives_the_defaults():
    assert from_environment({}) == Settings()


def test_a_variable_without_the_prefix_is_nobodys():
    assert from_environment({"PROMETHEUS_URL": "http://x", "KUBECONFIG": "y"}) == Settings()


def test_every_problem_is_told_with_variable_value_and_remedy():
    wrong = {
        "DEEPSEEK_LISTEN_PORT": "eighty",
        "DEEPSEEK_RESYNC": "-1",
        "DEEPSEEK_PROMETHEUS_URL": "prometheus:9090",
        "DEEPSEEK_IMAGE_PULL_POLICY": "Sometimes",
        "DEEPSEEK_WEIGHT_PORTS": "443,x",
        "DEEPSEEK_LOG_LEVEL": "chatty",
        "DEEPSEEK_MAX_PRICE_AGE_DAYS": "0",
        "DEEPSEEK_MAX_USD_PER_HOUR": "-3",
        "DEEPSEEK_DEMAND_PERCENTILE": "100",
        "DEEPSEEK_MOVED_ENGINES_PER_HOUR": "0",
        "DEEPSEEK_ROUTING": "ByLength",
    }
    with pytest.raises(SettingsError) as caught:
        from_environment(wrong)
    assert len(caught.value.problems) == len(wrong)
    for name, value in wrong.items():
        assert any(name in problem and value in problem and ";" in problem for problem in caught.value.problems)


def test_a_lease_must_outlive_its_renewal():
    with pytest.raises(SettingsError, match="DEEPSEEK_LEASE_RENEW_DEADLINE"):
        from_environment({"DEEPSEEK_LEASE_DURATION": "5"})


def test_whether_anything_is_measured_follows_from_the_address():
    assert not from_environment({}).policy.measures
    assert from_environment({"DEEPSEEK_PROMETHEUS_URL": "http://prometheus:9090"}).policy.measures


def test_the_clusters_limit_is_in_dollars_and_none_by_default():
    assert from_environment({}).policy.max_usd_per_hour is None
    assert from_environment({"DEEPSEEK_MAX_USD_PER_HOUR": "120.50"}).policy.max_usd_per_hour == 120_500_000
    with pytest.raises(SettingsError, match="DEEPSEEK_MAX_USD_PER_HOUR: 'a lot'"):
        from_environment({"DEEPSEEK_MAX_USD_PER_HOUR": "a lot"})


def test_routing_by_length_is_refused_since_it_needs_a_router():
    assert from_environment({"DEEPSEEK_ROUTING": "Even"}) == Settings()
    with pytest.raises(SettingsError, match="needs a router in front"):
        from_environment({"DEEPSEEK_ROUTING": "ByLength"})
    with pytest.raises(SettingsError, match="write one of Even"):
        from_environment({"DEEPSEEK_ROUTING": "Random"})
