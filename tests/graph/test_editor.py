"""The editor changes what it says, refuses before it touches anything, and leaves a network that runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NETWORKS, calibrated
from torch import Tensor, fx, nn
from traced import assert_consistent, chain, images, traced, zoo

from compressor.errors import CompressorError, GraphError, Refusal
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.coupling.kinds import is_producer
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.verify import difference, differs


def picture(network: Network) -> tuple[Any, ...]:
    """Everything an operation could change: the graph with its shapes, the modules, the weights."""
    nodes = [(n.name, n.op, str(n.target), str(n.args), n.meta.get("shape")) for n in network.graph.nodes]
    modules = [(name, id(module), module.training) for name, module in network.module.named_modules()]
    weights = [
        (name, id(value), value.sum().item()) for name, value in network.module.state_dict(keep_vars=True).items()
    ]
    return nodes, modules, weights


def plain() -> Network:
    return chain(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10), shape=(3, 8, 8),
    )  # fmt: skip


class TwoCalls(nn.Module):
    """One convolution called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared, self.act = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.shared(self.stem(x)))
        return self.shared(x).mean((2, 3))


def test_replace() -> None:
    network = plain()
    x = images(network)
    before = network(x)
    editor = Editor(network)
    editor.replace("2", nn.Identity())
    (change,) = editor.commit()
    assert (change.kind, change.path, change.detail) == ("replace", "2", "ReLU → Identity")
    assert isinstance(network.leaf("2"), nn.Identity)
    assert not torch.allclose(network(x), before)
    assert_consistent(network)


def test_a_new_leaf_follows_the_networks_mode() -> None:
    for mode in (True, False):
        network = plain().train(mode)
        editor = Editor(network)
        editor.replace("4", nn.Dropout().train(not mode))
        editor.insert_after(network.node("_5"), nn.Dropout().train(not mode), "drop")
        editor.commit()
        assert {module.training for module in network.module.modules()} == {mode}


def test_replace_changes_every_call_of_a_shared_leaf() -> None:
    network = traced(TwoCalls(), (3, 6, 6))
    editor = Editor(network)
    editor.replace("shared", nn.Conv2d(4, 4, 5, padding=2))
    editor.commit()
    assert len(network.calls_of("shared")) == 2
    assert_consistent(network)


def test_shapes_follow_within_a_transaction() -> None:
    network = plain()
    editor = Editor(network)
    editor.replace("0", nn.Conv2d(3, 6, 3, padding=1))
    editor.replace("1", nn.BatchNorm2d(6))
    editor.replace("3", nn.Conv2d(6, 8, 3, padding=1))
    editor.commit()
    assert_consistent(network)
    assert network(images(network)).shape == (4, 10)


def test_edits_that_do_not_fit_together_fail_at_commit() -> None:
    network = plain()
    editor = Editor(network)
    editor.replace("0", nn.Conv2d(3, 6, 3, padding=1))
    with pytest.raises(GraphError, match="BatchNorm2d"):
        editor.commit()


def test_replace_by_chain() -> None:
    network = plain()
    editor = Editor(network)
    linear = nn.Linear(128, 10, bias=False)
    paths = editor.replace_by_chain("7", [("norm", nn.BatchNorm1d(128)), ("", linear), ("scale", nn.BatchNorm1d(10))])
    editor.commit()
    assert paths == ["7_norm", "7", "7_scale"]
    assert network.leaf("7") is linear
    assert [path for path, _ in network.leaves()][-3:] == paths
    assert_consistent(network)


def test_replace_by_chain_in_every_call() -> None:
    network = traced(TwoCalls(), (3, 6, 6))
    editor = Editor(network)
    paths = editor.replace_by_chain("shared", [("a", nn.Conv2d(4, 2, 1)), ("b", nn.Conv2d(2, 4, 1))])
    editor.commit()
    assert [len(network.calls_of(path)) for path in paths] == [2, 2]
    with pytest.raises(GraphError):
        network.leaf("shared")
    assert_consistent(network)


