"""Training functions of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_training import digits, mlp

from compressor.errors import InputError, TrialError
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec

MODULE = """
import torch
from compressor.train.history import History

def zero(network, data, spec, *, teacher=None, seed=0, progress=None):
    assert network.module.training
    torch.rand(seed + 1)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.zero_()

def told(network, data, spec, *, teacher=None, seed=0, progress=None):
    return History(stopped=f"lr {spec.lr}, seed {seed}, teacher {teacher is not None}, {data.name}")

def wrong(network, data, spec, **others):
    return 3
"""


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_training.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)


def test_it_is_called_in_place_of_the_loop_and_measured() -> None:
    network = mlp()
    before = torch.get_rng_state()
    history = fit(network, digits(200), TrainingSpec(function="my_own_training:zero"))
    assert all(float(parameter.detach().abs().sum()) == 0 for parameter in network.module.parameters())
    assert history.best is not None
    assert history.best.validation_loss == pytest.approx(2.302585, abs=1e-4)
    assert not network.module.training
    assert torch.equal(before, torch.get_rng_state())


def test_it_is_told_everything_and_may_tell_a_history() -> None:
    spec = TrainingSpec(function="my_own_training:told", lr=0.5)
    assert fit(mlp(), digits(), spec, teacher=mlp(), seed=9).stopped == "lr 0.5, seed 9, teacher True, digits"


def test_a_wrong_one_is_told_in_one_line() -> None:
    with pytest.raises(TrialError, match="returned int"):
        fit(mlp(), digits(), TrainingSpec(function="my_own_training:wrong"))
    with pytest.raises(InputError, match=r"training\.function: my_own_training has no 'absent'"):
        fit(mlp(), digits(), TrainingSpec(function="my_own_training:absent"))
