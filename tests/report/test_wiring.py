"""How layers hang together is read from the ONNX file: skips, joins, layers that are called again."""

from __future__ import annotations

import torch
from networks import NETWORKS, calibrated
from torch import Tensor, nn

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.report.wiring import Wiring, wiring


class Twice(nn.Module):
    """One activation for two layers, and a way around both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        first = self.relu(self.a(x))
        return self.relu(self.b(first) + first)


def test_a_join_and_a_second_call_are_places_of_their_own() -> None:
    torch.manual_seed(0)
    found = wiring(to_onnx(capture(Twice().eval(), (3, 8, 8))))
    (join,) = found.joins
    assert found.order == ("a", "relu", "b", join, "relu call 2")
    assert set(found.edges) == {("a", "relu"), ("relu", "b"), ("b", join), ("relu", join), (join, "relu call 2")}


def test_what_is_left_out_is_passed_through() -> None:
    whole = Wiring(("a", "b", "c", "d"), (("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")))
    assert whole.only({"a", "d"}) == Wiring(("a", "d"), (("a", "d"),))
    assert whole.only({"b", "d"}).edges == (("b", "d"),)


def test_a_residual_network_is_one_piece_without_cycles() -> None:
    found = wiring(to_onnx(capture(calibrated("resnet"), NETWORKS["resnet"][1])))
    place = {name: number for number, name in enumerate(found.order)}
    assert all(place[a] < place[b] for a, b in found.edges)
    assert {name for edge in found.edges for name in edge} == set(found.order)
    assert found.joins
