"""Tables in a narrow terminal: nothing is cut, and what is copied stays whole."""

from __future__ import annotations

import io

from rich.console import Console

from compressor.cli.draw import draw
from compressor.report.table import Table, table


def lines(drawn: Table, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    draw(console, drawn)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


ROW = ("stages.0.0.shortcut.0", "AdaptiveAvgPool2d", "16×32×32", "1,024")


def test_names_and_figures_stay_whole_and_the_rest_is_folded() -> None:
    drawn = lines(table("layer, kind, >output, >params", [ROW]), 48)
    assert max(map(len, drawn)) <= 48
    assert drawn[2].split()[0] == ROW[0]
    assert drawn[2].split()[2:] == [*ROW[2:]]
    kind = drawn[2].split()[1] + "".join(line.strip() for line in drawn[3:])
    assert kind == ROW[1]


def test_a_very_long_name_is_folded_not_cut() -> None:
    name = "features.denseblock1.denselayer12.norm1..features.denseblock1.denselayer12.conv2"
    drawn = lines(table("site, >bytes", [(name, "12")]), 40)
    assert max(map(len, drawn)) <= 40
    assert "".join(line.split()[0] for line in drawn[2:] if line) == name
