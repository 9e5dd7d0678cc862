"""A network is fed as it was trained: said by somebody, or found out, or not begun with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from compressor.data.dataset import Data, Split
from compressor.data.held import HeldSplit
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.data.statistics import scaling
from compressor.engine.normalisation import choose_normalisation
from compressor.errors import DataError
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.graph.normalisation import Normalisation
from compressor.models import find
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec

DIGITS = DataSpec(name="digits")


def trained(data: Data) -> Network:
    torch.manual_seed(0)
    entry = find("digits-cnn")
    network = capture(entry.build(), entry.input_shape, source="digits-cnn")
    fit(network, data, TrainingSpec(epochs=4, lr=3e-3), seed=0)
    return network


@pytest.fixture(scope="module")
def raw() -> Network:
    """Trained on pixels 0…255."""
    return trained(load_data(DataSpec(name="digits", normalise="raw")))


def test_the_scaling_it_was_trained_with_is_found_by_trying(raw: Network) -> None:
    chosen = choose_normalisation(raw, load_data(DIGITS), DIGITS)
    assert chosen.data.std == pytest.approx((1 / 255,))
    assert chosen.normalisation.trivial
    assert "raw" in chosen.normalisation.origin
    (note,) = chosen.notes
    assert "evidently trained with pixels as they are" in note


def test_a_network_that_sees_nothing_is_refused_unless_the_recipe_says(raw: Network) -> None:
    blind = raw.fork()
    with torch.no_grad():
        torch.nn.init.zeros_(next(p for p in blind.module.parameters()))
    with pytest.raises(DataError, match=r"by chance .*--allow-untrained"):
        choose_normalisation(blind, load_data(DIGITS), DIGITS)
    spec = replace(DIGITS, normalise="symmetric")
    chosen = choose_normalisation(blind, load_data(spec), spec)
    assert chosen.data.mean == (0.5,)
    assert chosen.normalisation.origin == "data.normalise = symmetric"


def test_scalings_it_answers_alike_are_named() -> None:
    """Divided by its own size, an image is the same on every scale that only multiplies it."""

    class Blind(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x / (x * x).mean((1, 2, 3), keepdim=True).sqrt())  # type: ignore[no-any-return]

    torch.manual_seed(0)
    network = capture(Blind(find("digits-cnn").build()), (1, 8, 8), source="blind")
    fit(network, load_data(DataSpec(name="digits", normalise="none")), TrainingSpec(epochs=4, lr=3e-3), seed=0)
    with pytest.raises(DataError, match=r"data\.normalise=(none or data\.normalise=raw|raw or data\.normalise=none)"):
        choose_normalisation(network, load_data(DIGITS), DIGITS)


def test_what_is_kept_with_the_model_is_believed(raw: Network) -> None:
    known = raw.fork().know(Normalisation((0.25,), (0.5,), 255.0, "kept with the model, trained on digits"))
    chosen = choose_normalisation(known, load_data(DIGITS), DIGITS)
    assert (chosen.data.mean, chosen.data.std) == ((0.25,), (0.5,))
    assert chosen.normalisation.origin == "kept with the model, trained on digits"
    spec = replace(DIGITS, normalise="none")
    (note,) = choose_normalisation(known, load_data(spec), spec).notes
    assert "data.normalise = none is followed" in note


def floats(data: Data, change: Callable[[torch.Tensor], torch.Tensor]) -> Data:
    def changed(split: Split) -> Split:
        return HeldSplit(change(split.images.float()), split.targets())

    return replace(
        data, train=changed(data.train), validation=changed(data.validation), mean=(0.0,), std=(1.0,), settled=False
    )


def test_floats_are_fed_as_they_are_and_a_doubt_is_spoken(raw: Network) -> None:
    own = floats(load_data(DIGITS), lambda pixels: pixels)
    chosen = choose_normalisation(raw, own, DataSpec(function="mine:load"))
    assert chosen.notes == ()
    assert torch.equal(chosen.data.normalised(own.train.images[:2]), own.train.images[:2])
    faint = floats(own, lambda pixels: pixels / 25_500)
    chosen = choose_normalisation(trained(load_data(DIGITS)), faint, DataSpec(function="mine:load"))
    assert (chosen.data.mean, chosen.data.std) == ((0.0,), (1.0,))
    (note,) = chosen.notes
    assert "taken as they are" in note
    assert "with data.normalise = dataset it would be" in note


@pytest.mark.parametrize("kind", ["x", "x_train"])
def test_arrays_of_floats_are_left_alone_by_a_recipe_that_says_nothing(kind: str, tmp_path: Any) -> None:
    import numpy as np

    images, labels = np.random.default_rng(0).random((60, 1, 4, 4), dtype=np.float32), np.arange(60) % 3
    arrays = {"x": images, "y": labels} if kind == "x" else {
        "x_train": images, "y_train": labels, "x_test": images, "y_test": labels
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", **arrays)
    data = load_data(DataSpec(npz=str(tmp_path / "a.npz")))
    assert (data.mean, data.std, data.settled) == ((0.0,), (1.0,), False)


def test_channels_in_another_order_are_noticed() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    images = torch.randint(0, 60, (300, 3, 6, 6), generator=generator, dtype=torch.uint8)
    images[torch.arange(300), labels] += 150
    split = HeldSplit(images, labels)
    data = Data(
        "colours", "made up", split, split, ("r", "g", "b"), (0.0,) * 3, (1.0,) * 3, lambda: split, settled=False
    )
    reader = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3))
    with torch.no_grad():
        reader[2].weight.copy_(torch.eye(3).flip(0))
        reader[2].bias.zero_()
    network = capture(reader, (3, 6, 6), source="a reader of blue, green, red")
    spec = DataSpec(function="mine:load")
    with pytest.raises(DataError, match=r"classes are in another order|cannot be told|blue, green, red"):
        choose_normalisation(network, data, spec)


@pytest.mark.parametrize(
    ("normalisation", "shown"),
    [
        (Normalisation((0.0,), (1.0,), 1.0), "pixels as they are"),
        (Normalisation((0.0,), (1 / 255,)), "pixels as they are"),
        (Normalisation((0.0,), (1.0,)), "pixel / 255"),
        (Normalisation((0.5, 0.5), (0.25, 0.25)), "(pixel / 255 − 0.5) / 0.25"),
        (Normalisation((0.1, 0.2), (0.25, 0.25), 1.0), "(pixel − [0.1, 0.2]) / 0.25"),
    ],
)
def test_it_is_told_in_a_formula(normalisation: Normalisation, shown: str) -> None:
    assert normalisation.describe() == shown


def test_imagenet_is_for_colour() -> None:
    with pytest.raises(DataError, match="three channels"):
        scaling("imagenet", HeldSplit(torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)))
