"""What was measured of each site alone, as the report shows it."""

from __future__ import annotations

from pathlib import Path

from sample_run import HOSTILE, sample_run

from compressor.engine.sensitivity import Sensitivities, SiteSensitivity
from compressor.files import write_atomic
from compressor.report.gather import gather
from compressor.report.page.render import page
from compressor.report.sites import sites_tables

AT_4 = SiteSensitivity(0.2, 0.3, 0.0, choice={"bits": 4})
KNOWN = Sensitivities({
    "layer-removal": {
        "dear": SiteSensitivity(0.5, 0.1, 0.1, 0.1, speedup=1.11),
        "larger": SiteSensitivity(-0.01, -0.1, 0.0),
        "cheap": SiteSensitivity(0.01, 0.25, 0.125, 0.2, speedup=1.25),
    },
    "quantize": {
        "fc": SiteSensitivity(0.02, 0.2, 0.0, choice={"bits": 8}, others=(AT_4,)),
    },
    'binarize {"skip": 2}': {},
})  # fmt: skip


def test_the_most_worthwhile_sites_come_first_and_growth_last() -> None:
    found, by_bits = sites_tables(KNOWN)
    assert found.title == "layer-removal"
    assert found.rows[0] == ("cheap", "+0.0100", "25.0 %", "12.5 %", "20.0 %")
    assert [row[0] for row in found.rows] == ["cheap", "dear", "larger"]
    assert found.rows[2][1] == "−0.0100"
    assert [row[0] for row in by_bits.rows] == ["fc (bits = 8)", "fc (bits = 4)"]


def test_the_report_shows_them_escaped_where_there_are_any(tmp_path: Path) -> None:
    run = sample_run(tmp_path / "run")
    assert "Every site alone" not in page(gather(run))
    entries = {"layer-removal": {HOSTILE: SiteSensitivity(0.01, 0.2, 0.1, 0.125)}}
    write_atomic(run.sensitivities, Sensitivities(entries).to_json())
    html = page(gather(run))
    assert "Every site alone" in html
    assert "12.5 %" in html
    assert "<script>alert" not in html
