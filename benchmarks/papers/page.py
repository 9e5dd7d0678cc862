"""A page of results: their tables beside ours, and one line for every claim of the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from _opening import with_opening

Verdict = Literal["held", "did not hold", "not decided", "misprinted", "not tested"]
"""Not decided: tested, and what was found lies within two standard errors of the other answer."""


@dataclass(frozen=True)
class Table:
    """Cells are texts made from figures; nothing is typed in by hand but what the document printed."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.columns))]
        text = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([f"## {self.title}", "", text[0], rule, *text[1:], *(f"\n{note}" for note in self.notes)])


@dataclass(frozen=True)
class Claim:
    """What the document says, what became of it here, and the figures that say so."""

    theirs: str
    verdict: Verdict
    ours: str

    def markdown(self) -> str:
        return f"- **{self.verdict.capitalize()}:** *{self.theirs}* {self.ours}"


@dataclass(frozen=True)
class Page:
    """One file under ``docs/results``."""

    name: str
    title: str
    about: str
    """A paragraph on how it was measured: the document, the data, what stands in for what."""
    commands: Sequence[str]
    tables: Sequence[Table]
    claims: Sequence[Claim]
    not_run: Sequence[str] = ()
    claims_title: str = "Their claims"

    def markdown(self, places: Sequence[str]) -> str:
        """Tables, claims, the commands, how it was measured. ``places``: where, a line each."""
        parts = [f"# {self.title}", *(table.markdown() for table in self.tables)]
        if self.claims:
            parts.append(f"## {self.claims_title}\n\n" + "\n".join(claim.markdown() for claim in self.claims))
        parts.append("## Again\n\n```\n" + "\n".join(self.commands) + "\n```")
        parts.append(f"## How it was measured\n\n{self.about}")
        parts += places
        if self.not_run:
            parts.append("## Not run\n\n" + "\n".join(f"- {line}" for line in self.not_run))
        return with_opening(self.name, "\n\n".join(parts) + "\n")
