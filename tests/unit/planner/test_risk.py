from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from tests.support.planning import offering

from deepseek_planner import risk
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.risk import FACTS, Lot, availability, must_survive, odds
from deepseek_planner.units import MicroUsd, micro_usd

SPOT = CapacityType.SPOT


def spot(zone: str = "us-east-1a", accelerator: str = "h100", per_day: float = 1.0) -> Offering:
    return offering(
        accelerator,
        "20",
        f"{accelerator}-{zone}",
        capacity_type=SPOT,
        zone=zone,
        interruptions_per_node_day=per_day,
        startup_s=240.0,
    )


def lot(pool: Offering, replicas: int, capacity: float = 1.0, nodes: int = 1) -> Lot:
    return Lot(odds(pool, nodes_per_replica=nodes, engine_start_s=300.0), capacity, replicas)


ON_DEMAND = offering("h100", "55", zone="us-east-1a")


class TestAvailability:
    def test_capacity_that_is_never_lost_carries_what_it_can_and_no_more(self):
        assert availability([lot(ON_DEMAND, 3)], 3.0) == 1.0
        assert availability([lot(ON_DEMAND, 3)], 3.1) == 0.0
        assert availability([], 1.0) == 0.0
        assert availability([], 0.0) == 1.0

    def test_rounding_does_not_decide(self):
        assert availability([lot(ON_DEMAND, 3, 0.1)], 0.1 + 0.2) == 1.0
        assert availability([lot(ON_DEMAND, 999, 1 / 3)], 333.0) == 1.0

    def test_one_replica_is_there_when_nothing_has_taken_it(self):
        item = odds(spot(), engine_start_s=300.0)
        there = (1 - item.region_dry) * (1 - item.zone_dry) * (1 - item.alone)
        assert availability([lot(spot(), 1)], 1.0) == pytest.approx(there)
        # 1 interruption a day, 83 % of them shared, each for 6,500 s and a cold start: a fourteenth of the time.
        assert there == pytest.approx(1 - 0.83 * 7040 / 86400, abs=0.01)

    @pytest.mark.parametrize("needed", [0.5, 1.0, 1.7, 2.0, 3.3, 4.0, 5.0])
    def test_it_is_what_every_state_of_the_world_adds_up_to(self, needed):
        lots = [
            lot(spot("us-east-1a"), 2),
            lot(spot("us-east-1b", per_day=3.0), 1, 1.3),
            lot(spot("us-east-1a", per_day=3.0), 1, 0.7, nodes=2),
            lot(spot("eu-west-1a", "l4"), 1),
            lot(ON_DEMAND, 1),
        ]
        assert availability(lots, needed) == pytest.approx(_by_enumeration(lots, needed), abs=1e-12)

    def test_a_replica_over_two_nodes_dies_with_either(self):
        assert lot(spot(), 1, nodes=2).odds.alone == pytest.approx(2 * lot(spot(), 1).odds.alone, rel=5e-3)

    @pytest.mark.parametrize(
        "others",
        [
            ("us-east-1b",),  # another zone of the region
            ("eu-west-1a",),  # another region
        ],
    )
    def test_spread_over_zones_beats_the_same_size_in_one(self, others):
        together = availability([lot(spot("us-east-1a"), 4)], 2.0)
        spread = availability([lot(spot("us-east-1a"), 2), *(lot(spot(zone), 2) for zone in others)], 2.0)
        assert spread > together + 0.02

    def test_regions_beat_zones_and_types_help_like_regions(self):
        def with_other(pool: Offering) -> float:
            return availability([lot(spot("us-east-1a"), 2), lot(pool, 2)], 2.0)

        assert with_other(spot("us-east-1b")) < with_other(spot("us-west-2a"))
        assert with_other(spot("us-east-1a", "h200")) == pytest.approx(with_other(spot("us-west-2a")))

    def test_an_unknown_zone_is_one_zone(self):
        together = availability([lot(spot(""), 2)], 1.0)
        assert availability([lot(spot(""), 1), lot(spot(""), 1)], 1.0) == pytest.approx(together, abs=1e-12)

    def test_interruptions_declared_on_demand_come_alone(self):
        faulty = replace(ON_DEMAND, interruptions_per_node_day=0.1, startup_s=240.0)
        item = odds(faulty, engine_start_s=300.0)
        assert (item.region_dry, item.zone_dry) == (0.0, 0.0)
        assert item.alone == pytest.approx(0.1 * 540 / 86400, rel=5e-3)

    def test_a_large_mixed_fleet_is_answered_with_bounded_work_and_on_the_safe_side(self):
        lots = [lot(spot(f"us-east-{i}a", per_day=4.0), 12, 1 + i / 7) for i in range(1, 9)]
        total = sum(item.capacity_per_s * item.replicas for item in lots)
        fine = availability(lots, total / 2)
        assert 0.5 < fine < 1.0
        assert availability(lots, total / 3) >= fine


