"""A raw object -> its typed form, or every problem that it has, each with field, value and remedy."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from deepseek_operator.api.base import Resource
from deepseek_operator.api.rules import Rule
from deepseek_operator.api.walk import Node, members, node
from deepseek_planner.errors import Problem

R = TypeVar("R", bound=Resource)
_MISSING = object()


def check(kind: type[R], raw: Any, path: str, *, in_cluster: bool) -> tuple[R | None, list[Problem]]:
    """The typed form of ``raw`` (None where it has none) and its problems.

    ``in_cluster`` applies the rules that bind only where an API server is.
    """
    raw = without_nulls(raw)
    found: dict[tuple[str, str], Problem] = {}
    value: R | None = None
    try:
        value = kind.model_validate(raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            problem = _structural(kind, detail, raw, path)
            found.setdefault((problem.field, problem.message), problem)
    for problem in _broken(node(kind), raw, value, path, in_cluster=in_cluster):
        found.setdefault((problem.field, problem.message), problem)
    problems = in_order(kind, found.values(), path)
    return (None if problems else value), problems


def in_order(kind: type[Resource], problems: Iterable[Problem], path: str) -> list[Problem]:
    """Problems in the order of the fields that they are about."""
    return sorted(problems, key=lambda problem: _position(kind, problem.field.removeprefix(path)))


def without_nulls(raw: Any) -> Any:
    """As the API server does: a null is a field left out."""
    if isinstance(raw, Mapping):
        return {str(key): without_nulls(item) for key, item in raw.items() if item is not None}
    if isinstance(raw, Sequence) and not isinstance(raw, str):
        return [without_nulls(item) for item in raw]
    return raw


def shown(value: Any) -> str:
    """A value as a problem shows it: JSON, cut to a readable length."""
    if value is _MISSING:
        return "not set"
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(name: str, names: Iterable[str]) -> str:
    """The remedy for an unknown name: those most like it, else all of them."""
    names = sorted(names)
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(names)}"


def _broken(of: Node, raw: Any, typed: Any, path: str, *, in_cluster: bool) -> Iterator[Problem]:
    """Broken rules of ``raw`` and of everything in it. A part with a wrong type breaks no rule of its own.

    ``typed`` is the typed form where the whole has one; without it, it is made part by part.
    """
    match of.kind:
        case "object" if isinstance(raw, Mapping):
            assert of.resource is not None
            value = _lenient(of.resource, raw) if typed is None else typed
            for member in members(of.resource):
                if member.json in raw:
                    where, inner = f"{path}.{member.json}", None if typed is None else getattr(typed, member.python)
                    yield from _broken(member.node, raw[member.json], inner, where, in_cluster=in_cluster)
            yield from _judge(of.resource.rules, value, raw, path, in_cluster=in_cluster)
        case "list" if isinstance(raw, list):
            assert of.item is not None
            for index, item in enumerate(raw):
                inner = None if typed is None else typed[index]
                yield from _broken(of.item, item, inner, f"{path}[{index}]", in_cluster=in_cluster)
        case "map" if isinstance(raw, Mapping):
            assert of.item is not None
            for key, item in raw.items():
                yield from _broken(of.item, item, None, f"{path}.{key}", in_cluster=in_cluster)
        case _:
            pass
    if of.constraints.rules and _is(of, raw):
        yield from _judge(of.constraints.rules, raw, raw, path, in_cluster=in_cluster)


def _judge(rules: Iterable[Rule], typed: Any, raw: Any, path: str, *, in_cluster: bool) -> Iterator[Problem]:
    for rule in rules:
        if (in_cluster or not rule.cluster_only) and not _holds(rule, typed):
            where = f"{path}.{rule.field}" if rule.field else path
            yield Problem(where, shown(at(raw, rule.field)), rule.message, rule.remedy)


def _holds(rule: Rule, typed: Any) -> bool:
    """Whether a rule holds; one that cannot be judged, because a part is missing or of a wrong type, does."""
    try:
        return rule.holds(typed)
    except (AttributeError, TypeError, IndexError, KeyError):
        return True


def _lenient(kind: type[Resource], raw: Mapping[str, Any]) -> Resource:
    """The typed form as far as there is one, so that one problem hides no other."""
    try:
        return kind.model_validate(raw)
    except ValidationError:
        values: dict[str, Any] = {}
        for member in members(kind):
            value = raw.get(member.json)
            if member.json not in raw:
                values[member.python] = kind.model_fields[member.python].get_default(
                    call_default_factory=True, validated_data={}
                )
            elif member.node.resource is not None and member.node.kind == "object" and isinstance(value, Mapping):
                values[member.python] = _lenient(member.node.resource, value)
            else:
                values[member.python] = value
        return kind.model_construct(**values)


def _position(kind: type[Resource], path: str) -> tuple[int, ...]:
    """Where a field stands in the order of the types; indexes of lists count as they are."""
    found: list[int] = []
    owner: type[Resource] | None = kind
    for name in re.findall(r"[^.\[\]]+", path):
        names = [member.json for member in members(owner)] if owner is not None else []
        found.append(names.index(name) if name in names else int(name) if name.isdigit() else len(names))
        owner = _resource_of(owner, name) if owner is not None else None
    return tuple(found)


def _is(of: Node, raw: Any) -> bool:
    match of.kind:
        case "string" | "enum":
            return isinstance(raw, str)
        case "decimal":
            return isinstance(raw, int | str) and not isinstance(raw, bool)
        case "integer":
            return isinstance(raw, int) and not isinstance(raw, bool)
        case "list":
            return isinstance(raw, list) and all(of.item is not None and _is(of.item, item) for item in raw)
        case _:
            return False


def at(raw: Any, dotted: str) -> Any:
    """What stands at a path of field names; a marker that :func:`shown` calls not set where nothing does."""
    for name in dotted.split(".") if dotted else ():
        if not isinstance(raw, Mapping) or name not in raw:
            return _MISSING
        raw = raw[name]
    return raw


_EXPECTED = {
    "int_type": "a whole number",
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "tuple_type": "a list",
    "dict_type": "a map",
}
_LIMITS = {
    "greater_than_equal": ("is below {ge}", "use {ge} or more"),
    "less_than_equal": ("is above {le}", "use {le} or less"),
    "string_too_long": ("is longer than {max_length} characters", "shorten it"),
    "string_too_short": ("is empty", "write at least {min_length} character"),
    "too_long": ("has more than {max_length} entries", "keep at most {max_length}"),
    "too_short": ("has fewer than {min_length} entries", "give at least {min_length}"),
}


def _structural(kind: type[Resource], detail: ErrorDetails, raw: Any, path: str) -> Problem:
    where, value, owner = path, raw, kind
    for part in detail["loc"]:
        # A union adds the names of its members to the location: they lead nowhere in what was written.
        if isinstance(part, int) and isinstance(value, list):
            where, value = f"{where}[{part}]", value[part]
        elif isinstance(value, Mapping) and (part in value or detail["type"] == "missing"):
            where, value = f"{where}.{part}", value.get(str(part), _MISSING)
            owner = _resource_of(owner, str(part))
        else:
            break
    message, remedy = _text(detail, kind, owner)
    return Problem(where, shown(value), message, remedy)


def _text(detail: ErrorDetails, kind: type[Resource], owner: type[Resource]) -> tuple[str, str]:
    error, context = detail["type"], detail.get("ctx", {})
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    if error == "missing":
        return "is required", _explain(kind, detail["loc"])
    if error == "extra_forbidden":
        return "is not a field", nearest(last, [member.json for member in members(owner)])
    if error in _LIMITS:
        message, remedy = _LIMITS[error]
        return message.format(**context), remedy.format(**context)
    if error == "enum":
        return "is not one of the choices", f"use {str(context['expected']).replace(chr(39), '')}"
    if last in {"int", "str"} or "[" in last:
        return "is neither a decimal string nor a whole number", 'write it like "1.50" or 60'
    return f"is not {_EXPECTED.get(error, detail['msg'])}", f"write {_EXPECTED.get(error, 'what it should be')}"


def _explain(kind: type[Resource], location: tuple[int | str, ...]) -> str:
    """The remedy for a missing field: what it means."""
    owner = kind
    for part in location[:-1]:
        owner = _resource_of(owner, str(part))
    found = next((member for member in members(owner) if member.json == str(location[-1])), None)
    return f"set it: {found.description[0].lower()}{found.description[1:].rstrip('.')}" if found else "set it"


def _resource_of(owner: type[Resource], name: str) -> type[Resource]:
    """The type of the objects in a field; ``owner`` itself where the field holds none."""
    member = next((member for member in members(owner) if member.json == name), None)
    found = member.node if member else None
    while found is not None and found.item is not None:
        found = found.item
    return found.resource if found is not None and found.resource is not None else owner
