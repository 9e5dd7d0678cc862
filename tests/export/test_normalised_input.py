"""How pixels become the input: arithmetic, and what files keep of it."""

from __future__ import annotations

from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.graph.normalisation import Normalisation, from_json, from_metadata
from compressor.graph.onnx_reader import read_onnx
from compressor.graph.pt2 import read_pt2, write_pt2
from compressor.measure.parity import numeric_parity

KNOWN = Normalisation((0.1, 0.45, 0.7), (0.2, 0.25, 0.3), 255.0, "a test")
figures = st.floats(0.01, 2.0)


def network(*, padding: int = 0, mode: str = "zeros", folded: bool = True) -> Network:
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3, padding=padding, padding_mode=mode)
    module = nn.Sequential(first, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))
    module(torch.rand(2, 3, 6, 6))
    known = Normalisation(KNOWN.mean, KNOWN.std, KNOWN.scale, KNOWN.origin, folded)
    return capture(module.eval(), (3, 6, 6)).know(known)


def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 6, 6), generator=torch.Generator().manual_seed(1)).float()


def normalised(values: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor(KNOWN.mean).view(3, 1, 1), torch.tensor(KNOWN.std).view(3, 1, 1)
    return (values / 255 - mean) / std


def outputs(model: bytes, images: torch.Tensor) -> numpy.ndarray:
    session = onnxruntime.InferenceSession(model)
    return session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(("padding", "mode", "nodes"), [(0, "zeros", 0), (1, "zeros", 2), (1, "replicate", 2)], ids=str)
def test_a_folded_file_takes_pixels_and_gives_the_same(padding: int, mode: str, nodes: int) -> None:
    folded, plain = network(padding=padding, mode=mode), network(padding=padding, mode=mode, folded=False)
    model, usual = to_onnx(folded), to_onnx(plain)
    expected = outputs(usual, normalised(pixels()))
    assert numpy.allclose(outputs(model, pixels()), expected, atol=1e-4 * abs(expected).max())
    assert not numpy.allclose(outputs(model, normalised(pixels())), expected, atol=0.01)
    count = [len(onnx.load_from_string(each).graph.node) for each in (model, usual)]
    assert count[0] - count[1] == nodes
    assert numeric_parity(folded, model, [normalised(pixels())]).ok


def test_metadata_say_what_the_file_takes() -> None:
    found = {e.key: e.value for e in onnx.load_from_string(to_onnx(network(folded=False))).metadata_props}
    assert found == {"mean": "0.1,0.45,0.7", "std": "0.2,0.25,0.3", "scale": "255", "layout": "NCHW"}
    folded = onnx.load_from_string(to_onnx(network())).metadata_props
    left = from_metadata({e.key: e.value for e in folded}, 3)
    assert left is not None
    assert left.trivial
    assert not onnx.load_from_string(to_onnx(network().know(None))).metadata_props


def test_it_is_kept_in_both_kinds_of_files(tmp_path: Path) -> None:
    write_pt2(network(), tmp_path / "a.pt2")
    assert read_pt2(tmp_path / "a.pt2").signature.normalisation == network().signature.normalisation
    (tmp_path / "a.onnx").write_bytes(to_onnx(network(folded=False)))
    found = read_onnx(tmp_path / "a.onnx").signature.normalisation
    assert found is not None
    assert found.same_as(KNOWN)


@given(st.lists(st.tuples(figures, figures), min_size=1, max_size=4), st.sampled_from([1.0, 255.0]), st.booleans())
def test_it_survives_a_round_trip_and_can_be_undone(
    values: list[tuple[float, float]], scale: float, folded: bool
) -> None:
    known = Normalisation(tuple(m for m, _ in values), tuple(s for _, s in values), scale, "here", folded)
    assert from_json(known.to_json(), len(values)) == known
    images = torch.rand(2, len(values), 3, 3)
    factor, summand = (value.view(-1, 1, 1) for value in known.affine)
    assert torch.allclose(
        factor * known.file_input(images).double() + summand if folded else known.file_input(images).double(),
        images.double(),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"mean": [0], "std": [0], "scale": 255, "origin": "", "folded": false}', '{"mean": "x"}',
     '{"mean": [NaN], "std": [1], "scale": 255, "origin": "", "folded": false}'],
)  # fmt: skip
def test_nonsense_in_a_file_is_no_normalisation(text: str) -> None:
    assert from_json(text, 1) is None


@pytest.mark.parametrize(
    "known",
    [KNOWN, Normalisation((0.0,) * 3, (1.0,) * 3), Normalisation((0.0,) * 3, (1 / 255,) * 3),
     Normalisation((0.5,) * 3, (0.5,) * 3, 1.0), Normalisation((0.1, 0.2, 0.3), (1.0,) * 3, 1.0)],
)  # fmt: skip
def test_the_formula_is_numpy_and_right(known: Normalisation) -> None:
    values = pixels().numpy()
    found = eval(known.formula(), {"pixels": values, "numpy": numpy})
    factor, summand = (value.view(-1, 1, 1).numpy() for value in known.affine)
    assert numpy.allclose(found, factor * values + summand, atol=1e-5)
