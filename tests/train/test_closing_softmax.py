"""Networks that end in a softmax: losses see the logits in front of it, users what the network returns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_training import digits, network_of
from torch import Tensor, nn

from compressor.evidence import Evidence
from compressor.graph.network import Network
from compressor.task.closing import closes_with
from compressor.train.evaluate import evaluate, predict
from compressor.train.fit import fit
from compressor.train.spec import Distillation, TrainingSpec


def classifier(*closing: nn.Module) -> Network:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)]
    return network_of(nn.Sequential(*layers, *closing), (1, 8, 8))


ENDINGS: dict[str, Callable[[], Network]] = {
    "a softmax": lambda: classifier(nn.Softmax(dim=1)),
    "a softmax along the last dimension": lambda: classifier(nn.Softmax(dim=-1)),
    "a softmax, an identity": lambda: classifier(nn.Softmax(1), nn.Identity()),
    "a softmax of maps of one pixel": lambda: classifier(nn.Unflatten(1, (10, 1, 1)), nn.Softmax(1), nn.Flatten()),
    "the logarithm of a softmax": lambda: classifier(nn.LogSoftmax(1)),
}


def trained(network: Network, **settings: object) -> list[Tensor]:
    fit(network, digits(200), TrainingSpec(epochs=2, lr=0.01, **settings))  # type: ignore[arg-type]
    return [parameter.detach() for parameter in network.module.parameters()]


@pytest.mark.parametrize("ending", ENDINGS)
def test_it_is_trained_and_scored_as_without_the_softmax(ending: str) -> None:
    plain, closed = classifier(), ENDINGS[ending]()
    images = torch.rand(3, 1, 8, 8)
    assert not torch.allclose(closed(images), plain(images))
    evidence = Evidence([(images, torch.tensor([1, 2, 3]))])
    assert evidence.mean_loss(closed) == pytest.approx(evidence.mean_loss(plain), rel=1e-5)
    for one, other in zip(trained(closed), trained(plain), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    scores = [evaluate(network, digits(200), digits(200).validation) for network in (closed, plain)]
    assert scores[0].quality == scores[1].quality
    assert scores[0].loss == pytest.approx(scores[1].loss, rel=1e-4)
    assert torch.allclose(closed(images).exp() if "logarithm" in ending else closed(images), plain(images).softmax(1))


def test_a_teacher_that_ends_in_one_teaches_its_logits() -> None:
    spec = Distillation(logits=1.0, temperature=2.0)
    students, teachers = [classifier(), classifier()], [classifier(), classifier(nn.Softmax(1))]
    for student, teacher in zip(students, teachers, strict=True):
        fit(student, digits(200), TrainingSpec(epochs=1, distillation=spec), teacher=teacher)
    for one, other in zip(*(student.module.parameters() for student in students), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_softmax_inside_is_no_closing_one() -> None:
    """Negative control: attention has one too, and so has what is done with the classes afterwards."""
    for closing in ([nn.Softmax(1), nn.Linear(10, 10)], [nn.Unflatten(1, (2, 5)), nn.Softmax(2), nn.Flatten()]):
        network = classifier(*closing)
        assert not closes_with(network, nn.Softmax)
        images = torch.rand(3, 1, 8, 8)
        assert torch.equal(predict(network, digits(200), images), network(digits(200).normalised(images)))
