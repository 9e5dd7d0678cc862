"""What a model file is, told from its first bytes and its table of contents; nothing in it is run."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Final

from compressor.errors import ModelFileError
from compressor.files import require_regular
from compressor.graph.pt2_in.archive import Archive


class FileKind(enum.Enum):
    """The kinds of files that people take for models."""

    EXPORT = "a torch.export archive"
    OLD_EXPORT = "a torch.export archive of an older torch"
    ONNX = "an ONNX file"
    TORCH_SAVE = "a torch.save file"
    TORCHSCRIPT = "a TorchScript file"
    PICKLE = "a raw pickle"
    SAFETENSORS = "a safetensors file"
    EMPTY = "an empty file"
    TEXT = "a text file"
    OTHER = "no model file this tool knows"


_HEAD: Final = 4096
_LEGACY_SAVE: Final = b"\x80\x02\x8a\x0a"
_ONNX_TAGS: Final = b"\x12\x1a\x22\x28\x32\x3a\x42"
"""First bytes of the fields that may follow the version in an ONNX file."""


def file_kind(path: Path) -> FileKind:
    """The kind of a file. Raises ``ModelFileError`` for a folder, and for what cannot be opened."""
    if path.is_dir():
        raise ModelFileError(f"{path}: a folder; name the model file in it")
    require_regular(path, ModelFileError)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be opened ({error.strerror})") from None
    if head.startswith(b"PK\x03\x04"):
        return _archive_kind(path)
    return _plain_kind(path, head)


def _archive_kind(path: Path) -> FileKind:
    with Archive(path) as archive:
        if archive.text("archive_format") == "pt2":
            return FileKind.EXPORT
        names = archive.entries.keys()
        if any(name.startswith("serialized_exported_program") for name in names):
            return FileKind.OLD_EXPORT
        if any(name.startswith("code/") for name in names):
            return FileKind.TORCHSCRIPT
        if "data.pkl" not in names:
            return FileKind.OTHER
        archive.refuse_compressed()
        return FileKind.TORCH_SAVE


def _plain_kind(path: Path, head: bytes) -> FileKind:
    if not head:
        return FileKind.EMPTY
    if head.startswith(_LEGACY_SAVE):
        return FileKind.TORCH_SAVE
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return FileKind.PICKLE
    if path.suffix == ".onnx" or (head[0] == 0x08 and head[1] < 0x20 and head[2:3] in [bytes([t]) for t in _ONNX_TAGS]):
        return FileKind.ONNX
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return FileKind.SAFETENSORS
    try:
        text = head[: _HEAD - 4].decode()
    except UnicodeDecodeError:
        return FileKind.OTHER
    return FileKind.TEXT if text.isprintable() or not any(ord(c) < 9 for c in text) else FileKind.OTHER
