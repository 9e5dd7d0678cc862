"""Are there pixels to spare? The network is trained on tiled images, once per tiling, set and repeat.

A tiling whose loss and error are on average no worse than those of the whole images (``DN``), within the tolerances,
shows that its pixels were not needed. Where none is, the search is not begun.

Source: Gabbasov et al., "Coordinated optimization of neural network parameters for a given set of images",
whose first stage this is. The tilings: ``tilings``; an arm: ``arms``; the verdict: ``judging``; the report: ``stages``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from compressor.pilot import ArmResult, Judgement, Pilot
from compressor_plugins.redundancy.arms import SCORE, Arm, arms_of, run_arm
from compressor_plugins.redundancy.judging import judged
from compressor_plugins.redundancy.tilings import NAMES, REFERENCE, TilingName

if TYPE_CHECKING:
    from compressor.data.dataset import Data
    from compressor.graph.network import Network
    from compressor.report.gather import Facts
    from compressor.report.section import Section
    from compressor.train.spec import TrainingSpec


@dataclass(frozen=True)
class Redundancy(Pilot):
    """Are there pixels to spare? Trains on images some of whose pixels are replaced, and compares."""

    tilings: tuple[TilingName, ...] = NAMES
    """Must hold ``DN``, which all others are compared with, and one more."""
    phase: Literal[0, 1, 2, 3] = 0
    """The pixel of each 2×2 cell that every tiling keeps: 2·row + column."""
    sets: int = 3
    """Sets of training images; the figures are averaged over them."""
    repeats: int = 1
    """Trainings per tiling and set, each from another seed; tilings share their seeds."""
    draw: Literal["samples", "classes"] = "samples"
    """What sets differ in: disjoint training samples of all classes, or disjoint classes."""
    epochs: int = 4
    """Of every training."""
    limit: int = 3000
    """Training samples of a set; 0 means as many as there are."""
    start: Literal["scratch", "trained"] = "scratch"
    """New weights for every training, or the model's own."""
    error_tolerance: float = 0.01
    """How much a tiling's error (0…1) may lie above that of ``DN``, on average."""
    loss_tolerance: float = 0.05
    """The same for the cross entropy, nats per sample."""
    stand_in_for: str = ""
    """The data these stand in for; the report says so wherever it shows results."""

    def __post_init__(self) -> None:
        if REFERENCE not in self.tilings or len(set(self.tilings)) < 2:
            raise ValueError(f"tilings: give {REFERENCE!r} and at least one other, each once")
        if len(set(self.tilings)) < len(self.tilings):
            raise ValueError("tilings: each once")
        for key, most in (("sets", _MANY), ("repeats", _MANY), ("epochs", _MANY)):
            if not 1 <= getattr(self, key) <= most:
                raise ValueError(f"{key}: expected 1 to {most}; found {getattr(self, key)}")
        for key, bound in (("limit", float("inf")), ("error_tolerance", 1.0), ("loss_tolerance", float("inf"))):
            if not 0 <= getattr(self, key) <= bound:
                upto = f" of at most {bound:g}" if bound < float("inf") else " that is not negative"
                raise ValueError(f"{key}: expected a number{upto}; found {getattr(self, key):g}")

    def arms(self) -> Sequence[str]:
        return [arm.name for arm in arms_of(self)]

    def run(
        self,
        arm: str,
        network: Network,
        data: Data,
        training: TrainingSpec,
        *,
        seed: int,
        progress: Callable[[str, float], None],
    ) -> ArmResult:
        score = run_arm(network, data, self, training, Arm.called(arm), seed=seed, progress=progress)
        return ArmResult(SCORE.plain(score), f"error {100 * score.error:.1f} %, loss {score.loss:.2f}", score.seconds)

    def judge(self, results: Mapping[str, ArmResult], data: Data) -> Judgement:
        return judged(self, [SCORE.from_plain(result.figures) for result in results.values()], data.stand_in)

    def tell(self, run: Facts) -> Iterable[Section]:
        """The three stages: what the pixels are worth, what a mask costs, what the student keeps."""
        from compressor_plugins.redundancy.stages import sections  # needed only when a report is written

        return sections(self, run)

    def describe(self, data: Data) -> str:
        """The data, and what they stand in for."""
        if self.stand_in_for:
            return f"{data.name}, a stand-in for {self.stand_in_for}: the figures say nothing about {self.stand_in_for}"
        return super().describe(data)

    def samples(self, count: int) -> int:
        return self.epochs * min(self.limit or count, count // self.sets)


_MANY = 10**6
