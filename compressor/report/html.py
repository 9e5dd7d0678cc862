"""``report.html``: one file with everything in it. Nothing is fetched, and every text of others is escaped."""

from __future__ import annotations

from dataclasses import asdict
from html import escape
from pathlib import Path

from compressor import __version__
from compressor.report import text
from compressor.report.gather import Facts
from compressor.report.layers import changes_table
from compressor.report.method import method
from compressor.report.plots import size_plot, speed_plot
from compressor.report.redundancy import sections
from compressor.report.sites import sites_tables
from compressor.report.structure import history_table, stages_table
from compressor.report.table import Column, Table, table
from compressor.report.tables import comparison_table, controls_table, edits_table, finalists_table
from compressor.report.trials import nearest_table, trials_table
from compressor.report.verdict import headline, sentences

_STYLE = Path(__file__).with_name("report.css")
MOST_COLUMNS = 4
"""Of a table that a telephone can show as one."""
FIGURE = 9
"""Letters of a figure with its unit."""
_ENDINGS = {
    "complete": "complete",
    "screened": "screened out before training",
    "stopped": "stopped by a gate",
    "failed": "failed",
    "duplicate": "the same as an earlier one",
    "refused": "without any change",
}


def page(facts: Facts) -> str:
    """The whole report."""
    title = f"compressor: {facts.environment.get('model') or facts.folder.name}"
    body = "\n".join(part for part in _parts(facts) if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _parts(facts: Facts) -> list[str]:
    return [
        _head(facts),
        _verdict(facts),
        _stages(facts),
        _best(facts),
        _nearest(facts),
        _front(facts),
        _changes(facts),
        _structure(facts),
        _sites(facts),
        _trials(facts),
        _controls(facts),
        _section("How it was measured", "".join(f"<p>{escape(line)}</p>" for line in method(facts))),
        _section("Recipe as run", f"<details><summary>recipe.toml</summary>{_code(facts.recipe)}</details>"),
        _section("Environment", draw(_environment(facts))),
    ]


def draw(content: Table) -> str:
    """A table; on a narrow screen one of many columns becomes a list per row, and others scroll by themselves."""
    head = "".join(f"<th{_kind(c, c.title)}>{escape(c.title)}</th>" for c in content.columns)
    rows = []
    for number, row in enumerate(content.rows):
        cells = "".join(
            f'<td{_kind(column, cell)} data-title="{escape(column.title)}">{escape(text.clean(cell))}</td>'
            for column, cell in zip(content.columns, row, strict=True)
        )
        rows.append(f'<tr class="marked">{cells}</tr>' if number == content.marked else f"<tr>{cells}</tr>")
    wide = ' class="wide"' if len(content.columns) > MOST_COLUMNS else ""
    return f'<div class="scroll"><table{wide}>\n<tr>{head}</tr>\n' + "\n".join(rows) + "\n</table></div>"


def _kind(column: Column, cell: str) -> str:
    """Figures stand at the right; a figure and its unit are never parted."""
    return "" if not column.right else ' class="right short"' if len(cell) <= FIGURE else ' class="right"'


# --- the parts, from top to bottom -------------------------------------------------------------------------------


def _head(facts: Facts) -> str:
    environment = facts.environment
    began = escape(str(environment.get("started", "")))
    counts = asdict(facts.result.trials)
    ended = ", ".join(f"{number} {_ENDINGS[name]}" for name, number in counts.items() if number)
    return (
        f"<h1>{escape(str(environment.get('model') or facts.folder.name))}</h1>"
        f'<p class="soft">compressor {escape(str(environment.get("compressor", __version__)))}, begun {began}, '
        f"{text.duration(facts.result.seconds)} of work. Trials: {ended or 'none'}.{_data(facts)}</p>"
    )


def _data(facts: Facts) -> str:
    probe = facts.result.probe
    return "" if probe is None else f" Data: {escape(text.clean(probe.origin))}."


def _verdict(facts: Facts) -> str:
    kind = "verdict helped" if facts.result.verdict.helped else "verdict"
    lines = "".join(f"<p>{escape(line)}</p>" for line in sentences(facts.result))
    return f'<div class="{kind}"><strong>{escape(headline(facts.result))}</strong>{lines}</div>'


def _stages(facts: Facts) -> str:
    """One after the other what a run with a probe found."""
    parts = []
    for section in sections(facts):
        lines = "".join(f"<p>{escape(text.clean(line))}</p>" for line in section.lines)
        parts.append(f"<h3>{escape(section.title)}</h3>{lines}{draw(section.content)}")
    return _section("Stage by stage", "".join(parts)) if parts else ""


def _best(facts: Facts) -> str:
    best = facts.result.best
    if best is None:
        return ""
    where = "best" if (facts.folder / "best" / "model.onnx").is_file() else f"candidates/{best.digest}"
    link = (
        f'<p>The model is <a href="{where}/model.onnx"><code>{where}/model.onnx</code></a>: {escape(best.about)}.</p>'
    )
    content = draw(comparison_table(best, facts.result.baseline)) + link + _code(usage(facts, f"{where}/model.onnx"))
    return _section("Before and after", content + _fed(facts))


def usage(facts: Facts, model: str) -> str:
    """How to run the file, with the figures that its input is normalised by."""
    known = facts.result.normalisation
    if known is None:
        prepared = "images  # normalised as in training"
    else:
        range_ = "0…255" if known.scale == 255 else "as the data have them"
        prepared = f"{known.of_the_file().formula()}  # pixels: (N, channels, height, width), {range_}"
    return (
        "import numpy\nimport onnxruntime\n\n"
        f'session = onnxruntime.InferenceSession("{model}")\n'
        f"images = {prepared}\n"
        "(scores,) = session.run(None, {session.get_inputs()[0].name: images.astype(numpy.float32)})"
    )


def _fed(facts: Facts) -> str:
    known = facts.result.normalisation
    if known is None:
        return ""
    inside = "The file does this itself and takes pixels: " if known.folded else "The file takes normalised images: "
    origin = f" ({known.origin})" if known.origin else ""
    line = f"{inside}{known.describe()}, layout {known.layout}{origin}."
    return f"<p>{escape(text.clean(line))}</p>"


def _nearest(facts: Facts) -> str:
    nearest = nearest_table(facts)
    if nearest is None:
        return ""
    note = "<p>No candidate keeps within the limits. These came nearest:</p>"
    return _section("Baseline and candidates", note + draw(nearest))


def _front(facts: Facts) -> str:
    result = facts.result
    if not result.front:
        return ""
    digests = {candidate.digest for candidate in result.front}
    others = [t.outcome.metrics for t in facts.trials if t.outcome.status == "complete" and t.digest not in digests]
    known = [metrics for metrics in others if metrics is not None]
    plots = "".join(
        f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"
        for svg, caption in (
            (size_plot(result, known), "Up and to the left is better. Hollow: complete trials outside the front."),
            (speed_plot(result, known), "Up and to the right is better. Bars: 95 % interval of the paired ratio."),
        )
    )
    return _section("Front", f'<div class="plots">{plots}</div>{draw(finalists_table(result))}')


def _changes(facts: Facts) -> str:
    best = facts.result.best
    if best is None:
        return ""
    layers = draw(changes_table(list(facts.changes))) if facts.changes else ""
    return _section("What changed", draw(edits_table(best.plan)) + layers)


def _structure(facts: Facts) -> str:
    structure = facts.structure
    if structure is None:
        return ""
    note = (
        "<p>Blocks by the size of their feature maps. |γ| is the mean of a block's weakest BatchNorm: near zero, "
        "little of the block gets through.</p>"
    )
    history = draw(history_table(structure.history)) if structure.history else ""
    return _section("Structure", note + draw(stages_table(structure)) + history)


def _sites(facts: Facts) -> str:
    parts = [f"<h3>{escape(text.clean(each.title))}</h3>{draw(each)}" for each in sites_tables(facts.sensitivities)]
    note = (
        "<p>Measured before the first trial, one site at a time and without training: what the loss on calibration "
        "images gains, what goes, and how fast the file is then.</p>"
    )
    return _section("Every site alone", note + "".join(parts)) if parts else ""


def _trials(facts: Facts) -> str:
    if not facts.trials:  # the probe ended the run
        return ""
    return _section("Trials", draw(trials_table(facts.trials, facts.result.baseline.metrics)))


def _controls(facts: Facts) -> str:
    controls = facts.result.controls
    if not controls or facts.result.best is None:
        return ""
    note = "<p>The same budget without the method: if a control does as well, the method earned nothing there.</p>"
    return _section("Control arms", note + draw(controls_table(controls, facts.result.best)))


def _environment(facts: Facts) -> Table:
    rows = []
    for key, value in facts.environment.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        rows.append((key, shown))
    return table("what, value", rows)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>"


def _code(content: str) -> str:
    return f"<pre><code>{escape(content)}</code></pre>"
