"""From the JSON and the raw bytes of a ``torch.export`` archive to a program."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from torch import Tensor

from compressor.errors import CaptureError
from compressor.graph.nesting import MAX_DEPTH, TENSOR, Constant, Nesting, is_field
from compressor.graph.pt2_in.archive import Archive
from compressor.graph.pt2_in.values import (
    DTYPES,
    entry_name,
    read_argument,
    scope_of,
    sizes_of,
    symbol,
    tensor_from,
    tensor_path,
    value_name,
)
from compressor.graph.traced.program import Op, Program, ValueRef

Json = Mapping[str, Any]

MAX_SPEC: Final = 100_000
"""Letters of the description of nested outputs."""
_END: Final = object()
_STATE = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}


def program_in(archive: Archive) -> Program:
    """The program of an archive that holds one. Raises ``CaptureError`` or ``ModelFileError``."""
    model = _model_name(archive)
    content = archive.json(f"models/{model}.json")
    if content.get("verifiers", ["TRAINING"]) != ["TRAINING"]:
        raise CaptureError("it was lowered by run_decompositions(); save what torch.export.export returned")
    graph, signature = content["graph_module"]["graph"], content["graph_module"]["signature"]
    state, parameters, inputs = _inputs(signature["input_specs"])
    values = graph["tensor_values"]
    batch = _batch_size([values[name]["sizes"] for name in inputs])
    answers = _answers(signature["output_specs"])
    ops = tuple(op for node in graph["nodes"] for op in _ops(node))
    return Program(
        inputs=inputs,
        outputs=tuple(answer.name for answer in answers if isinstance(answer, ValueRef)),
        ops=ops,
        state=state,
        tensors=_tensors(archive, model, list(state.values())),
        parameters=parameters,
        sizes={key: sizes_of(meta["sizes"], batch) for key, meta in values.items()},
        dtypes={key: DTYPES[meta["dtype"]] for key, meta in values.items() if meta["dtype"] in DTYPES},
        nesting=_nesting(content["graph_module"], answers),
        in_training=any(map(_trains, ops)),
    )


def _model_name(archive: Archive) -> str:
    names = [name for name in archive.entries if name.startswith("models/") and name.endswith(".json")]
    if len(names) != 1:
        raise CaptureError(f"it holds {len(names)} programs; one is read")
    if any(name.startswith("data/aotinductor/") for name in archive.entries):
        raise CaptureError("it holds compiled code (AOTInductor), which is not run; save the exported program alone")
    if archive.text("byteorder") not in ("", "little"):
        raise CaptureError("its numbers are big-endian; save it on a little-endian machine")
    return names[0].removeprefix("models/").removesuffix(".json")


def _inputs(specs: list[Json]) -> tuple[dict[str, str], frozenset[str], tuple[str, ...]]:
    """State by value name, the paths that are parameters, and the names of the inputs."""
    state: dict[str, str] = {}
    parameters: set[str] = set()
    inputs: list[str] = []
    for spec in specs:
        ((kind, content),) = spec.items()
        if kind == "user_input":
            ((what, reference),) = content["arg"].items()
            if what != "as_tensor":
                raise CaptureError("it takes inputs that are no tensors")
            inputs.append(value_name(reference["name"]))
        elif kind in _STATE:
            path = tensor_path(content[_STATE[kind]])
            state[value_name(content["arg"]["name"])] = path
            if kind == "parameter":
                parameters.add(path)
        else:
            raise CaptureError(f"it takes an input of the kind {str(kind)[:40]!r}; a network takes tensors")
    if not inputs:
        raise CaptureError("it takes no input")
    return state, frozenset(parameters), tuple(inputs)


def _batch_size(inputs: list[list[Json]]) -> str | int:
    """The size of the inputs' first dimension: the text of a symbol where it is free, else a number."""
    sizes = [symbol(sizes[0]) for sizes in inputs if sizes]
    return next((size for size in sizes if isinstance(size, str)), next(iter(sizes), ""))


def _answers(specs: list[Json]) -> list[ValueRef | Constant]:
    """What it returns, flat: values, and constants between them."""
    found: list[ValueRef | Constant] = []
    for spec in specs:
        ((kind, content),) = spec.items()
        if kind != "user_output":
            raise CaptureError(f"it has a result of the kind {str(kind)[:40]!r}, which a network cannot have")
        answer = read_argument(content["arg"])
        if not isinstance(answer, ValueRef | None | bool | int | float | str):
            raise CaptureError("it returns values that are no tensors")
        found.append(answer)
    return found


def _nesting(module: Json, answers: list[ValueRef | Constant]) -> Nesting:
    """How the answers are nested, as the call of the root tells; a tuple where it does not."""
    root = next((entry for entry in module.get("module_call_graph", []) if entry["fqn"] == ""), None)
    text = ((root or {}).get("signature") or {}).get("out_spec")
    left = iter(answers)
    if not isinstance(text, str) or len(text) > MAX_SPEC:
        parts = tuple(_leaf(answer) for answer in answers)
        return parts[0] if len(parts) == 1 else Nesting("tuple", parts)
    nesting = _from_spec(json.loads(text)[1], left, 0)
    if next(left, _END) is not _END:
        raise CaptureError("it returns more values than it says")
    return nesting


