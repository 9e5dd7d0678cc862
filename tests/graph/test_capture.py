"""Capturing networks: the same function, bit for bit, in eval mode, in training, and in every gradient."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
import torch
import torch.nn.functional as F
from networks import NETWORKS, calibrated, make_sensitive
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from compressor.errors import CaptureError
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.graph.pt2 import read_pt2, write_pt2
from compressor.graph.raising.raise_program import raise_program
from compressor.graph.traced.program import BATCH, Op, Program, ValueRef
from compressor.task.classification import classes_of


def function(forward: Callable[[nn.Module, Tensor], Tensor], **parts: object) -> nn.Module:
    """A module with these parts and this forward."""

    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, x: Tensor) -> Tensor:
            return forward(self, x)

    return Written().eval()


def leaves(network: Network) -> dict[str, str]:
    return {path: type(leaf).__name__ for path, leaf in network.leaves()}


def step(model: Network | nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Output, gradients and state after one pass in training mode from a fixed seed."""
    module = model.module if isinstance(model, Network) else model
    module.train()
    torch.manual_seed(3)
    output = model(x)
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    return output.detach(), gradients, {name: tensor.clone() for name, tensor in module.state_dict().items()}


def identical(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# --- whole networks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_eval_training_and_gradients_are_bit_exact(name: str) -> None:
    model, shape = calibrated(name), NETWORKS[name][1]
    network = capture(model, shape)
    for batch in (1, 5):
        x = torch.randn(batch, *shape)
        assert torch.equal(model(x), network(x))
    x = torch.randn(4, *shape)
    for ours, theirs in zip(step(network, x), step(model, x), strict=True):
        assert torch.equal(ours, theirs) if isinstance(ours, Tensor) else identical(ours, theirs)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_single_wrong_weight_is_noticed(name: str) -> None:
    """Negative control: were the networks insensitive, the test above would prove nothing."""
    model, shape = calibrated(name), NETWORKS[name][1]
    network = capture(model, shape)
    first = next(leaf for _, leaf in network.leaves() if isinstance(leaf, nn.Conv2d))
    with torch.no_grad():
        first.weight[0, 0, 1, 1] += 0.05
    x = torch.randn(4, *shape)
    assert not torch.equal(model(x), network(x))
    assert not identical(step(model, x)[1], step(network, x)[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_everything_becomes_modules_at_their_own_paths(name: str) -> None:
    model, shape = calibrated(name), NETWORKS[name][1]
    network = capture(model, shape)
    functions = {str(node.target) for node in network.graph.nodes if node.op == "call_function"}
    assert all("add" in target or "cat" in target for target in functions)
    assert network.module.state_dict().keys() == model.state_dict().keys()
    named = dict(model.named_modules())
    for path, leaf in network.leaves():
        if next(leaf.parameters(recurse=False), None) is not None:
            assert type(named[path]) is type(leaf)
    assert all(node.meta["shape"] is not None for node in network.graph.nodes)


def test_the_source_and_the_network_are_independent() -> None:
    model = calibrated("resnet").train()
    before = copy.deepcopy(model.state_dict())
    network = capture(model, (3, 32, 32), source="here")
    assert model.training
    assert not network.module.training
    assert network.source == "here"
    step(network, torch.randn(4, 3, 32, 32))
    assert identical(dict(model.state_dict()), dict(before))


def chain(count: int) -> Program:
    """A program of convolutions and activations in a row, as a trace would be."""
    ops, state, last = [], {}, "x"
    for place in range(count):
        arguments, target = {"self": ValueRef(last)}, "aten.relu_.default"
        if place % 2 == 0:
            state[f"p_{place}"] = f"layers.{place}.weight"
            arguments, target = {"input": ValueRef(last), "weight": ValueRef(f"p_{place}")}, "aten.conv2d.default"
        last = f"v{place}"
        ops.append(Op(target, arguments, last))
    return Program(
        inputs=("x",),
        outputs=(last,),
        ops=tuple(ops),
        state=state,
        tensors={path: torch.ones(2, 2, 1, 1) for path in state.values()},
        parameters=frozenset(state.values()),
        sizes=dict.fromkeys(("x", *(op.result for op in ops)), (BATCH, 2, 4, 4)),
    )


def test_the_work_grows_linearly() -> None:
    """Counted in function calls, Python's and C's, which no busy machine changes."""

    def calls(count: int) -> int:
        program, seen = chain(count), 0

        def tick(frame: FrameType, event: str, argument: object) -> None:
            nonlocal seen
            seen += event.endswith("call")

        sys.setprofile(tick)
        try:
            network = raise_program(program)
        finally:
            sys.setprofile(None)
        assert len(list(network.calls())) == count
        return seen

    calls(20)
    assert calls(2000) < 1.25 * 8 * calls(250)


# --- single constructs -------------------------------------------------------------------------------------------

IMAGE = (4, 8, 8)

MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "PReLU": (lambda: nn.PReLU(4), IMAGE),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.2), IMAGE),
    "SiLU": (nn.SiLU, IMAGE),
    "Hardswish": (nn.Hardswish, IMAGE),
    "Hardsigmoid": (nn.Hardsigmoid, IMAGE),
    "GELU": (lambda: nn.GELU("tanh"), IMAGE),
    "ELU": (lambda: nn.ELU(0.7), IMAGE),
    "SELU": (nn.SELU, IMAGE),
    "CELU": (lambda: nn.CELU(0.5), IMAGE),
    "Mish": (nn.Mish, IMAGE),
    "Softplus": (lambda: nn.Softplus(2, 10), IMAGE),
    "Sigmoid": (nn.Sigmoid, IMAGE),
    "Tanh": (nn.Tanh, IMAGE),
    "Hardtanh": (lambda: nn.Hardtanh(-2, 1), IMAGE),
    "Softmax": (lambda: nn.Softmax(1), IMAGE),
    "LogSoftmax": (lambda: nn.LogSoftmax(-1), IMAGE),
    "ZeroPad2d": (lambda: nn.ZeroPad2d((1, 2, 0, 1)), IMAGE),
    "ConstantPad2d": (lambda: nn.ConstantPad2d(1, 0.5), IMAGE),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d(2), IMAGE),
    "ReplicationPad2d": (lambda: nn.ReplicationPad2d(2), IMAGE),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "AvgPool2d": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((3, 2)), IMAGE),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), IMAGE),
    "ChannelShuffle": (lambda: nn.ChannelShuffle(2), IMAGE),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), IMAGE),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (3, 1), padding="same", dilation=2, groups=2), IMAGE),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, 2), (4, 9)),
    "Conv3d": (lambda: nn.Conv3d(2, 3, 3, padding=1), (2, 4, 5, 5)),
    "MaxPool1d": (lambda: nn.MaxPool1d(2), (4, 9)),
    "AvgPool1d": (lambda: nn.AvgPool1d(2), (4, 9)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), (4, 9)),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(2, affine=False), (2, 4, 5, 5)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "LayerNorm": (lambda: nn.LayerNorm([8, 8]), IMAGE),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    "Dropout": (lambda: nn.Dropout(0.3), IMAGE),
    "Dropout2d": (lambda: nn.Dropout2d(0.3), IMAGE),
    "Flatten": (nn.Flatten, IMAGE),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_stays_that_module(name: str) -> None:
    build, shape = MODULES[name]
    model = nn.Sequential(build()).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    network = capture(model, shape)
    assert leaves(network) == {"0": name}
    if "Pool" not in name:  # those spell 3 as (3, 3)
        assert str(network.leaf("0")) == str(model[0])
    x = torch.randn(3, *shape)
    assert torch.equal(network(x), model(x))
    trained = [copy.deepcopy(model).train(), network.train()]
    results = []
    for module in trained:
        torch.manual_seed(1)
        results.append(module(x))
    assert torch.equal(*results)


