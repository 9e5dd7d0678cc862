"""The quantize plugin: regions of integers, calibration, what the file computes, training, refusals."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from compressor_plugins.quantize import compensation
from compressor_plugins.quantize import plugin as quantize_plugin
from compressor_plugins.quantize.compensation import input_rows, mean_row
from compressor_plugins.quantize.layer import IntegerLayer, Rounding
from compressor_plugins.quantize.plugin import Quantize
from compressor_plugins.quantize.processor import saturates
from compressor_plugins.quantize.ranges import STEPS, Method, Seen, grid_of, range_of
from compressor_plugins.quantize.value import SteppedValue
from hypothesis import given
from hypothesis import strategies as st
from integers import QUANTIZE
from networks import NETWORKS, make_sensitive
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from rewriting import apply, chain, named, parity, reason, traced
from torch import Tensor, fx, nn
from torch.nn import functional as F

from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.onnx_reader import read_onnx
from compressor.graph.steps import Place, regions_of
from compressor.graph.verify import variance_lost
from compressor.measure.parity import numeric_parity
from compressor.measure.session import OnnxModel, session_options
from compressor.models import build
from compressor.plugin import sites_of
from compressor.testing import PluginContract, check_plugin

PLUGIN = QUANTIZE
MOST_OFF = (4, 0.05) if saturates() else (3, 0.02)
"""Steps, and the share of values that are one off: kernels without VNNI round another way. What saturates is at least 9
steps off, 12 % of the values."""
FLOAT_KERNELS = {
    "Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Add", "Mul", "Concat", "Sigmoid",
    "BatchNormalization", "AveragePool", "QLinearAveragePool",
}  # fmt: skip


def evidence(network: Network) -> Evidence:
    """Noise; no answer of these networks is asked for a class."""
    images = torch.randn(64, *network.signature.input.shape, generator=torch.Generator().manual_seed(0))
    return Evidence([(images, torch.zeros(64, dtype=torch.long))])


def quantized(network: Network, data: Evidence | None = None, plugin: Quantize = PLUGIN) -> Network:
    """Every layer rewritten, then calibrated."""
    for found in sites_of(plugin, network):
        apply(plugin, network, found.path)
    (data or evidence(network)).calibrate(network)
    return network


def kernels(network: Network, folder: Path) -> Counter[str]:
    """What ONNX Runtime runs, by operator, after all its optimisations."""
    options = session_options()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    ort.InferenceSession(to_onnx(network), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


class Two(nn.Module):
    """Two convolutions of the input, joined by an operation."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.join = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1), join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.a(x), self.b(x))


