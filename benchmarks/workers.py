"""How much of their time workers work: trials that sleep and trials that train, with 1, 2 and 4 workers of one thread.

Sleeping trials need no core, so that what the executor itself costs shows (asking, sending, starting, bringing back);
those that train show the rest as far as the machine has cores. Every worker is warm before the clock runs. Efficiency:
the time of one worker over that of n, times n. Ray's workers are actors on real nodes on this machine:

    python benchmarks/workers.py --executors local ray
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from searches.kept import WORK, beside, keep_beside
from torch import nn

from compressor.data.load import load_data
from compressor.engine.baseline import measure_baseline, save_baseline
from compressor.engine.plan import Edit, Phase, Plan
from compressor.graph.capture import capture
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe
from compressor.search.executor import Executor, Job, TrialSpec
from compressor.search.executors import executor_of
from compressor.search.run_folder import RunFolder
from compressor.train.spec import TrainingSpec

SECONDS = 4.0
"""What a sleeping trial sleeps."""
KINDS = {
    "sleeping": TrainingSpec(epochs=1, function="workers:sleeping"),
    "training": TrainingSpec(epochs=60, batch=32),
}
RECIPE = """
[data]
name = "digits"
calibration = 64
[[phases]]
name = "p"
[[phases.plugins]]
name = "binarize"
"""


def sleeping(network: Any, data: Any, spec: Any, *, teacher: Any, seed: int, progress: Any) -> None:
    """A ``training.function`` that takes its time and no processor's."""
    time.sleep(SECONDS)


def made(folder: Path) -> RunFolder:
    """A run with a measured baseline."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "r.toml").write_text(RECIPE)
    recipe = read_recipe(folder / "r.toml")
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    run = RunFolder.create(folder / "run", recipe, capture(module, (1, 8, 8), "a benchmark"))
    save_baseline(measure_baseline(run.model(), load_data(recipe.data)), run.baseline)
    return run


def started(run: RunFolder, recipe: Recipe, name: str) -> Executor:
    """The executor; Ray's with patience, where the machine has other work."""
    if name != "ray":
        return executor_of(run, recipe, name=name)
    from compressor.search.remote.on_ray import RayExecutor

    return RayExecutor(run, recipe, name, patience=600.0)


def seconds(executor: Executor, kind: str, workers: int, count: int) -> float:
    """Wall time of so many trials, all workers warm."""

    def job(number: int) -> Job:
        plan = Plan((Phase("p", (Edit("binarize", "1"),), KINDS[kind]),))
        return Job(TrialSpec(plan, number=number, seed=number))

    done = [executor.submit(job(number)) for number in range(workers)]
    for future in done:
        future.result()
    while executor.slots < workers:
        time.sleep(0.1)
    start = time.perf_counter()
    waiting = [job(number) for number in range(workers, workers + count)]
    running: set[Any] = set()
    while waiting or running:  # as the search does: no more at a time than there are workers
        while waiting and len(running) < workers:
            running.add(executor.submit(waiting.pop()))
        ended = {future for future in running if future.done()}
        for future in ended:
            if future.result().outcome.status != "complete":
                raise SystemExit(future.result().outcome.reason)
        running -= ended
        time.sleep(0.005)
    return time.perf_counter() - start


@contextmanager
def nodes(executor: str, workers: int) -> Iterator[None]:
    """For Ray a cluster on this machine: a head without processors, and a node for each worker."""
    if executor != "ray":
        yield
        return
    import ray
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    os.environ["RAY_AUTH_MODE"] = "disabled"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(workers):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--executors", nargs="+", default=["local", "ray"])
    parser.add_argument("--kinds", nargs="+", default=[*KINDS], choices=KINDS)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    found: dict[str, float] = beside("workers")
    for name in options.executors:
        for workers in options.workers:
            run = made(WORK / "workers-run")
            recipe: Recipe = run.recipe()
            recipe = replace(recipe, search=replace(recipe.search, jobs=workers))
            with nodes(name, workers), closing(started(run, recipe, name)) as executor:
                for kind in options.kinds:
                    key = f"{name}, {kind}, {workers}"
                    found[key] = seconds(executor, kind, workers, options.trials)
                    print(f"{key}: {found[key]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
                    keep_beside(found, "workers")


if __name__ == "__main__":
    main()