FUNCTIONS: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str]] = {
    "relu": (lambda m, x: F.relu(x, inplace=True), "ReLU"),
    "relu6": (lambda m, x: F.relu6(x), "ReLU6"),
    "max_pool2d": (lambda m, x: F.max_pool2d(x, 2), "MaxPool2d"),
    "dropout": (lambda m, x: F.dropout(x, 0.4, m.training), "Dropout"),
    "pad": (lambda m, x: F.pad(x, (1, 0, 2, 0)), "ZeroPad2d"),
    "view of size": (lambda m, x: x.view(x.size(0), -1), "Flatten"),
    "view of -1": (lambda m, x: x.view(-1, 256), "Flatten"),
    "reshape": (lambda m, x: x.reshape(x.shape[0], 4 * 8 * 8), "Flatten"),
    "flatten": (lambda m, x: torch.flatten(x, 1), "Flatten"),
    "kept mean": (lambda m, x: x.mean((2, 3), keepdim=True), "AdaptiveAvgPool2d"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_becomes_a_module(name: str) -> None:
    forward, kind = FUNCTIONS[name]
    model = function(forward)
    network = capture(model, IMAGE)
    assert list(leaves(network).values()) == [kind]
    x = torch.randn(3, *IMAGE)
    assert torch.equal(network(x), model(x.clone()))


def test_a_mean_over_space_is_pooling_and_flattening() -> None:
    network = capture(function(lambda m, x: x.mean([-1, 2])), IMAGE)
    assert list(leaves(network).values()) == ["AdaptiveAvgPool2d", "Flatten"]


def test_what_does_nothing_vanishes() -> None:
    model = function(lambda m, x: m.no(x).contiguous().clone().float() + 1, no=nn.Identity())
    network = capture(model, IMAGE)
    assert [node.op for node in network.graph.nodes] == ["placeholder", "call_function", "output"]


OPAQUE: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "slice": lambda m, x: x[:, 1:3, ::2],
    "transpose": lambda m, x: x.transpose(2, 3).permute(0, 2, 1, 3),
    "chunk": lambda m, x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "interpolate": lambda m, x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "pad channels": lambda m, x: F.pad(x, (0, 0, 0, 0, 2, 2)),
    "shuffle": lambda m, x: x.view(x.size(0), 2, 2, 8, 8).transpose(1, 2).reshape(x.size(0), 4, 8, 8),
    "fold groups into the batch": lambda m, x: x.view(x.size(0) * 2, 2, 8, 8).mean(1).view(x.size(0), 2, 8, 8),
    "scale": lambda m, x: x * x.mean((2, 3), keepdim=True).sigmoid() / 3 - 1,
    "clamp": lambda m, x: x.clamp(min=0),
    "matmul": lambda m, x: x @ x.transpose(2, 3),
    "constant": lambda m, x: x * torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_is_no_module_stays_a_function(name: str) -> None:
    model = function(OPAQUE[name])
    network = capture(model, IMAGE)
    assert any(node.op == "call_function" for node in network.graph.nodes)
    for batch in (1, 3):
        x = torch.randn(batch, *IMAGE)
        assert torch.equal(network(x), model(x))
    x = torch.randn(2, *IMAGE)
    assert network.shape(network.output_nodes[0]) == tuple(model(x).shape[1:])


def test_reshaping_within_a_sample_needs_no_batch_size() -> None:
    network = capture(function(OPAQUE["shuffle"]), IMAGE)
    assert not any("sym_size" in str(node.target) for node in network.graph.nodes)


# --- sharing, ties, state ----------------------------------------------------------------------------------------


def test_a_shared_module_is_one_leaf() -> None:
    model = function(lambda m, x: m.act(m.conv(m.act(m.conv(x)))), conv=nn.Conv2d(4, 4, 1), act=nn.ReLU())
    network = capture(model, IMAGE)
    assert leaves(network) == {"conv": "Conv2d", "act": "ReLU"}
    assert [len(network.calls_of(path)) for path in ("conv", "act")] == [2, 2]


def test_tied_weights_stay_tied() -> None:
    a, b = nn.Linear(8, 8), nn.Linear(8, 8)
    b.weight = a.weight
    model = function(lambda m, x: m.b(m.a(x)), a=a, b=b)
    network = capture(model, (8,))
    assert leaves(network) == {"a": "Linear", "b": "Linear"}
    assert network.leaf("a").weight is network.leaf("b").weight
    assert network.leaf("a").bias is not network.leaf("b").bias
    assert network.fork().leaf("a").weight is not network.leaf("a").weight
    x = torch.randn(2, 8)
    assert identical(step(network, x)[1], step(model, x)[1])


def test_frozen_parameters_stay_frozen() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    network = capture(model, (4,))
    assert [p.requires_grad for p in network.module.parameters()] == [False, False, True, True]


@pytest.mark.parametrize("momentum", [None, 0.0, 0.3])
def test_momentum_survives(momentum: float | None) -> None:
    network = capture(nn.Sequential(nn.BatchNorm2d(4, momentum=momentum)), IMAGE)
    assert network.leaf("0").momentum == momentum


def test_statistics_of_the_batch_stay_those_of_the_batch() -> None:
    model = nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False)).eval()
    x = torch.randn(3, *IMAGE)
    assert torch.equal(capture(model, IMAGE)(x), model(x))


