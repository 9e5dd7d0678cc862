"""The parts of a ``torch.export`` archive as plain data: names, sizes, arguments, tensors.

Every name is checked against a pattern, every number against its bounds; nothing is unpickled, evaluated or imported.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from compressor.errors import CaptureError
from compressor.graph.traced.program import BATCH, UNKNOWN, Scope, Sizes, ValueRef

DTYPES: Final[Mapping[int, torch.dtype]] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""``ScalarType`` of ``torch/_export/serde/schema.py``, those a network needs."""

MAX_ELEMENTS: Final = 2**31
MAX_NAME: Final = 2000
"""Letters of the name of a value or the path of a tensor."""
_PATH: Final = re.compile(r"[\w $:/@#+~-]+(\.[\w $:/@#+~-]+)*")
_SYMBOL: Final = re.compile(r"Symbol\('(\w{1,50})'")
_ENTRY: Final = re.compile(r"[A-Za-z0-9_]{1,100}")


def value_name(name: Any) -> str:
    """The name of a value. It ends up in generated source, so it must be an identifier and nothing else."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isidentifier() or keyword.iskeyword(name):
        raise CaptureError(f"{str(name)[:40]!r} is no name of a value")
    return name


def tensor_path(path: Any) -> str:
    """The path of a tensor in the source, whose modules may have any name; ``safe_path`` makes one of the network's."""
    if not _is_path(path):
        raise CaptureError(f"{str(path)[:40]!r} is no path of a tensor")
    return str(path)


def _is_path(path: Any) -> bool:
    if not isinstance(path, str) or len(path) > MAX_NAME or _PATH.fullmatch(path) is None:
        return False
    return not any(part[:2] == part[-2:] == "__" for part in path.split("."))


def whole(number: Any) -> int:
    """An integer within the range of a tensor's sizes."""
    if isinstance(number, bool) or not isinstance(number, int) or abs(number) >= 2**63:
        raise CaptureError(f"{str(number)[:40]!r} is no size")
    return number


def scope_of(stack: Any) -> Scope:
    """Where in the source a node comes from, as its metadata tell; nowhere where they tell nonsense."""
    parts = stack.rpartition(";")[2].split(",") if isinstance(stack, str) else []
    if len(parts) != 3 or parts[1].startswith("_empty_nn_module_stack"):
        return Scope()
    path, kind = parts[1].partition("@")[0], parts[2].rpartition(".")[2]
    return Scope(path, kind[:100]) if _is_path(path) else Scope()


# --- sizes -------------------------------------------------------------------------------------------------------


def symbol(size: Mapping[str, Any]) -> str | int:
    """A size: its number, or the text of its symbol."""
    if "as_int" in size:
        return whole(size["as_int"])
    return str(size["as_expr"]["expr_str"])


def sizes_of(sizes: list[Mapping[str, Any]], batch: str | int) -> Sizes:
    """Sizes where ``batch`` is what the input's first dimension is called, or its size in a trace without symbols."""
    found = []
    for place, union in enumerate(sizes):
        size = symbol(union)
        if size == batch and (isinstance(size, str) or place == 0):
            found.append(BATCH)
        else:
            found.append(size if isinstance(size, int) else _traced_size(union, batch))
    return tuple(found)


def _traced_size(size: Mapping[str, Any], batch: str | int) -> int:
    """The size a symbol had in the trace, if it has nothing to do with the batch."""
    names = [set(_SYMBOL.findall(text)) for text in (symbol(size), batch) if isinstance(text, str)]
    hint = (size["as_expr"].get("hint") or {}).get("as_int")
    return UNKNOWN if hint is None or (len(names) == 2 and names[0] & names[1]) else whole(hint)


# --- arguments ---------------------------------------------------------------------------------------------------


def read_argument(union: Mapping[str, Any]) -> Any:
    """An argument of an operator. Raises ``CaptureError`` for kinds that hold code or objects."""
    ((kind, content),) = union.items()
    if kind not in _ARGUMENTS:
        what = "control flow" if kind == "as_graph" else f"an argument of the kind {str(kind)[:40]!r}"
        raise CaptureError(f"it holds {what}, which a network cannot hold")
    return _ARGUMENTS[kind](content)


