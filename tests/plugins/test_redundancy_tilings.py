"""What the ten tilings do to an image, pixel by pixel."""

from __future__ import annotations

import pytest
import torch
from compressor_plugins.redundancy.tilings import NAMES, Tiling, kept, tile

IMAGE = torch.arange(2 * 3 * 5 * 6, dtype=torch.uint8).view(2, 3, 5, 6)


def replaced(name: str, phase: int = 0) -> torch.Tensor:
    """Which pixels of a 4×4 image of ones change; white leaves ones alone, so black is used."""
    black = Tiling.of(f"{name}0")  # type: ignore[arg-type]
    return tile(torch.ones(1, 1, 4, 4), black, phase)[0, 0] == 0


def test_the_document_names_ten() -> None:
    assert len(NAMES) == 10
    assert {(t.dropped, t.fill) for t in map(Tiling.of, NAMES) if t.dropped} == {
        (share, fill) for share in (0.25, 0.5, 0.75) for fill in ("mean", "black", "white")
    }


@pytest.mark.parametrize("phase", range(4))
@pytest.mark.parametrize(("name", "share"), [("MH", 0.25), ("CHB", 0.5), ("GRI", 0.75)])
def test_every_cell_loses_its_share_and_keeps_the_phase(name: str, share: float, phase: int) -> None:
    gone = replaced(name, phase)
    assert gone.float().mean() == share
    assert torch.equal(gone[:2, :2], gone[2:, 2:])
    assert not gone[phase // 2, phase % 2]


def test_the_two_pixels_of_the_chequerboard_lie_on_a_diagonal() -> None:
    assert kept(Tiling.of("CHB"), 0).tolist() == [[True, False], [False, True]]
    assert kept(Tiling.of("CHB"), 1).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("phase", range(4))
def test_what_one_drops_the_next_drops_too(phase: int) -> None:
    assert (replaced("MH", phase) <= replaced("CHB", phase)).all()
    assert (replaced("CHB", phase) <= replaced("GRI", phase)).all()


def test_the_whole_image_is_left_alone() -> None:
    assert tile(IMAGE, Tiling.of("DN")) is IMAGE


@pytest.mark.parametrize(("name", "fill"), [("GRI0", 0), ("GRI1", 255)])
def test_black_and_white_are_those_of_the_raw_image(name: str, fill: int) -> None:
    tiled = tile(IMAGE, Tiling.of(name))  # type: ignore[arg-type]
    assert tiled.dtype == torch.uint8
    assert (tiled[:, :, 1::2] == fill).all()
    assert (tiled[:, :, ::2, 1::2] == fill).all()
    assert torch.equal(tiled[:, :, ::2, ::2], IMAGE[:, :, ::2, ::2])
    assert float(tile(torch.full((1, 1, 2, 2), 0.5), Tiling.of(name)).max()) == max(0.5, fill / 255)  # type: ignore[arg-type]


def test_the_mean_is_that_of_each_image_and_channel() -> None:
    images = torch.rand(2, 3, 4, 4)
    tiled = tile(images, Tiling.of("MH"))
    assert torch.allclose(tiled[:, :, 0, 1], images.mean(dim=(2, 3)))
    assert torch.equal(tiled[:, :, 1], images[:, :, 1])


def test_sides_need_not_be_even() -> None:
    assert tile(IMAGE, Tiling.of("CHB0")).shape == IMAGE.shape
