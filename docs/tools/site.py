"""Builds the documentation site: ``make docs`` → build/site.

    python docs/tools/site.py

The pages are copied to build/pages, with the recipes that they link to beside them, and built strictly: a link to
a page or a heading that does not exist fails the build. Nothing is fetched, neither while building nor when a page is
opened.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "build" / "pages"
OUTSIDE = re.compile(r"\]\(((?:\.\./)*)\.\./(recipes/[^)]+)\)")
"""A link from docs to the recipes beside it, which on the site lie within."""


def gather() -> None:
    """The pages as the site has them."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("tools", "__pycache__"))
    shutil.copytree(ROOT / "recipes", PAGES / "recipes")
    for page in PAGES.rglob("*.md"):
        page.write_text(OUTSIDE.sub(r"](\1\2)", page.read_text(encoding="utf-8")), encoding="utf-8")


def build() -> int:
    gather()
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(build())
