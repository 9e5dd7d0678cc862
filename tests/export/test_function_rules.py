"""Functions and methods of the graph, as traced and as exported operators, against torch."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
import torch
import torch.nn.functional as F
from exporting import network_of, worst
from torch import Tensor, fx, nn

from compressor.errors import ExportError
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.graph.shapes import propagate
from compressor.graph.signature import Signature

IMAGE = (6, 8, 10)
aten = torch.ops.aten


class Body(nn.Module):
    def __init__(self, body: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def split_sum(x: Tensor) -> Tensor:
    left, right = x.split((2, 4), dim=1)
    return torch.cat((right, left), 1)


def chunk_product(x: Tensor) -> Tensor:
    a, b, c = torch.chunk(x, 3, dim=1)
    return a * b - c


def shuffle(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def squeeze_excite(x: Tensor) -> Tensor:
    return x * x.mean((2, 3), keepdim=True).sigmoid()


def attention(x: Tensor) -> Tensor:
    rows = x.flatten(2)
    return (rows @ rows.transpose(1, 2) / 8).softmax(-1) @ rows


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "add": lambda x: x + x.relu(),
    "add scalar": lambda x: 1.5 + x,
    "add alpha": lambda x: torch.add(x, x.tanh(), alpha=0.3),
    "subtract from": lambda x: 2 - x,
    "rsub": lambda x: torch.rsub(x, 2),
    "divide": lambda x: (x / 4) + 1 / (x.abs() + 1),
    "power": lambda x: x**2 + (x.abs() + 0.1).pow(0.5),
    "in place": lambda x: F.relu_(x * 2).add_(1),
    "maximum": lambda x: torch.maximum(x, x.neg()) - torch.minimum(x, x * 0.5),
    "unary": lambda x: x.exp().log() + x.abs().sqrt() + x.square() + (x.abs() + 1).rsqrt() + (x.abs() + 1).reciprocal(),
    "sign floor": lambda x: x.sign() + x.floor() + x.ceil() + x.round(),
    "clamp": lambda x: x.clamp(-0.5, 0.7) + x.clamp(max=0.2) + x.clamp_min(0.1) + torch.clamp_max(x, 0.3),
    "cat": lambda x: torch.cat([x, x.relu()], dim=1),
    "stack": lambda x: torch.stack([x, x.relu()], dim=2),
    "split": split_sum,
    "chunk": chunk_product,
    "unbind": lambda x: x.unbind(1)[2] + x.unbind(1)[0],
    "shuffle": shuffle,
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: torch.transpose(x, -1, 1),
    "flatten": lambda x: torch.flatten(x, 1),
    "reshape": lambda x: x.reshape(x.size(0), -1),
    "view": lambda x: x.view(-1, 6 * 8 * 10),
    "squeeze": lambda x: x.unsqueeze(2).squeeze(2)[:, :, None],
    "index": lambda x: x[:, 1:5:2, ..., 3] + x[:, 0:2, :, -1],
    "narrow": lambda x: x.narrow(1, 2, 3) + x.select(2, 1).unsqueeze(2)[:, :3],
    "expand": lambda x: x.mean(1, keepdim=True).expand(-1, 6, -1, -1) + x,
    "mean": lambda x: x.mean((2, 3)),
    "mean one": lambda x: x.mean(-1),
    "sum": lambda x: x.sum((1, 2), keepdim=True) + x.amax((1, 2), True) - x.amin(dim=(1, 2), keepdim=True),
    "normalise": lambda x: x / torch.linalg.vector_norm(x, 2, (1,), True),
    "squeeze excite": squeeze_excite,
    "matrix product": attention,
    "sdpa": lambda x: F.scaled_dot_product_attention(x, x, x),
    "max pool": lambda x: F.max_pool2d(x, 3, 2, 1, 1, True),
    "avg pool": lambda x: F.avg_pool2d(x, kernel_size=3, stride=2, padding=1, count_include_pad=False),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (3, 5)) + F.adaptive_max_pool2d(x, 1),
    "pad": lambda x: F.pad(x, (1, 2, 3, 0), value=0.5) + F.pad(x, (1, 2, 3, 0), mode="reflect"),
    "pad channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2) + F.interpolate(x, (16, 20), mode="bilinear"),
    "activations": lambda x: F.gelu(x) + F.silu(x) + F.elu(x) + F.leaky_relu(x, 0.1) + F.hardtanh(x) + F.softplus(x),
    "hard activations": lambda x: F.hardswish(x) + F.hardsigmoid(x) + F.relu6(x) + F.mish(x) + F.logsigmoid(x),
    "softmax": lambda x: F.softmax(x, 1) + F.log_softmax(x, dim=1),
    "pixels": lambda x: F.pixel_unshuffle(x, 2)[:, :4] + F.channel_shuffle(F.pixel_unshuffle(x, 2), 3)[:, :4],
    "dropout": lambda x: F.dropout(x, 0.5, training=False) + 1,
    "constant": lambda x: x * torch.arange(6.0).view(6, 1, 1),
}
OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "add": lambda x: aten.add.Tensor(x, aten.relu.default(x), alpha=2),
    "reshape": lambda x: aten.view.default(x, [aten.sym_size.int(x, 0), 480]),
    "slice": lambda x: aten.slice.Tensor(aten.slice.Tensor(x, 0, 0, 9223372036854775807), 1, 1, 5, 2),
    "split": lambda x: aten.split.Tensor(x, 4, 1)[1],
    "mean": lambda x: aten.mean.dim(x, [2, 3], True),
    "max pool": lambda x: aten.max_pool2d.default(x, [3, 3], [2, 2], [1, 1], [1, 1], True),
    "avg pool": lambda x: aten.avg_pool2d.default(x, [3, 3], [2, 2], [1, 1], False, True, 4),
    "pad": lambda x: aten.constant_pad_nd.default(x, [1, 2], 0.5) + aten.pad.default(x, [1, 2, 0, 0], "replicate"),
    "nearest": lambda x: aten.upsample_nearest2d.vec(x, None, [2.0, 1.5]),
    "bilinear": lambda x: aten.upsample_bilinear2d.vec(x, [13, 17], True, None),
    "softmax": lambda x: aten.softmax.int(x, 1),
    "clamp": lambda x: aten.clamp.default(x, None, 0.5),
    "hardtanh": lambda x: aten.hardtanh.default(x, 0.0, 6.0),
    "dropout": lambda x: aten.dropout.default(x, 0.5, False) * 2,
    "shuffle": lambda x: aten.channel_shuffle.default(x, 2),
    "log1p": lambda x: aten.log1p.default(aten.square.default(x)),
    "rounded division": lambda x: aten.div.Tensor_mode(x, 0.3, rounding_mode="floor"),
    "elu": lambda x: aten.elu.default(x, 0.5, 1.3),
    "flip": lambda x: aten.flip.default(x, [1, 3]),
    "roll": lambda x: aten.roll.default(x, [2, -3], [1, 3]),
    "index select": lambda x: aten.index_select.default(x, 1, torch.tensor([4, 0, 0, 2])),
    "movedim": lambda x: aten.movedim.intlist(x, [1, 2], [3, 1]),
    "largest": lambda x: aten.max.dim(x, 2)[0] + aten.min.dim(x, 2, False)[0],
    "product": lambda x: aten.prod.dim_int(x, 1) + aten.logsumexp.default(x, [1]),
    "variance": lambda x: aten.var.correction(x, [2, 3], correction=0, keepdim=True) + aten.std.dim(x, [1], True, True),
    "float": lambda x: aten._to_copy.default(x, dtype=torch.float32),
    "group norm": lambda x: aten.group_norm.default(x, 3, torch.full((6,), 2.0), torch.ones(6), 1e-3),
    "batch norm": lambda x: aten.batch_norm.default(
        x, torch.full((6,), 2.0), torch.ones(6), torch.full((6,), 0.3), torch.full((6,), 0.7), False, 0.1, 1e-3, False
    ),
    "instance norm": lambda x: aten.instance_norm.default(x, None, None, None, None, True, 0.1, 1e-5, False),
    "layer norm": lambda x: aten.layer_norm.default(x, [10], torch.full((10,), 2.0), None, 1e-3),
    "prelu": lambda x: aten.prelu.default(x, torch.linspace(0, 1, 6)),
}


def traced(body: Callable[[Tensor], Tensor]) -> Network:
    return network_of(Body(body), IMAGE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_agrees_with_torch(name: str) -> None:
    assert worst(traced(FUNCTIONS[name])) < 5e-6


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_agrees_with_torch(name: str) -> None:
    assert worst(traced(OPERATORS[name])) < 2e-6


def test_choice_by_a_condition() -> None:
    def body(x: Tensor) -> Tensor:
        return torch.where(x > 0.2, x, 0.1) + x.masked_fill(x <= 0, 0.25)

    assert worst(traced(body)) < 2e-6


class Standardised(nn.Module):
    """Convolutions whose weights are computed from parameters, transposed ones and a linear layer alike."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 6, 3, 3))
        self.gain = nn.Parameter(torch.randn(4, 1, 1, 1))
        self.mix = nn.Parameter(torch.randn(4, 5))

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) * self.gain
        x = F.conv2d(x, weight, padding="same", dilation=2)
        x = F.conv_transpose2d(x, weight.reshape(4, 6, 3, 3), stride=2, output_padding=1)
        x = F.conv2d(x, weight.flip(-1), self.gain.flatten(), (2, 1), 1)
        return F.linear(x.mean((2, 3)), self.mix.t())


