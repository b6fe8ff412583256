"""HTML and SVG as values: every text is escaped, whoever it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

Child: TypeAlias = "str | Iterable[Child] | None"

VOID = frozenset({"meta", "link", "br", "hr", "col"})
"""HTML elements without an end."""


class Markup(str):
    """Text that is HTML already. Only :func:`tag` and :func:`join` make it."""

    __slots__ = ()


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element. ``class_`` and ``aria_label`` become ``class`` and ``aria-label``; None and False are left out."""
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child] | Child) -> Markup:
    """Children one after the other: markup as it is, everything else escaped."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(escape(children, quote=False))
    return Markup("".join(join(child) for child in children))


def raw(text: str) -> Markup:
    """Text of our own that must not be escaped: a style sheet."""
    return Markup(text)


def _attribute(key: str, value: str | float | bool | None) -> str:  # noqa: FBT001
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = number(value) if isinstance(value, float) else str(value)
    return f' {name}="{escape(text)}"'


def number(value: float) -> str:
    """Coordinates: a tenth of a pixel is more than an eye sees, and the same on every machine."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text