def test_insert_after() -> None:
    network = plain()
    x = images(network)
    before = network(x)
    editor = Editor(network)
    first = editor.insert_after(network.node("_3"), nn.BatchNorm2d(8).eval(), "norm")
    second = editor.insert_after(network.node("_3"), nn.Identity(), "norm")
    editor.commit()
    assert (first.target, second.target) == ("3_norm", "3_norm_2"), "names are unique"
    assert [str(user) for user in network.node("_3").users] == [second.name]
    assert torch.allclose(network(x), before, rtol=1e-4, atol=1e-4), "a fresh BatchNorm is almost the identity"
    assert_consistent(network)


def test_names_with_dots_make_no_containers() -> None:
    network = plain()
    editor = Editor(network)
    assert editor.insert_after(network.node("_3"), nn.Identity(), "a.b").target == "3_a_b"
    editor.commit()


def test_insert_before_the_output_and_after_the_input() -> None:
    network = plain()
    editor = Editor(network)
    editor.insert_after(network.output_nodes[0], nn.Softmax(1), "probabilities")
    editor.insert_after(network.input_nodes[0], nn.ZeroPad2d(0), "pad")
    editor.commit()
    assert torch.allclose(network(images(network)).sum(1), torch.ones(4))
    assert_consistent(network)


def test_remove_a_residual_branch() -> None:
    network = zoo("resnet")
    add = network.node("add_1")
    source = next(node for node in add.all_input_nodes if node.name == "layer1_0_relu_1")
    parameters = network.parameter_count
    editor = Editor(network)
    editor.remove_span(source, add)
    editor.commit()
    assert network.parameter_count == parameters - 2 * (8 * 8 * 9 + 16)
    assert not any(name.startswith("layer1.1.conv") for name, _ in network.module.named_modules())
    assert_consistent(network)


def test_remove_repairs_space_and_channels() -> None:
    network = zoo("resnet")
    editor = Editor(network)
    editor.remove_span(network.node("layer1_1_relu_1"), network.node("layer2_0_relu_1"))
    (change,) = editor.commit()
    assert change.detail.endswith("joined by AvgPool2d, Conv2d")
    project = network.leaf("layer2.0.relu_project")
    assert isinstance(project, nn.Conv2d)
    assert torch.equal(project.weight[:8, :, 0, 0], torch.eye(8))
    assert not project.weight[8:].any()
    assert_consistent(network)


def test_remove_with_a_repair_of_ones_own() -> None:
    network = zoo("resnet")
    editor = Editor(network)
    repair = [("thin", nn.Conv2d(8, 16, 1, stride=2, groups=8))]
    editor.remove_span(network.node("layer1_1_relu_1"), network.node("layer2_0_relu_1"), repair)
    editor.commit()
    assert isinstance(network.leaf("layer2.0.relu_thin"), nn.Conv2d)
    assert_consistent(network)


def test_a_repair_without_a_name_takes_over_the_path_at_the_end_of_the_span() -> None:
    network = plain()
    editor = Editor(network)
    joined = nn.Conv2d(3, 8, 5, padding=2)
    editor.remove_span(network.input_nodes[0], network.node("_3"), [("", joined)])
    editor.commit()
    assert [path for path, _ in network.leaves()][:2] == ["3", "4"]
    assert network.leaf("3") is joined
    assert_consistent(network)


def test_remove_keeps_a_leaf_that_is_called_elsewhere() -> None:
    network = traced(TwoCalls(), (3, 6, 6))
    editor = Editor(network)
    editor.remove_span(network.node("stem"), network.node("act"))
    editor.commit()
    assert len(network.calls_of("shared")) == 1
    assert_consistent(network)


