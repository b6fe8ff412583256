"""Laws of the risk: more replicas never hurt, spreading never hurts, and the sum of all states is one."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from deepseek_planner import risk
from deepseek_planner.risk import Lot, Odds

chances = st.one_of(st.just(0.0), st.floats(0.001, 0.6))
lots = st.builds(
    Lot,
    odds=st.builds(
        Odds,
        kind=st.tuples(st.sampled_from(["h100", "l4"]), st.sampled_from(["east", "west"])),
        zone=st.sampled_from(["a", "b"]),
        region_dry=chances,
        zone_dry=chances,
        alone=chances,
    ),
    capacity_per_s=st.floats(0.1, 3.0),
    replicas=st.integers(0, 5),
)
fleets = st.lists(lots, min_size=1, max_size=5)
needs = st.floats(0.1, 12.0)


@given(fleets, needs, st.data())
def test_one_more_replica_anywhere_is_never_worse(fleet, needed, data):
    index = data.draw(st.integers(0, len(fleet) - 1))
    more = [replace(lot, replicas=lot.replicas + (i == index)) for i, lot in enumerate(fleet)]
    assert risk.availability(more, needed) >= risk.availability(fleet, needed) - 1e-9


@given(fleets, needs, st.floats(1.0, 3.0))
def test_needing_more_is_never_easier(fleet, needed, factor):
    assert risk.availability(fleet, needed * factor) <= risk.availability(fleet, needed) + 1e-9


@given(fleets, needs)
def test_it_is_a_probability_and_no_order_matters(fleet, needed):
    found = risk.availability(fleet, needed)
    assert -1e-12 <= found <= 1.0
    assert abs(risk.availability(fleet[::-1], needed) - found) < 1e-9


@given(chances, chances, st.integers(1, 6), st.floats(0.1, 1.0))
def test_two_zones_of_which_one_is_enough_beat_one_zone_of_the_same_size(region_dry, zone_dry, each, share):
    item = Odds(("h100", "east"), "a", region_dry, zone_dry, alone=0.0)
    together = [Lot(item, 1.0, 2 * each)]
    spread = [Lot(item, 1.0, each), Lot(replace(item, zone="b"), 1.0, each)]
    gained = risk.availability(spread, share * each) - risk.availability(together, share * each)
    assert gained >= -1e-9
    assert zone_dry == 0 or gained > 1e-4


@given(fleets, needs, st.floats(0.5, 0.9999))
def test_a_fleet_that_holds_survives_every_set_that_it_must(fleet, needed, probability):
    if risk.availability(fleet, needed) < probability:
        return
    for lost in risk.must_survive({i: lot.odds for i, lot in enumerate(fleet)}, probability):
        left = sum(lot.capacity_per_s * lot.replicas for i, lot in enumerate(fleet) if i not in lost)
        assert left >= needed * (1 - 1e-5)
