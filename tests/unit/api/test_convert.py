from __future__ import annotations

from deepseek_operator.api.convert import deployment_input
from deepseek_planner import catalog
from deepseek_planner.demand import AccuracyClass, LatencyTarget
from deepseek_planner.hardware import CapacityType
from deepseek_planner.models import Precision
from deepseek_planner.snapshot import DeploymentKey, RebalancingMode
from support.bad_deployments import GOOD, changed

FACTS = catalog.load()


def converted(obj):
    return deployment_input(obj, catalog=FACTS)


def test_everything_written_arrives():
    obj = {
        **GOOD,
        "metadata": {"name": "chat", "namespace": "team-a", "generation": 7},
        "spec": {
            "model": {"name": "deepseek-v3.1", "source": {"uri": "s3://bucket/v3", "precision": "int4"}},
            "workload": {
                "requestsPerMinute": {"expected": 240, "peak": 900},
                "inputTokens": {"mean": 1200, "p90": 4000, "max": 16384},
                "outputTokens": {"histogram": [{"upTo": 100, "percent": 100}]},
                "sharedPrefixTokens": 600,
            },
            "objectives": {
                "timeToFirstToken": {"p99": "800ms"},
                "timePerOutputToken": {"p50": "50ms"},
                "accuracyClass": "Economy",
                "maxUSDPerHour": 60,
                "maxUSDPerMillionTokens": "2.50",
                "priority": -3,
                "availabilityPercent": "99.9",
            },
            "placement": {
                "accelerators": {"allow": ["h200", "h100"], "deny": ["v100"]},
                "capacityTypes": ["Spot", "Reserved"],
                "maxSpotPercent": 60,
                "zones": ["z1"],
                "nodeSelector": {"disk": "fast"},
            },
            "scaling": {"minReplicas": 2, "maxReplicas": 5},
            "rebalancing": {"mode": "Recommend", "minSavingsPercent": 25, "cooldown": "1h"},
            "paused": True,
        },
    }
    found = converted(obj)
    assert (found.key, found.generation, found.model) == (DeploymentKey("team-a", "chat"), 7, "deepseek-v3.1")
    assert (found.demand.expected_requests_per_min, found.demand.peak_requests_per_min) == (240, 900)
    assert (found.demand.input_tokens.max_tokens, found.demand.output_tokens.max_tokens) == (16384, 100)
    assert found.demand.shared_prefix_tokens == 600
    objectives = found.objectives
    assert objectives.time_to_first_token == LatencyTarget(99, 0.8)
    assert objectives.time_per_output_token == LatencyTarget(50, 0.05)
    assert objectives.accuracy_class is AccuracyClass.ECONOMY
    assert (objectives.max_usd_per_hour, objectives.max_usd_per_million_tokens) == (60_000_000, 2_500_000)
    assert (objectives.priority, objectives.availability_percent) == (-3, 99.9)
    limits = found.constraints
    assert (limits.allow_accelerators, limits.deny_accelerators) == (("h200", "h100"), ("v100",))
    assert (limits.capacity_types, limits.max_spot_percent) == ((CapacityType.SPOT, CapacityType.RESERVED), 60)
    assert (limits.zones, limits.node_selector) == (("z1",), {"disk": "fast"})
    assert (limits.min_replicas, limits.max_replicas) == (2, 5)
    assert found.rebalancing.mode is RebalancingMode.RECOMMEND
    assert (found.rebalancing.min_savings_percent, found.rebalancing.cooldown_s) == (25, 3600.0)
    assert found.paused
    assert found.own_weights
    assert found.own_precision is Precision.INT4


def test_what_is_left_out_has_its_default():
    found = converted(GOOD)
    assert found.generation == 1
    assert found.demand.peak_requests_per_min == found.demand.expected_requests_per_min == 240
    assert found.demand.input_tokens.mean_tokens > found.demand.output_tokens.mean_tokens > 0
    assert found.objectives.time_to_first_token == LatencyTarget(95, 2.0)
    assert found.objectives.time_per_output_token == LatencyTarget(95, 0.1)
    assert found.objectives.accuracy_class is AccuracyClass.BALANCED
    assert found.objectives.max_usd_per_million_tokens is None
    assert found.constraints.max_spot_percent == 100
    assert not found.paused
    assert not found.own_weights
    assert found.own_precision is None


def test_the_namespace_is_the_objects_own_or_none():
    assert converted(changed("metadata", {"name": "chat"})).key == DeploymentKey("", "chat")
