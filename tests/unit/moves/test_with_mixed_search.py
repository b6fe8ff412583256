"""The real search, moves and steps together over a wave of load, on pools that call for a mix."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from random import Random

import pytest

from deepseek_planner.hardware import CapacityType
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Policy
from support.fleets import NOW
from support.planning import CATALOG, demand, deployment, objectives, offering, snapshot
from support.turns import Turns

POLICY = Policy(settle_s=60.0)
SPOT = {"capacity_type": CapacityType.SPOT, "interruptions_per_node_day": 2.0, "zone": "a"}
POOLS = (
    offering("l4", "6", max_nodes=4),
    offering("l4", "2.4", "l4-spot", max_nodes=3, **SPOT),
    offering("l40s", "14", max_nodes=2),
    offering("h100", "60", max_nodes=2),
)
COOLDOWN_MIN = 10


@pytest.fixture(scope="module")
def wave():
    random = Random(1)
    asked = deployment(
        "deepseek-r1-distill-qwen-7b",
        demand=demand(600, 3000),
        objectives=objectives(per_hour="60", accuracy="Critical", ttft_s=3.0, tpot_s=0.12),
    )
    known = {}

    def search(seen):
        found = plan(seen, CATALOG, POLICY)
        for placed in found.deployments[asked.key].placements:
            if placed.prediction is not None:
                known[placed.shape, placed.pool] = placed.prediction.capacity_requests_per_min / placed.replicas
        return found

    def settle(it, minute):
        if minute == 1:
            it.asked = replace(it.asked, planned_generation=it.asked.generation)

    world = replace(snapshot(asked, offerings=POOLS), now=NOW)
    loads = (900 + 700 * math.sin(2 * math.pi * minute / 150) for minute in range(150))
    it = Turns(asked, world, search, POLICY)
    it.run((max(0.0, random.gauss(load, 1.5 * math.sqrt(load))) for load in loads), each=settle)
    it.known = known
    return it


def test_the_wave_is_followed_by_mixed_fleets_in_few_moves(wave):
    assert 2 <= len(wave.moved) <= 12, wave.moved
    assert any(len({each.shape for each in groups if each.desired}) > 1 for _, groups in wave.states)
    for before, after in itertools.pairwise(wave.moved):
        assert after.required or after.minute - before.minute >= COOLDOWN_MIN


def test_every_state_between_serves_the_load_and_keeps_the_budget(wave):
    limit = wave.asked.objectives.max_usd_per_hour
    served = []
    for load, groups in wave.states[15:]:
        assert sum(each.paid_replicas * each.usd_per_replica_hour for each in groups) <= limit
        carried = sum(min(each.ready, each.desired) * wave.known[each.shape, each.pool] for each in groups)
        served.append(carried >= load)
    assert sum(served) >= 0.97 * len(served)
