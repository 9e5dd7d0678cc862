"""A drawing as SVG text: plain shapes, classes in place of colours, readable in light and dark."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

STYLE = """
svg { font: 14px system-ui, sans-serif; }
.ground { fill: #ffffff; } .ink { fill: #1c2330; } .soft { fill: #5a6472; }
.line { stroke: #9aa4b2; stroke-width: 1; fill: none; } .strong { stroke: #1c2330; stroke-width: 1.6; fill: none; }
.box { fill: #eef1f6; stroke: #9aa4b2; } .none { fill: none; stroke: #c3cad4; stroke-dasharray: 3 2; }
.blue { fill: #2563c9; } .orange { fill: #c2570c; } .green { fill: #1a7f4b; } .red { fill: #b42332; }
.grey { fill: #8b95a3; } .pale { fill: #b9cdf0; } .line-blue { stroke: #2563c9; stroke-width: 2.5; fill: none; }
.line-green { stroke: #1a7f4b; stroke-width: 2.5; } .line-red { stroke: #b42332; stroke-width: 2.5; }
.line-grey { stroke: #8b95a3; stroke-width: 2.5; } .bold { font-weight: 600; } .small { font-size: 12px; }
.tip { fill: #9aa4b2; } .faint { opacity: 0.5; }
@media (prefers-color-scheme: dark) {
.ground { fill: #161b22; } .ink { fill: #e6eaf0; } .soft { fill: #a3adba; }
.line { stroke: #66707e; } .strong { stroke: #e6eaf0; }
.box { fill: #222a35; stroke: #66707e; } .none { stroke: #4b5563; }
.blue { fill: #78a9ff; } .orange { fill: #ff9d5c; } .green { fill: #4fd18b; } .red { fill: #ff7b87; }
.grey { fill: #8b95a3; } .pale { fill: #2c4676; } .line-blue { stroke: #78a9ff; }
.line-green { stroke: #4fd18b; } .line-red { stroke: #ff7b87; } .tip { fill: #66707e; }
}
"""


class Drawing:
    """Shapes on a ground of its own colour; ``title`` and ``about`` are what a screen reader says."""

    def __init__(self, width: int, height: int, title: str, about: str) -> None:
        self.width, self.height = width, height
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'aria-labelledby="t d" width="{width}" height="{height}">',
            f'<title id="t">{escape(title)}</title><desc id="d">{escape(about)}</desc><style>{STYLE}</style>',
            f'<rect class="ground" width="{width}" height="{height}" rx="8"/>',
        ]

    def text(self, x: float, y: float, words: str, kind: str = "ink", at: str = "start") -> None:
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{at}">{escape(words)}</text>')

    def lines(self, x: float, y: float, words: Iterable[str], kind: str = "ink", at: str = "start") -> None:
        """Several lines of text below each other."""
        for number, line in enumerate(words):
            self.text(x, y + 17 * number, line, kind, at)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "line") -> None:
        self.parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def box(self, x: float, y: float, width: float, height: float, kind: str = "box", rounded: float = 3) -> None:
        self.parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{rounded}"/>'
        )

    def dot(self, x: float, y: float, radius: float = 4, kind: str = "blue") -> None:
        self.parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>')

    def path(self, steps: str, kind: str = "line") -> None:
        self.parts.append(f'<path class="{kind}" d="{steps}"/>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """From left to right, or straight down."""
        self.line(x1, y1, x2, y2, "line")
        if x2 > x1:
            self.path(f"M{x2:.1f} {y2:.1f} l-8 -4 v8 z", "tip")
        else:
            self.path(f"M{x2:.1f} {y2:.1f} l-4 -8 h8 z", "tip")

    def save(self, file: Path) -> None:
        file.write_text("\n".join([*self.parts, "</svg>", ""]), encoding="utf-8")
