"""The types of the API taken apart: what the CRDs, the reference pages and the checks all read."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic.fields import FieldInfo

from deepseek_operator.api.base import Resource
from deepseek_operator.api.rules import Rule


@dataclass(frozen=True, slots=True)
class Constraints:
    """What an annotation says beside the type."""

    minimum: int | None = None
    maximum: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A type of the API: ``kind`` is one of object, list, map, string, integer, boolean, decimal, enum, time."""

    kind: str
    constraints: Constraints
    optional: bool = False
    item: Node | None = None
    """Of a list or a map."""
    resource: type[Resource] | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A field of an object: its names, its type, its default."""

    python: str
    json: str
    node: Node
    required: bool
    description: str
    field: FieldInfo

    @property
    def default(self) -> Any:
        """The default in JSON; None where there is none. Made when asked for: checks of an object never do."""
        if self.required:
            return None
        return _json(self.field.get_default(call_default_factory=True, validated_data={}))


_SCALARS = {str: "string", int: "integer", bool: "boolean", datetime: "time"}


def _constraints(metadata: tuple[Any, ...]) -> Constraints:
    found: dict[str, Any] = {}
    rules: list[Rule] = []
    for item in metadata:
        match item:
            case Ge():
                found["minimum"] = item.ge
            case Le():
                found["maximum"] = item.le
            case MinLen():
                found["min_length"] = item.min_length
            case MaxLen():
                found["max_length"] = item.max_length
            case Rule():
                rules.append(item)
            case _:
                pass
    return Constraints(**found, rules=tuple(rules))


def node(annotation: Any) -> Node:
    """Take an annotation apart; TypeError for a type that the API does not use."""
    metadata: tuple[Any, ...] = ()
    while get_origin(annotation) is Annotated:
        annotation, *extra = get_args(annotation)
        metadata = (*extra, *metadata)
    constraints, origin, arguments = _constraints(metadata), get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return _union(arguments, constraints)
    if origin is tuple:
        return Node("list", constraints, item=node(arguments[0]))
    if origin is dict:
        return Node("map", constraints, item=node(arguments[1]))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return Node("enum", constraints, choices=tuple(member.value for member in annotation))
    if isinstance(annotation, type) and issubclass(annotation, Resource):
        return Node("object", constraints, resource=annotation)
    if annotation in _SCALARS:
        return Node(_SCALARS[annotation], constraints)
    raise TypeError(f"{annotation!r} is not a type of the API")


def _union(arguments: tuple[Any, ...], constraints: Constraints) -> Node:
    inner = [argument for argument in arguments if argument is not type(None)]
    if len(inner) == 1:
        return replace(node(inner[0]), optional=True)
    kinds = {found.kind: found for found in map(node, inner)}
    if set(kinds) == {"integer", "string"}:
        bounded = replace(constraints, max_length=kinds["string"].constraints.max_length)
        return Node("decimal", bounded, optional=len(inner) < len(arguments))
    raise TypeError(f"a union of {sorted(kinds)} is not a type of the API")


def _json(value: Any) -> Any:
    match value:
        case Resource():
            # Whole, although the API server would fill it in: it checks rules on defaults before it does.
            return value.model_dump(mode="json", by_alias=True, exclude_none=True)
        case StrEnum():
            return value.value
        case tuple():
            return [_json(item) for item in value]
        case _:
            return value


@cache
def members(resource: type[Resource]) -> tuple[Member, ...]:
    """The fields of an object, in the order in which they are written."""
    return tuple(_members(resource))


def _members(resource: type[Resource]) -> Iterator[Member]:
    hints = get_type_hints(resource, include_extras=True)
    for python, field in resource.model_fields.items():
        yield Member(
            python=python,
            json=field.alias or python,
            node=node(hints[python]),
            required=field.is_required(),
            description=field.description or "",
            field=field,
        )


def json_name(resource: type[Resource], python: str) -> str:
    """The JSON name of a field."""
    return resource.model_fields[python].alias or python
