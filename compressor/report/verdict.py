"""The verdict in words: one headline, then the sentences the search gave for it."""

from __future__ import annotations

from compressor.engine.candidate import Latency
from compressor.measure.latency import NOT_SLOWER
from compressor.measure.parity import LOOSEST
from compressor.report import text
from compressor.search.result import Candidate, Checks, RunResult
from compressor.search.verdict import FASTER
from compressor.task import Quality


def headline(result: RunResult) -> str:
    """``It helped``, ``It did not help``, or that nobody can say yet."""
    if not result.final:
        return "Not finished: these figures are preliminary"
    return "It helped" if result.verdict.helped else "It did not help"


def sentences(result: RunResult) -> list[str]:
    """The best candidate's figures against the baseline's, the reasons of the verdict, then what to know besides."""
    lines = [gains(result.best, result.baseline)] if result.best is not None else []
    told = bool(lines) and result.verdict.helped  # the reasons for a yes are the gains themselves
    reasons = () if told else result.verdict.reasons
    return [
        *lines,
        *map(_as_sentence, reasons),
        *(f"Careful: {_as_sentence(c, False)}" for c in result.verdict.cautions),
        *(f"Note on the model: {_as_sentence(note, False)}" for note in result.notes),
    ]


def gains(best: Candidate, baseline: Candidate) -> str:
    """What became of size, time, quality, and whether the ONNX file agrees, in one line."""
    parts = [
        _size(best.size_bytes, baseline.size_bytes),
        speed(best.latency),
        _quality(best.quality, baseline.quality),
    ]
    if best.checks is not None:
        parts.append(agreement(best.checks))
    line = "; ".join(parts)
    return f"{line[:1].upper()}{line[1:]}."


def speed(latency: Latency) -> str:
    """Faster or slower only where the whole interval says so."""
    shown = f"({text.interval(latency.low, latency.high)})"
    if latency.low > FASTER:
        return f"{text.times(latency.speedup)} faster {shown}"
    if latency.low > NOT_SLOWER:
        return f"as fast: {text.times(latency.speedup)} {shown}"
    if latency.high < NOT_SLOWER:
        return f"slower: {text.times(latency.speedup)} of the baseline's speed {shown}"
    return f"not shown to be as fast: {text.times(latency.speedup)} {shown}"


def agreement(checks: Checks) -> str:
    """What the ONNX file was found to do."""
    if not checks.parity_ok:
        return f"the ONNX file differs from the network by {checks.parity_error:.1e}"
    if not checks.quality_ok:
        return "the ONNX file scores less than the network"
    if checks.parity_error > LOOSEST:
        return (
            f"the ONNX file agrees as closely as the network with itself: its answers jump with the smallest rounding "
            f"(largest difference {checks.parity_error:.1e})"
        )
    return f"the ONNX file agrees (largest difference {checks.parity_error:.1e})"


def _size(after: int, before: int) -> str:
    change = f"{text.size(before)} → {text.size(after)}"
    if after < before:
        return f"{text.times(before / after)} smaller ({change})"
    return f"not smaller ({change})"


def _quality(after: Quality, before: Quality) -> str:
    each = ", ".join(f"{name} {after.measured.text(value)}" for name, value in after.parts.items())
    parts = [f"validation {before.show('validation')} → {after.show('validation')}{f' ({each})' if each else ''}"]
    if after.test is not None and before.test is not None:
        parts.append(f"test {before.show('test')} → {after.show('test')}")
    if after.onnx is not None:
        parts.append(f"test on ONNX Runtime {after.show('onnx')}")
    return f"{after.metric}: {', '.join(parts)}"


def _as_sentence(reason: str, capital: bool = True) -> str:
    stripped = reason.strip()
    first = stripped[:1].upper() if capital else stripped[:1]
    return f"{first}{stripped[1:]}" + ("" if stripped.endswith((".", "!", "?")) else ".")
