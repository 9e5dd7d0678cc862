"""Channels-last and bfloat16 training: the same function, contiguous weights afterwards, every plugin's leaf."""

from __future__ import annotations

import functools
import logging

import pytest
import torch
from small_training import CountingScale, digits, mlp, network_of, same, weights
from torch import Tensor, nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.knobs import Value
from compressor.models import build
from compressor.train import precision as precisions
from compressor.train.fit import fit
from compressor.train.layout import channels_last, laid
from compressor.train.precision import usable
from compressor.train.spec import Distillation, TrainingSpec

SPEC = TrainingSpec(epochs=2, batch=50, lr=3e-3)


@functools.cache
def _trained() -> Network:
    torch.manual_seed(0)
    network = capture(build("digits-cnn"), (1, 8, 8))
    fit(network, digits(400), TrainingSpec(epochs=1, batch=50, lr=3e-3))
    return network


def small() -> Network:
    return _trained().fork()


@pytest.fixture
def any_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 is used even where it is emulated."""
    monkeypatch.setattr(precisions, "has_bfloat16", lambda device: True)


class Contiguous(CountingScale):
    """A module of the user's that cannot read images laid out otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1).view(x.shape)


class Float32Only(CountingScale):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError("float32, please")
        return x


def with_module(module: nn.Module) -> Network:
    layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), module, nn.Flatten(), nn.Linear(8 * 16, 10)]
    return network_of(nn.Sequential(*layers), (1, 8, 8))


# --- layout ------------------------------------------------------------------------------------------------------


def test_convolutions_lie_channels_last_in_training_and_as_before_afterwards() -> None:
    network = small()
    before = {name: value.stride() for name, value in network.module.state_dict().items()}
    with channels_last(network, "float32") as pays:
        assert pays
        assert network.leaf("conv1").weight.stride() == (9, 1, 3, 1)
        assert network.leaf("conv2").weight.stride() == (16 * 9, 1, 3 * 16, 16)
        assert network.leaf("bn2")(network.leaf("conv2")(torch.zeros(2, 16, 4, 4))).stride() == (512, 1, 128, 32)
    assert {name: value.stride() for name, value in network.module.state_dict().items()} == before


def test_the_layout_does_not_change_the_function() -> None:
    network = small()
    images = digits().normalised(digits().validation.images[:16])
    before = network(images)
    with channels_last(network, "float32"):
        assert torch.allclose(network(images), before, atol=1e-5)
    assert torch.equal(network(images), before)


def test_the_trial_step_leaves_no_trace() -> None:
    network = small().train()
    before, state = weights(network), torch.get_rng_state()
    with channels_last(network, "float32"):
        pass
    assert same(before, weights(network))
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in network.module.parameters())


def test_a_network_that_asks_for_contiguous_images_gets_them(caplog: pytest.LogCaptureFixture) -> None:
    network = with_module(Contiguous())
    with caplog.at_level(logging.INFO), channels_last(network, "float32") as pays:
        assert not pays
    assert "trained with contiguous images: view size is not compatible" in caplog.text
    history = fit(network, digits(100), SPEC)
    assert history.epochs[1].train_loss < history.epochs[0].train_loss


def test_a_network_without_convolutions_is_left_alone() -> None:
    with channels_last(mlp(), "float32") as pays:
        assert not pays


