"""The user's own code: found where a script beside it would find it, and named when it fails."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.data import called_apart
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.errors import DataError, InputError
from compressor.imported import call_function, import_function

MODULE = """
import numpy as np

def table():
    import a_neighbour_of_mine  # found though it is imported late
    return a_neighbour_of_mine.table()

def failing():
    values = {}
    return values["x"]

def inside_a_library():
    return np.concatenate([np.zeros((2, 3)), np.zeros(4)])

def leaving():
    raise SystemExit(0)

def pair():
    return np.zeros((4, 4, 4)), np.arange(4)

class Samples:
    def __getitem__(self, index): return index

def samples():
    return Samples()

def ragged():
    return {"x": [np.zeros((4, 4)), np.zeros((5, 5))], "y": [0, 1]}

def live():
    from torch.utils.data import TensorDataset
    import torch
    return TensorDataset(torch.rand(40, 1, 4, 4), torch.arange(40) % 2)

def exits():
    import os; os._exit(0)

def crashes():
    import ctypes; ctypes.string_at(0)

def never_ends():
    import time; time.sleep(600)

def of_every_type():
    import torch
    x = np.arange(40 * 2 * 4 * 4).reshape(40, 4, 4, 2).astype(np.uint8).transpose(0, 3, 1, 2)
    return {"x": torch.from_numpy(x), "y": list(np.arange(40) % 2), "classes": ("a", "b")}
"""
NEIGHBOUR = """
import numpy as np

def table():
    return {"x": np.random.default_rng(0).integers(0, 255, (40, 4, 4)), "y": np.arange(40) % 2}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data_of_mine.py").write_text(MODULE)
    (tmp_path / "a_neighbour_of_mine.py").write_text(NEIGHBOUR)
    (tmp_path / "no_python.py").write_text("def f(:\n    pass\n")
    (tmp_path / "breaks.py").write_text("import os\n\nnothing = undefined\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("data_of_mine", "a_neighbour_of_mine", "breaks", "no_python"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_a_neighbour_is_found_when_it_is_imported_late(here: Path) -> None:
    assert len(load_data(DataSpec(function="data_of_mine:table")).open_test()) == 6
    assert "data_of_mine" not in sys.modules  # arrays are made elsewhere
    load_data(DataSpec(function="data_of_mine:live"))
    assert sys.path[-1] == str(here)  # last: it hides nothing of anyone else's


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("exits", "its process ended with status 0"),
        ("crashes", "its process was ended by SIGSEGV"),
        ("never_ends", "took longer than 2 s; let it save its arrays as an .npz"),
    ],
)
def test_a_function_that_takes_its_process_along(name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(called_apart, "CALL_SECONDS", 2.0)
    with pytest.raises(DataError, match=f"data_of_mine:{name}: while it was called: {how}"):
        load_data(DataSpec(function=f"data_of_mine:{name}"))


def test_arrays_of_every_type_come_back_as_they_are() -> None:
    data = load_data(DataSpec(function="data_of_mine:of_every_type", validation=10))
    everything = torch.cat([data.train.read(torch.arange(len(data.train))), data.validation.read(torch.arange(10))])
    whole = np.arange(40 * 2 * 4 * 4).reshape(40, 4, 4, 2).astype(np.uint8).transpose(0, 3, 1, 2)
    sample = {bytes(image) for image in whole.reshape(40, -1)}
    assert {bytes(image.numpy().astype(np.uint8)) for image in everything.flatten(1)} <= sample
    assert data.classes == ("a", "b")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("failing", r"failed: KeyError: 'x' \(.*data_of_mine\.py, line 10\)"),
        ("inside_a_library", r"failed: ValueError: .*data_of_mine\.py, line 13\)"),
        ("leaving", r"failed: SystemExit: 0 \(.*data_of_mine\.py, line 16\)"),
        ("pair", "returned tuple of 2; name its arrays"),
        ("samples", r"returned Samples, which has \[\] and no len\(\)"),
        ("ragged", "the images make no array"),
    ],
)
def test_a_function_that_fails_is_named_with_its_line(name: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        load_data(DataSpec(function=f"data_of_mine:{name}"))
    assert "data_of_mine" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        ("breaks", r"fails when it is imported: NameError: .*breaks\.py, line 3\)"),
        ("no_python", r"fails when it is imported: SyntaxError: .*no_python\.py, line 1\)"),
    ],
)
def test_a_module_that_fails_is_named_with_its_line(module: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        import_function(f"{module}:f", "data.function")


def test_our_own_errors_and_interrupts_pass() -> None:
    for error in (DataError("as it is"), KeyboardInterrupt()):

        def raising(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            call_function(raising, "m:f", "data.function")
        assert caught.value is error
