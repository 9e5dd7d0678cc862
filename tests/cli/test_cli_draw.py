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
    drawn = lines(table("layer, kind, >output, >params", [ROW]), 52)
    assert max(map(len, drawn)) <= 52
    assert drawn[2].split()[0] == ROW[0]
    assert drawn[2].split()[2:] == [*ROW[2:]]
    kind = drawn[2].split()[1] + "".join(line.strip() for line in drawn[3:])
    assert kind == ROW[1]


def test_columns_that_have_no_room_follow_in_a_table_of_their_own() -> None:
    rows = [(f"{letter * 20}.onnx", "422 KiB", "24.4 µs", "24.9 µs", "26.0 µs", "0.99×", "0.98–1.01", verdict)
            for letter, verdict in (("a", ""), ("b", "no difference shown"), ("c", "too short to tell"))]  # fmt: skip
    drawn = table("file, >size, >CPU, >wall, >p90, >speed, >95 %, verdict", rows)
    for width in (100, 80, 50, 40):
        text = lines(drawn, width)
        assert max(map(len, text)) <= width
        for row in rows:
            assert all(any(word in line for line in text) for cell in row for word in cell.split())
    assert sum(line.startswith("file") for line in lines(drawn, 100)) == 1
    assert sum(line.startswith("file") for line in lines(drawn, 80)) == 2


def test_a_very_long_name_is_folded_not_cut() -> None:
    name = "features.denseblock1.denselayer12.norm1..features.denseblock1.denselayer12.conv2"
    drawn = lines(table("site, >bytes", [(name, "12")]), 40)
    assert max(map(len, drawn)) <= 40
    assert "".join(line.split()[0] for line in drawn[2:] if line) == name
