"""Something told under a title: sentences, then a table. The same is drawn in the terminal and in the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compressor.report.table import Table


@dataclass(frozen=True)
class Section:
    """A title, what is said in words, and the figures."""

    title: str
    lines: tuple[str, ...] = ()
    content: Table | None = None

    def plain(self) -> dict[str, Any]:
        """The same for JSON."""
        found: dict[str, Any] = {"title": self.title, "lines": list(self.lines)}
        if self.content is not None:
            names = [column.title for column in self.content.columns]
            found["rows"] = [dict(zip(names, row, strict=True)) for row in self.content.rows]
        return found