def test_dropout_that_is_always_on_stays_on() -> None:
    model = function(lambda m, x: F.dropout(x, 0.5, True))
    network = capture(model, IMAGE)
    x = torch.randn(3, *IMAGE)
    results = []
    for run in (network, model, network.train()):
        torch.manual_seed(5)
        results.append(run(x))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert (results[0] == 0).any()


def test_raw_parameters_and_buffers_are_kept() -> None:
    model = function(lambda m, x: x * m.scale + m.shift, scale=nn.Parameter(torch.randn(4, 1, 1)))
    model.register_buffer("shift", torch.randn(4, 1, 1))
    network = capture(model, IMAGE)
    assert network.module.state_dict().keys() == {"scale", "shift"}
    assert [name for name, _ in network.module.named_parameters()] == ["scale"]
    x = torch.randn(2, *IMAGE)
    assert torch.equal(network(x), model(x))


def test_names_that_modules_use_themselves_are_changed() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.graph = nn.Conv2d(4, 4, 1)
            self.parts = nn.ModuleDict({"lambda": nn.Conv2d(4, 4, 1), "a b": nn.ReLU(), "code": nn.ReLU()})

        def forward(self, x: Tensor) -> Tensor:
            x = self.parts["a b"](self.graph(x))
            return self.parts["code"](self.parts["lambda"](x))

    model = Odd().eval()
    network = capture(model, IMAGE)
    assert set(leaves(network)) == {"graph_", "parts.a_b", "parts.lambda_", "parts.code_"}
    x = torch.randn(2, *IMAGE)
    assert torch.equal(network(x), model(x))