@pytest.mark.parametrize(
    ("given", "wanted"), [((15, 15), (8, 8)), ((15, 15), (7, 7)), ((8, 12), (4, 3)), ((7, 7), (3, 2)), ((7,), (4,))]
)
def test_pooling_repairs_hit_the_size(given: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    from compressor.graph.repair import pooling
    from compressor.graph.shapes import shape_of

    assert shape_of(pooling(given, wanted), (2, *given)) == (2, *wanted)


def _residual_inside(editor: Editor) -> None:
    network = editor.network
    editor.remove_span(network.node("layer1_0_conv1"), network.node("layer1_0_bn2"), [])


def _leak(editor: Editor) -> None:
    network = editor.network
    editor.remove_span(network.node("maxpool"), network.node("layer1_1_bn2"))


REFUSED = {
    "no such leaf": lambda e: e.replace("nowhere", nn.Identity()),
    "a container is no leaf": lambda e: e.replace("layer1", nn.Identity()),
    "does not take the input": lambda e: e.replace("layer1.0.conv1", nn.Conv2d(9, 8, 3, padding=1)),
    "a sequence": lambda e: e.replace("fc", nn.Sequential(nn.Linear(32, 10))),
    "an empty chain": lambda e: e.replace_by_chain("fc", []),
    "a chain that breaks": lambda e: e.replace_by_chain("fc", [("a", nn.Linear(32, 4)), ("b", nn.Linear(5, 10))]),
    "an insertion that does not fit": lambda e: e.insert_after(e.network.node("conv1"), nn.Linear(5, 5), "x"),
    "an empty span": lambda e: e.remove_span(e.network.node("conv1"), e.network.node("conv1")),
    "a path that is called twice": lambda e: e.remove_span(
        e.network.node("layer1_0_conv1"), e.network.node("layer1_0_relu"), [("", nn.ReLU())]
    ),
    "backwards": lambda e: e.remove_span(e.network.node("bn1"), e.network.node("conv1")),
    "a path around the source": lambda e: e.remove_span(e.network.node("layer1_0_bn1"), e.network.node("add")),
    "used outside": _leak,
    "another rank": lambda e: e.remove_span(e.network.node("avgpool"), e.network.node("flatten")),
    "shapes without repair": lambda e: e.remove_span(e.network.node("avgpool"), e.network.node("fc"), []),
    "a repair that misses": lambda e: e.remove_span(
        e.network.node("layer1_1_relu_1"), e.network.node("layer2_0_relu_1"), [("p", nn.AvgPool2d(2))]
    ),
    "a repair as dear as the span": lambda e: e.remove_span(
        e.network.node("layer1_1_relu_1"),
        e.network.node("layer2_0_relu_1"),
        [("a", nn.Conv2d(8, 64, 3, 2, 1)), ("b", nn.Conv2d(64, 16, 1))],
    ),
    "no evidence": lambda e: e.require_evidence(),
    "channels of the output": lambda e: e.drop_channels("fc", [0]),
    "no such channel": lambda e: e.drop_channels("conv1", [8]),
    "all channels": lambda e: e.keep_channels("conv1", []),
    "no channel": lambda e: e.duplicate_channels("conv1", []),
    "no producer": lambda e: e.drop_channels("bn1", [0]),
}


@pytest.mark.parametrize("operation", REFUSED.values(), ids=REFUSED.keys())
def test_refusals_come_before_the_first_change(operation: Any) -> None:
    network = zoo("resnet")
    before = picture(network)
    editor = Editor(network)
    with pytest.raises((Refusal, GraphError)) as refusal:
        operation(editor)
    assert str(refusal.value).strip()
    assert "\n" not in str(refusal.value)
    assert editor.changes == []
    assert picture(network) == before
    assert editor.commit() == ()


def test_an_equal_projection_is_refused() -> None:
    network = chain(nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 4, 1, bias=False), shape=(3, 4, 4))
    with pytest.raises(Refusal, match="costs as much"):
        Editor(network).remove_span(network.node("_0"), network.node("_1"))


