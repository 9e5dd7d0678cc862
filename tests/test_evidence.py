"""What a plugin may ask about the data: statistics of normalisations count every image alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch
from counting import counts
from torch import Tensor, nn

from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.editor import Editor
from compressor.graph.leaf import Cost, Leaf, OnnxBuilder, OnnxValue, Passes, Shape
from compressor.testing.networks import random_evidence


def norm_of(sizes: list[int], rows: bool) -> tuple[nn.Module, Tensor]:
    """A calibrated normalisation of a network that hands its input on, and all the images."""
    layer = nn.BatchNorm1d(3) if rows else nn.BatchNorm2d(3)
    network = capture(nn.Sequential(layer).eval(), (3,) if rows else (3, 2, 2))
    images = torch.randn(sum(sizes), 3, *(() if rows else (2, 2))) * 2 + 1
    batches = [(part, torch.zeros(len(part), dtype=torch.long)) for part in torch.split(images, sizes)]
    Evidence(batches).calibrate(network)
    return network.leaf("0"), images


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("sizes", [[32, 32, 1], [1, 32, 8], [1, 1, 30], [40]])
def test_every_image_counts_alike(sizes: list[int], rows: bool) -> None:
    norm, images = norm_of(sizes, rows)
    expected = images.mean([0, *range(2, images.dim())])
    assert torch.allclose(norm.running_mean, expected, atol=1e-5)
    assert norm.momentum == 0.1
    assert not norm.training


def test_one_image_alone_leaves_the_statistics_as_they_were() -> None:
    norm, _ = norm_of([1], rows=True)
    assert torch.equal(norm.running_mean, torch.zeros(3))


def test_a_few_large_images_do_where_training_follows() -> None:
    network = capture(nn.Sequential(nn.BatchNorm2d(1)).eval(), (1, 256, 512))
    images = torch.arange(12.0).reshape(-1, 1, 1, 1).expand(-1, 1, 256, 512)
    data = Evidence([(part, torch.zeros(len(part), dtype=torch.long)) for part in torch.split(images, [5, 7])])
    for first, count in ((True, 8), (False, 12)):
        data.calibrate(network, for_training=first)
        assert network.leaf("0").running_mean.item() == pytest.approx(images[:count].mean().item())


class Following(Leaf):
    """Counts the samples that leaves may ask slopes for, by pass."""

    seen: ClassVar[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        return x

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def cost(self, *inputs: Shape) -> Cost:
        return Cost()

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        return inputs[0]

    @classmethod
    def calibrate(cls, leaves: Sequence[Leaf], passes: Passes) -> None:
        cls.seen = [len(answer) for answer in passes.followed() if answer.requires_grad]


@pytest.mark.parametrize(("side", "passes"), [(4, [5, 7]), (512, [1] * 8)])
def test_leaves_follow_a_few_large_images_one_by_one_to_the_answers(side: int, passes: list[int]) -> None:
    network = capture(nn.Sequential(nn.Conv2d(1, 1, 1)).eval(), (1, side, side))
    editor = Editor(network)
    editor.insert_after(network.calls_of("0")[0], Following(), "following")
    editor.commit()
    images = torch.zeros(12, 1, side, side)
    data = Evidence([(part, torch.zeros(len(part), dtype=torch.long)) for part in torch.split(images, [5, 7])])
    with torch.no_grad():  # whatever its caller does
        data.calibrate_leaves(network)
    assert Following.seen == passes


def test_a_value_takes_no_more_of_the_network_than_what_leads_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network = capture(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), *(nn.Linear(4, 4) for _ in range(9))).eval(), (3,))
    data, node = random_evidence(network, batches=2, size=5), network.calls_of("1")[0]
    seen = counts(monkeypatch)
    found = data.activations(network, [node])[node.name]
    assert seen["runs"] == 2 * 3  # the input, the layer and its activation, for each batch
    images = torch.cat([inputs for inputs, _ in data.batches])
    assert torch.equal(found, torch.relu(network.leaf("0")(images)))


@pytest.mark.parametrize(
    ("shape", "values", "least", "count"),
    [
        ((3, 224, 224), 1 << 20, 2, 6),
        ((3, 224, 224), 1 << 19, 4, 4),
        ((1, 8, 8), 1 << 19, 4, 24),
        ((1, 8, 8), 640, 4, 10),
    ],
)
def test_samples_are_fewer_the_larger_they_are(shape: tuple[int, ...], values: int, least: int, count: int) -> None:
    batch = torch.zeros(()).expand(12, *shape), torch.arange(12)
    some = Evidence([batch, batch]).within(values, least=least)
    assert some.count == count
    assert torch.cat([target for _, target in some.batches]).tolist() == [*range(12), *range(12)][:count]
    assert Evidence([]).within(values, least=least).count == 0
