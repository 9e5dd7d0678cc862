"""What is trained for the page of ``mnist_lottery.py``: the document's networks, the lottery on A2, its controls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
from compressor_plugins.magnitude_prune.masked_layer import MaskedLayer, masked_layer
from torch import Tensor, nn

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.models import build, find
from compressor.plugin import sites_of
from compressor.registry import make
from compressor.train.spec import TrainingSpec
from papers.arms import Budget, Figure, Figures
from papers.measured import measured
from papers.resumed import fit
from papers.weights import trained

DENSE: Mapping[str, str] = {"a1": "99.24", "a2": "99.47", "a3": "> 99"}
"""The document's networks and accuracies, percent."""
PRUNABLE, LEFT = 5_220, 2_309
"""Weights of A2's convolutions, and what the document's two rounds leave of them."""
ROUNDS = 2
SCHEDULES: Mapping[str, tuple[float, str]] = {
    "paper": (0.2, "f = p^(1/i), p = 0.2"),
    "constant": (0.2, "f = 0.2"),
    "total": (1 - LEFT / PRUNABLE, "f = 1 − (1 − P)^(1/2), P = 0.558"),
}
"""The schedule's fraction, and the share of the survivors that round i prunes."""
OTHER_SCHEDULES = ("lottery: constant", "lottery: total")
CONTROLS = ("random masks", "new weights")
OWN = Budget("full", 40)
"""The document's: all training images, and epochs at most."""


def document_arms(seed: int, budget: Budget) -> dict[str, Callable[[], Figures]]:
    """The arms of one seed by name. The lottery's first training is that of the dense A2."""
    return {
        "dense: a2": functools.partial(_dense_figures, "a2", seed, budget),
        **{f"lottery: {name}": functools.partial(_lottery_figures, name, seed, budget) for name in SCHEDULES},
        "lottery: emptied": functools.partial(_emptied, seed, budget),
        **{f"control: {name}": functools.partial(_control, name, seed, budget) for name in CONTROLS},
        **{f"dense: {name}": functools.partial(_dense_figures, name, seed, budget) for name in ("a3", "a1")},
    }


def training(budget: Budget) -> TrainingSpec:
    """The document's: but it watches test images, and this validation images."""
    return TrainingSpec(epochs=budget.epochs, batch=125, lr=1e-2, schedule="plateau", patience=10)


def _dense_figures(name: str, seed: int, budget: Budget) -> Figures:
    network, epochs = _dense(name, seed, budget)
    values = find(name).params
    return {**measured(network, _data(budget.train), _reference()), "values": values, "epochs": epochs}


def _dense(name: str, seed: int, budget: Budget) -> tuple[Network, int]:
    """A trained network, and the epochs it took."""
    network = _new(name, seed)
    kept = trained(network, _data(budget.train), training(budget), seed=seed, page="mnist_lottery", name=name)
    return network, kept.epochs


def _new(name: str, seed: int) -> Network:
    torch.manual_seed(seed)
    return capture(build(name), (1, 28, 28), name)


@functools.cache
def _data(train: int) -> Data:
    return load_data(DataSpec(name="mnist", limit=train))


@functools.cache
def _reference() -> bytes:
    """The dense A2: its weights do not matter to its speed."""
    return to_onnx(_new("a2", 0))


def _lottery_figures(schedule: str, seed: int, budget: Budget) -> Figures:
    network, course = _lottery(schedule, seed, budget)
    return {**_sparse_figures(network, budget), **course}


def _lottery(schedule: str, seed: int, budget: Budget) -> tuple[Network, dict[str, Figure]]:
    """The ticket, trained; and after every round the weights left and the validation accuracy.

    Schedules that leave as many weights in a round share its training.
    """
    dense, _ = _dense("a2", seed, budget)
    network, first = dense.fork(), _first_weights(seed)
    data, course, name = _data(budget.train), dict[str, Figure](), "ticket"
    for number in range(1, ROUNDS + 1):
        options = {"structure": "weights", "schedule": schedule, "rounds": ROUNDS}
        apply_edit(network, Edit("magnitude-prune", "all", {"fraction": SCHEDULES[schedule][0]}, options), None)
        network.module.load_state_dict(first, strict=False)  # the masks have no first value, and stay
        course[f"weights {number}"] = _survivors(network)
        name = f"{name} {_survivors(network)}"
        kept = trained(network, data, training(budget), seed=seed, page="mnist_lottery", name=name)
        course[f"validation {number}"] = kept.validation
    return network, course


def _sparse_figures(network: Network, budget: Budget) -> dict[str, Figure]:
    return {
        **measured(network, _data(budget.train), _reference()),
        "weights": _survivors(network),
        "trainable": network_cost(network).parameter_count,
    }


def _emptied(seed: int, budget: Budget) -> Figures:
    """The ticket of the document's schedule without its filters that have no weights; not trained again."""
    network = _lottery("paper", seed, budget)[0].fork()
    options = {"structure": "empty-filters", "block": 0}
    before = _channels(network)
    for site in sites_of(make("magnitude-prune", options), network):
        apply_edit(network, Edit("magnitude-prune", site.path, {}, options), None)
    return {**_sparse_figures(network, budget), "filters": before - _channels(network)}


def _control(name: str, seed: int, budget: Budget) -> Figures:
    """The ticket's architecture: with other masks, from the same first weights; or its masks, from other weights."""
    ticket, _ = _lottery("paper", seed, budget)
    network = _new("a2", seed if name == "random masks" else seed + 1_000)
    generator = torch.Generator().manual_seed(seed)
    for path, mask in _masks(ticket).items():
        leaf = network.leaf(path)
        assert isinstance(leaf, nn.Conv2d)
        chosen = _shuffled(mask, generator) if name == "random masks" else mask
        network.module.set_submodule(path, masked_layer(leaf, chosen))
    fit(network, _data(budget.train), training(budget), seed=seed)
    return _sparse_figures(network, budget)


def _shuffled(mask: Tensor, generator: torch.Generator) -> Tensor:
    """As many, elsewhere."""
    return mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view_as(mask)


def _first_weights(seed: int) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in _new("a2", seed).module.state_dict().items()}


def _masks(network: Network) -> dict[str, Tensor]:
    return {path: leaf.mask for path, leaf in network.leaves() if isinstance(leaf, MaskedLayer)}


def _survivors(network: Network) -> int:
    return sum(int(mask.sum()) for mask in _masks(network).values())


def _channels(network: Network) -> int:
    return sum(len(mask) for mask in _masks(network).values())
