"""``result.json``: what a run found, as plain data. Other programs read it, so its names stay."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compressor.engine.candidate import Latency, Metrics, StageFigures
from compressor.engine.final import Final
from compressor.engine.plan import Plan
from compressor.graph.normalisation import Normalisation
from compressor.stored import Figure, Stored
from compressor.task import Quality


@dataclass(frozen=True)
class Verdict:
    """Did it really help? ``reasons`` are plain sentences: why not, or else what was gained."""

    helped: bool
    reasons: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    """What makes the verdict less certain than it sounds, in plain sentences."""


@dataclass(frozen=True)
class Checks:
    """What the final measurement found out about a candidate's ONNX file."""

    parity_error: Figure
    """Largest absolute difference of outputs, ONNX Runtime against torch, relative to the output scale."""
    parity_ok: bool
    quality_ok: bool
    """ONNX Runtime scores on the test split what torch scores."""
    cross_check: str
    """Against torch's own exporter: ``agrees``, ``differs: …`` or ``unavailable: …``."""
    wall_us: Figure
    wall_p90_us: Figure
    rounds: int
    """Paired rounds behind the latency interval."""
    model: str = ""
    """SHA-256 of the ONNX file that all this is about."""


@dataclass(frozen=True)
class Candidate:
    """The baseline, or a candidate, with its figures. ``checks`` is None until the final measurement."""

    params: int
    size_bytes: int
    macs: int
    quality: Quality
    latency: Latency
    plan: Plan
    digest: str = ""
    """Names the folder under ``candidates/``; empty for the baseline."""
    trial: int | None = None
    about: str = ""
    """The plan in one line."""
    checks: Checks | None = None
    stages: tuple[StageFigures, ...] = ()
    """Figures after every phase and round of the trial."""

    @property
    def metrics(self) -> Metrics:
        """The figures alone."""
        return Metrics(self.params, self.size_bytes, self.macs, self.quality, self.latency)

    def settled(self, final: Final) -> Candidate:
        """The same with its final figures."""
        metrics = final.metrics
        return replace(
            self,
            params=metrics.params,
            size_bytes=metrics.size_bytes,
            macs=metrics.macs,
            quality=metrics.quality,
            latency=metrics.latency,
            checks=Checks(
                parity_error=final.parity_error,
                parity_ok=final.parity_ok,
                quality_ok=final.quality_ok,
                cross_check=final.cross_check,
                wall_us=final.wall_us,
                wall_p90_us=final.wall_p90_us,
                rounds=final.rounds,
                model=final.model,
            ),
        )

    def tells(self, final: Final) -> bool:
        """Whether its figures are these."""
        return repr(self.settled(final)) == repr(self)  # where a figure that is none is like itself

    @staticmethod
    def of(
        metrics: Metrics,
        plan: Plan,
        *,
        digest: str = "",
        trial: int | None = None,
        checks: Checks | None = None,
        stages: tuple[StageFigures, ...] = (),
    ) -> Candidate:
        """A candidate with these figures."""
        return Candidate(
            metrics.params,
            metrics.size_bytes,
            metrics.macs,
            metrics.quality,
            metrics.latency,
            plan,
            digest,
            trial,
            plan.describe(),
            checks,
            stages,
        )


@dataclass(frozen=True)
class Counts:
    """How the trials ended."""

    complete: int = 0
    screened: int = 0
    stopped: int = 0
    failed: int = 0
    duplicate: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Foretold:
    """One trained trial. Regret is the loss of quality on the validation split; bytes and time are shares of the
    baseline's.
    """

    trial: int
    regret: Figure
    low: Figure
    high: Figure
    """Two trials of three should lie between ``low`` and ``high``."""
    size: Figure
    time: Figure
    reached_regret: Figure
    reached_size: Figure
    reached_time: Figure
    within: bool
    """Whether it met every limit."""


@dataclass(frozen=True)
class Calibration:
    """How well the surrogate foretold what the trials it proposed reached."""

    trials: tuple[Foretold, ...]
    between: Figure
    """Share of the trials whose regret came to lie between its bounds."""
    within: Figure
    """Share of the trials that met every limit."""


