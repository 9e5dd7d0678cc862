"""On disk is the study that Optuna reads: trial by trial what the driver has in memory, or what it was before."""

from __future__ import annotations

import random
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from compressor.search.memory import Memory
from compressor.search.study_file import StudyFile


def study_of(count: int, rng: random.Random) -> optuna.Study:
    """Trials of every state, kind of parameter and value."""
    study = optuna.create_study(storage=Memory(), directions=["minimize"] * 2)
    study.enqueue_trial({"x": 0.5}, user_attrs={"origin": "seed"})
    for number in range(count):
        trial = study.ask()
        trial.suggest_float("x", 0.1, 1.0, log=True)
        trial.suggest_int("n", 1, 9, step=2)
        trial.suggest_categorical("kind", ["a", "b", True])
        trial.set_user_attr("end", {"reason": "ü", "number": number})
        trial.set_constraint("limit", rng.uniform(-1, 1))
        if number % 4 < 2:
            study.tell(trial, [rng.random(), float("inf") if number % 4 else rng.random()])
        elif number % 4 == 2:
            study.tell(trial, state=TrialState.FAIL)
    study.enqueue_trial({"n": 3}, user_attrs={"forecast": [1.0, 2.0]})
    return study


def read_by_optuna(file: Path) -> list[FrozenTrial]:
    return optuna.load_study(study_name="s", storage=f"sqlite:///{file}").trials


def told(trial: FrozenTrial) -> dict[str, object]:
    """All of a trial but for its row."""
    return {key: value for key, value in vars(trial).items() if key != "_trial_id"}


def test_optuna_reads_what_was_written(tmp_path: Path) -> None:
    study = study_of(9, random.Random(0))
    trials = study.get_trials(deepcopy=False)
    file = StudyFile(tmp_path / "study.db", "s", 2)
    file.write(trials[:4])
    for trial in trials[4:]:
        file.write([trial])
    file.write([trials[0], trials[7]])
    file.close()
    assert list(map(told, read_by_optuna(tmp_path / "study.db"))) == list(map(told, trials))
    again = StudyFile(tmp_path / "study.db", "s", 2)
    assert (again.count, again.objectives) == (len(trials), 2)
    assert list(map(told, again.trials())) == list(map(told, trials))
    again.close()


def test_a_trial_that_is_written_again_is_what_it_is_now(tmp_path: Path) -> None:
    study = optuna.create_study(storage=Memory(), directions=["minimize"])
    study.enqueue_trial({"x": 0.5})
    file = StudyFile(tmp_path / "study.db", "s", 1)
    seen = []
    for step in ("queued", "begun", "ended"):
        if step == "begun":
            study.ask().suggest_float("x", 0, 1)
        elif step == "ended":
            study.tell(0, 3.0)
        file.write(study.get_trials(deepcopy=False))
        (trial,) = read_by_optuna(tmp_path / "study.db")
        seen.append((trial.state, trial.params, trial.values))
    file.close()
    assert seen == [
        (TrialState.WAITING, {}, None),
        (TrialState.RUNNING, {"x": 0.5}, None),
        (TrialState.COMPLETE, {"x": 0.5}, [3.0]),
    ]


def test_what_fails_in_the_middle_leaves_all_as_it_was(tmp_path: Path) -> None:
    trials = study_of(5, random.Random(1)).get_trials(deepcopy=False)
    file = StudyFile(tmp_path / "study.db", "s", 2)
    file.write(trials[:3])
    before = read_by_optuna(tmp_path / "study.db")
    spoiled = trials[4]
    spoiled.user_attrs = {"end": object()}
    with pytest.raises(TypeError):
        file.write([trials[3], spoiled])
    assert read_by_optuna(tmp_path / "study.db") == before
    assert file.count == 3
    file.write([trials[3]])
    assert len(read_by_optuna(tmp_path / "study.db")) == 4
    file.close()


def ended(values: tuple[float, float], excess: float, number: int) -> FrozenTrial:
    trial = optuna.create_trial(
        params={"x": 0.5, "n": 1, "k": "a"},
        distributions={
            "x": FloatDistribution(0, 1),
            "n": IntDistribution(0, 3),
            "k": CategoricalDistribution(["a", "b"]),
        },
        values=list(values),
        constraints={"limit": excess},
    )
    trial.number = number
    return trial


def test_a_sampler_is_shown_the_front_and_the_latest() -> None:
    storage = Memory()
    study = optuna.create_study(storage=storage, directions=["minimize"] * 2)
    front = {3: (0.1, 0.9), 8: (0.9, 0.1), 11: (0.4, 0.4)}
    for number in range(30):
        study.add_trial(ended(front.get(number, (1.0 + number, 1.0)), 1.0 if number == 5 else -1.0, number))
        storage.note_ended(study.get_trials(deepcopy=False)[-1])
    study.enqueue_trial({"x": 0.1})
    with storage.showing(study._study_id, 10):
        assert [trial.number for trial in study.get_trials()] == [3, 8, 11, *range(23, 30), 30]
    assert len(study.get_trials()) == 31
    with storage.showing(study._study_id, 4):
        assert [trial.number for trial in study.get_trials()] == [8, 11, 28, 29, 30]
    with storage.showing(study._study_id, 30):
        assert len(study.get_trials()) == 31
