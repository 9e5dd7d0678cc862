"""An ONNX file as data: parsed, its tensors checked and read, external ones from the same folder only."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import external_data_helper, numpy_helper
from torch import Tensor

from compressor.errors import ModelFileError

MAX_FILE: Final = 2**31
"""Bytes of the largest file: protobuf itself ends there."""
MAX_NODES: Final = 100_000
_TYPES: Final[dict[int, int]] = {
    onnx.TensorProto.FLOAT: 4,
    onnx.TensorProto.DOUBLE: 8,
    onnx.TensorProto.FLOAT16: 2,
    onnx.TensorProto.INT64: 8,
    onnx.TensorProto.INT32: 4,
    onnx.TensorProto.INT8: 1,
    onnx.TensorProto.UINT8: 1,
    onnx.TensorProto.BOOL: 1,
}
"""Types of tensors that are read, and the bytes of one value."""


def parse(path: Path) -> onnx.GraphProto:
    """The graph of an ONNX file. Raises ``ModelFileError`` for what is damaged, too large, or no plain graph."""
    if path.stat().st_size > MAX_FILE:
        raise ModelFileError(f"{path}: larger than {MAX_FILE >> 30} GiB, which no ONNX file can be")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0][:100]
        raise ModelFileError(f"{path}: damaged or no ONNX file ({reason}); export it again") from None
    if not model.graph.node or not model.graph.output:
        raise ModelFileError(f"{path}: damaged or no ONNX file (it holds no graph); export it again")
    if model.functions:
        raise ModelFileError(f"{path}: it defines operators of its own; inline them (onnx.inliner) and save it again")
    if len(model.graph.node) > MAX_NODES:
        raise ModelFileError(f"{path}: {len(model.graph.node)} operators; up to {MAX_NODES} are read")
    return model.graph


def metadata_of(path: Path) -> dict[str, str]:
    """The metadata of a file that ``parse`` has read."""
    model = onnx.load(str(path), load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}


def tensor_of(proto: onnx.TensorProto, path: Path) -> Tensor:
    """The values of an initializer or constant of the file at ``path``, in memory of their own."""
    bytes_each = _TYPES.get(proto.data_type)
    if bytes_each is None:
        kind = onnx.TensorProto.DataType.Name(proto.data_type) if proto.data_type in range(30) else proto.data_type
        raise ModelFileError(f"{path}: tensor {proto.name!r} is of type {kind}, which is not read")
    size = math.prod(proto.dims) * bytes_each
    if any(dim < 0 for dim in proto.dims) or size > MAX_FILE:
        raise ModelFileError(f"{path}: tensor {proto.name!r} claims impossible sizes {list(proto.dims)[:8]}")
    if external_data_helper.uses_external_data(proto):
        proto.raw_data = _external(proto, path, size)
        proto.data_location = onnx.TensorProto.DEFAULT
    try:
        return torch.from_numpy(numpy_helper.to_array(proto).copy())
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0][:100]
        raise ModelFileError(f"{path}: tensor {proto.name!r} is damaged ({reason})") from None


def _external(proto: onnx.TensorProto, path: Path, size: int) -> bytes:
    """Bytes from a file beside the model. Raises ``ModelFileError`` for a path that leads elsewhere."""
    entries: dict[str, Any] = {entry.key: entry.value for entry in proto.external_data}
    folder = path.resolve().parent
    name = str(entries.get("location", ""))
    place = (folder / name).resolve()
    if not name or place.parent != folder:
        raise ModelFileError(f"{path}: tensor {proto.name!r} lies outside of the model's folder ({name[:80]!r})")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        if offset < 0 or length != size:
            raise ValueError(f"{length} bytes where {size} are needed")
        with place.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
    except (OSError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{path}: the values of {proto.name!r} cannot be read from {name} ({error})") from None
    if len(content) != size:
        raise ModelFileError(f"{path}: {name} ends before the values of {proto.name!r}")
    return content
