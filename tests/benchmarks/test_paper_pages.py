"""Pages of results: verdicts from differences, and every page anew from the figures kept."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.train import checkpoint
from compressor.train.spec import TrainingSpec

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = BENCHMARKS.parent / "docs" / "results"
SPLIT = HeldSplit(torch.rand(32, 1, 4, 4), torch.arange(32) % 2)
SMALL = Data("random", "memory", SPLIT, SPLIT, ("a", "b"), (0.0,), (1.0,), lambda: SPLIT)


def small_network() -> Network:
    return capture(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), (1, 4, 4))


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def module(name: str) -> ModuleType:
        return importlib.import_module(name)

    return module


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.0, 1.1, 0.9], "held"),
        ([-1.0, -1.1, -0.9], "did not hold"),
        ([1.0, -0.5, 0.1], "not decided"),
        ([1.0], "not tested"),
    ],
)
def test_a_claim_is_settled_beyond_two_standard_errors(load: Any, values: list[float], verdict: str) -> None:
    assert load("papers.measured").settled(values) == verdict


def test_a_loss_that_is_allowed_moves_the_bound(load: Any) -> None:
    settled = load("papers.measured").settled
    assert settled([-0.1, -0.2, -0.1]) == "did not hold"
    assert settled([-0.1, -0.2, -0.1], above=-0.4) == "held"


def test_seeds_are_compared_with_themselves(load: Any, tmp_path: Path) -> None:
    arms_of, paired = load("papers.arms"), load("papers.measured").paired
    arms, budget = arms_of.Arms(tmp_path / "page.json"), arms_of.Budget("default", 1)
    for seed, (one, other) in enumerate([(0.9, 0.8), (0.5, 0.6)]):
        arms.run(arms_of.Job("one", seed, budget, lambda value=one: {"test": value}))
        arms.run(arms_of.Job("other", seed, budget, lambda value=other: {"test": value}))
    arms.run(arms_of.Job("one", 2, budget, lambda: {"test": 0.1}))
    assert paired(arms, budget, "one", "other") == pytest.approx([10.0, -10.0])


def test_an_arm_that_is_kept_is_not_run_again(load: Any, tmp_path: Path) -> None:
    arms_of, path = load("papers.arms"), tmp_path / "page.json"
    jobs = [arms_of.Job("one", seed, arms_of.Budget("default", 1), lambda: {"test": 0.5}) for seed in range(2)]
    arms_of.Arms(path).run(jobs[0])
    assert arms_of.Arms(path).missing(jobs) == jobs[1:]


def test_an_arm_that_another_process_is_at_is_left_to_it(load: Any, tmp_path: Path) -> None:
    arms_of, path, begun = load("papers.arms"), tmp_path / "page.json", []
    job = arms_of.Job("one", 0, arms_of.Budget("default", 1), lambda: begun.append(1) or {"test": 0.5})
    script = (
        "import sys; from pathlib import Path; from papers.arms import Arms, Budget, Job; "
        "work = lambda: print('at it', flush=True) or sys.stdin.read() or {}; "
        f"Arms(Path({str(path)!r})).run(Job('one', 0, Budget('default', 1), work))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(BENCHMARKS)}, stdin=PIPE, stdout=PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"at it\n"
        assert not arms_of.Arms(path).run(job)
        other.kill()
    assert arms_of.Arms(path).run(job), "what a killed process was at is free again"
    assert not arms_of.Arms(path).run(job)
    assert len(begun) == 1


def test_the_time_of_a_longer_arm_follows_from_the_samples_of_a_shorter_one(load: Any, tmp_path: Path) -> None:
    arms_of, path = load("papers.arms"), tmp_path / "page.json"
    kept = {"name": "one", "seed": 0, "budget": "default: 2 epochs of 500 samples", "figures": {}, "seconds": 3.0}
    path.write_text(json.dumps([{**kept, "made": "2026-01-01"}]))
    arms = arms_of.Arms(path, whole=4000)
    assert arms.seconds(arms_of.Job("one", 0, arms_of.Budget("full", 10), dict)) == pytest.approx(120)
    assert arms.seconds(arms_of.Job("other", 0, arms_of.Budget("full", 10), dict)) is None


def test_a_page_shows_the_longer_budget_once_every_arm_has_two_seeds(load: Any, tmp_path: Path) -> None:
    arms_of = load("papers.arms")
    arms, long, short = arms_of.Arms(tmp_path / "page.json"), arms_of.Budget("full", 9), arms_of.Budget("default", 1)
    for name, seed in (("one", 0), ("one", 1), ("other", 0)):
        arms.run(arms_of.Job(name, seed, long, lambda: {"test": 0.9}))
    assert arms.shown(["one"], (long, short)) == long
    assert arms.shown(["one", "other"], (long, short)) == short


def test_figures_of_another_machine_are_taken_in_once(load: Any, tmp_path: Path) -> None:
    arms_of = load("papers.arms")
    here, there = (arms_of.Arms(tmp_path / name) for name in ("here.json", "there.json"))
    for arms, seed in ((here, 0), (there, 0), (there, 1)):
        arms.run(arms_of.Job("one", seed, arms_of.Budget("default", 1), lambda: {"test": 0.5}))
    assert [here.merge(there.path) for _ in range(2)] == [1, 0]
    assert [arm.seed for arm in arms_of.Arms(here.path)] == [0, 1]


def test_what_several_arms_start_from_is_trained_once(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load("papers.weights")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    spec = TrainingSpec(epochs=1, batch=16)
    networks = [small_network() for _ in range(3)]
    found = [weights.trained(n, SMALL, spec, seed=0, page="page", name="start") for n in networks[:2]]
    assert found[0] == found[1]
    for one, other in zip(networks[0].module.parameters(), networks[1].module.parameters(), strict=True):
        assert torch.equal(one, other)
    with load("papers.starts").noted() as starts:
        weights.trained(networks[1], SMALL, spec, seed=0, page="page", name="start")
    (file,) = (tmp_path / "page" / "weights").iterdir()
    assert starts == {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:12]}
    weights.trained(networks[2], SMALL, replace(spec, lr=0.1), seed=0, page="page", name="start")
    assert not torch.equal(next(networks[0].module.parameters()), next(networks[2].module.parameters()))


def test_an_arm_that_was_cut_off_goes_on(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms_of, resumed, network = load("papers.arms"), load("papers.resumed"), small_network()
    monkeypatch.setattr(arms_of, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(checkpoint, "_TIMES", 0)
    histories = []

    def work() -> Any:
        histories.append(resumed.fit(network.fork(), SMALL, TrainingSpec(epochs=3, batch=16)))
        if len(histories) == 1:
            raise KeyboardInterrupt
        return {}

    job, path = arms_of.Job("one", 0, arms_of.Budget("default", 3), work), tmp_path / "page.json"
    with pytest.raises(KeyboardInterrupt):
        arms_of.Arms(path).run(job)
    (folder,) = tmp_path.glob("checkpoints/page/*")
    with resumed.attempt(Path(shutil.copytree(folder, tmp_path / "copy"))) as trained:
        resumed.fit(network.fork(), SMALL, TrainingSpec(epochs=3, batch=16))
    assert trained.seconds_before == histories[0].seconds > 0, "it counts as the arm's"
    assert arms_of.Arms(path).run(job)
    assert [[report.before for report in history.epochs] for history in histories] == [[False] * 3, [True] * 3]
    assert not folder.exists()


def test_arms_that_started_from_different_trainings_are_not_paired(load: Any, tmp_path: Path) -> None:
    arms_of, note, paired = load("papers.arms"), load("papers.starts").note, load("papers.measured").paired
    arms, budget, weights = arms_of.Arms(tmp_path / "page.json"), arms_of.Budget("default", 1), tmp_path / "start.bin"

    def run(name: str, seed: int, test: float, start: bytes) -> None:
        def work() -> Any:
            weights.write_bytes(start)
            note(weights)
            return {"test": test}

        arms.run(arms_of.Job(name, seed, budget, work))

    for seed in range(2):
        run("one", seed, 0.75, b"first")
        run("other", seed, 0.5, b"first" if seed == 0 else b"trained again")
    kept = arms_of.Arms(arms.path)
    assert paired(kept, budget, "one", "other") == [25.0], "of seed 0 alone"
    assert kept.places()[-1] == "Trained more than once, arms of different ones are not paired: start.bin."


def test_every_page_is_what_its_figures_say(load: Any) -> None:
    arms_of = load("papers.arms")
    for name in load("paper_tables").RECIPES:
        paper = load(f"papers.{name}")
        arms = arms_of.Arms(RESULTS / "data" / f"{name}.json")
        text = paper.page(arms).markdown(arms.places())
        kept = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
        assert kept == text, f"{name}.md: python benchmarks/paper_tables.py --render"


def test_a_run_that_found_nothing_has_a_row_that_says_why(load: Any, tmp_path: Path) -> None:
    arms_of, recipe = load("papers.arms"), load("papers.redundancy_recipe")
    arms = arms_of.Arms(tmp_path / "page.json")
    arms.run(arms_of.Job("recipe", 0, recipe.RECIPE, lambda: {"found": 0, "why": "no tiling passed"}))
    table = recipe.recipe_table(arms.of("recipe", recipe.RECIPE))
    assert [row[-1] for row in table.rows] == ["no tiling passed"]
    assert {len(row) for row in table.rows} == {len(table.columns)}