def _from_spec(spec: Json, left: Iterator[ValueRef | Constant], depth: int) -> Nesting:
    """One level of torch's own description of nested values; records of classes that are not imported are tuples."""
    if depth > MAX_DEPTH:
        raise CaptureError(f"it returns values nested more than {MAX_DEPTH} deep")
    kind = spec["type"]
    if kind is None:
        answer = next(left, _END)
        if answer is _END:
            raise CaptureError("it returns fewer values than it says")
        return _leaf(answer)
    parts = tuple(_from_spec(part, left, depth + 1) for part in spec["children_spec"])
    context = json.loads(spec["context"]) if isinstance(spec["context"], str) else spec["context"]
    if str(kind).endswith("list"):
        return Nesting("list", parts)
    keys = next((keys for keys in _keys_in(context) if len(keys) == len(parts)), None) if parts else None
    if keys is None or str(kind).endswith("namedtuple"):
        return Nesting("tuple", parts)
    mapping = str(kind).lower().endswith("dict")
    return Nesting("dict" if mapping or not all(map(is_field, keys)) else "record", parts, keys)


def _keys_in(context: Any) -> Iterator[tuple[str | int, ...]]:
    """Lists of keys in what is noted of a container: its keys, or the names of its fields."""
    candidates = [context, *context] if isinstance(context, list) else [context]
    candidates += list(context.values()) if isinstance(context, dict) else []
    for keys in candidates:
        plain = isinstance(keys, list) and all(type(key) in (str, int) for key in keys)
        if plain and len(set(keys)) == len(keys):
            yield tuple(keys)


def _leaf(answer: Any) -> Nesting:
    return TENSOR if isinstance(answer, ValueRef) else Nesting("constant", constant=answer)


def _tensors(archive: Archive, model: str, paths: list[str]) -> dict[str, Tensor]:
    """Tensors by path; those that share bytes and sizes are one object."""
    metas: dict[str, tuple[str, Json]] = {}
    for folder, config in (
        ("constants", f"{model}_constants_config.json"),
        ("weights", f"{model}_weights_config.json"),
    ):
        if f"data/{folder}/{model}.pt" in archive.entries:
            raise CaptureError("its weights are pickled, as torch before 2.9 did; export and save it again")
        if f"data/{folder}/{config}" in archive.entries:
            config_of = archive.json(f"data/{folder}/{config}")["config"]
            metas.update({path: (folder, meta) for path, meta in config_of.items()})
    raw: dict[str, bytearray] = {}
    made: dict[tuple[str, str], Tensor] = {}
    result: dict[str, Tensor] = {}
    for path in paths:
        if path not in metas:
            raise CaptureError(f"it lacks the values of {path!r}")
        folder, meta = metas[path]
        entry = f"data/{folder}/{entry_name(meta)}"
        if entry not in raw:
            raw[entry] = archive.read(entry)
        key = (entry, json.dumps(meta["tensor_meta"], sort_keys=True))
        if key not in made:
            made[key] = tensor_from(raw[entry], meta["tensor_meta"])
        result[path] = made[key]
    return result


def _ops(node: Json) -> Iterator[Op]:
    """The operation of a node; one with several results is followed by the operations that pick them."""
    target = node["target"]
    if not isinstance(target, str) or len(target) > 200:
        raise CaptureError("it holds a node without an operator")
    name = target.removeprefix("torch.ops.").replace("_operator.", "operator.", 1)
    given = {
        _argument_name(entry["name"], position): read_argument(entry["arg"])
        for position, entry in enumerate(node["inputs"])
    }
    scope = scope_of((node.get("metadata") or {}).get("nn_module_stack"))
    results = [_result(output) for output in node["outputs"]]
    if len(results) == 1 and isinstance(results[0], str):
        yield Op(name, given, results[0], scope)
        return
    flat = [found for result in results for found in (result if isinstance(result, list) else [result])]
    if not flat:
        yield Op(name, given, "", scope)
        return
    together = f"{flat[0]}__all"
    yield Op(name, given, together, scope)
    for position, result in enumerate(flat):
        yield Op("operator.getitem", {"0": ValueRef(together), "1": position}, result, scope)


def _argument_name(name: Any, position: int) -> str:
    return value_name(name) if name else str(position)


def _result(output: Json) -> str | list[str]:
    ((kind, content),) = output.items()
    if kind == "as_tensors":
        return [value_name(part["name"]) for part in content]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return value_name(content["as_name"])
    if kind == "as_tensor":
        return value_name(content["name"])
    raise CaptureError(f"it computes something of the kind {str(kind)[:40]!r}, which a network cannot hold")


def _trains(op: Op) -> bool:
    """Whether the operation shows that the trace was made in training mode.

    A normalisation updates its statistics, or the dropout of a dropout module is on.
    """
    if op.target == "aten.batch_norm.default":
        return bool(op.arguments.get("training") and op.arguments.get("running_mean"))
    return "dropout" in op.target and op.arguments.get("train") is True and "Dropout" in op.scope.kind
