"""Rules about values, said once: as CEL for the API server and as a predicate for everything else.

A rule's text names what is wrong and what to do. The API server shows it for a resource that is applied,
``plan`` and the embedded world show the same text for a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from deepseek_planner.units import MONEY_PATTERN

GROUP = "serving.deepseek-operator.dev"
"""API group; also the prefix of the operator's own labels and annotations."""

AMOUNT_PATTERN = r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,6})?$"
"""A decimal number, zero included."""
AVAILABILITY_PATTERN = r"^[5-9][0-9](\.[0-9]{1,2})?$"
"""Percents from 50 to 99.99."""
DURATION_PATTERN = r"^([0-9]{1,6}(\.[0-9]{1,6})?(us|ms|s|m|h)){1,4}$"
"""As Go writes durations, from microseconds up: every number may have a fraction."""
_DAYS = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])"
DAY_PATTERN = rf"^20([0-9]{{2}}-({_DAYS})|([02468][048]|[13579][26])-02-29)$"
"""A day of this century that the calendar has."""
NAME_PATTERN = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"
"""A DNS label that may name a Service, short enough that names derived from it stay readable."""
MODEL_PATTERN = r"^[a-z0-9]([-a-z0-9._]{0,61}[a-z0-9])?$"
ACCELERATOR_PATTERN = r"^[A-Za-z0-9]([-A-Za-z0-9._]{0,61}[A-Za-z0-9])?$"

_WRITE_DURATION = "write it like 800ms, 1.5s, 15m or 1h30m"
_SECONDS = {"us": Decimal("1e-6"), "ms": Decimal("1e-3"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}


@dataclass(frozen=True, slots=True)
class Rule:
    """One claim about a value: ``cel`` and ``holds`` say the same, ``message`` and ``remedy`` say it to people.

    ``field`` is where a broken rule is reported, relative to the value (``maxUSDPerHour``); empty: the value
    itself. ``cluster_only`` rules bind where an API server is, not in the embedded world.
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str
    remedy: str
    field: str = ""
    cluster_only: bool = False

    @property
    def text(self) -> str:
        """What the API server answers: the message and the remedy."""
        return f"{self.message}; {self.remedy}"


def quoted(text: str) -> str:
    """``text`` as a CEL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def found(pattern: str, text: str) -> bool:
    """Whether ``pattern`` is found in ``text`` as RE2 finds it: ASCII classes, and $ is the very end."""
    return re.search(re.sub(r"\$$", r"\\Z", pattern), text, re.ASCII) is not None


def matching(pattern: str, message: str, remedy: str) -> Rule:
    """The rule that a string matches ``pattern`` (RE2 and Python agree on the patterns used here)."""
    return Rule(
        cel=f"self.matches({quoted(pattern)})",
        holds=lambda text: found(pattern, text),
        message=message,
        remedy=remedy,
    )


def decimal_matching(pattern: str, minimum: int, message: str, remedy: str, *, below: int = 10**9) -> Rule:
    """The rule that a decimal string matches ``pattern`` and a whole number is from ``minimum`` to under ``below``."""

    def holds(amount: int | str) -> bool:
        if isinstance(amount, int):
            return minimum <= amount < below
        return found(pattern, amount)

    return Rule(
        cel=f"type(self) == int ? self >= {minimum} && self < {below} : string(self).matches({quoted(pattern)})",
        holds=holds,
        message=message,
        remedy=remedy,
    )


def exactly_one(fields: tuple[str, ...], message: str, remedy: str) -> Rule:
    """The rule that exactly one of ``fields`` (JSON and Python names are equal but for case) is set."""
    count = " + ".join(f"(has(self.{field_json}) ? 1 : 0)" for field_json in fields)
    python = tuple("".join(f"_{c.lower()}" if c.isupper() else c for c in field_json) for field_json in fields)
    return Rule(
        cel=f"{count} == 1",
        holds=lambda value: sum(getattr(value, name) is not None for name in python) == 1,
        message=message,
        remedy=remedy,
    )


def duration_s(text: str) -> float:
    """Seconds of a duration such as ``800ms``, ``1.42s`` or ``1h30m``; ValueError when it is none.

    Added up as decimals: ``3.4ms`` is the float nearest to 0.0034, as it is where it was printed.
    """
    if not found(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; {_WRITE_DURATION}")
    return float(sum(Decimal(count) * _SECONDS[unit] for count, unit in re.findall(r"([0-9.]+)([a-z]+)", text)))


def decimal_of(amount: int | str) -> Decimal:
    """The number behind an int-or-string amount that passed its rule."""
    return Decimal(amount)


MONEY = decimal_matching(
    MONEY_PATTERN,
    1,
    "is not an amount of US dollars above 0",
    'write a decimal string or a whole number, such as "1.50" or 60',
)
AMOUNT = decimal_matching(
    AMOUNT_PATTERN, 0, "is not a number of at least 0", 'write a decimal string or a whole number, such as "0.4" or 2'
)
AVAILABILITY = decimal_matching(
    AVAILABILITY_PATTERN,
    50,
    "is not a percentage from 50 to 99.99",
    'write a decimal string or a whole number, such as "99.9" or 99',
    below=100,
)
DURATION = Rule(
    cel=f"self.matches({quoted(DURATION_PATTERN)}) && self.matches('[1-9]')",
    holds=lambda text: found(DURATION_PATTERN, text) and duration_s(text) > 0,
    message="is not a duration above 0",
    remedy=_WRITE_DURATION,
)
DURATION_OR_ZERO = matching(
    DURATION_PATTERN, "is not a duration of at least 0", "write it like 0s, 800ms, 1.5s, 15m or 1h30m"
)
MODEL_NAME = matching(
    MODEL_PATTERN, "is not a name of the catalogue", "write it as on the hub, in lower case, such as deepseek-v3.1"
)
ACCELERATOR_NAME = matching(
    ACCELERATOR_PATTERN, "is not a name or an alias of an accelerator", "write it like h100 or a100-80gb"
)