def _by_enumeration(lots: list[Lot], needed: float) -> float:
    """Every combination of region levels, zone levels and lost replicas, one by one."""
    names = [("region", item.odds.kind) for item in lots] + [("zone", item.odds.kind, item.odds.zone) for item in lots]
    names = sorted(set(names), key=str)
    levels = {}
    for name in names:
        chances = {
            item.odds.region_dry if name[0] == "region" else item.odds.zone_dry
            for item in lots
            if name in {("region", item.odds.kind), ("zone", item.odds.kind, item.odds.zone)}
        }
        bounds = sorted({0.0, 1.0, *chances})
        levels[name] = [(low, high - low) for low, high in itertools.pairwise(bounds)]
    total = 0.0
    for drawn in itertools.product(*(levels[name] for name in names)):
        low = dict(zip(names, (low for low, _ in drawn), strict=True))
        weight = math.prod(width for _, width in drawn)
        choices = []
        for item in lots:
            dry = item.odds.region_dry > low["region", item.odds.kind]
            dry |= item.odds.zone_dry > low["zone", item.odds.kind, item.odds.zone]
            for _ in range(item.replicas):
                choices.append(
                    [(0.0, 1.0)] if dry else [(0.0, item.odds.alone), (item.capacity_per_s, 1 - item.odds.alone)]
                )
        for state in itertools.product(*choices):
            if sum(capacity for capacity, _ in state) >= needed - 1e-9:
                total += weight * math.prod(chance for _, chance in state)
    return total


class TestCover:
    def test_one_zone_alone_never_reaches_what_it_is_dry_for(self):
        assert 0.85 < availability([lot(spot(), 2)], 1.0) < availability([lot(spot(), 50)], 1.0) < 0.99

    def test_capacity_on_demand_beside_it_does(self):
        assert availability([lot(spot(), 5), lot(ON_DEMAND, 1)], 1.0) == 1.0


class TestMustSurvive:
    def test_each_set_is_a_condition_that_every_fleet_that_holds_meets(self):
        pools = [
            spot("us-east-1a"),
            spot("us-east-1b"),
            spot("us-west-2a", per_day=20.0),
            spot("us-east-1a", "l4", 0.1),
        ]
        lots = {index: lot(pool, 0) for index, pool in enumerate(pools)} | {9: lot(ON_DEMAND, 0)}
        sets = must_survive({index: item.odds for index, item in lots.items()}, 0.99)
        assert frozenset({0, 1, 2}) in sets  # both zones of a region, and the other region beside it
        assert not any(9 in item for item in sets)
        for counts in itertools.product(range(4), repeat=5):
            fleet = dict(zip(lots, counts, strict=True))
            if availability([replace(lots[index], replicas=count) for index, count in fleet.items()], 2.0) >= 0.99:
                assert all(sum(n for i, n in fleet.items() if i not in item) >= 2 for item in sets)

    def test_a_zone_is_out_when_its_region_is_dry_too(self):
        item = odds(spot(per_day=1.0))
        assert max(item.zone_dry, item.region_dry) < 0.05 < item.zone_dry + item.region_dry
        assert must_survive({0: item}, 0.95) == [frozenset({0})]

    def test_nothing_is_asked_where_nothing_is_lost(self):
        assert must_survive({0: odds(ON_DEMAND), 1: odds(spot(per_day=0.0))}, 0.99) == []


class TestExpectedDollars:
    NOMINAL = micro_usd("20")

    def cost(self, pool: Offering, **changed: float) -> MicroUsd:
        values = {"nodes_per_replica": 1, "engine_start_s": 300.0, "request_s": 0.0} | changed
        return risk.expected_usd_per_hour(self.NOMINAL, pool, **values)  # type: ignore[arg-type]

    def test_on_demand_costs_what_is_billed(self):
        assert self.cost(ON_DEMAND, request_s=60.0) == self.NOMINAL

    def test_cold_starts_are_paid_for(self):
        assert self.cost(spot(per_day=2.0)) / self.NOMINAL == pytest.approx(1 + 2 * 540 / 86400)

    def test_work_in_flight_is_done_again(self):
        more = self.cost(spot(per_day=2.0), request_s=240.0) - self.cost(spot(per_day=2.0))
        assert more / self.NOMINAL == pytest.approx(2 * 120 / 86400, rel=5e-3)

    def test_seconds_of_lost_work_decide_nothing(self):
        costs = {self.cost(spot(per_day=2.0), request_s=seconds) for seconds in (1.0, 4.2, 11.0, 120.0)}
        assert len(costs) == 1
        assert costs < {*costs, self.cost(spot(per_day=2.0), request_s=121.0)}

    def test_two_nodes_lose_twice_as_often(self):
        one, two = self.cost(spot()), self.cost(spot(), nodes_per_replica=2)
        assert two - self.NOMINAL == pytest.approx(2 * (one - self.NOMINAL), abs=2)

    def test_reserved_is_paid_anyway_but_fewer_is_still_better(self):
        reserved = replace(ON_DEMAND, capacity_type=CapacityType.RESERVED)
        assert 0 < self.cost(reserved) < self.NOMINAL / 500


def test_the_facts_are_shares_and_a_time() -> None:
    assert 0 < FACTS.shared < 1
    assert 0 < FACTS.regional < 1
    assert FACTS.dry_s > 3600
