"""``torch.export`` archives (.pt2): read without running anything that is in them, and written.

``torch.export.load`` unpickles, evaluates and imports what the file says; this reader only parses JSON and views raw
bytes, and raises the operators that are on its lists.
"""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Final

import torch

from compressor.errors import CaptureError, ModelFileError
from compressor.files import write_atomic
from compressor.graph.capture import export
from compressor.graph.frozen import Frozen, freeze
from compressor.graph.network import Network
from compressor.graph.normalisation import Normalisation, from_json
from compressor.graph.pt2_in.archive import Archive
from compressor.graph.pt2_in.program import program_in
from compressor.graph.raising.program import Program
from compressor.graph.raising.raise_program import raise_program

MAX_NODES: Final = 100_000

_NORMALISATION: Final = "compressor_normalisation.json"
"""Name of the extra file with what ``network.spec.normalisation`` says."""

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
            network.know(_normalisation(archive, network.spec.shape[0]))
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
    exported = export(network.module, network.spec.shape)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # it would carry paths and source lines of this machine
    exported.example_inputs = None

    known = network.spec.normalisation
    extra = {} if known is None else {_NORMALISATION: known.to_json()}
    frozen = [path for path, leaf in network.leaves() if isinstance(leaf, Frozen)]
    if network.notes or frozen:
        extra[_TRAINING] = json.dumps({"notes": network.notes, "frozen": frozen})

    archive = io.BytesIO()  # torch's own writer ends the process where it meets a full disk
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that lie turned in memory, which are kept as they are
        torch.export.save(exported, archive, extra_files=extra)
    write_atomic(path, archive.getvalue())


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
