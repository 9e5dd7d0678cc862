"""``report.html`` as a person meets it: in Chromium, on a telephone and on a desk, by pointer, keyboard and ear.

Skipped where there is no Chromium (or no playwright, of the ``dev`` extra, to steer it): the other tests of the report
read its text.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from compressor.report.gather import Facts
from compressor.report.write import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no Chromium is found as {', '.join(NAMES)}")

PHONE, DESK = 400, 1280


@pytest.fixture(scope="module")
def report(sample: Facts) -> Path:
    return write_report(sample)


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[PHONE, DESK])
def page(request: pytest.FixtureRequest, browser: playwright.Browser, report: Path) -> Iterator[playwright.Page]:
    """The report, opened; nothing may be complained about or fetched while a test looks at it."""
    width = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="light", reduced_motion="reduce"
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda sent: complaints.append(sent.url) if sent.url != report.as_uri() else None)
    page.goto(report.as_uri())
    yield page
    context.close()
    assert not [text for text in complaints if not text.startswith(report.as_uri())]


def inside(page: playwright.Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_nothing_runs_over_the_edge(page: playwright.Page) -> None:
    assert inside(page)
    for details in page.locator("summary").all():
        details.click()
    assert inside(page)


def test_a_point_says_what_it_is_and_leads_to_its_row(page: playwright.Page) -> None:
    point, tip = page.locator(".plots a.point:has(.best)").first, page.locator("#tip")
    assert tip.is_hidden()
    point.hover()
    assert "the best" in tip.inner_text()
    assert "binarize conv1" in tip.inner_text()
    assert inside(page)
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    point.click()
    row = page.locator("tr:target")
    assert row.get_attribute("id") == point.get_attribute("data-trial")
    assert "marked" in (row.get_attribute("class") or "").split()
    assert row.evaluate("row => document.activeElement === row")
    box = row.bounding_box()
    assert box is not None
    assert 0 <= box["y"] < 900


def test_points_are_reached_and_read_by_keyboard_alone(page: playwright.Page) -> None:
    point = page.locator("a.point").first
    point.focus()
    assert page.locator("#tip").is_visible()
    assert point.get_attribute("aria-label") == page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.classList.contains('point')")
    page.keyboard.press("Enter")
    assert page.locator("tr:target").count() == 1


def test_a_table_is_sorted_by_figures(page: playwright.Page) -> None:
    table = page.locator("#search table.sortable")
    wide = page.evaluate("window.innerWidth") == DESK
    head = table.locator("th", has_text="validation")

    def sort() -> None:
        if wide:
            head.get_by_role("button").press("Enter")
        else:
            page.locator("#search select").select_option(label=f"validation {next(arrows)}")

    arrows = iter("↑↓")
    sort()
    column = table.locator("td[data-title=validation]")
    figures = [cell.rstrip(" %") for cell in column.all_inner_texts()]
    known = [float(cell) for cell in figures if cell != "–"]
    assert known == sorted(known)
    assert figures[-1] == "–"  # what has no figure comes last, either way
    assert head.get_attribute("aria-sort") == "ascending"
    sort()
    assert column.first.inner_text().startswith(f"{max(known):.2f}")
    assert column.last.inner_text() == "–"
    assert head.get_attribute("aria-sort") == "descending"


def test_every_link_leads_somewhere(page: playwright.Page, report: Path) -> None:
    for link in page.locator("a[href]").all():
        where = link.evaluate("link => link.getAttribute('href')")
        found = page.locator(where).count() == 1 if where.startswith("#") else (report.parent / where).is_file()
        assert found, where


def test_light_and_dark_are_chosen_and_text_stands_out(page: playwright.Page) -> None:
    for scheme in ("dark", "light"):
        page.locator(f".theme input[value={scheme}]").check(force=True)
        weak = page.evaluate(CONTRAST)
        assert not weak, weak


def test_the_page_is_named_for_a_screen_reader(page: playwright.Page) -> None:
    assert page.locator("main").count() == page.locator("h1").count() == 1
    assert page.evaluate("[...document.querySelectorAll('table')].every(t => t.caption && t.caption.textContent)")
    regions = page.get_by_role("region").all()
    assert all(region.get_attribute("aria-label") or region.get_attribute("aria-labelledby") for region in regions)
    assert page.get_by_role("table").count() == page.locator("table:not(details table)").count()
    assert page.get_by_role("row").count() > 10
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


CONTRAST = """() => {
  const parse = (colour) => {
    const canvas = document.createElement("canvas").getContext("2d");
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const found = parse(getComputedStyle(node).backgroundColor);
      if (found[3] > 0) return found;
    }
    return [255, 255, 255, 255];
  };
  const weak = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.getClientRects().length || node.closest("script, #tip")) continue;
    const style = getComputedStyle(node);
    const text = light(parse(node.namespaceURI.endsWith("svg") ? style.fill : style.color)), page = light(behind(node));
    const ratio = (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05);
    if (ratio < 4.5) weak.push(`${node.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return weak;
}"""
"""Texts whose contrast to what lies behind them is below 4.5 : 1 (WCAG 2.2, level AA)."""
