"""Tables in the terminal."""

from __future__ import annotations

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from compressor.report.table import Table
from compressor.report.text import clean

KEY = 30
"""Names of rows, in the first column, are not folded where none is longer than this: names are copied."""


WORD = 10
"""Words of text are not broken where they are no longer than this."""
GAP = 2
"""Columns are this far apart."""


def draw(console: Console, table: Table) -> None:
    """Print a table and an empty line. Where there is not enough room, text is folded between words, and columns that
    have no room even then follow in a table of their own; nothing is cut.
    """
    for part in fitting(table, console.width):
        console.print(as_rich(part))
        console.print()


def fitting(table: Table, width: int) -> list[Table]:
    """The table, or several that are narrow enough: each begins with the first column, which says what a row is."""
    least = [_least(table, number) for number in range(len(table.columns))]
    parts: list[list[int]] = [[0]]
    for number in range(1, len(table.columns)):
        shown = [*parts[-1], number]
        if len(shown) > 2 and sum(least[column] + GAP for column in shown) - GAP > width:
            parts.append([0])
        parts[-1].append(number)
    return [_columns(table, columns, first=columns is parts[0]) for columns in parts]


def _columns(table: Table, numbers: list[int], *, first: bool) -> Table:
    return Table(
        tuple(table.columns[number] for number in numbers),
        tuple(tuple(row[number] for number in numbers) for row in table.rows),
        table.title if first else "",
        table.marked,
    )


def _least(table: Table, number: int) -> int:
    """The least width of a column: figures stay whole, and so do the words of text that are not too long."""
    column = table.columns[number]
    cells = [column.title, *(clean(row[number]) for row in table.rows)]
    if column.right or (number == 0 and _names_stay_whole(table)):
        return max(map(cell_len, cells))
    return min(max(cell_len(word) for cell in cells for word in cell.split() or [""]), KEY if number == 0 else WORD)


def _names_stay_whole(table: Table) -> bool:
    return max((len(row[0]) for row in table.rows), default=0) <= KEY


def as_rich(table: Table) -> RichTable:
    """The table for rich: a marked row is bold."""
    title = Text(table.title, style="bold") if table.title else None
    rich = RichTable(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )
    whole = _names_stay_whole(table)
    for number, column in enumerate(table.columns):
        rich.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=column.right or (number == 0 and whole),
            min_width=_least(table, number),
        )
    for number, row in enumerate(table.rows):
        rich.add_row(*(Text(clean(cell)) for cell in row), style="bold" if number == table.marked else "")
    return rich
