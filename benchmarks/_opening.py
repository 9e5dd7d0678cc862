"""How a page of results begins: what it shows in two sentences and its plot, from docs/results/openings.toml.

python benchmarks/_opening.py    # puts the openings into the pages that are there
"""

from __future__ import annotations

import tomllib
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
MARK = "<!-- opening -->"


def opening(name: str) -> str:
    """The first lines of a page behind its title; empty for a page that has none."""
    entry = tomllib.loads((RESULTS / "openings.toml").read_text(encoding="utf-8")).get(name)
    if entry is None:
        return ""
    drawn = entry.get("plot") or (f"results-{name}" if {"value", "outcome"} & entry.keys() else "")
    plot = f"\n\n![{entry['shows'].partition('. ')[0]}](../figures/{drawn}.svg)" if drawn else ""
    return f"{entry['shows']}{plot}\n\n{MARK}"


def with_opening(name: str, page: str) -> str:
    """The page with its opening behind the title, in the place of one that it has."""
    title, _, rest = page.partition("\n")
    body = rest.partition(MARK)[2] or rest
    return "\n\n".join(part for part in (title, opening(name), body.lstrip("\n")) if part)


def write_openings() -> None:
    for page in RESULTS.glob("*.md"):
        page.write_text(with_opening(page.stem, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write_openings()
