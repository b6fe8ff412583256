"""Objects from YAML or JSON, several documents in one text, Lists taken apart: what a file or stdin holds.

Values are JSON's, as kubectl reads them: a day is text, a name is text whatever it looks like, and a null is a field
left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from deepseek_operator.world import Kind, Object
from deepseek_planner.errors import Problem

_CLUSTER_SCOPED = frozenset({Kind.POOL, Kind.NODE})

DEEPEST = 64
"""Levels of an object that are read: ours have a dozen. An alias of YAML may stand inside itself."""


@dataclass(frozen=True, slots=True)
class Document:
    """An object and where it stands, as a person would look for it."""

    place: str
    """``pools.yaml``, with ``document 2`` where the file holds several, and ``item 3`` of a List."""
    object: Object


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # whichever is installed
    """PyYAML's, but for days and times, which it would make of text; 2026-13-01 stops it altogether."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in _Loader.yaml_implicit_resolvers.items()
}


def documents(text: str, name: str, problems: list[Problem]) -> Iterator[Document]:
    """The objects in a text called ``name``; what is none is noted in ``problems`` and left out."""
    try:
        found = [item for item in yaml.load_all(text, Loader=_Loader) if item is not None]
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # Beside its own errors, PyYAML lets through what a tag such as !!int makes of a text that is none.
        problems.append(Problem(name, "file", f"is not YAML ({' '.join(str(error).split())})", "mend the file"))
        return
    for index, document in enumerate(found, start=1):
        yield from _objects(document, name if len(found) == 1 else f"{name} document {index}", problems)


def repeated(found: Iterable[Document]) -> Iterator[Problem]:
    """Objects that stand more than once, each with both places: which of them counts would be a matter of order."""
    places: dict[tuple[str, str], str] = {}
    for document in found:
        kind, name = str(document.object.get("kind")), _key(document.object)
        if name and (kind, name) in places:
            both = f"{places[kind, name]} and {document.place}"
            remedy = "name each file once, and give each object a name of its own"
            yield Problem("metadata.name", f"{kind} {name}", f"stands more than once: in {both}", remedy)
        places.setdefault((kind, name), document.place)


def _key(obj: Object) -> str:
    """Namespace and name; empty where there are none to speak of, which is a problem of its own."""
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(metadata, Mapping) or not isinstance(name, str):
        return ""
    namespace = None if obj.get("kind") in _CLUSTER_SCOPED else metadata.get("namespace")
    return f"{namespace}/{name}" if namespace else name


def _objects(document: Any, place: str, problems: list[Problem]) -> Iterator[Document]:
    try:
        plain = _plain(document, DEEPEST)
    except ValueError as error:
        problems.append(Problem(place, "a value", str(error), "write what JSON can hold"))
        return
    if not isinstance(plain, dict):
        problems.append(Problem(place, type(document).__name__, "is not an object", "write apiVersion, kind, …"))
    elif plain.get("kind") != "List":
        yield Document(place, plain)
    elif not isinstance(items := plain.get("items") or [], list):
        problems.append(Problem(f"{place}: items", type(items).__name__, "is not a list", "write a list of objects"))
    else:
        for index, item in enumerate(items, start=1):
            yield from _objects(item, f"{place} item {index}", problems)


def _plain(value: Any, levels: int) -> Any:
    """As JSON would hold it; ValueError for what it cannot."""
    if levels == 0:
        raise ValueError(f"is nested more than {DEEPEST} levels deep")
    match value:
        case dict():
            return {str(key): _plain(item, levels - 1) for key, item in value.items() if item is not None}
        case list():
            return [_plain(item, levels - 1) for item in value]
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
    raise ValueError(f"is no value of JSON ({value!r:.40})")
