"""Weights that are computed anew at each call: trained through as they are, or folded into plain ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from integers import QUANTIZE
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils import spectral_norm as hooked_spectral_norm
from torch.nn.utils import weight_norm as hooked_weight_norm
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from compressor.engine.survey import survey
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.computed import computed_weights, fold_weights
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.pt2 import write_pt2
from compressor.load import load_model
from compressor.measure.parity import numeric_parity
from compressor.plugin import refusals_of, sites_of


class Standardised(nn.Conv2d):
    """A convolution whose filters have mean 0 and variance 1, times a gain."""

    def __init__(self, *sizes: int, padding: int) -> None:
        super().__init__(*sizes, padding=padding)
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, self.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(rows, None, None, weight=self.gain * 0.7, training=True, eps=1e-6)
        return F.conv2d(x, weight.reshape_as(self.weight), self.bias, self.stride, self.padding)


class Signs(nn.Module):
    """Weights of -1 and 1: a network of such weights is no network of plain ones."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (torch.sign(weight) - weight).detach()


def standardised(layer: nn.Conv2d) -> nn.Module:
    return Standardised(layer.in_channels, layer.out_channels, 3, padding=1)


def masked(layer: nn.Conv2d) -> nn.Module:
    prune.l1_unstructured(layer, "weight", 0.4)
    prune.ln_structured(layer, "weight", 0.25, n=2, dim=0)
    prune.random_unstructured(layer, "bias", 0.5)
    return layer


def signs(layer: nn.Conv2d) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Signs())
    return layer


KINDS: dict[str, Callable[[nn.Conv2d], nn.Module]] = {
    "weight_norm": weight_norm,
    "weight_norm as a hook": hooked_weight_norm,
    "spectral_norm": spectral_norm,
    "spectral_norm as a hook": hooked_spectral_norm,
    "orthogonal": orthogonal,
    "prune": masked,
    "standardised": standardised,
}


def model(kind: Callable[[nn.Conv2d], nn.Module]) -> nn.Module:
    """Two convolutions of a kind, in a state as after some training."""
    torch.manual_seed(0)
    module = nn.Sequential(
        *(kind(nn.Conv2d(3, 12, 3, padding=1)), nn.BatchNorm2d(12), nn.ReLU(), kind(nn.Conv2d(12, 16, 3, padding=1))),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)),
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
        for _ in range(3):
            module(torch.randn(16, 3, 8, 8))
    return module.eval()


def kinds(network: Network) -> dict[str, str]:
    return {path: type(leaf).__name__ for path, leaf in network.leaves() if isinstance(leaf, nn.Conv2d | nn.Linear)}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_folded_weights_are_plain_layers_that_compute_the_same(kind: Callable[[nn.Conv2d], nn.Module]) -> None:
    module = model(kind)
    network, folded = (capture(module, (3, 8, 8), fold=fold) for fold in (False, True))
    images = torch.randn(5, 3, 8, 8)
    for either in (network, folded):
        assert torch.equal(either(images), module(images))
        assert numeric_parity(either, to_onnx(either), [images, images[:1]]).ok
    assert kinds(network) == {"7": "Linear"}
    assert kinds(folded) == {"0": "Conv2d", "3": "Conv2d", "7": "Linear"}
    assert {name.rpartition(".")[2] for name, _ in folded.module.named_parameters()} == {"weight", "bias"}
    assert "folded" in folded.notes[-1]
    assert "0, 3" in folded.notes[-1]
    with torch.no_grad():
        folded.leaf("0").weight[0] += 0.5
    assert not torch.equal(folded(images), network(images))


@pytest.mark.filterwarnings("error")
def test_a_weight_that_is_only_turned_needs_no_note_and_is_kept_as_it_lies(tmp_path: Path) -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.mix = nn.Conv2d(3, 12, 3), nn.Parameter(torch.randn(12, 5))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.conv(x).mean((2, 3)), self.mix.t())

    module = Turned().eval()
    network = capture(module, (3, 8, 8))
    write_pt2(network, tmp_path / "model.pt2")
    images = torch.randn(5, 3, 8, 8)
    for either in (network, load_model(str(tmp_path / "model.pt2"))):
        assert torch.equal(either(images), module(images))
        assert kinds(either) == {"conv": "Conv2d", "mix": "Linear"}
        assert not either.notes


