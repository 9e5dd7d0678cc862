"""Write ``report.html`` into a run folder."""

from __future__ import annotations

from pathlib import Path

from compressor.files import write_atomic
from compressor.report.gather import Facts
from compressor.report.page.render import page


def write_report(facts: Facts) -> Path:
    """Write the report of a run into its folder and return its path. Raises ``OSError``."""
    path = facts.folder / "report.html"
    write_atomic(path, page(facts))
    return path
