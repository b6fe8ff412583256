"""Tables: plain, with their heads, and scrolling alone where they are wider than a phone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from deepseek_operator.cli.page.markup import Child, Markup, tag


@dataclass(frozen=True, slots=True)
class Column:
    """A head, and whether what stands under it are numbers or long texts."""

    name: str
    is_number: bool = False
    is_wide: bool = False

    @property
    def class_(self) -> str | None:
        return "n" if self.is_number else "w" if self.is_wide else None


@dataclass(frozen=True, slots=True)
class Row:
    """Cells from left to right; the first names the row."""

    cells: tuple[Child, ...]
    class_: str | None = None


def table(columns: Sequence[Column], rows: Iterable[Row], *, caption: str = "", name: str = "") -> Markup:
    """A table that scrolls by itself."""
    head = tag("tr", [tag("th", column.name, scope="col", class_=column.class_) for column in columns])
    body = [tag("tr", list(_cells(columns, row)), class_=row.class_) for row in rows]
    whole = tag(
        "table",
        tag("caption", caption) if caption else None,
        tag("thead", head),
        tag("tbody", body),
        id=name or None,
    )
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption or columns[0].name)


def _cells(columns: Sequence[Column], row: Row) -> Iterator[Markup]:
    for index, (column, cell) in enumerate(zip(columns, row.cells, strict=True)):
        if index == 0:
            yield tag("th", cell, scope="row", class_=column.class_)
        else:
            yield tag("td", cell, class_=column.class_)
