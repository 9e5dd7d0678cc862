"""What the plugins of a run say about it: sections of their own for the terminal and the report.

Their code is anybody's, so each is asked in a process of its own, and answers with plain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from compressor.apart import each_apart
from compressor.engine.apply import acting
from compressor.engine.space import PhaseSpec, uses_of
from compressor.engine.survey import PLUGIN_SECONDS
from compressor.errors import CompressorError, ForeignError
from compressor.registry import make, titled
from compressor.report.section import Section
from compressor.report.table import Column, Table

if TYPE_CHECKING:
    from compressor.report.gather import Facts

_Asked = tuple[str, Mapping[str, Any]]
MOST = 50
"""Sections of one plugin."""


def told(facts: Facts, phases: Iterable[PhaseSpec], seconds: float = PLUGIN_SECONDS) -> tuple[Section, ...]:
    """What every plugin of ``phases`` says, in order, each with its options once; a failure is a section, too."""
    uses = [(use.name, use.options) for _, use in uses_of(phases)]
    asked: list[_Asked] = [use for number, use in enumerate(uses) if use not in uses[:number]]
    found: list[Section] = []
    for (name, _), answer in zip(asked, each_apart(asked, lambda use: _ask(use, facts), seconds=seconds), strict=True):
        if isinstance(answer, CompressorError):
            found.append(Section(name, (f"It has nothing to say: {answer}.",)))
        else:
            found.extend(answer)
    return tuple(found)


def _ask(asked: _Asked, facts: Facts) -> list[Section]:
    name, options = asked
    with acting(name):
        said = list(make(name, options).tell(facts))
        if len(said) > MOST:
            raise ForeignError(f"{titled(name)}: tell() gives {len(said)} sections")
        return [_plain(section, name) for section in said]


def _plain(section: object, name: str) -> Section:
    """The section without anything of the plugin's own types."""
    if not isinstance(section, Section):
        raise ForeignError(f"{titled(name)}: tell() gives a {type(section).__name__}, not a Section")
    return Section(
        str(section.title), tuple(map(str, section.lines)), section.content and _plain_table(section.content)
    )


def _plain_table(content: Table) -> Table:
    columns = tuple(Column(str(column.title), bool(column.right)) for column in content.columns)
    rows = tuple(tuple(str(cell) for _, cell in zip(columns, row, strict=True)) for row in content.rows)
    return Table(columns, rows, str(content.title), content.marked)
