"""Units: money as integer micro-dollars, everything else as a number whose name says its unit.

Money is added up as integers so that the order of a sum never shows in a plan. Decimal strings appear
only at the edges: resources, screens, price files. Physical quantities are floats in SI units and the
unit is the end of the name (``_s``, ``_bytes``, ``_flops``, ``_per_s``).
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import NewType

MicroUsd = NewType("MicroUsd", int)
"""Millionths of a US dollar."""

MICRO_PER_USD = 1_000_000
SECONDS_PER_HOUR = 3600.0


MONEY_PATTERN = r"^([1-9][0-9]{0,8}(\.[0-9]{1,6})?|0\.[0-9]{0,5}[1-9][0-9]{0,5})$"
"""A decimal number of dollars above zero, in millionths at the finest, as people may write it anywhere."""
_MONEY = re.compile(MONEY_PATTERN)


def written_usd(text: str) -> MicroUsd:
    """What a person wrote as dollars, wherever that was; ValueError unless it is as :data:`MONEY_PATTERN` says."""
    if not _MONEY.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount of US dollars above 0; write it like 60 or 2.50")
    return micro_usd(text)


def micro_usd(amount: str | int | Decimal) -> MicroUsd:
    """Dollars to micro-dollars, rounded up: a price is never understated.

    Raises ValueError when ``amount`` is not a finite, non-negative number of dollars.
    """
    try:
        dollars = Decimal(amount)
    except InvalidOperation:
        raise ValueError(f"{amount!r} is not an amount of dollars; write it like 1.50") from None
    if not dollars.is_finite() or dollars < 0:
        raise ValueError(f"{amount!r} is not an amount of dollars >= 0; write it like 1.50")
    return MicroUsd(int((dollars * MICRO_PER_USD).to_integral_value(ROUND_CEILING)))


def usd(amount: MicroUsd) -> Decimal:
    """Micro-dollars to dollars, exactly."""
    return Decimal(amount) / MICRO_PER_USD


def format_usd(amount: MicroUsd) -> str:
    """Dollars as people write them: two decimals, four below one dollar (``41.20``, ``0.0850``)."""
    return _written(amount, ROUND_HALF_EVEN)


def format_usd_needed(amount: MicroUsd) -> str:
    """The same, rounded up: a limit that lets this much pass."""
    return _written(amount, ROUND_CEILING)


def format_usd_allowed(amount: MicroUsd) -> str:
    """The same, rounded down: what is over a limit is never written as equal to it."""
    return _written(amount, ROUND_FLOOR)


def _written(amount: MicroUsd, rounding: str) -> str:
    quantum = Decimal("0.01") if amount >= MICRO_PER_USD or amount == 0 else Decimal("0.0001")
    return str(usd(amount).quantize(quantum, rounding))


def whole(replicas: float) -> int:
    """Whole replicas that carry as much as these parts of some would."""
    # A tolerance, or a rate that is exactly what n replicas serve would ask for one more by its last binary digit.
    return math.ceil(replicas - 1e-9)
