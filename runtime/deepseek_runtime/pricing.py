"""What the replica costs, from ``price.json`` beside the launch spec. It changes without a restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per hour of the whole replica, and who says so."""

    usd_per_hour: Decimal
    source: str = ""
    as_of: str = ""


def parse(text: str) -> Price:
    """Read ``{"usdPerReplicaHour": "0.0504", "source": …, "asOf": …}``; raises ValueError with field and value."""
    raw = json.loads(text)
    value = raw.get("usdPerReplicaHour") if isinstance(raw, dict) else None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"usdPerReplicaHour: {value!r}: must be dollars as a decimal string, such as '1.50'")
    return Price(amount, str(raw.get("source", "")), str(raw.get("asOf", "")))


class PriceFile:
    """The last price that could be read. A broken file changes nothing but what is said about it."""

    def __init__(self, path: Path, *, say: Callable[[str], None] = lambda _: None) -> None:
        self._path = path
        self._say = say
        self._text: str | None = None
        self.price: Price | None = None

    def refresh(self) -> None:
        try:
            text = self._path.read_text(encoding="utf-8")
        except OSError:
            text = ""
        if text == self._text:
            return
        self._text = text
        if not text:
            self._say(f"price: no {self._path}; dollars are not metered until there is one")
            return
        try:
            self.price = parse(text)
        except ValueError as error:
            self._say(f"price: {self._path}: {error}; the price before it stays")
            return
        self._say(f"price: {self.price.usd_per_hour} USD per replica and hour ({self.price.source or 'no source'})")
