"""What the study itself takes: CPU seconds of asking for a proposal, and of a trial that trains nothing.

Per sampler, trials with made-up figures are asked for, noted and told, each written to the study's file, until there
are 2,000: six plugins to switch on, each with two parameters of its own. Kept for ``benchmarks/search.py --render``:

    python benchmarks/asking.py
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

import torch
from searches.kept import beside, keep_beside

from compressor.data.spec import DataSpec
from compressor.engine.candidate import Constraints, Latency, Metrics, Outcome
from compressor.engine.space import Parameter, PhaseSpec, PluginUse, SearchSpace
from compressor.knobs import Choice, FloatRange, IntRange
from compressor.recipe.model import Recipe, Sampler, SearchSpec
from compressor.search.study import Study
from compressor.task import Quality
from compressor.train.spec import TrainingSpec

SAMPLERS: tuple[Sampler, ...] = ("random", "tpe", "nsga2")
TOLD, LAST = 2000, 50
"""So many trials; the last of them are what is reported. TPE is asked for these alone, all before are by chance."""


def space() -> SearchSpace:
    parameters = []
    for name in "abcdef":
        parameters.append(Parameter(f"p.{name}", Choice((False, True))))
        parameters.append(Parameter(f"p.{name}.ratio", FloatRange(0.1, 0.9), when=f"p.{name}"))
        parameters.append(Parameter(f"p.{name}.count", IntRange(1, 8), when=f"p.{name}"))
    return SearchSpace(tuple(parameters), (PhaseSpec("p", tuple(PluginUse(n) for n in "abcdef")),), TrainingSpec())


def metrics(rng: random.Random) -> Metrics:
    size = rng.randrange(200, 2200)
    quality, latency = Quality(0.9 + 0.05 * rng.random(), metric="accuracy"), Latency(100.0, 1 + rng.random(), 1.0, 2.0)
    return Metrics(params=size, size_bytes=size, macs=size, quality=quality, latency=latency)


def cost(sampler: Sampler, told: int) -> dict[str, float]:
    """Milliseconds of CPU time a trial, and of these for asking, over the last of so many."""
    rng = random.Random(0)
    limits, search = Constraints(max_size=1.0, max_drop=0.1), SearchSpec(sampler=sampler)
    recipe, baseline = Recipe(DataSpec(name="digits"), constraints=limits, search=search), metrics(rng)
    spent, asking = [], []
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder) / "study.db", recipe, space())
        for number in range(told):
            start = time.process_time()
            proposal = study.ask(by_chance=sampler == "tpe" and number < told - LAST)
            asking.append(time.process_time() - start)
            study.note_candidate(proposal.number, f"{number}", "a plan")
            excess = {name: rng.random() - 1 for name in ("max_size", "max_drop")}
            study.tell(proposal.number, Outcome("complete", metrics(rng), excess), baseline, seconds=1.0)
            spent.append(time.process_time() - start)
        study.close()
    return {name: 1000 * sum(each[-LAST:]) / LAST for name, each in (("trial", spent), ("asking", asking))}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=SAMPLERS)
    parser.add_argument("--told", type=int, default=TOLD)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = beside("asking")
    for sampler in options.samplers:
        found[sampler] = {"told": options.told, **cost(sampler, options.told)}
        print(sampler, found[sampler], flush=True)
        keep_beside(found, "asking")


if __name__ == "__main__":
    main()