class Merging(nn.Module):
    """Views that a reader may write for contiguous images: across channels and space, sizes from the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y = y.view(y.size(0) * 2, 2, 64).mean(1)
        return self.fc(y.view(-1, 2, 64)[:, :, ::4].reshape(x.size(0), -1))


def test_a_captured_view_does_not_ask_for_a_layout() -> None:
    network = capture(Merging(), (1, 8, 8))
    with channels_last(network, "float32") as pays:
        assert pays
        network(torch.zeros(3, 1, 8, 8))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_laid_out_with_their_values_kept(channels: int) -> None:
    images = torch.randn(2, channels, 5, 4)
    assert torch.equal(laid(images), images)
    assert laid(images).stride() == (20 * channels, 1, 4 * channels, channels)


def test_a_convolution_of_a_plugin_reads_images_channels_last() -> None:
    network = small()
    evidence = Evidence(digits(200).calibration_batches(100))
    apply_edit(network, Edit("magnitude-prune", "all", {}, {"structure": "weights"}), evidence)
    seen: set[tuple[int, ...]] = set()
    network.leaf("conv2").register_forward_hook(lambda module, args, value: seen.add(value.stride()))
    fit(network, digits(100), TrainingSpec(epochs=1, batch=50))
    assert (32 * 64, 1, 32 * 8, 32) in seen


# --- precision ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("any_hardware")
def test_products_are_in_bfloat16_and_weights_loss_and_evaluation_in_float32() -> None:
    network = small()
    seen: set[tuple[bool, torch.dtype]] = set()
    network.leaf("fc1").register_forward_hook(lambda module, args, value: seen.add((module.training, value.dtype)))
    history = fit(network, digits(400), TrainingSpec(epochs=2, batch=50, lr=3e-3, precision="bfloat16"))
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    assert {value.dtype for value in network.module.parameters()} == {torch.float32}
    assert history.precision == "bfloat16"
    assert history.epochs[1].train_loss < history.epochs[0].train_loss


@pytest.mark.usefixtures("any_hardware")
@pytest.mark.parametrize("wanted", [Distillation(logits=1.0), Distillation(logits=0.5, features=1.0)])
def test_a_teacher_answers_in_the_precision_of_its_student(wanted: Distillation) -> None:
    network = small()
    spec = TrainingSpec(epochs=2, batch=50, lr=1e-3, precision="bfloat16", distillation=wanted)
    history = fit(network, digits(200), spec, teacher=_trained())
    assert history.epochs[1].train_loss < history.epochs[0].train_loss


def test_where_bfloat16_would_be_emulated_training_is_in_float32(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precisions, "has_bfloat16", lambda device: False)
    plain, asked = small(), small()
    fit(plain, digits(100), SPEC)
    history = fit(asked, digits(100), TrainingSpec(epochs=2, batch=50, lr=3e-3, precision="bfloat16"))
    assert history.precision == "float32"
    assert same(weights(plain), weights(asked))
    assert "cpu would only emulate bfloat16" in caplog.text


@pytest.mark.usefixtures("any_hardware")
def test_a_network_that_fails_in_bfloat16_is_trained_in_float32(caplog: pytest.LogCaptureFixture) -> None:
    network = with_module(Float32Only())
    history = fit(network, digits(100), TrainingSpec(epochs=2, batch=50, precision="bfloat16"))
    assert history.precision == "float32"
    assert "in bfloat16 the network fails: float32, please" in caplog.text


# --- the leaves of the plugins -----------------------------------------------------------------------------------

REWRITES: tuple[tuple[str, str, dict[str, object], dict[str, Value]], ...] = (
    ("binarize", "fc1", {}, {}),
    ("binarize", "conv2", {}, {}),
    ("conv3d", "conv2", {"min_bytes": 0}, {}),
    ("conv3d", "conv2", {"min_bytes": 0, "mode": "same"}, {}),
    ("input-mask", "conv1", {}, {}),
    ("magnitude-prune", "all", {"structure": "weights"}, {}),
    ("meta-head", "conv2", {}, {}),
    ("meta-head", "fc1", {"activation": "prelu", "allow_slower": True}, {}),
    ("quantize-weights", "fc1", {}, {}),
    ("quantize-weights", "conv2", {}, {}),
)


@pytest.mark.usefixtures("any_hardware")
@pytest.mark.parametrize(("plugin", "path", "options", "choice"), REWRITES)
def test_every_leaf_of_a_plugin_trains_channels_last_and_in_bfloat16(
    plugin: str, path: str, options: dict[str, object], choice: dict[str, Value]
) -> None:
    network = small()
    apply_edit(network, Edit(plugin, path, choice, options), Evidence(digits(200).calibration_batches(100)))
    assert any(isinstance(leaf, Leaf) for _, leaf in network.leaves())
    assert usable("bfloat16", network) == "bfloat16"
    with channels_last(network, "bfloat16") as pays:
        assert pays
    history = fit(network, digits(400), TrainingSpec(epochs=3, batch=50, lr=2e-3, precision="bfloat16"))
    assert history.precision == "bfloat16"
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss
