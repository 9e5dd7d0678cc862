"""A trained network compressed by a recipe, beside what other tools make of the same network.

Every figure is of the ONNX file: accuracy on test images, bytes, speed over a reference network at batch 1 and 64.
"""

from __future__ import annotations

import functools
import operator
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.load.model import load_model
from compressor.measure.latency import compare
from compressor.measure.quality import onnx_quality
from compressor.models import build, find
from compressor.recipe.read import read_recipe
from compressor.search.result import Candidate, RunResult
from compressor.search.run_folder import RunFolder
from compressor.train.spec import TrainingSpec
from papers.arms import Arm, Arms, Budget, Figure, Figures, pairs
from papers.commands import optimized, recipe_path, trained
from papers.measured import settled, standard_error
from papers.page import Claim, Table
from papers.peers import half
from papers.resumed import fit

BATCHES = (1, 64)


Choice = Callable[[RunResult], Candidate | None]


def most_accurate(result: RunResult) -> Candidate | None:
    """Of the front, on validation images."""
    return max(result.front, key=lambda candidate: candidate.quality.validation, default=None)


@dataclass(frozen=True)
class Rival:
    """What has to be beaten: test accuracy in percent, bytes, speed over the reference at batch 1 and 64."""

    test: float
    size: int
    speeds: tuple[float, float]


@dataclass(frozen=True)
class Subject:
    """Which network on which data is compressed by which recipe."""

    train: tuple[str, ...]
    """The command that trains it, without epochs, seed and file."""
    data: str
    recipe: str
    plain: TrainingSpec
    """What other tools' users fine-tune with; epochs are those of the budget."""
    work: Path
    """Trained models and run folders: what is there is used, or resumed."""

    @property
    def network(self) -> str:
        """Its name in the zoo; also what speed is measured against."""
        return self.train[1]

    def trained(self, seed: int, budget: Budget) -> Path:
        return trained(self.train, seed, budget, self.work)

    def whole(self, seed: int, budget: Budget) -> Figures:
        """The network as the command trains it."""
        return self.figures(load_model(str(self.trained(seed, budget))))

    def by_recipe(
        self, model: Path, recipe: str, seed: int, name: str, *more: str, choose: Choice = operator.attrgetter("best")
    ) -> Figures:
        """The best candidate of a run of a recipe, or the one that is chosen; where there is none, why."""
        out = self.work / f"{recipe}-{name}-{seed}"
        result = optimized(model, recipe, seed, out, *more)
        chosen = choose(result)
        if chosen is None:
            return {"found": 0, "why": "; ".join(result.verdict.reasons)}
        assert chosen.quality.onnx is not None
        file = (RunFolder(out).candidate(chosen.digest) / "model.onnx").read_bytes()
        return {
            "found": 1,
            "validation": chosen.quality.validation,
            "test": chosen.quality.onnx,
            "parameters": chosen.params,
            "macs": chosen.macs,
            "bytes": len(file),
            "plan": chosen.about,
            **self.speeds(file),
        }

    def finetuned(self, model: Path, seed: int, epochs: int, *, halved: bool, ours: bool) -> Network:
        """The network, or its half by Torch-Pruning, trained on: plainly, or as the recipe does with it as teacher."""
        return _finetuned(self, model, seed, epochs, halved, ours)

    def figures(self, network: Network, file: bytes | None = None) -> Figures:
        """Of the network's file, or of the one given; the test split is opened here."""
        file, data = file or to_onnx(network), data_of(self.data)
        test = data.open_test()
        return {
            "test": onnx_quality(file, [(data.normalised(test.images), test.targets())], data.task),
            "parameters": network.parameter_count,
            "bytes": len(file),
            **self.speeds(file),
        }

    def speeds(self, file: bytes) -> dict[str, Figure]:
        """Speed-up over the reference with its interval, for one image and for 64."""
        figures: dict[str, Figure] = {}
        for batch in BATCHES:
            timing = compare(_reference(self.network), file, batch=batch)
            figures |= {f"speedup{batch}": timing.speedup, f"low{batch}": timing.low, f"high{batch}": timing.high}
        return figures