def test_unused_modules_and_tensors_are_swept() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Module()
            self.block.first, self.block.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.block.scale = nn.Parameter(torch.ones(1, 4))
            self.offset = nn.Parameter(torch.ones(1, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.block.second(self.block.first(x) * self.block.scale) + self.offset

    network = traced(Holder(), (4,))
    editor = Editor(network)
    editor.remove_span(network.node("block_first"), network.node("mul"))
    editor.commit()
    assert [name for name, _ in network.module.named_modules()] == ["", "block", "block.first", "block.second"]
    assert {name for name, _ in network.module.named_parameters()} == {
        "offset", "block.first.weight", "block.first.bias", "block.second.weight", "block.second.bias",
    }  # fmt: skip
    assert_consistent(network)


def test_no_layer_works_in_place_after_an_edit() -> None:
    """Behind a removed layer an in-place activation would overwrite the value that another branch takes."""
    network = chain(nn.Conv2d(3, 4, 1), nn.Hardtanh(), nn.ReLU(), nn.Conv2d(4, 4, 1), shape=(3, 5, 5))
    editor = Editor(network)
    editor.remove_span(network.node("_0"), network.node("_1"))
    editor.replace("2", nn.ReLU(inplace=True))
    editor.commit()
    relu = network.leaf("2")
    assert isinstance(relu, nn.ReLU)
    assert not relu.inplace


def test_a_fork_is_untouched() -> None:
    network = zoo("resnet")
    before, x = picture(network), images(network)
    expected = network(x)
    fork = network.fork()
    editor = Editor(fork)
    editor.drop_channels("layer1.0.conv1", [0, 3])
    editor.remove_span(fork.node("layer2_0_relu_1"), fork.node("layer2_1_relu_1"))
    editor.commit()
    assert picture(network) == before
    assert torch.equal(network(x), expected)
    assert network_cost(fork).mac_count < network_cost(network).mac_count


@pytest.mark.parametrize("name", NETWORKS)
def test_captured_networks_are_edited_alike(name: str) -> None:
    """What capture raises is what the operations expect: leaves, plain sums and joins, whole flattenings."""
    network = capture(calibrated(name), NETWORKS[name][1])
    before = network.fork()
    editor = Editor(network)
    for path in [path for path, leaf in network.leaves() if is_producer(leaf)][:-1]:
        editor.duplicate_channels(path, [1])
    editor.insert_after(network.output_nodes[0], nn.Identity(), "tap")
    editor.commit()
    assert_consistent(network)
    assert network.parameter_count > 1.1 * before.parameter_count
    assert difference(before, network, [images(network)]) < 1e-5


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(NETWORKS)), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 10**6)), max_size=6))
def test_any_sequence_of_edits_leaves_a_sound_network(name: str, moves: list[tuple[int, int]]) -> None:
    network = zoo(name)
    reference = network.fork()
    for kind, pick in moves:
        editor = Editor(network)
        before = picture(network)
        try:
            _random_edit(editor, kind, pick)
        except CompressorError:
            assert picture(network) == before
        editor.commit()
    assert_consistent(network)
    assert network(images(network)).shape == (4, 10)
    training = network.fork().train()
    training(images(network)).square().sum().backward()
    assert all(p.grad is not None for p in training.module.parameters())
    assert not differs(reference, zoo(name)), "the original is untouched"


def _random_edit(editor: Editor, kind: int, pick: int) -> None:
    network = editor.network
    calls = list(network.calls())
    node, leaf = calls[pick % len(calls)]
    path = str(node.target)
    channels = [pick % 7, pick % 5]
    match kind:
        case 0:
            editor.replace(path, nn.Identity() if isinstance(leaf, nn.ReLU | nn.Dropout) else leaf)
        case 1:
            editor.insert_after(node, nn.Hardtanh(-9, 9), "bound")
        case 2:
            later = calls[min(pick % len(calls) + 1 + pick % 5, len(calls) - 1)][0]
            editor.remove_span(node, later)
        case 3:
            editor.drop_channels(path, channels)
        case 4:
            editor.duplicate_channels(path, channels)


def test_many_edits_are_compiled_once_and_whoever_holds_the_module_runs_the_edited_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = capture(nn.Sequential(nn.Flatten(), *(nn.Linear(4, 4) for _ in range(6))).eval(), (4,))
    held, compiled = network.module, []
    recompile = fx.GraphModule.recompile
    monkeypatch.setattr(fx.GraphModule, "recompile", lambda module: compiled.append(1) or recompile(module))
    for path in ("1", "3", "5"):
        editor = Editor(network)
        (call,) = network.calls_of(path)
        editor.remove_span(call.all_input_nodes[0], call, [])
        editor.commit()
    assert not compiled
    x = torch.randn(3, 4)
    expected = network.leaf("6")(network.leaf("4")(network.leaf("2")(x)))
    assert torch.equal(held(x), expected)
    assert compiled == [1]
    assert torch.equal(network(x), expected)
    assert torch.equal(network.fork()(x), expected)
    with pytest.raises(GraphError, match="committed"):
        editor.replace("2", nn.Identity())
