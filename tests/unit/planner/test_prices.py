from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from tests.support.planning import offering

from deepseek_planner.hardware import Price, PriceGiver
from deepseek_planner.plan import EngineParameters, Placement
from deepseek_planner.prices import is_stale, warnings
from deepseek_planner.snapshot import Shape
from deepseek_planner.units import MicroUsd

TODAY = date(2026, 11, 22)


def placement(pool: str) -> Placement:
    return Placement(
        shape=Shape("h100", "fp8", 8, 1, 1, 1, 1),
        pool=pool,
        capacity_type="OnDemand",
        replicas=1,
        share_percent=100,
        usd_per_replica_hour=MicroUsd(1),
        engine=EngineParameters(8192, 64, 2048, 1, True, "bfloat16"),
    )


def pools(**ages: int):
    made = [offering("h100", "50", name) for name in ages]
    days = [TODAY - timedelta(days=age) for age in ages.values()]
    return [replace(item, price=Price(MicroUsd(50), "a list", day)) for item, day in zip(made, days, strict=True)]


def warned(offerings, *chosen: str) -> tuple[str, ...]:
    return warnings(map(placement, chosen), offerings, today=TODAY, max_age_days=90)


def test_a_price_is_stale_after_its_days_and_not_on_the_last():
    ninety = Price(MicroUsd(1), "a list", TODAY - timedelta(days=90))
    assert not is_stale(ninety, today=TODAY, max_age_days=90)
    assert is_stale(ninety, today=TODAY + timedelta(days=1), max_age_days=90)


def test_a_plan_on_fresh_prices_says_nothing():
    assert warned(pools(new=10, old=100), "new") == ()


def test_a_plan_on_stale_prices_says_which_and_what_to_do():
    (text,) = warned(pools(new=10, old=100), "old", "new")
    assert text == ("prices older than 90 days: old (2026-08-14); set spec.price of the pool, or give a price file")


def test_what_to_do_depends_on_who_said_the_price():
    own, filed, listed = pools(own=100, filed=100, listed=100)
    own = replace(own, price=replace(own.price, giver=PriceGiver.POOL))
    filed = replace(filed, price=replace(filed.price, giver=PriceGiver.FILE))
    assert warned([listed, filed, own], "own", "filed", "listed") == (
        "prices older than 90 days: own (2026-08-14); update spec.price of the pool, asOf too",
        "prices older than 90 days: filed (2026-08-14); update its line of the price file, as_of too",
        "prices older than 90 days: listed (2026-08-14); set spec.price of the pool, or give a price file",
    )


def test_the_line_stays_short_and_the_same_whatever_the_order():
    offerings = pools(**{f"pool-{i}": 200 for i in range(9)})
    names = [item.pool for item in offerings]
    (text,) = warned(offerings, *names)
    assert "pool-2 (2026-05-06) and 6 more;" in text
    assert len(text) <= 256
    assert warned(offerings[::-1], *names[::-1]) == (text,)
