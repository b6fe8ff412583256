"""The chart's values reach the operator's settings: every variable is read, every setting can be set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from deepseek_operator.settings import from_environment
from support.charts import render, the

NOT_OF_THE_CHART = {"DEEPSEEK_LISTEN_HOST", "DEEPSEEK_LISTEN_PORT", "DEEPSEEK_LEADER_ELECTION"}
"""The pod's own address is fixed, and more than one pod may always run during an update."""


class Recorded(Mapping[str, str]):
    """An environment that remembers what was asked for."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def environment(**values):
    (container,) = the(render(**values), "Deployment")["spec"]["template"]["spec"]["containers"]
    fields = {"metadata.name": "operator-0", "metadata.namespace": "serving"}
    return Recorded(
        {
            item["name"]: item["value"] if "value" in item else fields[item["valueFrom"]["fieldRef"]["fieldPath"]]
            for item in container["env"]
        }
    )


def test_the_defaults_are_settings_of_the_operator():
    settings = from_environment(environment())
    assert settings.leader.namespace == "serving"
    assert settings.leader.identity == "operator-0"
    assert settings.server.alert_token_file
    assert settings.engine.cpu_image == "localhost/deepseek-runtime-cpu:0.1.0"


def test_every_variable_is_read_and_every_setting_has_a_value():
    variables = environment()
    from_environment(variables)
    assert set(variables) == variables.asked - NOT_OF_THE_CHART


@pytest.mark.parametrize(
    ("written", "micro_usd"), [(2_000_000, 2_000_000_000_000), (99.5, 99_500_000), ("60", 60_000_000)]
)
def test_a_budget_arrives_as_it_is_written(written, micro_usd):
    """Helm holds every number as a float and would write the large ones as 2e+06."""
    settings = from_environment(environment(policy={"maxUSDPerHour": written}))
    assert settings.policy.max_usd_per_hour == micro_usd


def test_values_arrive():
    settings = from_environment(
        environment(
            engine={
                "images": {"cuda": {"repository": "r/cuda", "tag": "1"}, "cpu": {"repository": "r/cpu", "tag": "2"}},
                "pullPolicy": "Never",
                "gpuResource": "amd.com/gpu",
                "monitoringNamespace": "monitoring",
                "weightPorts": [443, 9000],
            },
            leaderElection={
                "leaseName": "l",
                "leaseDurationSeconds": 6,
                "renewDeadlineSeconds": 4,
                "retrySeconds": 0.5,
            },
            loop={"settleSeconds": 0, "measurementWindowSeconds": 30, "resyncSeconds": 7, "relistSeconds": 1000000},
            prometheus={"url": "http://prometheus:9090"},
            prices={"configMap": {"name": "our-prices"}, "maxAgeDays": 30},
            policy={
                "maxUSDPerHour": "99.50",
                "demandPercentile": 90,
                "engineStartSeconds": 900,
                "movedEnginesPerHour": 2,
                "movedEnginesPerHourInAll": 5,
                "retryAfterSeconds": 600,
            },
            rbac={"namespaces": ["a", "b"]},
            logLevel="DEBUG",
        )
    )
    assert settings.engine.cuda_image == "r/cuda:1"
    assert settings.engine.cpu_image == "r/cpu:2"
    assert settings.engine.image_pull_policy == "Never"
    assert settings.engine.gpu_resource == "amd.com/gpu"
    assert settings.engine.monitoring_namespace == "monitoring"
    assert settings.engine.weight_ports == (443, 9000)
    assert settings.leader.name == "l"
    assert (settings.leader.duration_s, settings.leader.renew_deadline_s, settings.leader.retry_s) == (6, 4, 0.5)
    assert settings.policy.settle_s == 0
    assert (settings.measurement_window_s, settings.resync_s, settings.relist_s) == (30, 7, 1_000_000)
    assert settings.price_file == "/etc/deepseek-operator/prices/prices.csv"
    policy = settings.policy
    assert policy.max_price_age_days == 30
    assert (policy.max_usd_per_hour, policy.routing, policy.demand_percentile) == (99_500_000, "Even", 90)
    assert (policy.max_moved_engines_per_hour, policy.max_moved_engines_per_hour_in_all) == (2, 5)
    assert (policy.engine_start_s, policy.retry_s, policy.cycle_s) == (900, 600, 7)
    assert settings.prometheus_url == "http://prometheus:9090"
    assert settings.namespaces == ("a", "b")
    assert settings.log_level == "DEBUG"
