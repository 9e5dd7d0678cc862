"""An ONNX file as data: parsed, its tensors checked and read, external ones from the same folder only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import external_data_helper, numpy_helper
from torch import Tensor

from compressor.errors import ModelFileError

MAX_FILE: Final = 2**31
"""Bytes of the largest file: protobuf itself ends there."""
MAX_NODES: Final = 100_000
_TYPES: Final[dict[int, float]] = {
    onnx.TensorProto.FLOAT: 4,
    onnx.TensorProto.DOUBLE: 8,
    onnx.TensorProto.FLOAT16: 2,
    onnx.TensorProto.BFLOAT16: 2,
    onnx.TensorProto.INT64: 8,
    onnx.TensorProto.INT32: 4,
    onnx.TensorProto.INT16: 2,
    onnx.TensorProto.UINT16: 2,
    onnx.TensorProto.INT8: 1,
    onnx.TensorProto.UINT8: 1,
    onnx.TensorProto.BOOL: 1,
    onnx.TensorProto.INT4: 0.5,
    onnx.TensorProto.UINT4: 0.5,
}
"""Types of tensors that are read, and the bytes of one value."""
_WIDER: Final[dict[int, Any]] = {
    onnx.TensorProto.BFLOAT16: np.float32,
    onnx.TensorProto.UINT16: np.int32,
    onnx.TensorProto.INT16: np.int32,
    onnx.TensorProto.INT4: np.int8,
    onnx.TensorProto.UINT4: np.uint8,
}
"""Types that are held in another, which has all their values."""


@dataclass(frozen=True)
class OnnxFile:
    """The graph of a file, the version of ONNX's own operators in it, and what is noted about it."""

    graph: onnx.GraphProto
    opset: int
    metadata: dict[str, str]


def parse(path: Path) -> OnnxFile:
    """The graph of an ONNX file. Raises ``ModelFileError`` for what is damaged, too large, or no plain graph."""
    if path.stat().st_size > MAX_FILE:
        raise ModelFileError(f"{path}: larger than {MAX_FILE >> 30} GiB, which no ONNX file can be")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0][:100]
        raise ModelFileError(f"{path}: damaged or no ONNX file ({reason}); export it again") from None
    graph = model.graph
    if not graph.node or not graph.output:
        raise ModelFileError(f"{path}: damaged or no ONNX file (it holds no graph); export it again")
    if model.functions:
        raise ModelFileError(f"{path}: it defines operators of its own; inline them (onnx.inliner) and save it again")
    if len(graph.node) > MAX_NODES:
        raise ModelFileError(f"{path}: {len(graph.node)} operators; up to {MAX_NODES} are read")
    if graph.sparse_initializer:
        raise ModelFileError(f"{path}: it holds sparse tensors, which are not read; save it with dense ones")
    _check_names(graph, path)
    _check_bytes(graph, path)
    return OnnxFile(graph, _opset(model, path), {entry.key: entry.value for entry in model.metadata_props})


def _opset(model: onnx.ModelProto, path: Path) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    version, newest = max(versions, default=1), onnx.defs.onnx_opset_version()
    if version > newest:
        raise ModelFileError(f"{path}: operator set {version} is newer than {newest}, the newest that is known here")
    return version


def _check_names(graph: onnx.GraphProto, path: Path) -> None:
    """Every value is made once; what is used before it is made is found when it is read."""
    made = {value.name for value in graph.input} | {proto.name for proto in graph.initializer}
    for node in graph.node:
        if not any(node.output):
            raise ModelFileError(f"{path}: damaged: operator {node.op_type} ({node.name!r}) makes no value")
        for name in filter(None, node.output):
            if name in made:
                raise ModelFileError(f"{path}: damaged: the value {name!r} is made twice")
            made.add(name)


def _check_bytes(graph: onnx.GraphProto, path: Path) -> None:
    """A file cannot claim more than it holds: external tensors may not share their bytes over and over."""
    external = [proto for proto in graph.initializer if external_data_helper.uses_external_data(proto)]
    files = {_place(proto, path) for proto in external}
    there = sum(file.stat().st_size for file in files if file.is_file())
    if (claimed := sum(_bytes_of(proto) for proto in external)) > there:
        raise ModelFileError(
            f"{path}: its tensors take {claimed:,.0f} bytes beside the file, where {there:,} lie; "
            "copy it together with its data file"
        )


def stored_bytes(path: Path) -> int:
    """Bytes of an ONNX file and of the files beside it that hold its tensors. Raises ``ModelFileError``."""
    graph = onnx.load(str(path), load_external_data=False).graph
    external = (proto for proto in graph.initializer if external_data_helper.uses_external_data(proto))
    files = {_place(proto, path) for proto in external}
    return path.stat().st_size + sum(file.stat().st_size for file in files if file.is_file())


def tensor_of(proto: onnx.TensorProto, path: Path) -> Tensor:
    """The values of an initializer or constant of the file at ``path``, in memory of their own."""
    if proto.data_type not in _TYPES:
        kind = onnx.TensorProto.DataType.Name(proto.data_type) if proto.data_type in range(30) else proto.data_type
        raise ModelFileError(f"{path}: tensor {proto.name!r} is of type {kind}, which is not read")
    size = _bytes_of(proto)
    if any(dim < 0 for dim in proto.dims) or size > MAX_FILE:
        raise ModelFileError(f"{path}: tensor {proto.name!r} claims impossible sizes {list(proto.dims)[:8]}")
    if external_data_helper.uses_external_data(proto):
        proto.raw_data = _external(proto, path, size)
        proto.data_location = onnx.TensorProto.DEFAULT
    try:
        array = numpy_helper.to_array(proto)
        wider: Any = _WIDER.get(proto.data_type)
        return torch.from_numpy(array.astype(array.dtype if wider is None else wider))
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0][:100]
        raise ModelFileError(f"{path}: tensor {proto.name!r} is damaged ({reason})") from None


def _bytes_of(proto: onnx.TensorProto) -> int:
    values: int = math.prod(proto.dims)
    return math.ceil(values * _TYPES.get(proto.data_type, 1))


def _entries(proto: onnx.TensorProto) -> dict[str, Any]:
    return {entry.key: entry.value for entry in proto.external_data}


def _place(proto: onnx.TensorProto, path: Path) -> Path:
    """The file that holds a tensor. Raises ``ModelFileError`` for a path that leads out of the model's folder."""
    folder = path.resolve().parent
    name = str(_entries(proto).get("location", ""))
    place = (folder / name).resolve()
    if not name or place.parent != folder:
        raise ModelFileError(f"{path}: tensor {proto.name!r} lies outside of the model's folder ({name[:80]!r})")
    return place


def _external(proto: onnx.TensorProto, path: Path, size: int) -> bytes:
    """Bytes from a file beside the model."""
    place, entries = _place(proto, path), _entries(proto)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        if offset < 0 or length != size:
            raise ValueError(f"{length} bytes where {size} are needed")
        with place.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
    except (OSError, ValueError, OverflowError) as error:
        raise ModelFileError(
            f"{path}: the values of {proto.name!r} cannot be read from {place.name} ({error})"
        ) from None
    if len(content) != size:
        raise ModelFileError(f"{path}: {place.name} ends before the values of {proto.name!r}")
    return content
