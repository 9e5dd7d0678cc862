"""Whether a result says what the figures of its run say: a verdict is told again only where they carry it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from compressor.engine.candidate import Constraints
from compressor.engine.final import FINAL, Final
from compressor.errors import DamagedFileError
from compressor.search.result import Candidate, RunResult
from compressor.search.verdict import objections


def contradictions(
    result: RunResult, baseline: Path, best: Path, candidates: Path, limits: Constraints | None
) -> Iterator[str]:
    """What of the result is not what the ``final.json`` of these folders say, or does not follow from it."""
    if not result.final:
        return
    if _disputed(result.baseline, baseline):
        yield f"its baseline has other figures than {baseline.name}/final.json"
    for candidate in result.front:
        if _disputed(candidate, candidates / candidate.digest):
            yield f"{candidate.digest} has other figures than candidates/{candidate.digest}/final.json"
    if result.best is not None and (_disputed(result.best, best) or repr(result.best) not in map(repr, result.front)):
        yield f"its best candidate has other figures than {best.name}/final.json"
    if limits is not None and _judged(result, limits) and result.verdict.helped != _helped(result, limits):
        yield "its verdict does not follow from its figures"


def _judged(result: RunResult, limits: Constraints) -> bool:
    """Whether it is known by what: results of before do not say what the metric usually might lose."""
    return limits.max_drop is not None or result.allowed_drop is not None


def _helped(result: RunResult, limits: Constraints) -> bool:
    if limits.max_drop is None:
        limits = replace(limits, max_drop=result.allowed_drop)
    return result.best is not None and not any(objections(result.best, result.baseline, limits))


def _disputed(candidate: Candidate, folder: Path) -> bool:
    """Whether a file there is about the same bytes and says something else; one that is damaged says nothing."""
    try:
        final: Final | None = FINAL.find(folder / "final.json")
    except DamagedFileError:
        return False
    return final is not None and candidate.checks is not None and not candidate.tells(final)
