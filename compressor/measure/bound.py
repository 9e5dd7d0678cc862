"""A file made ready to be called over and over: loaded, its inputs in place, its outputs written into one buffer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnx import helper

from compressor.apart import alive
from compressor.errors import InputError
from compressor.measure.inputs import Feed, Feeding, SessionInput, feeds, handed_on, session_inputs
from compressor.runtime import ONE_THREAD, Setting, open_session, running, session_options, title_of

COPIES = "text cannot be kept in place: calls copy their inputs and outputs, and times include that"


@dataclass(frozen=True)
class Loaded:
    """A file in a session of its own."""

    title: str
    session: ort.InferenceSession
    entries: tuple[SessionInput, ...]
    setting: Setting

    @property
    def in_place(self) -> bool:
        """Whether inputs are numbers, which can stay where they are between calls."""
        return all(entry.kind != "string" for entry in self.entries)


def load(model: bytes | Path, setting: Setting = ONE_THREAD) -> Loaded:
    """Raises ``InputError`` for what cannot be loaded, or takes what is not supported."""
    session = open_session(model, session_options(setting.threads), setting.provider)
    title = title_of(model)
    return Loaded(title, session, session_inputs(session, title), setting)


def warm_runtime(setting: Setting) -> None:
    """Run a file that does nothing, so that what ONNX Runtime itself takes is there already."""
    loaded = load(_nothing(), setting)
    bound(loaded, fed(loaded, Feeding()))()


def _nothing() -> bytes:
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4096]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "nothing", [x], [y])
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    ).SerializeToString()
    return data


def fed(first: Loaded, feeding: Feeding, *, seed: int = 0, turn: int = 0) -> dict[str, Any]:
    """Arrays for the inputs of a file; see ``inputs.feeds``."""
    return feeds(first.entries, feeding, first.title, seed=seed, turn=turn)


def same_inputs(first: Loaded, given: Feed, other: Loaded) -> dict[str, Any]:
    """What ``first`` is fed, for another file. Raises ``InputError`` where that takes something else."""
    handed = handed_on(given, other.entries)
    if handed is None:
        raise InputError(
            f"the files take different inputs and cannot be compared: {_described(first)}; {_described(other)}"
        )
    return handed


def bound(loaded: Loaded, arrays: Feed) -> Callable[[], None]:
    """A call of the file, which was called once already. Returns when the outputs are there."""
    alive()
    session, device = loaded.session, loaded.setting.device
    names = [entry.name for entry in session.get_outputs()]
    with running(loaded.title):
        if not loaded.in_place:
            session.run(names, dict(arrays))
            return lambda: session.run(names, dict(arrays))
        binding = session.io_binding()
        for taken in loaded.entries:
            binding.bind_ortvalue_input(taken.name, _value(arrays[taken.name], taken, device))
        for name in names:
            binding.bind_output(name, device)
        session.run_with_iobinding(binding)
        for entry, value in zip(session.get_outputs(), binding.get_outputs(), strict=True):
            if entry.type.startswith("tensor(") and entry.type != "tensor(string)":  # others are made anew by each call
                binding.bind_ortvalue_output(entry.name, value)
    return lambda: session.run_with_iobinding(binding)


def _value(array: Any, entry: SessionInput, device: str) -> ort.OrtValue:
    if array.dtype.kind in "biuf":
        return ort.OrtValue.ortvalue_from_numpy(array, device)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, entry.element)  # bfloat16 and smaller floats


def _described(loaded: Loaded) -> str:
    return f"{loaded.title} takes " + (", ".join(map(str, loaded.entries)) or "nothing")
