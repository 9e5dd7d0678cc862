"""Whole networks to ONNX: what the file computes, holds and leaves out."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import pytest
import torch
from exporting import network_of, randomise, worst
from networks import NETWORKS, calibrated
from torch import Tensor, nn

from compressor.errors import ExportError
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.leaf import Cost, Leaf, OnnxBuilder, OnnxValue, Shape
from compressor.graph.onnx_out.builder import leaf_of

IMAGE = (6, 11, 9)


def kinds(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


@pytest.mark.parametrize("name", NETWORKS)
def test_network_agrees_with_torch(name: str) -> None:
    network = capture(calibrated(name), NETWORKS[name][1])
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    code = network.module.code
    model = to_onnx(network)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    assert worst(network, model=model) < 1e-5
    assert "Dropout" not in kinds(model)
    assert network.module.code == code
    assert all(torch.equal(value, before[key]) for key, value in network.module.state_dict().items())


@pytest.mark.parametrize("name", ["resnet", "vgg", "mobilenetv2"])
def test_no_batch_norm_is_left_where_all_follow_convolutions(name: str) -> None:
    model = to_onnx(capture(calibrated(name), NETWORKS[name][1]))
    assert "BatchNormalization" not in kinds(model)


def test_a_network_trained_further_does_not_agree() -> None:
    network = capture(calibrated("resnet"), NETWORKS["resnet"][1])
    model = to_onnx(network)
    with torch.no_grad():
        next(m for _, m in network.leaves() if isinstance(m, nn.BatchNorm2d)).running_mean.add_(0.1)
    assert worst(network, model=model) > 1e-3


def test_training_mode_does_not_matter() -> None:
    network = capture(calibrated("inception"), NETWORKS["inception"][1])
    assert to_onnx(network) == to_onnx(network.train())
    assert network.module.training


def test_the_file_is_stripped_and_named_as_promised() -> None:
    network = network_of(calibrated("vgg"), NETWORKS["vgg"][1], name="pixels")
    proto = onnx.load_from_string(to_onnx(network))
    graph = proto.graph
    assert [value.name for value in graph.input] == ["pixels"]
    assert [value.name for value in graph.output] == ["output"]
    sizes = graph.output[0].type.tensor_type.shape.dim
    assert sizes[0].dim_param == graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [size.dim_value for size in sizes[1:]] == [10]
    assert not graph.value_info
    assert not proto.metadata_props
    assert not graph.doc_string
    assert all(not node.doc_string and not node.metadata_props for node in graph.node)
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.initializer)


def test_node_names_carry_leaf_paths() -> None:
    network = network_of(calibrated("vgg"), NETWORKS["vgg"][1])
    graph = onnx.load_from_string(to_onnx(network)).graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    assert {leaf_of(node.name) for node in graph.node if node.op_type in ("Conv", "Gemm")} == {
        path for path, leaf in network.leaves() if isinstance(leaf, nn.Conv2d | nn.Linear)
    }


def test_bytes_are_the_weights_and_little_else() -> None:
    network = network_of(calibrated("vgg"), NETWORKS["vgg"][1])
    norms = {path for path, leaf in network.leaves() if isinstance(leaf, nn.BatchNorm2d)}
    weights = sum(p.numel() for n, p in network.module.named_parameters() if n.rpartition(".")[0] not in norms)
    assert weights * 4 < len(to_onnx(network)) < weights * 4 + 200 * len(list(network.calls()))


def test_an_input_called_output_and_a_network_that_does_nothing() -> None:
    network = network_of(nn.Sequential(nn.Identity(), nn.Dropout()), (3, 4), name="output")
    assert worst(network) == 0
    assert onnx.load_from_string(to_onnx(network)).graph.output[0].name == "output_1"


def test_equal_initializers_are_stored_once() -> None:
    shared = nn.Linear(32, 32)
    network = network_of(nn.Sequential(shared, nn.ReLU(), shared), (32,))
    graph = onnx.load_from_string(to_onnx(network)).graph
    assert len(graph.initializer) == 2
    assert worst(network) < 2e-6


# --- BatchNorm folding -----------------------------------------------------------------------------------------------

FOLDED: list[tuple[nn.Module, Shape]] = [
    (nn.Sequential(nn.Conv2d(6, 8, 3, groups=2, bias=False), nn.BatchNorm2d(8)), IMAGE),
    (nn.Sequential(nn.Conv1d(6, 8, 3), nn.BatchNorm1d(8, affine=False)), (6, 9)),
    (nn.Sequential(nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4)), (2, 4, 5, 6)),
    (nn.Sequential(nn.ConvTranspose2d(6, 8, 3, 2, groups=2), nn.BatchNorm2d(8)), IMAGE),
    (nn.Sequential(nn.ConvTranspose1d(6, 8, 3, bias=False), nn.BatchNorm1d(8)), (6, 9)),
    (nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8)), (6,)),
    (nn.Sequential(nn.Conv2d(6, 8, 3), nn.Dropout(), nn.Identity(), nn.BatchNorm2d(8), nn.ReLU()), IMAGE),
    (nn.Sequential(nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.BatchNorm2d(8)), IMAGE),
]
KEPT: list[tuple[nn.Module, Shape]] = [
    (nn.Sequential(nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3)), IMAGE),
    (nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)), IMAGE),
    (nn.Sequential(nn.Linear(9, 5), nn.BatchNorm1d(7)), (7, 9)),
    (nn.Sequential(nn.Conv2d(6, 8, 3), nn.Flatten(), nn.BatchNorm1d(8 * 9 * 7)), IMAGE),
]


@pytest.mark.parametrize(("model", "shape"), FOLDED, ids=lambda value: str(value).replace("\n", ""))
def test_batch_norm_folds_into_its_producer(model: nn.Module, shape: Shape) -> None:
    network = network_of(randomise(model), shape)
    assert "BatchNormalization" not in kinds(to_onnx(network))
    assert worst(network) < 5e-6


@pytest.mark.parametrize(("model", "shape"), KEPT, ids=lambda value: str(value).replace("\n", ""))
def test_batch_norm_stays_where_it_does_not_fold(model: nn.Module, shape: Shape) -> None:
    network = network_of(randomise(model), shape)
    assert kinds(to_onnx(network)).count("BatchNormalization") == 1
    assert worst(network) < 5e-6


class Seen(nn.Module):
    """The convolution's own output is needed besides the normalised one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class Twice(nn.Module):
    """One convolution, two BatchNorms of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm1, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.conv(self.norm1(self.conv(x)).relu()))


def test_batch_norm_stays_where_the_producer_is_seen_elsewhere() -> None:
    network = network_of(randomise(Seen()), IMAGE)
    assert "BatchNormalization" in kinds(to_onnx(network))
    assert worst(network) < 5e-6


def test_shared_convolution_is_folded_per_call() -> None:
    network = network_of(randomise(Twice()), IMAGE)
    assert "BatchNormalization" not in kinds(to_onnx(network))
    assert worst(network) < 5e-6


# --- leaves of plugins -----------------------------------------------------------------------------------------------


class Gain(Leaf):
    """Scale and shift per channel; may know how to fold, and a cheaper form."""

    def __init__(self, scale: Tensor, shift: Tensor, folds: bool = True, chain: bool = False) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(scale), nn.Parameter(shift)
        self.folds, self.chain = folds, chain

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None] + self.shift[:, None, None]

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def cost(self, *inputs: Shape) -> Cost:
        return Cost({32: 2 * len(self.scale)})

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        scaled = builder.op("Mul", [inputs[0], builder.constant(self.scale.detach()[:, None, None])])
        return builder.op("Add", [scaled, builder.constant(self.shift.detach()[:, None, None])])

    def fold_affine(self, scale: Tensor, shift: Tensor) -> nn.Module | None:
        return Gain(self.scale * scale, self.shift * scale + shift) if self.folds else None

    def deploy(self) -> nn.Module | None:
        if not self.chain:
            return None
        channels = len(self.scale)
        conv = nn.Conv2d(channels, channels, 1, groups=channels)
        conv.weight.copy_(self.scale.view_as(conv.weight))
        conv.bias.copy_(self.shift)  # type: ignore[union-attr]
        return nn.Sequential(nn.Identity(), conv)


def gain(**options: bool) -> Gain:
    return Gain(torch.rand(6) + 0.5, torch.randn(6), **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"folds": True}, ["Mul", "Add"]),
        ({"folds": False}, ["Mul", "Add", "BatchNormalization"]),
        ({"chain": True}, ["Conv"]),
    ],
)
def test_leaf_writes_itself(options: dict[str, bool], expected: list[str]) -> None:
    network = network_of(nn.Sequential(gain(**options), randomise(nn.BatchNorm2d(6))), IMAGE)
    model = to_onnx(network)
    assert kinds(model) == expected
    assert worst(network, model=model) < 5e-6
    assert isinstance(network.leaf("0"), Gain)


class Silent(Gain):
    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        raise ExportError("not today")


def test_refusal_of_a_leaf_names_its_path() -> None:
    with pytest.raises(ExportError, match=r"^layer 1 \(Silent\): not today"):
        to_onnx(network_of(nn.Sequential(nn.ReLU(), Silent(torch.ones(6), torch.ones(6))), IMAGE))


def test_opset_too_old() -> None:
    with pytest.raises(ExportError, match="opset 17"):
        to_onnx(network_of(nn.Sequential(nn.ReLU()), IMAGE), opset=17)
