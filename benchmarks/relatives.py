"""Does a trial that starts from the weights of its nearest trained relative end better than one from the baseline's?

Trials of finished runs of ``benchmarks/search.py`` are trained again, same seed and as long: once as they were, once
with every tensor of the first phase that has its name and shape in the relative as that one's first phase
left it. The relative is the trial before it that shares the largest part of its edits:

    python benchmarks/relatives.py --pairs 3
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import safetensors.torch
import torch
from searches.kept import WORK, keep_beside

from compressor.engine import course
from compressor.engine.candidate import OUTCOME, Constraints
from compressor.engine.course import snapshot
from compressor.engine.plan import PLAN, Plan
from compressor.engine.trial import TrialSettings, run_trial
from compressor.graph.network import Network
from compressor.search.observer import Silent
from compressor.search.prepare import Prepared, prepare_search
from compressor.search.run_folder import RunFolder
from compressor.train.fit import fit


@dataclass(frozen=True)
class Pair:
    run: str
    child: str
    relative: str
    shared: float
    """Share of the edits of both that they have in common."""
    taken: float
    """Share of the child's values that the relative has."""
    usual: float
    """Validation quality from the baseline's weights."""
    related: float
    """From the relative's."""


def pairs_of(run: RunFolder, count: int) -> list[tuple[Path, Path, float]]:
    """Trials with their nearest relative among those before, the nearest first."""
    folders = [file.parent for file in run.path.glob("candidates/*/outcome.json") if _whole(file)]
    folders.sort(key=lambda folder: (folder / "outcome.json").stat().st_mtime)
    found = []
    for index, child in enumerate(folders[1:], 1):
        relative = max(folders[:index], key=lambda other: likeness(child, other))
        found.append((child, relative, likeness(child, relative)))
    return sorted(found, key=lambda pair: -pair[2])[:count]


def _whole(file: Path) -> bool:
    return OUTCOME.read(file).status == "complete" and snapshot(file.parent, 1).exists()


def likeness(one: Path, other: Path) -> float:
    """Shared edits over all edits of two plans."""
    mine, theirs = (set(map(str, PLAN.read(folder / "plan.json").edits)) for folder in (one, other))
    return len(mine & theirs) / max(len(mine | theirs), 1)


def trained(prepared: Prepared, plan: Plan, start: Callable[[Network], None] | None) -> float:
    """Validation quality of the plan after its training; ``start`` changes the weights that it begins with."""
    begun: list[Network] = []

    def from_start(network: Network, *arguments: Any, **named: Any) -> Any:
        if start is not None and not begun:
            start(network)
        begun.append(network)
        return fit(network, *arguments, **named)

    with tempfile.TemporaryDirectory() as folder, patch.object(course, "fit", from_start):
        settings = TrialSettings(Constraints(), prepared.recipe.measure.batch, prepared.recipe.data.calibration)
        seed = prepared.recipe.search.seed
        outcome = run_trial(plan, prepared.baseline, prepared.data, settings, seed=seed, folder=Path(folder))
    if outcome.metrics is None:
        raise SystemExit(outcome.reason)
    return outcome.metrics.quality.validation


def taking(weights: Path, taken: list[float]) -> Callable[[Network], None]:
    """Gives a network every tensor of ``weights`` with the same name and shape; ``taken``: the share of its values."""
    theirs = safetensors.torch.load_file(str(weights))

    def start(network: Network) -> None:
        state = network.module.state_dict()
        same = [name for name, tensor in state.items() if name in theirs and theirs[name].shape == tensor.shape]
        with torch.no_grad():
            for name in same:
                state[name].copy_(theirs[name])
        taken.append(sum(state[name].numel() for name in same) / sum(tensor.numel() for tensor in state.values()))

    return start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=3, help="of every run, those that are most alike")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Pair] = []
    for path in sorted((WORK / "lenet").glob("run-surrogate-[0-9]")):
        run = RunFolder.open(path)
        prepared = prepare_search(run, run.recipe(), Silent())
        for child, relative, shared in pairs_of(run, options.pairs):
            plan, taken = PLAN.read(child / "plan.json"), list[float]()
            related = trained(prepared, plan, taking(snapshot(relative, 1), taken))
            usual = trained(prepared, plan, None)
            found.append(Pair(path.name, child.name, relative.name, shared, taken[0], usual, related))
            print(found[-1], flush=True)
    keep_beside([asdict(pair) for pair in found], "relatives")


if __name__ == "__main__":
    main()
