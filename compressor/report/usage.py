"""How to run the best candidate's file, with the names, sizes and types that the file itself states."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx.helper import tensor_dtype_to_np_dtype

from compressor.graph.normalisation import Normalisation
from compressor.graph.signature import unique


@dataclass(frozen=True)
class Entry:
    """An input or output of a file: its name, what it holds as NumPy calls it, and its size, ``N`` where it is open."""

    name: str
    type: str
    size: tuple[str, ...]


@dataclass(frozen=True)
class Entries:
    """All of them, in order; none where the file is not known."""

    inputs: tuple[Entry, ...] = ()
    outputs: tuple[Entry, ...] = ()


def entries_of(model: bytes) -> Entries:
    """Those of an ONNX file."""
    graph = onnx.load_from_string(model).graph
    return Entries(tuple(map(_entry, graph.input)), tuple(map(_entry, graph.output)))


def usage(model: str, entries: Entries, known: Normalisation | None) -> str:
    """Python that feeds the file; with the figures that its first input is normalised by, where they are known."""
    names = _variables(entry.name for entry in entries.outputs)
    answers = f"({names[0]},)" if len(names) == 1 else ", ".join(names)
    return "\n".join([
        "import numpy",
        "import onnxruntime",
        "",
        f"session = onnxruntime.InferenceSession({model!r})",
        "feeds = {",
        *_feeds(entries, known),
        "}",
        f"{answers} = session.run(None, feeds)" if names else "outputs = session.run(None, feeds)",
    ])  # fmt: skip


def _feeds(entries: Entries, known: Normalisation | None) -> Iterator[str]:
    names = _variables(entry.name for entry in entries.inputs)
    for place, (name, entry) in enumerate(zip(names, entries.inputs, strict=True)):
        value, about = name, f"({', '.join(entry.size)}), "
        if place:
            about += "as in training"
        elif known is None:
            about += "normalised as in training"
        else:
            value = re.sub(r"\bpixels\b", name, known.of_the_file().formula())
            about += "pixels 0…255" if known.scale == 255 else "as the data have them"
        value = value if value.isidentifier() else f"({value})"
        yield f"    {entry.name!r}: {value}.astype(numpy.{entry.type}),  # {about}"


def _variables(names: Iterator[str]) -> list[str]:
    """Names that Python can have: ``head.boxes`` is ``head_boxes``."""
    plain = [re.sub(r"\W", "_", name, flags=re.ASCII) for name in names]
    fit = [f"_{name}" if not name or name[0].isdigit() or keyword.iskeyword(name) else name for name in plain]
    return list(unique(fit, ("numpy", "onnxruntime", "session", "feeds")))


def _entry(value: onnx.ValueInfoProto) -> Entry:
    kind = value.type.tensor_type
    size = tuple(str(dim.dim_value) if dim.HasField("dim_value") else "N" for dim in kind.shape.dim)
    return Entry(value.name, str(tensor_dtype_to_np_dtype(kind.elem_type)), size)
