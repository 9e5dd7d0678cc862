"""The figures of a trained network that every page shows, and how they are written."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from compressor.data.dataset import Data
from compressor.export.emit import to_onnx
from compressor.graph.cost import network_cost
from compressor.graph.device import on_device, working_device
from compressor.graph.network import Network
from compressor.measure.latency import compare
from compressor.measure.quality import onnx_quality
from compressor.train.evaluate import evaluate
from papers.arms import Arm, Arms, Budget, Figure, differences, mean_std
from papers.page import Verdict


def measured(network: Network, data: Data, reference: bytes) -> dict[str, Figure]:
    """Accuracies (shares), parameters by bits, bytes of the ONNX file, paired speed-up over ``reference`` (ONNX bytes).

    The test split is opened here, once, and scored by the ONNX file itself.
    """
    cost, model, test = network_cost(network), to_onnx(network), data.open_test()
    timing = compare(reference, model)
    with on_device(network, working_device()):
        training, validation = (evaluate(network, data, split).quality for split in (data.train, data.validation))
    return {
        "training": training,
        "validation": validation,
        "test": onnx_quality(model, [(data.normalised(test.images), test.targets())], data.task),
        "parameters": cost.parameter_count,
        "kib": cost.weight_bytes / 1024,
        "macs": cost.mac_count,
        "bytes": len(model),
        "speedup": timing.speedup,
        "low": timing.low,
        "high": timing.high,
    }


def percent(arms: Sequence[Arm], figure: str) -> str:
    """Mean ± standard deviation over the seeds, in percent; the number of seeds behind it."""
    return mean_std([100 * float(arm.figures[figure]) for arm in arms if figure in arm.figures])


def so_far(arms: Arms, names: Sequence[str], budget: Budget, shown: Budget, figure: str = "test") -> list[str]:
    """A line with what there is at a budget whose arms are too few to be shown; none when they are shown."""
    found = [f"{name} {percent(arms.of(name, budget), figure)}" for name in names if arms.of(name, budget)]
    return [f"Of {budget.text}, so far: {', '.join(found)} %."] if found and budget != shown else []


def count(arms: Sequence[Arm], figure: str) -> str:
    """A whole number that hardly depends on the seed: that of the first, or from least to most."""
    values = sorted({int(arm.figures[figure]) for arm in arms if figure in arm.figures})
    if not values:
        return ""
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} … {values[-1]:,}"


def speed(arms: Sequence[Arm]) -> str:
    """``1.02 [1.01, 1.03]``, of the first seed: what is timed is the structure."""
    if not arms:
        return ""
    first = arms[0].figures
    return f"{float(first['speedup']):.2f} [{float(first['low']):.2f}, {float(first['high']):.2f}]"


def paired(arms: Arms, budget: Budget, one: str, other: str, figure: str = "test") -> list[float]:
    """Points that ``one`` is above ``other``, for every seed that both have."""
    return [100 * share for share in differences(arms.of(one, budget), arms.of(other, budget), figure)]


def standard_error(values: Sequence[float]) -> float:
    """Of their mean; at least two are needed."""
    return statistics.stdev(values) / math.sqrt(len(values))


def settled(values: Sequence[float], *, above: float = 0.0) -> Verdict:
    """Whether their mean lies above a bound, by more than two standard errors one way or the other."""
    if len(values) < 2:
        return "not tested"
    distance, doubt = statistics.mean(values) - above, 2 * standard_error(values)
    if abs(distance) <= doubt:
        return "not decided"
    return "held" if distance > 0 else "did not hold"


def points(differences: Sequence[float]) -> str:
    """Their mean with its standard error."""
    if len(differences) < 2:
        return f"{differences[0]:+.2f} points (n = 1)"
    error = standard_error(differences)
    return f"{statistics.mean(differences):+.2f} ± {error:.2f} points (standard error, n = {len(differences)})"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Of the parts of a claim the one that counts."""
    return max(verdicts, key=("held", "not decided", "not tested", "did not hold").index)


def missing(arms: Arms, wanted: Sequence[tuple[str, Budget]], seeds: int = 3) -> list[str]:
    """A line about the arms with fewer seeds than a page should have; none when all are there."""
    few = [name for name, budget in wanted if len(arms.of(name, budget)) < seeds]
    return [f"{seeds} seeds of: {'; '.join(few)}."] if few else []
