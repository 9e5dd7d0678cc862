"""ONNX files as networks: the common operators of convolutional networks, read as data."""

from __future__ import annotations

from pathlib import Path

from compressor.errors import CaptureError, ModelFileError
from compressor.graph.network import Network
from compressor.graph.normalisation import from_metadata
from compressor.graph.onnx_in import functions, integer, layers, plain
from compressor.graph.onnx_in.file import metadata_of, parse
from compressor.graph.onnx_in.node import RULES
from compressor.graph.onnx_in.reader import Reader
from compressor.graph.pt2 import MALFORMED

RULE_MODULES = (functions, integer, layers, plain)
"""The modules that register the rules, by being imported."""
SUPPORTED = frozenset(RULES)
"""Operators that have a rule; ``Constant``, ``Shape`` and arithmetic on sizes are read besides."""


def read_onnx(path: Path) -> Network:
    """The network in an ONNX file, in eval mode, for any batch size. Raises ``ModelFileError`` with one line."""
    graph = parse(path)
    try:
        network = Reader(graph, path).network()
        return network.know(from_metadata(metadata_of(path), network.spec.shape[0]))
    except CaptureError as error:
        raise ModelFileError(f"{path}: {error}") from None
    except MemoryError:
        raise ModelFileError(f"{path}: the network in it does not fit into memory") from None
    except MALFORMED as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise ModelFileError(f"{path}: not a valid ONNX graph ({reason})") from None
