"""The end of a run in the terminal: the front, the verdict, what changed, and which file is the model."""

from __future__ import annotations

from pathlib import Path

from compressor.cli.draw import draw
from compressor.cli.output import CommandOutput
from compressor.report import text
from compressor.report.gather import Facts, gather
from compressor.report.layers import changes_table
from compressor.report.section import Section
from compressor.report.tables import comparison_table, front_table
from compressor.report.trials import nearest_table
from compressor.report.verdict import headline, sentences
from compressor.report.write import write_report
from compressor.search.result import RESULT, RunResult
from compressor.search.run_folder import RunFolder


def tell_result(run: RunFolder, result: RunResult, out: CommandOutput) -> None:
    """Write the report, then tell what was found."""
    facts = gather(run)
    try:
        report: Path | None = write_report(facts)
    except OSError as error:  # what was found can be told all the same
        report = None
        out.note(f"report.html is not written: {run.path}: {error.strerror or error}")
    if out.as_json:
        out.document(document(run, result, report))
    else:
        _show(facts, report, out)


def tell(section: Section, out: CommandOutput) -> None:
    """A section in the terminal."""
    out.results.print(section.title, style="bold")
    for line in section.lines:
        out.paragraph(line)
    if section.content is not None:
        draw(out.results, section.content)
    else:
        out.line()


def document(run: RunFolder, result: RunResult, report: Path | None) -> dict[str, object]:
    """``result.json``, and where the files are."""
    model = run.best / "model.onnx"
    places = {
        "folder": str(run.path),
        "model": str(model) if model.is_file() else None,
        "report": None if report is None else str(report),
    }
    found: dict[str, object] = RESULT.plain(result)
    return {**found, **places}


def _show(facts: Facts, report: Path | None, out: CommandOutput) -> None:
    result = facts.result
    for section in facts.told:
        tell(section, out)
    if result.front:
        best = result.best.digest if result.best is not None else ""
        draw(out.results, front_table(result.front, result.baseline, title="front", best=best))
    nearest = nearest_table(facts)
    if nearest is not None:
        out.results.print("no candidate keeps within the limits; these came nearest", style="bold")
        draw(out.results, nearest)
    if result.best is not None:
        draw(out.results, comparison_table(result.best, result.baseline))
        changed = [change for change in facts.changes if change.kind != "same"]
        if changed:
            draw(out.results, changes_table(changed))
    out.results.print(headline(result), style="bold green" if result.verdict.helped else "bold red")
    for sentence in sentences(result):
        out.paragraph(sentence)
    _where(facts.folder, report, out, result)


def _where(folder: Path, report: Path | None, out: CommandOutput, result: RunResult) -> None:
    model = folder / "best" / "model.onnx"
    out.line()
    if model.is_file():
        out.line(f"model:   {_near(model)}")
        if result.normalisation is not None:
            out.line(f"takes:   {text.clean(result.normalisation.of_the_file().describe())}")
    if report is not None:
        out.line(f"report:  {_near(report)}")
    out.line(f"figures: {_near(folder / 'result.json')}")
    if model.is_file():
        out.line(f"again:   compressor bench {_near(folder / 'baseline' / 'model.onnx')} {_near(model)}")


def _near(path: Path) -> str:
    """The path from the working directory where it lies below it, without what a terminal would obey."""
    here = Path.cwd()
    return text.clean(str(path.relative_to(here) if path.is_relative_to(here) else path))