def _reference(content: Mapping[str, Any]) -> ValueRef:
    return ValueRef(value_name(content["name"]))


def _optional(content: Mapping[str, Any]) -> ValueRef | None:
    return _reference(content["as_tensor"]) if "as_tensor" in content else None


def _number(content: Mapping[str, Any]) -> Any:
    """A number, or the name of one that is computed."""
    if "as_name" in content:
        return ValueRef(value_name(content["as_name"]))
    return read_argument(content)


def _float(content: Any) -> float:
    return float(content)


def _text(content: Any) -> str:
    if not isinstance(content, str) or len(content) > 100:
        raise CaptureError("it holds a text where a word is expected")
    return content


def _boolean(content: Any) -> bool:
    if not isinstance(content, bool):
        raise CaptureError(f"{str(content)[:40]!r} is neither true nor false")
    return content


def _list(item: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda content: [item(part) for part in content]


def _nothing(_: Any) -> None:
    """Where a tensor lies, and how, is not the graph's business."""


_ARGUMENTS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "as_none": _nothing,
    "as_tensor": _reference,
    "as_tensors": _list(_reference),
    "as_optional_tensor": _optional,
    "as_optional_tensors": _list(_optional),
    "as_int": whole,
    "as_ints": _list(whole),
    "as_float": _float,
    "as_floats": _list(_float),
    "as_string": _text,
    "as_strings": _list(_text),
    "as_bool": _boolean,
    "as_bools": _list(_boolean),
    "as_sym_int": _number,
    "as_sym_ints": _list(_number),
    "as_sym_float": _number,
    "as_sym_floats": _list(_number),
    "as_sym_bool": _number,
    "as_sym_bools": _list(_number),
    "as_scalar_type": lambda content: DTYPES[content],
    "as_memory_format": _nothing,
    "as_layout": _nothing,
    "as_device": _nothing,
}

# --- tensors -----------------------------------------------------------------------------------------------------


def entry_name(meta: Mapping[str, Any]) -> str:
    """The archive entry that holds a tensor's bytes. Raises ``CaptureError`` for pickled ones."""
    if meta["use_pickle"] is not False or meta["tensor_meta"] is None:
        raise CaptureError("it holds a pickled object, which is not read: unpickling runs code")
    name = meta["path_name"]
    if not isinstance(name, str) or not _ENTRY.fullmatch(name):
        raise CaptureError(f"{str(name)[:40]!r} is no name of a tensor's entry")
    return name


def tensor_from(raw: bytearray, meta: Mapping[str, Any]) -> Tensor:
    """A tensor over ``raw``, which it keeps alive. Raises ``CaptureError`` where it would reach outside of it."""
    dtype = DTYPES.get(meta["dtype"])
    if dtype is None:
        raise CaptureError(f"it holds tensors of an unknown type (number {str(meta['dtype'])[:20]})")
    sizes, strides = ([whole(number["as_int"]) for number in meta[name]] for name in ("sizes", "strides"))
    offset, available = whole(meta["storage_offset"]["as_int"]), len(raw) // dtype.itemsize
    if len(sizes) != len(strides) or min([*sizes, *strides, offset], default=0) < 0:
        raise CaptureError("it holds a tensor with impossible sizes")
    count = _product(sizes)
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if count > available:
        raise CaptureError(f"it claims a tensor of {count} values where the file holds {available}")
    if count and last >= available:
        raise CaptureError(f"it claims a tensor that reaches beyond the {available} values the file holds for it")
    if count == 0:
        return torch.empty(sizes, dtype=dtype)
    flat = torch.frombuffer(raw, dtype=dtype, count=available)
    return flat.as_strided(sizes, strides, offset).requires_grad_(
        bool(meta["requires_grad"]) and dtype.is_floating_point
    )


def _product(sizes: list[int]) -> int:
    product = 1
    for size in sizes:
        product = product * size
        if product > MAX_ELEMENTS:
            raise CaptureError(f"it claims a tensor of more than {MAX_ELEMENTS} values")
    return product