@dataclass(frozen=True)
class PilotResult:
    """What a pilot study found before the search."""

    name: str
    applies: bool
    """False: the search was not begun."""
    reason: str
    data: str
    """What the arms were trained on, in words."""
    arms: int
    """Trainings behind the verdict."""
    seconds: Figure
    """Of training, all arms together."""
    found: Mapping[str, Any]
    """The study's own figures."""


@dataclass(frozen=True)
class RunResult:
    """All of ``result.json``."""

    verdict: Verdict
    baseline: Candidate
    best: Candidate | None
    front: tuple[Candidate, ...]
    """The finalists: Pareto-optimal and within the limits, the best first."""
    final: bool = True
    """False while the test split has not been opened: the search was interrupted, and the figures are preliminary."""
    trials: Counts = field(default_factory=Counts)
    controls: Mapping[str, Quality] = field(default_factory=dict)
    """Control arms of the best candidate, by name."""
    samples: Mapping[str, int] = field(default_factory=dict)
    """Samples behind the qualities, by split."""
    seconds: Figure = 0.0
    """Wall-clock time of the run, its sessions together; of one that was killed up to the last thing it told."""
    normalisation: Normalisation | None = None
    """How pixels become the input of the network, and whether the files do that themselves."""
    pilot: PilotResult | None = None
    """What the pilot study found before the search; None where the recipe asks for none."""
    notes: tuple[str, ...] = ()
    """What the network that was compressed is not that its source was, in plain sentences."""
    calibration: Calibration | None = None
    """Where a surrogate proposed: what it had foretold."""
    allowed_drop: Figure | None = None
    """By how much the metric might be worse, in its own scale: the recipe's limit, or where it states none, what the
    task usually may lose. None where nothing was judged."""


class _ResultFile(Stored[RunResult]):
    """Some of it stands there under a second name as well, by which programs read it."""

    def plain(self, value: RunResult) -> Any:
        return _with_aliases(super().plain(value))

    def to_json(self, value: RunResult) -> bytes:
        return json.dumps(self.plain(value), indent=1).encode()

    def from_json(self, text: str | bytes) -> RunResult:
        return _BARE.from_json(json.dumps(_without_aliases(json.loads(text))))


def _with_aliases(plain: Any) -> Any:
    """Quality under the metric's own name; the pilot study as ``probe``, its own figures beside the others."""
    tables = _each_table(
        plain, lambda table, quality: {**table, quality["metric"]: quality} if quality["metric"] else table
    )
    return {**tables, "probe": _probe(tables["pilot"])}


def _probe(pilot: dict[str, Any] | None) -> dict[str, Any] | None:
    return (
        None if pilot is None else {key: value for key, value in {**pilot, **pilot["found"]}.items() if key != "found"}
    )


def _without_aliases(plain: Any) -> Any:
    def bare(table: dict[str, Any], quality: Any) -> dict[str, Any]:
        return {key: value for key, value in table.items() if key == "quality" or value != quality}

    found = _each_table(plain, bare)
    if isinstance(found, dict) and "probe" in found and _is_alias(found):
        del found["probe"]
    return found


def _is_alias(found: dict[str, Any]) -> bool:
    pilot = found.get("pilot")
    held = pilot is None or (isinstance(pilot, dict) and isinstance(pilot.get("found"), dict))
    return held and found["probe"] == _probe(pilot)


def _each_table(plain: Any, change: Callable[[dict[str, Any], Any], dict[str, Any]]) -> Any:
    """``plain`` with every table that holds a quality changed."""
    if isinstance(plain, list):
        return [_each_table(entry, change) for entry in plain]
    if not isinstance(plain, dict):
        return plain
    table = {key: _each_table(value, change) for key, value in plain.items()}
    return change(table, table["quality"]) if isinstance(table.get("quality"), dict) else table


PILOT: Stored[PilotResult] = Stored(PilotResult)
_BARE: Stored[RunResult] = Stored(RunResult)
RESULT: Stored[RunResult] = _ResultFile(RunResult)
