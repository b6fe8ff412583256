"""What stands around the spec of a resource of ours: apiVersion, kind and metadata, the same for every kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deepseek_operator.api.check import at, shown
from deepseek_operator.api.form import METADATA, an_object, problems
from deepseek_operator.api.names import API_VERSION
from deepseek_operator.api.rules import Rule
from deepseek_operator.world import Object
from deepseek_planner.errors import Problem

_METADATA = an_object(METADATA)


def envelope_problems(obj: Object, kind: str, name_rule: Rule) -> Iterator[Problem]:
    """What is wrong beside the spec. Where there is none, name and metadata can be relied upon."""
    for field, wanted in (("apiVersion", API_VERSION), ("kind", kind)):
        found = at(obj, field)
        if found != wanted:
            yield Problem(field, shown(found), f"is not {wanted}", f"write {field}: {wanted}")
    metadata = obj.get("metadata")
    if metadata is None or _METADATA.fits(metadata):
        name = at(metadata or {}, "name")
        if not (isinstance(name, str) and name_rule.holds(name)):
            yield Problem("metadata.name", shown(name), name_rule.message, name_rule.remedy)
    if metadata is not None:
        yield from problems(_METADATA, metadata, "metadata")


def spec_of(obj: Object) -> Any:
    """The spec as written, whatever that is; nothing written is an empty one."""
    spec = obj.get("spec")
    return {} if spec is None else spec
