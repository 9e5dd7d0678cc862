"""Where ONNX Runtime spends its time, leaf by leaf, in the file as it is deployed.

ONNX Runtime's profiler times the nodes of the *optimised* graph. They are led back to leaves by name: a node that
survived keeps the name of the leaf that wrote it; a convolution in the blocked layout is called after the value it
yields, which through fusion may be that of an activation or a sum behind it; a change of layout counts with its
neighbour.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx

from compressor.export.emit import to_onnx
from compressor.graph.network import Network
from compressor.graph.onnx_out.builder import leaf_of
from compressor.measure.bound import fed, load
from compressor.measure.inputs import Feeding
from compressor.runtime import open_session, session_options

OTHER = "other"
"""Sums, concatenations and whatever cannot be led back to a leaf."""
WARM_UP = 5
_FUSED = re.compile(r"^fused |_token_\d+$")
"""What fusion adds to the name of the node that it kept."""


@dataclass(frozen=True)
class ProfiledNode:
    """One node of the optimised graph: its name there, its operator, its time in microseconds."""

    name: str
    op_type: str
    microseconds: float


def latency_shares(network: Network, *, batch: int = 1, runs: int = 40) -> dict[str, float]:
    """Share of ONNX Runtime's time that each leaf takes (leaf path → share); "other" holds the rest, the sum is 1.

    A leaf that disappears in the file (folded, fused into another) is missing. Shares of a network that takes a few
    microseconds per node are coarse: the profiler counts whole microseconds and takes some itself.
    """
    times = layer_times(to_onnx(network), batch=batch, runs=runs)
    total = sum(times.values())
    return {path: time / total for path, time in times.items()} if total else {OTHER: 1.0}


def layer_times(model: bytes, *, batch: int = 1, runs: int = 40) -> dict[str, float]:
    """Microseconds of a call that each leaf takes (by path); "other" holds the rest, see ``latency_shares``."""
    times: dict[str, float] = defaultdict(float)
    for owner, microseconds in owned_events(model, batch=batch, runs=runs):
        times[owner or OTHER] += microseconds
    return dict(times)


def owned_events(model: bytes, *, batch: int = 1, runs: int = 40) -> list[tuple[str, float]]:
    """Nodes of the optimised graph in order of execution: the leaf path each belongs to (or ""), microseconds."""
    events = profile(model, batch=batch, runs=runs)
    return [(owner, event.microseconds) for owner, event in zip(_owners(model, events), events, strict=True)]


def profile(model: bytes, *, batch: int = 1, runs: int = 40) -> list[ProfiledNode]:
    """Nodes of the optimised graph in order of execution, each with its mean over the faster half of the runs."""
    inputs = fed(load(model), Feeding(batch=batch))
    with tempfile.TemporaryDirectory() as folder:
        options = session_options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_session(model, options)
        for _ in range(WARM_UP + runs):
            session.run(None, inputs)
        records = json.loads(Path(session.end_profiling()).read_text())
    return _events(records)


def _events(records: Iterable[dict[str, object]]) -> list[ProfiledNode]:
    durations: dict[str, list[int]] = {}
    kinds: dict[str, str] = {}
    for record in records:
        name, arguments = str(record.get("name", "")), record.get("args")
        if record.get("cat") == "Node" and name.endswith("_kernel_time") and isinstance(arguments, dict):
            key = name.removesuffix("_kernel_time")
            durations.setdefault(key, []).append(int(str(record["dur"])))
            kinds[key] = str(arguments.get("op_name", ""))
    events = []
    for name, times in durations.items():
        faster = sorted(times[WARM_UP:] or times)[: max(1, (len(times) - WARM_UP) // 2)]
        events.append(ProfiledNode(name, kinds[name], sum(faster) / len(faster)))
    return events


def _owners(model: bytes, events: list[ProfiledNode]) -> list[str]:
    """The leaf path of every event; empty where there is none."""
    graph = onnx.load_from_string(model).graph
    by_name = {node.name: node for node in graph.node}
    by_output = {output: node for node in graph.node for output in node.output}
    owners: list[str | None] = []
    claimed: set[str] = set()
    for event in events:
        node = by_name.get(_FUSED.sub("", event.name))
        yielded = by_output.get(event.name.removesuffix("_nchwc"))
        if node is None and yielded is not None and yielded.op_type == event.op_type:
            node = yielded
        if node is not None:
            claimed.add(node.name)
        owners.append(None if node is None else leaf_of(node.name))
    for index, event in enumerate(events):
        yielded = by_output.get(event.name.removesuffix("_nchwc"))
        if owners[index] is None and yielded is not None:
            origin = _origin(yielded, event.op_type, by_output, claimed)
            claimed.add(origin.name)
            owners[index] = leaf_of(origin.name)
    return _with_neighbours(events, owners)


def _origin(
    node: onnx.NodeProto, op_type: str, by_output: dict[str, onnx.NodeProto], claimed: set[str]
) -> onnx.NodeProto:
    """The node of this operator that fusion merged with ``node``: the nearest one behind it that is not taken yet."""
    layer = [node]
    for _ in range(4):  # fusion spans a convolution, a sum and an activation at most
        layer = [by_output[name] for item in layer for name in item.input if name in by_output]
        for candidate in layer:
            if candidate.op_type == op_type and candidate.name not in claimed:
                return candidate
    return node


def _with_neighbours(events: list[ProfiledNode], owners: list[str | None]) -> list[str]:
    """Changes of layout go with the node they follow (of an output) or precede (of an input)."""
    result = [owner or "" for owner in owners]
    for index, event in enumerate(events):
        if event.op_type == "ReorderOutput" and index > 0:
            result[index] = result[index - 1]
    for index in range(len(events) - 2, -1, -1):
        if events[index].op_type == "ReorderInput":
            result[index] = result[index + 1]
    return result
