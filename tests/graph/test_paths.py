"""The book of paths: where leaves live, and that looking for a place always ends."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import compressor
from compressor.graph.capture import capture
from compressor.graph.raising.assembly import PathBook
from compressor.plugin import refusals_of, sites_of
from compressor.registry import discover, make

pytestmark = pytest.mark.timeout(120)

NAMES = st.sampled_from(["a", "b", "a_relu", "relu"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(".".join)


@given(st.lists(PATHS), st.lists(PATHS), st.lists(st.tuples(NAMES, st.one_of(st.just(""), PATHS)), min_size=1))
def test_there_is_always_a_place_of_its_own(
    tensors: list[str], leaves: list[str], wanted: list[tuple[str, str]]
) -> None:
    book = PathBook(tensors)
    taken = [path for path in leaves if book.claim(path)]
    for name, scope in wanted:
        path = book.fresh(name, scope)
        assert path not in tensors
        assert not any(f"{tensor}.".startswith(f"{path}.") for tensor in tensors)
        for other in taken:
            assert not f"{path}.".startswith(f"{other}.")
            assert not f"{other}.".startswith(f"{path}.")
        taken.append(path)


class NormAct(nn.BatchNorm2d):
    """A leaf whose scope holds other leaves, two levels deep; it also calls one of them as a function."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Dropout(0.1), nn.Hardswish()))

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x)).relu().relu()


class ActFirst(nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(8, 8, 3)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.act(x))


def test_leaves_inside_leaves_are_placed_beside_them() -> None:
    layers = (nn.Conv2d(3, 8, 3), NormAct(8), ActFirst(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    model = nn.Sequential(*layers).eval()
    network = capture(model, (3, 8, 8))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(x), model(x))
    names = ["1", "1_act_0_relu", "1_act_1_0_dropout", "1_act_1_1_hardswish", "1_relu", "1_relu_1"]
    assert [path for path, _ in network.leaves()] == ["0", *names, "2_act_relu", "2", "3", "4", "5"]
    assert network.module.state_dict().keys() == model.state_dict().keys()
    for found in discover():
        plugin = make(found.name)
        assert isinstance([*sites_of(plugin, network), *refusals_of(plugin, network)], list)


def test_a_tensor_may_be_called_as_an_operation_is() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.rand(3, 1, 1))
            self.relu = nn.Parameter(torch.rand(3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return ((x - self.mean).relu() * self.relu).mean((2, 3))

    model = Normalised().eval()
    network = capture(model, (3, 8, 8))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(x), model(x))
    assert network.module.state_dict().keys() == model.state_dict().keys()


def test_no_loop_is_without_an_end() -> None:
    """Reading, capture, planning and export: every loop there runs over something finite."""
    endless = []
    for package in ("graph", "load", "engine", "export"):
        for file in (Path(compressor.__file__).parent / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                constant = isinstance(node, ast.While) and isinstance(node.test, ast.Constant)
                called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                if constant or called in ("itertools.count", "itertools.cycle"):
                    endless.append(f"{file.name}:{node.lineno}")
    assert not endless
