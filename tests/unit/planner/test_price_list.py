from __future__ import annotations

from datetime import date

import pytest

from deepseek_planner import catalog
from deepseek_planner.errors import InputError
from deepseek_planner.hardware import CapacityType
from deepseek_planner.price_list import EXAMPLE, parse
from deepseek_planner.units import micro_usd

TODAY = date(2026, 11, 22)
FACTS = catalog.load()
GOOD = f"""{EXAMPLE}
p5.48xlarge,us-east-1,OnDemand,40.00,2026-11-01,contract 17
p5.48xlarge,us-east-1a,Spot,15.5,2026-11-20,
p5.48xlarge,,Reserved,30,2026-11-01,contract 17
our-own-box,,Reserved,9,2026-11-01,
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(InputError) as refused:
        parse(text, "prices.csv", today=TODAY)
    return [str(item) for item in refused.value.problems]


class TestReading:
    def test_a_good_file(self):
        first, second, third, fourth = parse(GOOD, "prices.csv", today=TODAY)
        assert (first.instance_type, first.zone, first.capacity_type) == ("p5.48xlarge", "us-east-1", "OnDemand")
        assert first.price.usd_per_node_hour == micro_usd("40")
        assert (first.price.source, first.price.as_of) == ("contract 17", date(2026, 11, 1))
        assert second.price.source == "prices.csv"
        assert (third.zone, fourth.instance_type) == ("", "our-own-box")

    def test_columns_in_another_order_a_mark_and_blanks(self):
        text = "\ufeffas_of, usd_per_node_hour, capacity_type, instance_type\n2026-11-01, 3, Spot, g5.xlarge\n\n"
        (only,) = parse(text, "prices.csv", today=TODAY)
        assert (only.instance_type, only.zone, only.price.usd_per_node_hour) == ("g5.xlarge", "", 3_000_000)

    def test_every_problem_of_every_line_with_its_number_value_and_remedy(self):
        text = f"{EXAMPLE}\n,z1,Cheap,0,yesterday,\ng5.xlarge,,Spot,1.20,2026-11-01,\ng5.xlarge,,Spot,-3,2026-11-01,\n"
        assert problems_of(text) == [
            "prices.csv line 2: instance_type: : is empty; name it as node.kubernetes.io/instance-type does",
            "prices.csv line 2: capacity_type: Cheap: is no way to pay for a node; use one of Spot, OnDemand, Reserved",
            (
                "prices.csv line 2: as_of: yesterday: is not a date; "
                "write the day on which the price held, like 2026-11-20"
            ),
            (
                "prices.csv line 2: usd_per_node_hour: 0: is not an amount of dollars above 0; "
                "write dollars per node and hour, like 21.40"
            ),
            (
                "prices.csv line 4: usd_per_node_hour: -3: is not an amount of dollars above 0; "
                "write dollars per node and hour, like 21.40"
            ),
        ]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "prices.csv line 1: : lacks instance_type, capacity_type, usd_per_node_hour, as_of; begin with"),
            ("type,price\n", "lacks instance_type"),
            (f"{EXAMPLE},discount\n", "discount: is not a column of a price file"),
            (f"{EXAMPLE}\ng5.xlarge,Spot,1.20\n", "line 2: the line: has more or fewer values than line 1"),
            (f"{EXAMPLE}\ng5.xlarge,,Spot,1.20,2026-11-01,a,b\n", "line 2: the line: has more or fewer values"),
            (f'{EXAMPLE}\n"g5.xlarge,,Spot,1.20,2026-11-01,a\n', "is not CSV"),
            (f"{EXAMPLE}\na,z,Spot,1,2026-11-01,\na,Z,Spot,2,2026-11-01,\n", "a z Spot: stands more than once"),
        ],
    )
    def test_what_is_no_price_file(self, text, expected):
        assert any(expected in problem for problem in problems_of(text))

    @pytest.mark.parametrize("amount", ["1e3", "1_000", "\N{FULLWIDTH DIGIT ONE}", "nan", "007", "1.0000001"])
    def test_dollars_are_written_as_in_the_resources(self, amount):
        (problem,) = problems_of(f"{EXAMPLE}\ng5.xlarge,,Spot,{amount},2026-11-01,\n")
        assert f"usd_per_node_hour: {amount}: is not an amount of dollars above 0" in problem

    def test_a_price_of_the_future_would_never_be_stale(self):
        lines = "".join(f"g5.xlarge,z{n},Spot,1,{day},\n" for n, day in enumerate(("2026-11-23", "2026-11-24")))
        assert problems_of(f"{EXAMPLE}\n{lines}") == [
            (
                "prices.csv line 3: as_of: 2026-11-24: is in the future: it is 2026-11-22; "
                "write the day on which the price held, like 2026-11-20"
            )
        ]
        assert parse(f"{EXAMPLE}\n{lines.splitlines()[0]}\n", "prices.csv", today=TODAY)


class TestOverriding:
    OWN = FACTS.with_prices(parse(GOOD, "prices.csv", today=TODAY))

    @pytest.mark.parametrize(
        ("kind", "place", "dollars"),
        [
            (CapacityType.ON_DEMAND, "us-east-1", "40"),
            (CapacityType.ON_DEMAND, "us-east-1b", "40"),
            (CapacityType.ON_DEMAND, "us-west-2a", "55.04"),  # as shipped
            (CapacityType.SPOT, "us-east-1a", "15.5"),
            (CapacityType.SPOT, "us-east-1b", "18.6838"),  # as shipped
            (CapacityType.RESERVED, "us-west-2a", "30"),
            (CapacityType.RESERVED, "", "30"),
        ],
    )
    def test_the_nearest_price_wins(self, kind, place, dollars):
        price = self.OWN.price("p5.48xlarge", place, kind)
        assert price is not None
        assert price.usd_per_node_hour == micro_usd(dollars)

    def test_a_type_that_no_list_has(self):
        price = self.OWN.price("our-own-box", "rack-7", CapacityType.RESERVED)
        assert price is not None
        assert price.usd_per_node_hour == micro_usd("9")

    def test_what_plan_offers_without_pools(self):
        by_name = {offering.pool: offering.price for offering in self.OWN.default_offerings()}
        price = by_name["aws-us-east-1-p5-48xlarge"]
        assert price is not None
        assert price.usd_per_node_hour == micro_usd("40")
        assert len(by_name) == len(FACTS.default_offerings())

    def test_sources_are_those_of_what_is_offered_the_own_ones_first(self):
        own = catalog.price_sources(self.OWN.default_offerings())
        assert own[0] == "contract 17 (2026-11-01)"
        assert not [line for line in own if "prices.csv" in line]  # of a zone, and regions are offered
        assert set(catalog.price_sources(FACTS.default_offerings())) < set(own)

    def test_what_no_offering_has_is_unused(self):
        unused = self.OWN.unused_prices(self.OWN.default_offerings())
        assert [(item.instance_type, item.zone, str(item.capacity_type)) for item in unused] == [
            ("p5.48xlarge", "us-east-1a", "Spot"),
            ("p5.48xlarge", "", "Reserved"),
            ("our-own-box", "", "Reserved"),
        ]

    def test_the_shipped_facts_stay_as_they_are(self):
        price = FACTS.price("p5.48xlarge", "us-east-1", CapacityType.ON_DEMAND)
        assert price is not None
        assert price.usd_per_node_hour == micro_usd("55.04")