class Dense(nn.Module):
    """As in DenseNet: a BatchNorm behind a concatenation, whose parts are concatenated again."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norms, self.ends = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(16)]), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.a(x)
        second = self.b(torch.relu(self.norms[0](torch.cat([first], 1))))
        return self.ends(torch.relu(self.norms[1](torch.cat([first, second], 1))))


def image_chain(*layers: nn.Module) -> Network:
    return chain(*layers, shape=(3, 12, 12))


def joined(join: Callable[[Tensor, Tensor], Tensor]) -> Network:
    return capture(Two(join).eval(), (3, 12, 12))


REGIONS: dict[str, Callable[[], Network]] = {
    "rectified": lambda: image_chain(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 3)),
    "strided, grouped, dilated": lambda: image_chain(
        nn.Conv2d(3, 8, 3, 2, padding="valid"), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
    ),
    "pooled": lambda: image_chain(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1)),
    "head behind dropout": lambda: image_chain(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(800, 10)
    ),
    "hard-swish": lambda: image_chain(nn.Conv2d(3, 8, 3), nn.Hardswish(), nn.Conv2d(8, 8, 1)),
    "hard-sigmoid": lambda: image_chain(nn.Conv2d(3, 8, 3), nn.Hardsigmoid(), nn.Conv2d(8, 8, 1)),
    "SiLU": lambda: image_chain(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 8, 1)),
    "hard-swish, pooled": lambda: image_chain(nn.Conv2d(3, 8, 3), nn.Hardswish(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 1)),
    "hard-sigmoid, pooled": lambda: image_chain(
        nn.Conv2d(3, 8, 3), nn.Hardsigmoid(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 1)
    ),
    "sum": lambda: joined(operator.add),
    "product": lambda: joined(operator.mul),
    "concatenation": lambda: joined(lambda a, b: torch.cat([a, b], 1)),
    "concatenation of hard-swish": lambda: joined(lambda a, b: torch.cat([F.hardswish(a), F.hardswish(b)], 1)),
    "BatchNorm behind a concatenation": lambda: capture(make_sensitive(Dense(), (3, 12, 12)), (3, 12, 12)),
    "averaged over windows": lambda: image_chain(nn.Conv2d(3, 8, 3), nn.AvgPool2d(3, 2), nn.Conv2d(8, 8, 3)),
    "a line": lambda: chain(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3), shape=(3, 20)),
    "a volume": lambda: chain(nn.Conv3d(3, 8, 3), nn.ReLU(), nn.Conv3d(8, 8, 3), shape=(3, 8, 8, 8)),
}


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_computes_no_floats_and_the_file_is_a_step_off_at_most(name: str, tmp_path: Path) -> None:
    before = REGIONS[name]()
    data = evidence(before)
    after = quantized(before.fork(), data)
    found = kernels(after, tmp_path)
    assert not FLOAT_KERNELS & set(found), found
    assert found["QuantizeLinear"] == 1  # the way in
    assert variance_lost(before, after, data.batches) < 0.02
    images = data.batches[0][0]
    with torch.no_grad():
        expected = after(images).numpy()
    off = np.abs(OnnxModel(to_onnx(after)).run(images)[0] - expected)
    held = [leaf for _, leaf in after.leaves() if isinstance(leaf, SteppedValue)]
    step = max(held[-1].handed_on, np.abs(expected).max() / STEPS)
    steps, share = MOST_OFF
    assert off.max() < steps * step
    assert (off > step / 2).mean() < share


def test_before_calibration_only_weights_are_rounded_and_a_replay_finds_the_ranges_in_the_weights() -> None:
    before = named("resnet")
    data = evidence(before)
    fresh = before.fork()
    for found in sites_of(PLUGIN, fresh):
        apply(PLUGIN, fresh, found.path)
    assert variance_lost(before, fresh, data.batches) < 0.01 * 4 ** (8 - QUANTIZE.weight_bits)
    replayed = fresh.fork()
    data.calibrate(fresh)
    assert parity(replayed, data).ok
    assert variance_lost(replayed, fresh, data.batches) > 1e-5
    replayed.module.load_state_dict(fresh.module.state_dict())
    assert variance_lost(replayed, fresh, data.batches) == 0


def test_rewriting_looks_at_no_data_and_the_order_of_edits_does_not_matter() -> None:
    paths = [found.path for found in sites_of(PLUGIN, named("resnet"))]
    data = evidence(named("resnet"))
    outputs = []
    for order in (paths, paths[::-1]):
        network = named("resnet")
        for path in order:
            apply(PLUGIN, network, path, data=None)
        data.calibrate(network)
        assert sum(isinstance(leaf, SteppedValue) for _, leaf in network.leaves()) > len(paths)
        outputs.append(network(data.batches[0][0]).detach())
    assert torch.equal(*outputs)


def test_one_layer_alone_is_an_island_and_the_others_stay_float(tmp_path: Path) -> None:
    path = sites_of(PLUGIN, named("resnet"))[1].path
    network = apply(PLUGIN, named("resnet"), path)
    evidence(network).calibrate(network)
    found = kernels(network, tmp_path)
    assert found["QLinearConv"] == 1
    assert found["Conv"] + found["FusedConv"] > 1


@pytest.mark.parametrize("rectified", [True, False])
def test_what_floats_pool_enters_integers_behind_the_pooling(rectified: bool, tmp_path: Path) -> None:
    """ONNX Runtime would round before it, and pool bytes in the layout of floats, at a hundred times the cost."""
    layers = [nn.Conv2d(3, 8, 3), *([nn.ReLU()] if rectified else []), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3)]
    before = image_chain(*layers)
    last = str(len(layers) - 1)
    after = apply(PLUGIN, before.fork(), last)
    data = evidence(before)
    data.calibrate(after)
    options = session_options()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(to_onnx(after), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(options.optimized_model_filepath).graph
    (pooling,) = (node for node in graph.node if node.op_type == "MaxPool")
    (entry,) = (node for node in graph.node if node.op_type == "QuantizeLinear")
    assert not set(pooling.input) & set(entry.output)
    assert not any(node.op_type == "Relu" for node in graph.node)
    assert parity(after, data).ok

    whole = apply(PLUGIN, after.fork(), "0")
    other = apply(PLUGIN, apply(PLUGIN, before.fork(), "0"), last)
    for network in (whole, other):
        held = [node.target for node in network.graph.nodes if isinstance(_leaf(network, node), SteppedValue)]
        assert len(held) == 4, held  # input, convolution, the same behind the pooling, answer
        assert len(set(held)) == 3, held


def _leaf(network: Network, node: fx.Node) -> nn.Module | None:
    return network.leaf(str(node.target)) if node.op == "call_module" else None


def test_the_parity_check_knows_a_wrong_step_from_rounding() -> None:
    network = quantized(named("resnet"))
    data = evidence(network)
    images = [images for images, _ in data.batches]
    assert numeric_parity(network, to_onnx(network), images).ok
    wrong = network.fork()
    with torch.no_grad():
        wrong.leaf("fc").bias.add_(torch.linspace(-1, 1, 10))
    assert not numeric_parity(network, to_onnx(wrong), images).ok


def test_bias_correction_gives_every_output_its_mean_back() -> None:
    before = chain(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), shape=(3, 12, 12))
    data = evidence(before)

    def shift(plugin: Quantize) -> float:
        after = quantized(before.fork(), data, plugin)
        moved = after(data.batches[0][0]).mean((0, 2, 3)) - before(data.batches[0][0]).mean((0, 2, 3))
        return float(moved.abs().max())

    nearest = replace(QUANTIZE, rounding="nearest")
    assert shift(nearest) < 0.5 * shift(replace(nearest, correct_bias=False))


METHODS: tuple[Method, ...] = get_args(Method)


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40), st.sampled_from(METHODS))
def test_a_range_holds_zero_exactly_and_lies_within_what_was_seen(values: list[float], method: Method) -> None:
    seen = Seen()
    seen.add(torch.tensor(values))
    low, high = range_of(seen, method)
    assert low <= 0 <= high
    assert high > low
    assert low >= min([*values, 0.0])
    assert high <= max([*values, 1.0])
    step, zero = grid_of(low, high)
    assert 0 <= zero <= STEPS
    assert abs(low + zero * step) <= step


def test_a_percentile_clips_an_outlier_that_the_whole_range_keeps() -> None:
    seen = Seen()
    seen.add(torch.cat([torch.randn(20_000, generator=torch.Generator().manual_seed(0)), torch.tensor([60.0])]))
    assert range_of(seen, "min-max")[1] == 60
    assert range_of(seen, "percentile")[1] < 6


class Scaled(nn.Module):
    """What two layers hold between them is wide in its first channel, which the second reads so many times."""

    def __init__(self, read: float, kind: Callable[[Tensor], Tensor] = torch.neg) -> None:
        super().__init__()
        self.first, self.second, self.kind = nn.Linear(8, 8), nn.Linear(8, 4), kind
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(8) * torch.tensor([20.0, *[1.0] * 7])[:, None])
            self.second.weight[:, 0].fill_(read)

    def forward(self, x: Tensor) -> Tensor:
        return self.kind(self.second(self.first(x)) / 4)


@pytest.mark.parametrize(("read", "clipped"), [(0.0, True), (1.0, False)])
def test_a_range_gives_up_what_the_answers_do_not_depend_on(read: float, clipped: bool) -> None:
    torch.manual_seed(0)
    network = capture(Scaled(read).eval(), (8,))
    data = evidence(network)

    def calibrated(method: Method) -> tuple[float, Network]:
        fork = quantized(network.fork(), data, replace(QUANTIZE, range=method, rounding="nearest"))
        (inputs, _), *_ = data.batches
        return float((fork(inputs) - network(inputs)).detach().square().mean()), fork

    (error, by_answers), (whole, by_extremes) = calibrated("outputs"), calibrated("min-max")
    assert all(error < 0.5 * calibrated(other)[0] for other in ("mse", "percentile")) or not clipped
    widths = [_step_between(fork) for fork in (by_answers, by_extremes)]
    assert (widths[0] < 0.4 * widths[1]) is clipped
    assert error < (0.2 if clipped else 1.1) * whole


def test_without_slopes_the_range_is_that_of_the_least_error() -> None:
    torch.manual_seed(0)
    network = capture(Scaled(1.0, torch.sign).eval(), (8,))  # a step: nothing that its inputs do moves it a little
    by_answers, by_error = (
        quantized(network.fork(), plugin=replace(QUANTIZE, range=kind)) for kind in ("outputs", "mse")
    )
    assert _step_between(by_answers) == _step_between(by_error)


def _step_between(network: Network) -> float:
    """The step of what the first layer makes."""
    (between,) = [leaf for path, leaf in network.leaves() if isinstance(leaf, SteppedValue) and "first" in path]
    return between.handed_on


def test_what_was_seen_takes_bounded_memory() -> None:
    seen = Seen()
    for _ in range(40):
        seen.add(torch.randn(64, 1000))
    assert len(seen.samples) <= 1 << 17


def dead(network: Network) -> Network:
    """With a channel of the first layer whose weights are all zero."""
    with torch.no_grad():
        network.leaf("0").weight[1] = 0
    return network


def test_training_moves_weights_and_steps_and_stands_dead_channels() -> None:
    before = dead(image_chain(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    data = evidence(before)
    network = quantized(before, data)
    images = data.batches[0][0]
    target = torch.randn(len(images), 4, generator=torch.Generator().manual_seed(0))
    start = {name: value.clone() for name, value in network.module.named_parameters()}
    optimizer = torch.optim.SGD([p for p in network.module.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(20):
        network.train()
        loss = (network(images) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    moved = {name for name, value in network.module.named_parameters() if not torch.equal(value, start[name])}
    assert {"0.weight", "0.log_step", "2.log_step", "1_steps.log_step"} <= moved
    assert all(bool(value.isfinite().all()) for value in network.module.state_dict().values())
    assert parity(network.eval(), data).ok


def test_channels_are_dropped_from_integer_layers_as_from_others() -> None:
    network = quantized(image_chain(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)))
    with torch.no_grad():
        network.leaf("0").weight[2] = 0
        network.leaf("0").bias[2] = 0
    narrow = network.fork()
    editor = Editor(narrow)
    editor.drop_channels("0", [2])
    editor.commit()
    data = evidence(network)
    images = data.batches[0][0]
    assert torch.allclose(narrow(images), network(images), atol=1e-5)
    assert parity(narrow, data).ok


def test_what_has_no_integer_kernel_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = nn.ConvTranspose2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
    network = traced(nn.Sequential(*layers), (3, 12, 12))
    assert "no integer kernel" in reason(PLUGIN, network, "0")
    assert "pads with reflect" in reason(PLUGIN, network, "1")
    plain = apply(PLUGIN, image_chain(nn.Conv2d(3, 8, 3)), "0")
    assert "already" in reason(PLUGIN, plain, "0")
    monkeypatch.setattr(quantize_plugin, "saturates", lambda: True)
    assert "weight_bits = 7" in reason(Quantize(), image_chain(nn.Conv2d(3, 8, 3)), "0")
    narrow = apply(Quantize(weight_bits=7), image_chain(nn.Conv2d(3, 8, 3)), "0").leaf("0")
    assert isinstance(narrow, IntegerLayer)
    assert narrow.largest == 63


ROWS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "grouped, strided, dilated": (nn.Conv2d(4, 6, 3, 2, 1, dilation=2, groups=2), (4, 9, 9)),
    "padded to the same size": (nn.Conv1d(4, 6, 4, padding="same"), (4, 9)),
    "a volume, depthwise": (nn.Conv3d(4, 4, (1, 2, 3), groups=4, padding=1), (4, 5, 6, 7)),
    "tokens": (nn.Linear(5, 3), (7, 5)),
}


@pytest.mark.parametrize("name", ROWS)
def test_the_rows_that_a_layer_reads_times_its_weight_are_what_it_computes(name: str) -> None:
    layer, shape = ROWS[name]
    x = torch.randn(3, *shape)
    with torch.no_grad():
        expected = layer(x) - layer(torch.zeros_like(x))
        rows = input_rows(layer, x, 10**6)
        found = rows @ layer.weight.view(len(rows), -1, rows.shape[2]).mT  # groups, rows, outputs of a group
    expected = expected if isinstance(layer, nn.Linear) else expected.movedim(1, -1)
    assert torch.allclose(found.movedim(0, 1).reshape(expected.shape), expected, atol=1e-5)
    assert torch.allclose(mean_row(layer, x), rows.mean(1), atol=1e-5)


@dataclass(frozen=True)
class Once:
    """The passes of a layer alone."""

    layer: nn.Module
    x: Tensor

    def __call__(self) -> None:
        with torch.no_grad():
            self.layer(self.x)

    def followed(self) -> Iterator[Tensor]:
        yield self.layer(self.x)


@pytest.mark.parametrize("bits", [8, 4])
def test_rounding_makes_up_for_its_errors_where_inputs_go_together(bits: int) -> None:
    draw = torch.Generator().manual_seed(0)
    layer, x = nn.Linear(64, 32), torch.randn(4096, 8, generator=draw) @ torch.randn(8, 64, generator=draw)
    x += 0.3 * torch.randn(x.shape, generator=draw)

    def error(rounding: Rounding) -> float:
        rounded = IntegerLayer(layer, bits, rounding=rounding)
        IntegerLayer.calibrate([rounded], Once(rounded, x))
        assert torch.equal(rounded.weight, rounded.effective_weight()) == (rounding == "compensated")
        return float((rounded(x) - layer(x)).detach().square().mean())

    assert error("compensated") < 0.2 * error("nearest")


def test_weights_of_four_bits_lie_two_to_a_byte_and_compute_in_integers(tmp_path: Path) -> None:
    before = image_chain(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    data = evidence(before)
    files = []
    for bits in (QUANTIZE.weight_bits, 4):
        after = before.fork()
        for found in sites_of(PLUGIN, after):
            apply(PLUGIN, after, found.path, choice={"bits": bits})
        data.calibrate(after)
        assert not FLOAT_KERNELS & set(kernels(after, tmp_path))
        assert parity(after, data).ok
        files.append(len(to_onnx(after)))
    assert files[0] - files[1] > 0.9 * 64 * 32 * 9 / 2


def test_regions_are_told_with_the_ways_in_and_out_in_the_network_and_in_its_file(tmp_path: Path) -> None:
    """Softplus has no integer form: before it values leave, behind it they enter another region."""
    convolutions = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)]
    a, b, c = convolutions
    network = quantized(image_chain(a, nn.ReLU(), b, nn.Softplus(), c, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    wanted = {
        "0": Place(8, 1, enters=True, leaves=False),
        "2": Place(8, 1, enters=False, leaves=True),
        "4": Place(8, 2, enters=True, leaves=False),
        "5": Place(8, 2, enters=False, leaves=False),
        "6": Place(8, 2, enters=False, leaves=True),
    }
    assert dict(regions_of(network)) == wanted
    target = tmp_path / "integer.onnx"
    target.write_bytes(to_onnx(network))
    assert dict(regions_of(read_onnx(target))) == dict(regions_of(network))


class _Feeds(CalibrationDataReader):
    def __init__(self, name: str, images: Tensor) -> None:
        self.feeds = iter([{name: image[None].numpy()} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


@pytest.mark.skipif(saturates(), reason="its 8-bit weights saturate on this processor, in any tool")
@pytest.mark.parametrize(("form", "activations"), [(QuantFormat.QDQ, "QInt8"), (QuantFormat.QOperator, "QUInt8")])
def test_a_file_of_another_quantizer_keeps_its_steps_and_answers_and_gets_integer_kernels(
    form: QuantFormat, activations: str, tmp_path: Path
) -> None:
    """Signed activations are slow in ONNX Runtime, unsigned ones of the same steps are fast."""
    network = named("resnet")
    images = evidence(network).batches[0][0]
    source, target = tmp_path / "float.onnx", tmp_path / "integer.onnx"
    source.write_bytes(to_onnx(network))
    quantize_static(
        source, target, _Feeds(onnx.load(source).graph.input[0].name, images[:8]), quant_format=form, per_channel=True,
        activation_type=QuantType[activations], weight_type=QuantType.QInt8,
    )  # fmt: skip
    read = read_onnx(target)
    assert "weights as integers" in " ".join(read.notes)
    again = quantized(read, evidence(network))
    assert not FLOAT_KERNELS & set(kernels(again, tmp_path))
    assert len(to_onnx(again)) < 1.1 * target.stat().st_size
    expected = OnnxModel(target.read_bytes()).run(images)[0]
    off = np.abs(OnnxModel(to_onnx(again)).run(images)[0] - expected)
    gaps = np.diff(np.unique(expected))
    step = gaps[gaps > 1e-6].min()  # of the answers, which lie on steps
    assert (off > step / 2).mean() < 0.15
    assert off.max() < 3 * step


def test_lenet_takes_a_quarter_of_its_bytes() -> None:
    before = capture(build("lenet"), (1, 28, 28), "lenet")
    after = quantized(before.fork())
    assert len(to_onnx(before)) / len(to_onnx(after)) > 3.6


class TestContract(PluginContract):
    plugin: ClassVar[Quantize] = PLUGIN


@pytest.mark.parametrize("name", NETWORKS)
def test_the_kit_finds_nothing_on(name: str) -> None:
    network = named(name)
    findings = check_plugin(PLUGIN, {name: network}, most_sites=2)
    assert not findings, "\n".join(map(str, findings))


def test_rounding_by_blocks_is_rounding_input_by_input(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(64, 40) @ torch.randn(40, 40)
    weight, step = torch.randn(1, 5, 40), torch.full((1, 5, 1), 0.3)
    moments = (rows.mT @ rows / len(rows))[None]
    found = []
    for block in (1, 7, 40, 64):
        monkeypatch.setattr(compensation, "BLOCK", block)
        found.append(compensation.compensated(weight, step, 7, moments))
    assert all(torch.allclose(each, found[0]) for each in found)
    assert not torch.allclose(found[0], (weight / step).round().clamp(-7, 7) * step)
