"""Tables in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from compressor.report.table import Table
from compressor.report.text import clean

KEY = 24
"""Names of rows, in the first column, are not folded where none is longer than this: names are copied."""


def draw(console: Console, table: Table) -> None:
    """Print a table and an empty line; where there is not enough room, cells are folded, never cut."""
    console.print(as_rich(table))
    console.print()


def as_rich(table: Table) -> RichTable:
    """The table for rich: a marked row is bold."""
    title = Text(table.title, style="bold") if table.title else None
    rich = RichTable(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )
    whole = max((len(row[0]) for row in table.rows), default=0) <= KEY
    for number, column in enumerate(table.columns):
        rich.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=column.right or (number == 0 and whole),
        )
    for number, row in enumerate(table.rows):
        rich.add_row(*(Text(clean(cell)) for cell in row), style="bold" if number == table.marked else "")
    return rich
