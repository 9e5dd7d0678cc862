"""What the plugins of a run and its pilot study say about it: sections of their own for the terminal and the report.

Their code is anybody's, so each is asked in a process of its own, and answers with plain data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.apart import each_apart, mention
from compressor.engine.space import uses_of
from compressor.engine.survey import PLUGIN_SECONDS
from compressor.errors import CompressorError, ForeignError
from compressor.foreign import blaming
from compressor.recipe.model import Recipe
from compressor.registry import PILOTS, PLUGINS, Registry
from compressor.report.section import Section
from compressor.report.table import Column, Table

if TYPE_CHECKING:
    from compressor.report.gather import Facts

MOST = 50
"""Sections of one plugin."""


@dataclass(frozen=True)
class _Teller:
    """Something that may tell of a run: a plugin, or the pilot study, with its options."""

    registry: Registry[Any]
    name: str
    options: Mapping[str, Any]

    def tell(self, facts: Facts) -> list[Section]:
        whose = self.registry.titled(self.name)
        mention(whose)
        with blaming(whose, self.registry.module_of(self.name)):
            said = list(self.registry.make(self.name, self.options).tell(facts))
            if len(said) > MOST:
                raise ForeignError(f"{whose}: tell() gives {len(said)} sections")
            return [_plain(section, whose) for section in said]


def told(facts: Facts, recipe: Recipe, seconds: float = PLUGIN_SECONDS) -> tuple[Section, ...]:
    """What the pilot study and every plugin of ``recipe`` say, in order, each with its options once; a failure is a
    section, too.
    """
    study = recipe.pilot
    first = [] if study is None else [_Teller(PILOTS, study.name, study.options)]
    uses = [_Teller(PLUGINS, use.name, use.options) for _, use in uses_of(recipe.phases)]
    asked = [*first, *(use for number, use in enumerate(uses) if use not in uses[:number])]
    found: list[Section] = []
    for teller, answer in zip(asked, each_apart(asked, lambda one: one.tell(facts), seconds=seconds), strict=True):
        if isinstance(answer, CompressorError):
            found.append(Section(teller.name, (f"It has nothing to say: {answer}.",)))
        else:
            found.extend(answer)
    return tuple(found)


def _plain(section: object, whose: str) -> Section:
    """The section without anything of the plugin's own types."""
    if not isinstance(section, Section):
        raise ForeignError(f"{whose}: tell() gives a {type(section).__name__}, not a Section")
    return Section(
        str(section.title), tuple(map(str, section.lines)), section.content and _plain_table(section.content)
    )


def _plain_table(content: Table) -> Table:
    columns = tuple(Column(str(column.title), bool(column.right)) for column in content.columns)
    rows = tuple(tuple(str(cell) for _, cell in zip(columns, row, strict=True)) for row in content.rows)
    return Table(columns, rows, str(content.title), content.marked)
