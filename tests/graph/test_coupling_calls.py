"""Function calls of every kind that captured networks hold: channels pass, or are held where they are picked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import make_sensitive
from oracles import check_oracles, silence
from torch import Tensor, nn
from traced import images, traced

from compressor.errors import Refusal
from compressor.graph.coupling import check
from compressor.graph.coupling.check import failures
from compressor.graph.coupling.groups import free_channels, free_classes
from compressor.graph.coupling.trace import trace_of
from compressor.graph.editor import Editor
from compressor.graph.verify import difference

SHAPE = (3, 4, 4)


class Called(nn.Module):
    """A convolution, an operation on what it gives, and a convolution that takes its product with that."""

    def __init__(self, operation: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.operation = operation
        self.first, self.second, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 3), nn.Linear(16, 5)
        self.slopes = nn.Parameter(torch.rand(6))
        self.register_buffer("steps", torch.tensor([-1.0, 0.0, 0.5]))
        self.points = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.grid = torch.tanh(self.points(x)).permute(0, 2, 3, 1)
        x = self.first(x)
        return self.head(self.second(self.operation(self, x) * x).flatten(1))


VALUE_BY_VALUE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "logit": lambda m, x: torch.logit(torch.sigmoid(x)),
    "atanh": lambda m, x: torch.atanh(torch.tanh(x) * 0.9),
    "special": lambda m, x: torch.special.i0e(x) + torch.special.entr(x.abs()) + torch.sinc(x),
    "two": lambda m, x: torch.logaddexp(x, x.flip(3)) + torch.heaviside(x, x) + torch.copysign(x, x.flip(2)),
    "logical": lambda m, x: torch.logical_and(x > 0, x < 1) | torch.logical_not(x > -1) ^ (x > 2),
    "where": lambda m, x: torch.where(x > 0, x.sin(), x.cos()),
    "masked_fill": lambda m, x: x.masked_fill(x < 0, 0.5),
    "addcmul": lambda m, x: torch.addcmul(x, x.flip(3), x, value=0.5),
    "lerp": lambda m, x: torch.lerp(x, x.flip(2), torch.sigmoid(x)),
    "clamps": lambda m, x: x.clamp_min(-1) + x.clamp_max(0.5) + torch.clamp(x, x.flip(3) - 1, x.flip(3) + 1),
    "least and most": lambda m, x: torch.minimum(x, x.flip(3)) + torch.fmax(x, x.flip(2)),
    "prelu": lambda m, x: torch.prelu(x, m.slopes),
    "bucketize": lambda m, x: torch.bucketize(x, m.steps),
}  # fmt: skip
MOVING: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "tril": lambda m, x: x.tril(1) + x.triu(2),
    "rot90": lambda m, x: x.rot90(1, (2, 3)),
    "diagonal": lambda m, x: x.diagonal(0, 2, 3).unsqueeze(2),
    "windows": lambda m, x: x.unfold(3, 2, 2).mean(-1).repeat_interleave(2, 3),
    "patches": lambda m, x: F.unfold(x, (2, 1), stride=2).unflatten(1, (-1, 2)).mean((2, 3))[..., None, None],
    "folded": lambda m, x: F.fold(F.unfold(x, 3, padding=1), (4, 4), 3, padding=1),
    "padded": lambda m, x: F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, 3, 1, 2))[:, 1:5, :4].permute(0, 3, 1, 2),
    "reflected": lambda m, x: F.pad(x, (1, 1, 1, 1), mode="reflect")[..., :4, :4],
    "diff": lambda m, x: x.diff(dim=2).mean(2, keepdim=True),
    "norm": lambda m, x: torch.linalg.norm(x, dim=3, keepdim=True),
    "sort": lambda m, x: x.sort(3)[0] + x.cummax(2)[0],
    "topk": lambda m, x: x.topk(1, 2)[0],
    "count": lambda m, x: (x > 0).count_nonzero((2, 3))[..., None, None],
    "sums": lambda m, x: x.logcumsumexp(3),
    "slice_scatter": lambda m, x: torch.slice_scatter(x, x[..., 2:].sin(), 3, 0, 2),
    "select_scatter": lambda m, x: torch.select_scatter(x, x[:, :, 1].cos(), 2, 3),
    "grid_sample": lambda m, x: F.grid_sample(x, m.grid, align_corners=True),
}  # fmt: skip


@pytest.mark.parametrize("name", [*VALUE_BY_VALUE, *MOVING])
def test_operations_that_leave_channels_where_they_are(name: str) -> None:
    network = traced(make_sensitive(Called((VALUE_BY_VALUE | MOVING)[name]), SHAPE), SHAPE)
    assert check_oracles(network, "first") > 0.01


BY_NUMBER: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "tril": lambda m, x: x.transpose(1, 3).tril().transpose(1, 3),
    "diagonal": lambda m, x: x.diagonal(0, 1, 2).unsqueeze(1).mean(3, keepdim=True),
    "windows": lambda m, x: x.unfold(1, 3, 3).mean(-1).repeat(1, 3, 1, 1),
    "diff": lambda m, x: x.diff(dim=1).mean(1, keepdim=True),
    "sort": lambda m, x: x.sort(1)[0],
    "topk": lambda m, x: x.topk(1, 1)[0],
    "slice_scatter": lambda m, x: torch.slice_scatter(x, x[:, 4:], 1, 0, 2),
    "select_scatter": lambda m, x: torch.select_scatter(x, x[:, 1], 1, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_NUMBER)
def test_operations_that_pick_channels_by_their_number_hold_them(name: str) -> None:
    network = traced(Called(BY_NUMBER[name]), SHAPE)
    with pytest.raises(Refusal):
        Editor(network).drop_channels("first", [1])


class Chaos(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(1e6 * x)


class NonLocal(nn.Module):
    """Attention between pixels (Wang et al., CVPR 2018): products of queries and keys sum over their channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.query, self.key = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 1)
        self.value, self.out, self.head = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        weights = torch.matmul(query.transpose(1, 2), key).softmax(-1)
        found = torch.matmul(value, weights.transpose(1, 2)).view(-1, 8, 4, 4)
        return self.head((x + self.out(found)).flatten(1))