def test_weights_that_are_computed_from_parameters() -> None:
    network = network_of(Standardised(), IMAGE)
    assert worst(network) < 5e-6
    kinds = {node.op_type for node in onnx.load_from_string(to_onnx(network)).graph.node}
    assert kinds == {"Conv", "ConvTranspose", "GlobalAveragePool", "Flatten", "Gemm"}


def test_captured_network_with_computed_weights() -> None:
    assert worst(capture(Standardised(), IMAGE, fold=False)) < 5e-6


def test_weights_that_depend_on_the_input_are_refused() -> None:
    module = fx.symbolic_trace(Body(lambda x: F.prelu(x, x.relu())))
    for node in module.graph.nodes:
        node.meta["shape"] = IMAGE
    with pytest.raises(ExportError, match="must not depend on the input"):
        to_onnx(Network(module, Signature.of("x", IMAGE)))


def test_parameter_of_the_network_itself() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.randn(6, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * (self.scale * 2)

    assert worst(network_of(Scaled(), IMAGE)) < 2e-6


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (lambda x: torch.logcumsumexp(x, 1), "logcumsumexp.*no ONNX form"),
        (lambda x: F.dropout(x, 0.5, training=True), "always on"),
        (lambda x: x.sum(0, keepdim=True) + x, "no axis of a sample"),
        (lambda x: x.to(torch.float16).float(), "rounds"),
    ],
)
def test_what_has_no_form_is_refused_by_name(body: Callable[[Tensor], Tensor], reason: str) -> None:
    with pytest.raises(ExportError, match=rf"^node \w+ .*{reason}"):
        to_onnx(traced(body))


def test_code_that_the_output_does_not_need_is_left_out() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.call_function(torch.cumsum, (x, 1))
    graph.output(graph.call_function(torch.relu, (x,)))
    network = Network(fx.GraphModule(nn.Module(), graph), Signature.of("x", IMAGE))
    propagate(network)
    assert worst(network) == 0
