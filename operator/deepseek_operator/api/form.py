"""The form of what is read of an object, checked before anything looks inside.

An API server hands out nothing of another form; a file may hold anything. Only what is read is described, and a null
is a field left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from deepseek_operator.api.check import shown
from deepseek_planner.errors import Problem


@dataclass(frozen=True, slots=True)
class Form:
    """What a value must be: ``fits`` says whether it is, ``words`` say it to people."""

    words: str
    fits: Callable[[Any], bool]
    fields: Mapping[str, Form] = field(default_factory=dict)
    """Of an object; the fields beside them are not read."""
    required: tuple[str, ...] = ()
    item: Form | None = None
    """Of a list, or of the values of a map."""


def problems(form: Form, value: Any, path: str = "") -> Iterator[Problem]:
    """Everything about ``value`` that is not of the form, each at its path; nothing inside what is not."""
    if not form.fits(value):
        yield Problem(path or "the object", shown(value), f"is not {form.words}", f"write {form.words}")
        return
    for name in form.required:
        if value.get(name) is None:
            yield Problem(f"{path}.{name}" if path else name, "not set", "is required", "set it")
    for name, inner in form.fields.items():
        if value.get(name) is not None:
            yield from problems(inner, value[name], f"{path}.{name}" if path else name)
    if form.item is not None:
        members = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, member in members:
            if member is not None or isinstance(value, list):
                where = f"{path}.{key}" if isinstance(value, Mapping) else f"{path}[{key}]"
                yield from problems(form.item, member, where)


def an_object(fields: Mapping[str, Form], required: tuple[str, ...] = ()) -> Form:
    """Fields by name."""
    return Form("an object", lambda value: isinstance(value, Mapping), fields, required)


def a_list(item: Form) -> Form:
    """Values of one form."""
    return Form("a list", lambda value: isinstance(value, list), item=item)


def a_map(item: Form) -> Form:
    """Values of one form by any name."""
    return Form("a map", lambda value: isinstance(value, Mapping), item=item)


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and value[10:11] == "T" and bool(date.fromisoformat(value[:10]))
    except ValueError:
        return False


TEXT = Form("text in quotes", lambda value: isinstance(value, str))
FLAG = Form("true or false", lambda value: isinstance(value, bool))
WHOLE = Form("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
TIME = Form("a time such as 2026-11-20T08:00:00Z", _is_time)

METADATA: Mapping[str, Form] = {
    "namespace": TEXT,
    "labels": a_map(TEXT),
    "generation": WHOLE,
    "creationTimestamp": TIME,
    "deletionTimestamp": TIME,
}
"""Beside the name, for which each kind has a rule of its own."""
