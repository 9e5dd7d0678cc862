"""The site builds without a warning, and every page of it works from the disk alone.

Needs the extra ``docs`` (``make docs`` installs it). What can be held without it is held by ``test_links.py``.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "site"
MISSING = [name for name in ("zensical", "mkdocstrings") if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed: pip install -e '.[docs]'")


@pytest.fixture(scope="module")
def pages() -> list[Path]:
    done = subprocess.run(
        [sys.executable, "docs/tools/site.py"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(SITE.rglob("*.html"))


def test_every_page_is_there(pages: list[Path]) -> None:
    sources = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    assert sources <= {page.relative_to(SITE) for page in pages}


def test_every_link_and_picture_lies_on_the_disk(pages: list[Path]) -> None:
    lost = []
    for page in pages:
        for target in re.findall(r'(?:href|src)="?([^"\s>]+)', page.read_text(encoding="utf-8")):
            path = target.partition("#")[0].partition("?")[0]
            if path and not re.match(r"[a-z]+:|/", path) and not (page.parent / path).exists():
                lost.append(f"{page.relative_to(SITE)}: {target}")
    assert lost == []


def test_nothing_is_fetched_when_a_page_is_opened(pages: list[Path]) -> None:
    fetched = re.compile(r'<(?:script|img|iframe)[^>]*\ssrc="?https?:|<link[^>]*stylesheet[^>]*href="?https?:')
    assert [page.name for page in pages if fetched.search(page.read_text(encoding="utf-8"))] == []
