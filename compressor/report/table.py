"""A table as plain data: the same rows are drawn in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column; ``right``: its cells are figures, aligned at the right and never broken."""

    title: str
    right: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under columns. ``marked`` is the row that stands out."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    marked: int | None = None
    keys: tuple[str, ...] = ()
    """What the rows are about, one each, for what points to them; empty where nothing does."""

    @property
    def width(self) -> int:
        """Letters it takes side by side: of each column the longest cell, or the longest word of the title."""
        cells = zip(*self.rows, strict=True) if self.rows else ([] for _ in self.columns)
        return sum(
            2 + max(map(len, (*column.title.split(), *shown)), default=0)
            for column, shown in zip(self.columns, cells, strict=True)
        )


def table(
    titles: str, rows: Iterable[Sequence[str]], *, title: str = "", marked: int | None = None, keys: Iterable[str] = ()
) -> Table:
    """A table whose columns are named in one line: ``"layer, >bytes"``, with ``>`` before a column of figures."""
    names = [name.strip() for name in titles.split(",")]
    columns = tuple(Column(name.removeprefix(">"), name.startswith(">")) for name in names)
    return Table(columns, tuple(tuple(row) for row in rows), title, marked, tuple(keys))
