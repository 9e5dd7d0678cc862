"""ONNX files as networks: the operators of convolutional networks, read as data and held against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from compressor.errors import CaptureError, ModelFileError
from compressor.graph.given import InputsGiven, given_inputs
from compressor.graph.network import Network
from compressor.graph.normalisation import from_metadata
from compressor.graph.onnx_in import (
    arithmetic,
    moves,
    places,
    quantized,
    recurrent,
    reductions,
    reshapes,
    resize,
    unit_norms,
)
from compressor.graph.onnx_in.check import check_reading
from compressor.graph.onnx_in.entry import has_open_sizes
from compressor.graph.onnx_in.file import parse
from compressor.graph.onnx_in.reader import GraphReader
from compressor.graph.onnx_in.rules import RULES
from compressor.graph.onnx_node.quantities import about_weights
from compressor.graph.pt2 import MALFORMED, channels_of

RULE_MODULES = (
    arithmetic, moves, places, quantized, recurrent, reductions, reshapes, resize, unit_norms,
)  # fmt: skip
"""The modules that register the rules of functions, by being imported."""
SUPPORTED = frozenset(RULES)
"""Operators that have a rule; ``Constant``, ``Shape`` and arithmetic on sizes and constants are read besides."""


def read_onnx(path: Path, inputs: InputsGiven = None, otherwise: Callable[[], InputsGiven] | None = None) -> Network:
    """The network in an ONNX file, in eval mode, for any batch size. Raises ``ModelFileError`` with one line.

    ``inputs`` are the shapes of one sample (see ``given_inputs``), for inputs whose sizes the file leaves open;
    ``otherwise`` is asked for them where nobody gave any. What was read has answered random inputs as ONNX Runtime
    does; a file that it reads differently is refused.
    """
    file = parse(path)
    try:
        if inputs is None and otherwise is not None and has_open_sizes(file.graph):
            inputs = otherwise()
        reader = GraphReader(file, path, given_inputs(inputs))
        network = reader.network()
        check_reading(network, path, reader.entries, reader.values, reader.batch_axes)
        network.notes += about_weights(file.graph)
        return network.know(from_metadata(file.metadata, channels_of(network)))
    except CaptureError as error:
        raise ModelFileError(f"{path}: {error}") from None
    except MemoryError:
        raise ModelFileError(f"{path}: the network in it does not fit into memory") from None
    except MALFORMED as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise ModelFileError(f"{path}: not a valid ONNX graph ({reason})") from None
