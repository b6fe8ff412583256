"""Prices that are too old to be trusted, and what a plan that rests on them says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from deepseek_planner.hardware import Offering, Price, PriceGiver
from deepseek_planner.plan import Placement

MOST_NAMED = 3
LONGEST = 256
REMEDIES = {
    PriceGiver.POOL: "update spec.price of the pool, asOf too",
    PriceGiver.FILE: "update its line of the price file, as_of too",
    PriceGiver.LIST: "set spec.price of the pool, or give a price file",
}
"""What helps depends on who said the price: against a pool's own, no price file counts."""


def is_stale(price: Price, *, today: date, max_age_days: int) -> bool:
    """Whether a price is older than the operator's ``max_price_age_days``."""
    return (today - price.as_of).days > max_age_days


def warnings(
    placements: Iterable[Placement],
    offerings: Iterable[Offering],
    *,
    today: date,
    max_age_days: int,
    note: str = "",
) -> tuple[str, ...]:
    """What to know about the prices of a plan, the same from day to day; nothing where all are fresh.

    ``note``: what is wrong with prices as a whole, see :attr:`Catalog.price_note`.
    """
    noted = (note if len(note) <= LONGEST else note[: LONGEST - 1] + "…",) if note else ()
    chosen = {placement.pool for placement in placements}
    stale: dict[PriceGiver, list[str]] = {giver: [] for giver in PriceGiver}
    for offering in sorted(offerings, key=lambda offering: offering.pool):
        price = offering.price
        if offering.pool in chosen and price is not None and is_stale(price, today=today, max_age_days=max_age_days):
            stale[price.giver].append(f"{offering.pool} ({price.as_of.isoformat()})")
    return (
        *noted,
        *(
            f"prices older than {max_age_days} days: {_named(pools)}; {REMEDIES[giver]}"
            for giver, pools in stale.items()
            if pools
        ),
    )


def _named(pools: Sequence[str]) -> str:
    more = f" and {len(pools) - MOST_NAMED} more" if len(pools) > MOST_NAMED else ""
    return ", ".join(pools[:MOST_NAMED]) + more
