"""A user's own prices as CSV: what overrides the shipped list, and what is wrong with each line of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from deepseek_planner.errors import InputError, Problem
from deepseek_planner.hardware import CapacityType, Price, PriceGiver
from deepseek_planner.units import written_usd

REQUIRED = ("instance_type", "capacity_type", "usd_per_node_hour", "as_of")
OPTIONAL = ("zone", "source")
EXAMPLE = "instance_type,zone,capacity_type,usd_per_node_hour,as_of,source"


@dataclass(frozen=True, slots=True)
class OwnPrice:
    """One line: a node of this type, there, paid for like this."""

    instance_type: str
    zone: str
    """A zone or a region; empty: everywhere."""
    capacity_type: CapacityType
    price: Price


def parse(text: str, name: str, *, today: date) -> tuple[OwnPrice, ...]:
    """The lines of a price file called ``name``; raises InputError with every problem of every line.

    ``today`` is UTC's: a price may hold from the day after it, for there it is tomorrow somewhere already.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True, skipinitialspace=True)
    problems: list[Problem] = []
    found: list[OwnPrice] = []
    try:
        problems += _columns(reader.fieldnames or (), name)
        if not problems:
            for row in reader:
                wrong = list(_row_problems(row, f"{name} line {reader.line_num}", today))
                problems += wrong
                found += [] if wrong else [_own_price(row, name)]
            problems += _repeated(found, name)
    except csv.Error as error:
        line = f"{name} line {reader.line_num}"
        problems.append(Problem(line, "the line", f"is not CSV ({error})", "close its quotes"))
    if problems:
        raise InputError(tuple(problems))
    return tuple(found)


def best(own: Iterable[OwnPrice], instance_type: str, places: Sequence[str], kind: CapacityType) -> Price | None:
    """The price that fits best: for the first of ``places`` that has one, else for everywhere."""
    by_zone = {
        item.zone: item.price for item in own if (item.instance_type, item.capacity_type) == (instance_type, kind)
    }
    return next((by_zone[place] for place in (*places, "") if place in by_zone), None)


def _columns(names: Sequence[str], name: str) -> Iterator[Problem]:
    missing = [column for column in REQUIRED if column not in names]
    unknown = [column for column in names if column not in (*REQUIRED, *OPTIONAL)]
    if missing:
        yield Problem(f"{name} line 1", ",".join(names), f"lacks {', '.join(missing)}", f"begin with {EXAMPLE}")
    for column in unknown:
        yield Problem(f"{name} line 1", column, "is not a column of a price file", f"use those of {EXAMPLE}")


def _row_problems(row: Mapping[str | None, object], line: str, today: date) -> Iterator[Problem]:
    if None in row or any(value is None for value in row.values()):
        yield Problem(line, "the line", "has more or fewer values than line 1", "write one value per column")
        return
    if not _text(row, "instance_type"):
        yield Problem(f"{line}: instance_type", "", "is empty", "name it as node.kubernetes.io/instance-type does")
    kind, day, amount = (_text(row, name) for name in ("capacity_type", "as_of", "usd_per_node_hour"))
    if kind not in set(CapacityType):
        remedy = f"use one of {', '.join(CapacityType)}"
        yield Problem(f"{line}: capacity_type", kind, "is no way to pay for a node", remedy)
    remedy = "write the day on which the price held, like 2026-11-20"
    try:
        is_future = date.fromisoformat(day) > today + timedelta(days=1)
    except ValueError:
        yield Problem(f"{line}: as_of", day, "is not a date", remedy)
    else:
        if is_future:  # it would stay fresh for as long as somebody liked
            yield Problem(f"{line}: as_of", day, f"is in the future: it is {today.isoformat()}", remedy)
    try:
        written_usd(amount)
    except ValueError:
        remedy = "write dollars per node and hour, like 21.40"
        yield Problem(f"{line}: usd_per_node_hour", amount, "is not an amount of dollars above 0", remedy)


def _own_price(row: Mapping[str | None, object], name: str) -> OwnPrice:
    return OwnPrice(
        instance_type=_text(row, "instance_type"),
        zone=_text(row, "zone").lower(),
        capacity_type=CapacityType(_text(row, "capacity_type")),
        price=Price(
            usd_per_node_hour=written_usd(_text(row, "usd_per_node_hour")),
            source=_text(row, "source") or name,
            as_of=date.fromisoformat(_text(row, "as_of")),
            giver=PriceGiver.FILE,
        ),
    )


def _text(row: Mapping[str | None, object], column: str) -> str:
    return str(row.get(column) or "").strip()


def _repeated(found: Iterable[OwnPrice], name: str) -> Iterator[Problem]:
    seen: set[tuple[str, str, CapacityType]] = set()
    for item in found:
        key = (item.instance_type, item.zone, item.capacity_type)
        if key in seen:
            where = " ".join(part for part in (item.instance_type, item.zone, str(item.capacity_type)) if part)
            yield Problem(name, where, "stands more than once", "keep one line for it")
        seen.add(key)