def test_what_is_not_folded_trains_as_the_source_and_every_plugin_says_why_it_passes_by() -> None:
    module = model(weight_norm)
    network = capture(module, (3, 8, 8), fold=False)
    images = torch.randn(5, 3, 8, 8)
    for either in (module, network.module):
        either.train()(images).square().sum().backward()
    ours = dict(network.module.named_parameters())
    assert all(torch.equal(p.grad, ours[name].grad) for name, p in module.named_parameters())  # type: ignore[arg-type]

    plugin = QUANTIZE
    said = {refused.path: refused.reason for refused in refusals_of(plugin, network)}
    assert "_weight_norm" in said["0"]
    assert "fold_weights" in said["0"]
    assert {refused.path for refused in survey(("magnitude-prune", {}), network).refused} >= {"0", "3"}
    assert "0" in {site.path for site in sites_of(plugin, fold_weights(network))}
    assert not {"0", "3"} & {refused.path for refused in refusals_of(plugin, network)}


def test_weights_of_a_kind_of_their_own_are_not_folded() -> None:
    network = capture(model(signs), (3, 8, 8))
    assert [(computed.path, computed.folds) for computed in computed_weights(network)] == [("0", False), ("3", False)]
    assert "would not train" in next(computed_weights(network)).reason
    before = network.module.state_dict().keys()
    assert fold_weights(network).module.state_dict().keys() == before
    assert not network.notes


def test_a_layer_that_is_called_twice_stays_one() -> None:
    layer = weight_norm(nn.Conv2d(4, 4, 3, padding=1))
    module = nn.Sequential(nn.Conv2d(3, 4, 1), layer, nn.ReLU(), layer, nn.Flatten(), nn.Linear(256, 3)).eval()
    folded = capture(module, (3, 8, 8))
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(folded(images), module(images))
    assert [len(folded.calls_of(path)) for path in kinds(folded)] == [1, 2, 1]


def test_a_weight_that_depends_on_the_input_or_on_nothing_trained_is_no_computed_weight() -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 4)
            self.register_buffer("kernel", torch.ones(3, 1, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            x = F.conv2d(x, self.kernel / 9, padding=1, groups=3)
            return F.linear(x.mean((2, 3)), self.head.weight * x.mean(), self.head.bias)

    assert not list(computed_weights(capture(Dynamic().eval(), (3, 8, 8), fold=False)))


def test_a_constant_kernel_is_a_layer_that_does_not_train_and_whose_channels_can_go() -> None:
    """Anti-aliasing: every channel is blurred by the same numbers."""

    class Blurred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)
            self.register_buffer("blur", torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0]))[None, None])

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.conv(x))
            x = F.conv2d(x, self.blur.expand(8, 1, 3, 3) / 16, stride=2, padding=1, groups=8)
            return self.head(x.mean((2, 3)))

    module = Blurred().eval()
    network = capture(module, (3, 8, 8))
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(images), module(images))
    assert kinds(network) == {"conv": "Conv2d", "blur": "Conv2d", "head": "Linear"}
    assert [p.requires_grad for p in network.leaf("blur").parameters()] == [False]
    assert not network.notes
    editor = Editor(network)
    editor.drop_channels("conv", [1, 6])
    editor.commit()
    assert tuple(network.leaf("blur").weight.shape) == (6, 1, 3, 3)
    with torch.no_grad():
        module.conv.weight[[1, 6]], module.conv.bias[[1, 6]] = 0.0, 0.0
    assert torch.allclose(network(images), module(images), atol=1e-6)


def test_an_archive_of_computed_weights_is_folded_and_says_so(tmp_path: Path) -> None:
    module = model(spectral_norm)
    write_pt2(capture(module, (3, 8, 8), fold=False), tmp_path / "model.pt2")
    network = load_model(str(tmp_path / "model.pt2"))
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(images), module(images))
    assert kinds(network) == {"0": "Conv2d", "3": "Conv2d", "7": "Linear"}
    assert any("folded" in note for note in network.notes)
