"""Links and pictures of every page lead to a file and a heading that exist; the site's navigation names every page.

Needs nothing but the files. ``test_site.py`` builds the site itself where the tool for it is installed.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.md")])
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ +(.*?)\s*$", re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def targets(text: str) -> list[str]:
    """What a page links to, outside of code."""
    return [first or second for first, second in LINK.findall(CODE.sub("", text))]


def anchor(heading: str) -> str:
    """The anchor that the site gives a heading."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
    letters = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", letters).strip().lower())


def anchors(text: str) -> set[str]:
    return {anchor(heading) for heading in HEADING.findall(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))}


def broken(page: Path, text: str) -> Iterator[str]:
    for target in targets(text):
        if re.match(r"[a-z]+:", target):
            continue  # another site: tests run offline
        path, _, part = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or not file.is_relative_to(ROOT):
            yield f"{target}: there is no such file"
        elif part and part not in anchors(text if file == page else file.read_text(encoding="utf-8")):
            yield f"{target}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken(page, page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "link", ["[a](nothing.md)", "[a](data.md#nothing)", "![](nothing.svg)", '<img src="nothing.png">', "[a](../../x)"]
)
def test_a_broken_link_is_found(link: str) -> None:
    assert len(list(broken(DOCS / "start.md", f"# Start\n{link}"))) == 1
    assert list(broken(DOCS / "start.md", f"# Start\n```\n{link}\n```\n[here](#start)")) == []


def pages_of(navigation: object) -> Iterator[str]:
    if isinstance(navigation, str):
        yield navigation
    for entry in (
        navigation.values() if isinstance(navigation, dict) else navigation if isinstance(navigation, list) else ()
    ):
        yield from pages_of(entry)


def test_the_navigation_names_every_page_once() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(pages_of(project["nav"])) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
