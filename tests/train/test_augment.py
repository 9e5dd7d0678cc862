from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.train.augment import augment
from compressor.train.spec import Augmentation


def changed(images: Tensor, seed: int = 0, **fields: float) -> Tensor:
    return augment(images, Augmentation(**fields), torch.Generator().manual_seed(seed))  # type: ignore[arg-type]


def noise_images(count: int = 8, channels: int = 3, height: int = 9, width: int = 7) -> Tensor:
    return 0.1 + 0.9 * torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(1))


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        Augmentation,
        flip=st.booleans(),
        shift=st.integers(0, 4),
        rotate=st.floats(0, 60),
        noise=st.floats(0, 0.2),
        cutout=st.integers(0, 6),
    ),
    st.sampled_from([(1, 1, 4, 4), (3, 2, 8, 8), (5, 3, 9, 7)]),
    st.integers(0, 100),
)
def test_shape_kept_argument_left_alone_and_repeatable(spec: Augmentation, shape: tuple[int, ...], seed: int) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    before = images.clone()
    one = augment(images, spec, torch.Generator().manual_seed(seed))
    two = augment(images, spec, torch.Generator().manual_seed(seed))
    assert one.shape == images.shape
    assert one.dtype == images.dtype
    assert torch.equal(images, before)
    assert torch.equal(one, two)
    assert bool(one.isfinite().all())


def test_nothing_asked_nothing_changed() -> None:
    images = noise_images()
    assert augment(images, Augmentation(), torch.Generator()) is images


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    images = noise_images(400, 1, 4, 4)
    result = changed(images, flip=True)
    kept = (result == images).flatten(1).all(1)
    mirrored = (result == images.flip(3)).flatten(1).all(1)
    assert bool((kept ^ mirrored).all())
    assert 150 < int(mirrored.sum()) < 250


def test_a_shift_moves_whole_pixels_and_fills_with_zeros() -> None:
    images = noise_images(60, 2, 6, 6)
    result = changed(images, shift=2)
    offsets = set()
    for before, after in zip(images, result, strict=True):
        padded = torch.nn.functional.pad(before, (2, 2, 2, 2))
        fits = [(y, x) for y in range(5) for x in range(5) if torch.equal(padded[:, y : y + 6, x : x + 6], after)]
        assert len(fits) == 1
        offsets.add(fits[0])
    assert len(offsets) > 15


def test_a_rotation_keeps_the_centre_and_the_size_of_things() -> None:
    images = torch.zeros(50, 1, 31, 61)
    images[:, :, 15, 30 - 8 : 30 + 9] = 1.0  # a horizontal bar of 17 pixels through the centre of a wide image
    result = changed(images, rotate=45.0)
    assert torch.allclose(result[:, 0, 15, 30], torch.ones(50), atol=1e-4)
    rows = torch.arange(31.0).view(1, -1, 1) - 15
    columns = torch.arange(61.0).view(1, 1, -1) - 30
    mass = result[:, 0]
    spread = ((rows.square() + columns.square()) * mass).sum((1, 2)) / mass.sum((1, 2))
    assert torch.allclose(spread, torch.full((50,), 24.0), rtol=0.08)
    tilted = (rows.square() * mass).sum((1, 2)) / mass.sum((1, 2))
    assert float(tilted.min()) < 1  # 24·sin²(angle), which reaches 12 at 45°
    assert 8 < float(tilted.max()) < 12.5


def test_noise_has_the_deviation_asked_for() -> None:
    images = torch.zeros(20, 3, 32, 32)
    assert abs(float(changed(images, noise=0.1).std()) - 0.1) < 0.002


def test_a_cutout_blackens_one_square_at_most_of_its_side() -> None:
    images = noise_images(50, 3, 12, 12)
    result = changed(images, cutout=4)
    for before, after in zip(images, result, strict=True):
        black = (after == 0).all(0)
        assert bool(((after == before) | black).all())
        rows, columns = black.any(1).nonzero().flatten(), black.any(0).nonzero().flatten()
        assert 2 <= len(rows) <= 4
        assert 2 <= len(columns) <= 4
        assert int(black.sum()) == len(rows) * len(columns)