ADDING: dict[str, Callable[[], tuple[nn.Module, str]]] = {
    "products": lambda: (NonLocal(), "query"),
    "sum": lambda: (Called(lambda m, x: x.square().sum(1, keepdim=True).sqrt()), "first"),
    "norm": lambda: (Called(lambda m, x: torch.linalg.vector_norm(x, 3, 1, keepdim=True)), "first"),
}


@pytest.mark.parametrize("name", ADDING)
def test_channels_that_are_added_up_can_go_but_not_be_copied(name: str) -> None:
    model, path = ADDING[name]()
    network = traced(make_sensitive(model, SHAPE), SHAPE)
    trace = trace_of(network)
    groups = {where: frozenset(list(free_classes(trace, where))[1::2]) for where in trace.made if where != "head"}
    assert not failures(network, groups)
    silenced = network.fork()
    silence(silenced, path, [1, 4])
    dropped = network.fork()
    editor = Editor(dropped)
    editor.drop_channels(path, [1, 4])
    editor.commit()
    assert difference(silenced, dropped, [images(network)]) < 2e-6
    assert difference(network, dropped, [images(network)]) > 1e-3
    with pytest.raises(Refusal, match="would count twice"):
        Editor(network.fork()).duplicate_channels(path, [0])


def test_values_of_attention_lose_channels_too() -> None:
    assert check_oracles(traced(make_sensitive(NonLocal(), SHAPE), SHAPE), "value") > 0.001


@pytest.mark.parametrize("reduce", [torch.mean, torch.amax, torch.logsumexp, torch.std])
def test_what_a_value_of_nothing_changes_holds_channels(reduce: Callable[..., Tensor]) -> None:
    network = traced(make_sensitive(Called(lambda m, x: reduce(x, 1, keepdim=True)), SHAPE), SHAPE)
    with pytest.raises(Refusal, match="reduces over channels"):
        Editor(network).drop_channels("first", [0])


@pytest.mark.parametrize("rounding", [True, False])
def test_rounding_is_no_difference_and_a_wrong_trace_is_one(rounding: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sine of large values makes noise of the last digits, in which sums of fewer channels differ."""
    chaos = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 8, 3), Chaos(), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1))
    network = traced(chaos.eval(), (3, 12, 12))
    parts = free_channels(trace := trace_of(network), "0")
    classes = trace.classes_of(trace.made["0"])
    if not rounding:  # silence others than those that go
        wrong = {"1": (1, torch.ones(64))}
        monkeypatch.setattr(check, "_silenced", lambda *_: iter(wrong.items()))
    gone = frozenset(int(classes[part[0]]) for part in parts[::2])
    assert bool(failures(network, {"0": gone})) != rounding
