"""``torch.export`` archives (.pt2): read without running anything that is in them, and written.

``torch.export.load`` unpickles, evaluates and imports what the file says; this reader only parses JSON and views raw
bytes, and raises the operators that are on its lists.
"""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from compressor.errors import CaptureError, ModelFileError
from compressor.files import write_atomic
from compressor.graph.frozen import Frozen, freeze
from compressor.graph.nesting import from_data, to_data
from compressor.graph.network import Network
from compressor.graph.normalisation import Normalisation, from_json
from compressor.graph.pt2_in.archive import Archive
from compressor.graph.pt2_in.program import program_in
from compressor.graph.pt2_in.values import MAX_NAME
from compressor.graph.raising.raise_program import raise_program
from compressor.graph.signature import Signature
from compressor.graph.traced.program import Program
from compressor.graph.tracing import EXAMPLE_BATCH, export

MAX_NODES: Final = 100_000

_NORMALISATION: Final = "compressor_normalisation.json"
"""Name of the extra file with what ``network.signature.normalisation`` says."""

_SIGNATURE: Final = "compressor_signature.json"
"""Name of the extra file with the owner's names of inputs and outputs, and how these are nested."""

_TRAINING: Final = "compressor_training.json"
"""Name of the extra file with what the trace does not say of training."""

MALFORMED = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What Python and torch raise for data that is not what it should be."""


def read_pt2(path: Path) -> Network:
    """The network in a ``torch.export`` archive, in eval mode. Raises ``ModelFileError`` with one line."""
    with Archive(path) as archive:
        try:
            program = program_in(archive)
            _check(program)
            network = raise_program(program, str(path))
            _rename(archive, network)
            network.know(_normalisation(archive, channels_of(network)))
            _recall(archive, network)
        except CaptureError as error:
            raise ModelFileError(f"{path}: {error}") from None
        except MemoryError:
            raise ModelFileError(f"{path}: the network in it does not fit into memory") from None
        except MALFORMED as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            raise ModelFileError(f"{path}: not a valid torch.export archive ({reason})") from None
    return network


def write_pt2(network: Network, path: Path) -> None:
    """Write a self-contained archive that ``read_pt2`` and ``torch.export.load`` read; whole or not at all.

    The network stays as it is. Raises ``CaptureError`` where it holds a layer that torch cannot trace.
    """
    known = network.signature
    exported = export(network.module, known.tensors(known.zeros(EXAMPLE_BATCH, network.device)))
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # it would carry paths and source lines of this machine
    exported.example_inputs = None

    extra = {_SIGNATURE: json.dumps(_described(known))}
    if known.normalisation is not None:
        extra[_NORMALISATION] = known.normalisation.to_json()
    frozen = [path for path, leaf in network.leaves() if isinstance(leaf, Frozen)]
    if network.notes or frozen:
        extra[_TRAINING] = json.dumps({"notes": network.notes, "frozen": frozen})

    archive = io.BytesIO()  # torch's own writer ends the process where it meets a full disk
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that lie turned in memory, which are kept as they are
        torch.export.save(exported, archive, extra_files=extra)
    write_atomic(path, archive.getvalue())


def _described(signature: Signature) -> dict[str, Any]:
    """What the trace does not say of inputs and outputs: what their owner calls them, and how outputs are nested."""
    return {
        "inputs": [spec.name for spec in signature.inputs],
        "outputs": [spec.name for spec in signature.outputs],
        "nesting": to_data(signature.nesting),
    }


def _rename(archive: Archive, network: Network) -> None:
    entry, known = f"extra/{_SIGNATURE}", network.signature
    if entry not in archive.entries:
        return
    content = archive.json(entry)
    names = [str(name)[:MAX_NAME] for name in (*content["inputs"], *content["outputs"])]
    nesting, specs = from_data(content["nesting"]), (*known.inputs, *known.outputs)
    flat = list(range(len(known.outputs)))
    same = nesting.count == len(flat) and nesting.build(iter(flat), records=False) == known.nesting.build(
        iter(flat), records=False
    )
    if len(names) != len(specs) or len(set(names)) != len(names) or not same:
        raise CaptureError("what it says of its inputs and outputs does not suit its program")
    named = [replace(spec, name=name) for spec, name in zip(specs, names, strict=True)]
    count = len(known.inputs)
    network.signature = replace(known, inputs=tuple(named[:count]), outputs=tuple(named[count:]), nesting=nesting)


def channels_of(network: Network) -> int:
    """Number of channels of the first input; 0 where it has none."""
    return next(iter(network.signature.input.shape), 0)


def _normalisation(archive: Archive, channels: int) -> Normalisation | None:
    entry = f"extra/{_NORMALISATION}"
    return from_json(archive.read(entry), channels) if entry in archive.entries else None


def _recall(archive: Archive, network: Network) -> None:
    """What a trace does not say: notes for people, and layers that stay in eval mode."""
    entry = f"extra/{_TRAINING}"
    content = archive.json(entry) if entry in archive.entries else {}
    network.notes += tuple(str(note)[:500] for note in content.get("notes", ())[:20])
    frozen = set(content.get("frozen", ()))
    for path, leaf in network.leaves():
        if path in frozen:
            freeze(leaf)


def _check(program: Program) -> None:
    """What can be seen before anything is built."""
    if len(program.ops) > MAX_NODES:
        raise CaptureError(f"it holds {len(program.ops)} operations; up to {MAX_NODES} are read")
    kinds = {program.tensors[path].dtype for path in program.parameters}
    if len(kinds) > 1:
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise CaptureError(f"its parameters are of different precision ({names}); convert them to one")
