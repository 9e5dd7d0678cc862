"""``result.json``: what a run found, as plain data. Other programs read it, so its names stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from compressor.engine.candidate import Accuracy, Latency, Metrics, StageFigures
from compressor.engine.plan import Plan
from compressor.graph.normalisation import Normalisation
from compressor.probe.result import ProbeResult
from compressor.stored import Figure, Stored


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
    accuracy_ok: bool
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
    accuracy: Accuracy
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
        return Metrics(self.params, self.size_bytes, self.macs, self.accuracy, self.latency)

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
            metrics.accuracy,
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
class Result:
    """All of ``result.json``."""

    verdict: Verdict
    baseline: Candidate
    best: Candidate | None
    front: tuple[Candidate, ...]
    """The finalists: Pareto-optimal and within the limits, the best first."""
    final: bool = True
    """False while the test split has not been opened: the search was interrupted, and the figures are preliminary."""
    trials: Counts = field(default_factory=Counts)
    controls: Mapping[str, Accuracy] = field(default_factory=dict)
    """Control arms of the best candidate, by name."""
    samples: Mapping[str, int] = field(default_factory=dict)
    """Images behind the accuracies, by split."""
    seconds: Figure = 0.0
    """Wall-clock time of the last session of the run."""
    normalisation: Normalisation | None = None
    """How pixels become the input of the network, and whether the files do that themselves."""
    probe: ProbeResult | None = None
    """What the probe found before the search; None where the recipe asks for none."""
    notes: tuple[str, ...] = ()
    """What the network that was compressed is not that its source was, in plain sentences."""


RESULT: Stored[Result] = Stored(Result)