# --- in place ----------------------------------------------------------------------------------------------------


def test_later_readers_see_what_was_changed_in_place() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = m.conv(x)
        z = y * 2
        y.relu_()
        return y + z

    model = function(forward, conv=nn.Conv2d(4, 4, 1))
    network = capture(model, IMAGE)
    x = torch.randn(2, *IMAGE)
    assert torch.equal(network(x), model(x))
    assert identical(step(network, x)[1], step(model, x)[1])


def test_a_view_made_after_the_change_is_fine() -> None:
    model = function(lambda m, x: m.conv(x).relu_().flatten(1), conv=nn.Conv2d(4, 4, 1))
    x = torch.randn(2, *IMAGE)
    assert torch.equal(capture(model, IMAGE)(x), model(x))


def _changes_a_viewed_tensor(m: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    rows = y.flatten(1)
    y.relu_()
    return rows


def _assigns_to_a_slice(m: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    y[:, 0] = 0
    return y


def _counts(m: nn.Module, x: Tensor) -> Tensor:
    m.calls += 1
    return x * m.calls


def _counting() -> nn.Module:
    model = function(_counts)
    model.register_buffer("calls", torch.zeros(()))
    return model


# --- refusals ----------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "control flow": (lambda: function(lambda m, x: x if x.sum() > 0 else -x), "decides by the values"),
    "values as sizes": (lambda: function(lambda m, x: x[x > 0]), ""),
    "a view changed in place": (lambda: function(_changes_a_viewed_tensor), "while a view of it is in use"),
    "a slice assigned to": (lambda: function(_assigns_to_a_slice), "in place"),
    "its own state": (_counting, "own state"),
    "a set": (lambda: function(lambda m, x: {x}), "returns a set; a network returns tensors"),
    "keys that are no words": (lambda: function(lambda m, x: {(1, 2): x + 1}), "neither words nor whole numbers"),
    "no tensor": (lambda: function(lambda m, x: {"count": 3}), "returns no tensor"),
    "one of two answers without the batch": (
        lambda: function(lambda m, x: {"y": x + 1, "mean": x.mean()}),
        "'mean' does not hold one row per sample",
    ),
    "a number": (lambda: function(lambda m, x: x.mean()), "one row per sample"),
    "one batch size": (lambda: function(lambda m, x: x.view(2, -1)), "batch"),
    "samples mixed": (lambda: function(lambda m, x: x.flatten(0, 1)), "one row per sample"),
    "random numbers": (lambda: function(lambda m, x: x + torch.rand_like(x)), "rand_like"),
    "failing code": (lambda: nn.Sequential(nn.Linear(3, 3)), "cannot be captured"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_network_is_refused_with_the_reason(name: str) -> None:
    build, reason = REFUSED[name]
    with pytest.raises(CaptureError, match=reason) as caught:
        capture(build(), IMAGE)
    assert "\n" not in str(caught.value)


def test_inputs_that_a_forward_does_not_take_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with pytest.raises(CaptureError, match="one tensor"):
        capture(Two(), IMAGE)
    with pytest.raises(CaptureError, match=r"takes 2 inputs \(x, y\), not 3"):
        capture(Two(), (IMAGE, IMAGE, IMAGE))
    with pytest.raises(CaptureError, match="no input 'z'; its inputs are x, y"):
        capture(Two(), {"x": IMAGE, "z": IMAGE})


def test_make_sensitive_makes_outputs_follow_inputs() -> None:
    model = make_sensitive(NETWORKS["vgg"][0](), NETWORKS["vgg"][1])
    assert model(torch.randn(8, *NETWORKS["vgg"][1])).std(0).mean() > 0.05


# --- parts under a context of their own --------------------------------------------------------------------------


def _frozen(m: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = m.body(x)
        with torch.autocast("cpu", enabled=False):
            y = y * 2
    return m.head(y + x)


REGIONS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "no_grad": _frozen,
    "detach": lambda m, x: m.head(m.body(x).detach()),
    "checkpoint": lambda m, x: m.head(checkpoint(m.body, x, use_reentrant=False)),
}


@pytest.mark.parametrize("name", REGIONS)
def test_what_passes_no_gradient_on_passes_none_on(name: str, tmp_path: Path) -> None:
    parts = {"body": nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)), "head": nn.Conv2d(4, 2, 1)}
    model = function(REGIONS[name], **parts)
    write_pt2(capture(model, IMAGE), tmp_path / "model.pt2")
    x, results = torch.randn(3, *IMAGE), []
    for run in (model, capture(model, IMAGE).module, read_pt2(tmp_path / "model.pt2").module):
        output = run(x)
        output.square().sum().backward()
        results.append((output, {key: p.grad for key, p in run.named_parameters() if p.grad is not None}))
    for output, gradients in results[1:]:
        assert torch.equal(output, results[0][0])
        assert identical(gradients, results[0][1])
    assert ("body.0.weight" in results[0][1]) is (name == "checkpoint")


def test_autocast_is_refused() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return m.conv(x).float()

    with pytest.raises(CaptureError, match="in bfloat16 under autocast"):
        capture(function(forward, conv=nn.Conv2d(4, 4, 1)), IMAGE)


# --- what a trace does not know ----------------------------------------------------------------------------------


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


class Thrifty(torch.autograd.Function):
    """Saves memory, and its gradient is the plain one."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


def test_a_backward_of_its_own_is_refused_unless_it_is_the_plain_one() -> None:
    apply = Straight.apply
    with pytest.raises(CaptureError, match=r"Straight .* has a backward of its own"):
        capture(function(lambda m, x: apply(m.conv(x)), conv=nn.Conv2d(4, 4, 1)), IMAGE)
    assert not capture(function(lambda m, x: Thrifty.apply(m.conv(x)), conv=nn.Conv2d(4, 4, 1)), IMAGE).notes


def test_a_frozen_normalisation_stays_frozen(tmp_path: Path) -> None:
    class Frozen(nn.Sequential):
        def train(self, mode: bool = True) -> Frozen:
            super().train(mode)
            self[1].eval()
            return self

    model = Frozen(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)).eval()
    write_pt2(capture(model, IMAGE).fork(), tmp_path / "model.pt2")
    for network in (capture(model, IMAGE), read_pt2(tmp_path / "model.pt2")):
        before = network.leaf("1").running_mean.clone()
        x = torch.randn(5, *IMAGE)
        assert torch.equal(network.train()(x), copy.deepcopy(model).train()(x))
        assert torch.equal(network.leaf("1").running_mean, before)
        Evidence([(x, torch.zeros(5))]).calibrate(network)
        assert torch.equal(network.leaf("1").running_mean, before)
        assert not torch.equal(network.leaf("2").running_mean, before)


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda m, x: (m.conv(x), x) if m.training else m.conv(x), "returns more"),
        (lambda m, x: m.conv(x) * (2 if m.training else 1), "something else"),
        (lambda m, x: (m.norm(2 * m.conv(x)), m.norm(m.conv(x)))[1], "the statistics of norm otherwise"),
    ],
)
def test_what_training_mode_does_besides_is_said(forward: Callable[..., Tensor], said: str, tmp_path: Path) -> None:
    network = capture(function(forward, conv=nn.Conv2d(4, 4, 1), norm=nn.BatchNorm2d(4)), IMAGE)
    (note,) = network.notes
    assert said in note
    write_pt2(network, tmp_path / "model.pt2")
    assert read_pt2(tmp_path / "model.pt2").notes == network.fork().notes == network.notes


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_single(kind: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3)).to(kind).eval()
    network = capture(model, IMAGE)
    x = torch.randn(3, *IMAGE)
    assert torch.allclose(network(x), model(x.to(kind)).float(), atol=0.1)
    assert {tensor.dtype for tensor in network.module.state_dict().values()} == {torch.float32, torch.int64}
    assert str(kind).removeprefix("torch.") in "".join(network.notes)
    assert not capture(network.module, IMAGE).notes


def test_wrappers_are_taken_off() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1))
    for wrapped in (nn.DataParallel(model), torch.compile(model)):
        assert leaves(capture(wrapped, IMAGE)) == {"0": "Conv2d"}


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: nn.Sequential(torch.jit.script(nn.ReLU())), "scripted"),
        (lambda: nn.Sequential(nn.LazyConv2d(3, 1)), "without sizes"),
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 1, device="meta")), "no values"),
    ],
)
def test_kinds_that_are_captured_otherwise_are_named(build: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(CaptureError, match=reason):
        capture(build(), IMAGE)


def test_only_rows_of_scores_have_classes() -> None:
    with pytest.raises(CaptureError, match=r"\(4, 8, 8\); a classifier answers with a row of scores"):
        classes_of(capture(nn.Sequential(nn.Conv2d(4, 4, 1)), IMAGE))


def test_a_condition_on_the_batch_that_always_holds_is_no_obstacle() -> None:
    """Torch 2.13 writes ``B * min(12, 12 * B) == 12 * B`` for a linear layer on turned rows, and cannot prove it."""

    def rows(module: nn.Module, x: Tensor) -> Tensor:
        tokens = x.flatten(2).permute(2, 0, 1) * 2
        length, count, width = tokens.shape
        turned = tokens.reshape(length * count, width).reshape(length, count, width).transpose(0, 1)
        return module.get_submodule("linear")(turned)

    module = function(rows, linear=nn.Linear(3, 7))
    network = capture(module, (3, 4, 4))
    assert leaves(network)["linear"] == "Linear"
    for batch in (1, 2, 5):
        x = torch.randn(batch, 3, 4, 4)
        assert torch.equal(network(x), module(x))


def test_a_condition_that_does_not_hold_for_every_batch_is_refused() -> None:
    halves = function(lambda module, x: x.reshape(2, -1, 3, 4, 4).sum(0).repeat(2, 1, 1, 1), unused=nn.Linear(3, 7))
    with pytest.raises(CaptureError, match="one batch size only"):
        capture(halves, (3, 4, 4))
