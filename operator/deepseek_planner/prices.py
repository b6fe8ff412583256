"""Prices that are too old to be trusted, and what a plan that rests on them says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from deepseek_planner.hardware import Offering, Price
from deepseek_planner.plan import Placement

MOST_NAMED = 3
LONGEST = 256
REMEDY = "set spec.price of the pool, or give a price file"


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
    stale = [
        f"{offering.pool} ({offering.price.as_of.isoformat()})"
        for offering in sorted(offerings, key=lambda offering: offering.pool)
        if offering.pool in chosen
        and offering.price is not None
        and is_stale(offering.price, today=today, max_age_days=max_age_days)
    ]
    if not stale:
        return noted
    named = ", ".join(stale[:MOST_NAMED])
    more = f" and {len(stale) - MOST_NAMED} more" if len(stale) > MOST_NAMED else ""
    return (
        *noted,
        f"prices older than {max_age_days} days: {named}{more}; {REMEDY}",
    )