@functools.lru_cache(2)  # the file in float and the one in 8 bits are of one network
def _finetuned(subject: Subject, model: Path, seed: int, epochs: int, halved: bool, ours: bool) -> Network:
    teacher = load_model(str(model))
    network = half(teacher) if halved else teacher.fork()
    spec = read_recipe(recipe_path(subject.recipe)).training if ours else subject.plain
    fit(network, data_of(subject.data), replace(spec, epochs=epochs), teacher=teacher if ours else None, seed=seed)
    return network


@functools.cache
def data_of(name: str) -> Data:
    return load_data(DataSpec(name=name))


@functools.cache
def _reference(network: str) -> bytes:
    """The network anew: its weights do not matter to its speed."""
    torch.manual_seed(0)
    return to_onnx(capture(build(network), find(network).input_shape, network))


# --- on a page -------------------------------------------------------------------------------------------------------


def found(arms: Arms, name: str, budget: Budget) -> list[Arm]:
    """The seeds of an arm that ended with a network."""
    return [arm for arm in arms.of(name, budget) if "test" in arm.figures]


def plans(arms: Sequence[Arm], title: str = "What the joint search chose") -> Iterator[Table]:
    """What was chosen, where the search has been run."""
    rows = [
        (
            str(arm.seed),
            f"{100 * float(arm.figures['test']):.2f}",
            f"{int(arm.figures['bytes']):,}",
            *(_interval(arm, batch) for batch in BATCHES),
            str(arm.figures["plan"]),
        )
        for arm in arms
    ]
    if rows:
        yield Table(title, ("seed", "test %", "bytes", "batch 1", "batch 64", "plan"), rows)


def beaten(
    title: str, rival: Rival, ours: Sequence[Arm], theirs: Sequence[Arm] = (), *, whose: str = "The joint search"
) -> Claim:
    """Whether the recipe is better on all counts at once; accuracies seed by seed where there are ``theirs``."""
    text = (
        f"{whose} beats {title}, on all counts at once: {rival.test:.2f} %, {rival.size:,} bytes, "
        f"{rival.speeds[0]:.2f}× and {rival.speeds[1]:.2f}×."
    )
    if not ours:
        return Claim(text, "not tested", "The joint search has not been run.")
    size = max(int(arm.figures["bytes"]) for arm in ours)
    speeds = [median_speed(ours, batch) for batch in BATCHES]
    counts = (size < rival.size, speeds[0] > rival.speeds[0], speeds[1] > rival.speeds[1])
    lost = [name for name, better in zip(("bytes", "batch 1", "batch 64"), counts, strict=True) if not better]
    before = {one.seed: 100 * float(other.figures["test"]) for one, other in pairs(ours, theirs)}
    gains = [100 * float(arm.figures["test"]) - before.get(arm.seed, rival.test) for arm in ours]
    accuracy = settled(gains)
    figures = f"{mean_test(ours):.2f} %, at most {size:,} bytes, {speeds[0]:.2f}× and {speeds[1]:.2f}×"
    error = f" ± {standard_error(gains):.2f} (standard error)" if len(gains) > 1 else ""
    return Claim(
        text,
        "did not hold" if lost else accuracy,
        f"Mean of {len(ours)}: {figures}; {statistics.mean(gains):+.2f}{error} points"
        f"{'; not in ' + ', '.join(lost) if lost else ''}.",
    )


def as_rival(arms: Sequence[Arm]) -> Rival:
    """The means of another tool's arm; of its bytes the least."""
    speeds = median_speed(arms, 1), median_speed(arms, 64)
    return Rival(mean_test(arms), min(int(arm.figures["bytes"]) for arm in arms), speeds)


def mean_test(arms: Sequence[Arm]) -> float:
    """Test accuracy in percent."""
    return 100 * statistics.mean(float(arm.figures["test"]) for arm in arms)


def median_speed(arms: Sequence[Arm], batch: int) -> float:
    return statistics.median(float(arm.figures[f"speedup{batch}"]) for arm in arms)


def _interval(arm: Arm, batch: int) -> str:
    speedup, low, high = (float(arm.figures[f"{name}{batch}"]) for name in ("speedup", "low", "high"))
    return f"{speedup:.2f} [{low:.2f}, {high:.2f}]"
