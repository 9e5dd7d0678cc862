"""How long the engine takes besides training: capture, raise, shapes, fork, edit, emit.

Aim: every step under one second for ResNet-50; edits linear in the number of nodes. Run on one thread:

    python benchmarks/engine.py
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from _report import Row, repeat, spread, write_report
from torch import Tensor, fx, nn

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.coupling.kinds import is_producer
from compressor.graph.editor import Editor
from compressor.graph.given import given_inputs
from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.graph.raising.exported import from_exported
from compressor.graph.raising.raise_program import raise_program
from compressor.graph.shapes import propagate
from compressor.graph.signature import Signature
from compressor.graph.tracing import OWNER, trace

REPEATS = 5
EDITS = 100
"""Edits in the long transaction."""


class Residual(nn.Module):
    """A basic (two 3×3) or bottleneck (1×1, 3×3, 1×1) residual block (He et al., arXiv:1512.03385)."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        shapes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        if not bottleneck:
            shapes = [(inputs, width, 3, stride), (width, width, 3, 1)]
        layers: list[nn.Module] = []
        for index, (a, b, kernel, step) in enumerate(shapes):
            layers += [nn.ReLU()] if index else []
            layers += [nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False), nn.BatchNorm2d(b)]
        self.branch = nn.Sequential(*layers)
        self.act = nn.ReLU()
        self.project = None
        if stride > 1 or inputs != outputs:
            self.project = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.branch(x) + (x if self.project is None else self.project(x)))
        return result


def resnet(blocks: tuple[int, ...], bottleneck: bool) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    channels = 64
    for stage, count in enumerate(blocks):
        for index in range(count):
            width = 64 << stage
            layers.append(Residual(channels, width, 2 if stage and not index else 1, bottleneck))
            channels = 4 * width if bottleneck else width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def small() -> nn.Module:
    """About 5,000 parameters."""
    layers: list[nn.Module] = []
    for a, b in ((1, 8), (8, 16), (16, 16)):
        layers += [nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 5))


def chain(length: int) -> Network:
    """``length`` leaves in a row, built directly: exporting ten thousand layers would take minutes."""
    kinds: tuple[Callable[[], nn.Module], ...] = (lambda: nn.Conv2d(2, 2, 1), lambda: nn.BatchNorm2d(2), nn.ReLU)
    graph = fx.Graph()
    value = graph.placeholder("x")
    for index in range(length):
        value = graph.call_module(f"layer{index}", (value,))
    graph.output(value)
    leaves = {f"layer{index}": kinds[index % 3]() for index in range(length)}
    network = Network(fx.GraphModule(nn.ModuleDict(leaves), graph), Signature.of("x", (2, 4, 4)))
    propagate(network)
    return network.eval()


def captured_row(name: str, model: nn.Module, shape: Shape) -> Row:
    model.eval()
    traced = trace(model, given_inputs(shape))
    timed = {
        "capture": repeat(lambda: capture(model, shape), REPEATS),
        "raise": repeat(
            lambda: raise_program(from_exported(traced.exported, traced.nesting, traced.names, OWNER)), REPEATS
        ),
    }
    return row(name, capture(model, shape), timed)


def row(name: str, network: Network, timed: dict[str, list[float]]) -> Row:
    """All that is done to a captured network."""
    forks: list[Network] = []
    fresh = functools.partial(lambda: forks.append(network.fork()))
    relus = [path for path, leaf in network.leaves() if isinstance(leaf, nn.ReLU)]
    first = next(path for path, leaf in network.leaves() if is_producer(leaf))
    many = [relus[index % len(relus)] for index in range(EDITS)]
    timed = {
        **timed,
        "shapes": repeat(lambda: propagate(network), REPEATS),
        "cost": repeat(lambda: network_cost(network), REPEATS),
        "fork": repeat(network.fork, REPEATS),
        "1 edit": repeat(lambda: replace(forks.pop(), relus[:1]), REPEATS, prepare=fresh),
        f"{EDITS} edits": repeat(lambda: replace(forks.pop(), many), REPEATS, prepare=fresh),
    }
    if "capture" in timed:  # in a chain every channel is one of the output
        timed["drop channels"] = repeat(lambda: drop(forks.pop(), first), REPEATS, prepare=fresh)
        timed["emit"] = repeat(lambda: to_onnx(network), REPEATS)
    columns = ("capture", "raise", "shapes", "cost", "fork", "1 edit", f"{EDITS} edits", "drop channels", "emit")
    cells = {column: spread(timed[column], scale=1000) if column in timed else "–" for column in columns}
    return {"network": name, "nodes": len(network.graph.nodes), **cells}


def replace(network: Network, paths: list[str]) -> None:
    editor = Editor(network)
    for path in paths:
        editor.replace(path, nn.ReLU6())
    editor.commit()


def drop(network: Network, path: str) -> None:
    editor = Editor(network)
    editor.drop_channels(path, [0])
    editor.commit()


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [
        captured_row("CNN, 5 k parameters", small(), (1, 28, 28)),
        captured_row("ResNet-18, 224²", resnet((2, 2, 2, 2), bottleneck=False), (3, 224, 224)),
        captured_row("ResNet-50, 224²", resnet((3, 4, 6, 3), bottleneck=True), (3, 224, 224)),
        row("chain of 1,000", chain(1000), {}),
        row("chain of 10,000", chain(10_000), {}),
    ]
    notes = [
        f"CPU milliseconds: median (least…most) of n = {REPEATS} runs after one warm-up, one thread, seed 0.",
        "Capture includes raising. An edit replaces one activation; its time includes the commit: dead code, lint, one "
        "recompile, shapes of what changed.",
        "Dropping channels includes tracing the coupling, once for all edits of a network.",
        "Chains are built as graphs, not captured; their channels are those of the output and cannot be dropped.",
    ]
    write_report("engine", "What the engine takes besides training", "python benchmarks/engine.py", rows, notes)


if __name__ == "__main__":
    main()
