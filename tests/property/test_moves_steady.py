"""The law that noise is no reason to swing, with the real search on the examples: a load that stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from deepseek_operator.api.convert import deployment_input
from deepseek_operator.pools import offerings
from deepseek_planner.plan import Plan
from deepseek_planner.search import plan
from deepseek_planner.snapshot import EngineGroup, Policy, Snapshot
from support.fleets import NOW
from support.planning import CATALOG, snapshot
from support.turns import Turns

EXAMPLES = Path(__file__).parents[2] / "examples"
POLICY = Policy(settle_s=60.0)
MINUTES = 240
Example = Callable[[], tuple[dict[str, Any], str]]
"""A deployment, and the file of its pools."""


def deepseek_v3() -> tuple[dict[str, Any], str]:
    """One large engine or three smaller ones, of two accelerators whose dollars differ by a tenth."""
    return _read("deepseek-v3.yaml")[0], "aws-us-east-1.yaml"


def distill() -> tuple[dict[str, Any], str]:
    """A few small engines of three accelerators, at a load between one of them and two."""
    asked = _read("distill.yaml")[0]
    asked["spec"]["objectives"] |= {"accuracyClass": "Economy", "maxUSDPerHour": "12"}
    asked["spec"]["workload"]["requestsPerMinute"] = {"expected": 100, "peak": 400}
    return asked, "aws-single-gpu.yaml"


def _read(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def steady(example: Example, mean: float, seed: int) -> Turns:
    """Four hours of independent arrivals at one rate."""
    document, pools = example()
    asked = replace(deployment_input(document, catalog=CATALOG), planned_generation=None)
    found = offerings(_read(f"pools/{pools}"), [], [], catalog=CATALOG, now=NOW)
    known: dict[object, float] = {}

    def search(seen: Snapshot) -> Plan:
        planned = plan(seen, CATALOG, POLICY)
        for placed in planned.deployments[asked.key].placements:
            if placed.prediction is not None:
                known[placed.shape] = placed.prediction.capacity_requests_per_min / placed.replicas
        return planned

    def settle(it: Turns, minute: int) -> None:
        if minute == 1:
            it.asked = replace(it.asked, planned_generation=it.asked.generation)

    it = Turns(asked, replace(snapshot(asked, offerings=found), now=NOW), search, POLICY, known=known)
    random = Random(seed)
    loads = (max(0.0, random.gauss(mean, math.sqrt(mean))) for _ in range(MINUTES))
    return it.run(loads, each=settle)


def carried(it: Turns, groups: Sequence[EngineGroup]) -> float:
    """Requests per minute: every engine gets the same share, so the weakest decides."""
    ready = [(each.shape, min(each.ready, each.desired)) for each in groups if min(each.ready, each.desired)]
    return sum(count for _, count in ready) * min((it.known[shape] for shape, _ in ready), default=0.0)


@pytest.mark.parametrize(
    ("example", "mean", "seed"),
    [
        (deepseek_v3, 158, 1),
        (deepseek_v3, 160, 1),
        (deepseek_v3, 180, 3),
        (deepseek_v3, 200, 2),
        (distill, 82, 1),
        (distill, 82, 3),
        (distill, 86, 3),
        (distill, 190, 2),
        (distill, 190, 3),
    ],
)
def test_a_steady_load_moves_an_example_at_most_five_times_in_four_hours(
    example: Example, mean: float, seed: int
) -> None:
    it = steady(example, mean, seed)
    budget = it.asked.objectives.max_usd_per_hour

    assert 2 <= len(it.moved) <= 5, it.moved
    for _, groups in it.states:
        assert sum(each.paid_replicas * (each.usd_per_replica_hour or 0) for each in groups) <= budget
        assert sum(each.desired > 0 for each in groups) <= 2, "no third fleet starts before the first is gone"
    served = [carried(it, groups) >= load for load, groups in it.states[15:]]
    assert sum(served) >= 0.995 * len(served)
