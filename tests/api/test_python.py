"""The Python interface: a live module and live data in, a verified file out, in a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import compressor
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.errors import InputError

FAST = (
    "search.trials=2", "search.budget=0", "search.sampler=random", "training.epochs=1", "training.batch=64",
    "measure.finalists=1", "search.automatic_seeds=true",
)  # fmt: skip


@pytest.fixture(scope="module")
def splits() -> tuple[TensorDataset, TensorDataset, TensorDataset]:
    digits = load_data(DataSpec(name="digits"))
    parts = (digits.train, digits.validation, digits.open_test())
    train, validation, test = (TensorDataset(part.images.float() / 255, part.labels) for part in parts)
    return train, validation, test


@pytest.fixture(scope="module")
def model(splits: tuple[TensorDataset, ...]) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 64),
        nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer, (images, labels) = torch.optim.Adam(net.parameters(), 3e-3), splits[0].tensors
    for rows in [part for _ in range(5) for part in torch.randperm(len(images)).split(64)]:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net.eval()


@dataclass(frozen=True)
class ErrorRate(compressor.Task):
    """The share of wrong answers: less is better."""

    metric = compressor.Metric("error rate", "lower")

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, target)

    def scores(self, outputs: Tensor, target: Tensor) -> Tensor:
        return -(outputs.argmax(1) != target).float()


def test_a_live_module_and_datasets_are_optimized_by_a_recipe_that_is_chosen(
    model: nn.Module, splits: tuple[TensorDataset, ...], tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = compressor.optimize(model, *splits, max_drop=0.2, out=tmp_path / "run", overrides=FAST)
    assert result.verdict.helped
    assert result.best is not None
    session = onnxruntime.InferenceSession(str(result.best.onnx_path))
    images = splits[2].tensors[0][:5]
    (answers,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert torch.allclose(torch.from_numpy(answers), result.best.network(images), atol=1e-4)
    assert "It helped." in str(result)
    assert "<iframe" in result._repr_html_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(InputError, match=r"objects of a Python program.*compressor\.resume\(folder, data=…\)"):
        compressor.resume(tmp_path / "run")
    again = compressor.resume(tmp_path / "run", *splits)
    assert again.found.best == result.found.best


def test_a_task_of_ones_own_whose_metric_is_better_lower(
    model: nn.Module, splits: tuple[TensorDataset, ...], tmp_path: Path
) -> None:
    result = compressor.optimize(model, *splits, task=ErrorRate(), max_drop=0.2, out=tmp_path / "run", overrides=FAST)
    quality = result.baseline.quality
    assert (quality.metric, quality.direction) == ("error rate", "lower")
    assert quality.validation < 0.2
    assert all(candidate.quality.validation - quality.validation <= 0.2 for candidate in result.front)


def test_no_labels_at_all(model: nn.Module, splits: tuple[TensorDataset, ...], tmp_path: Path) -> None:
    unlabelled = [TensorDataset(split.tensors[0]) for split in splits]
    result = compressor.optimize(
        model, *unlabelled, task="agreement", max_drop=0.9, out=tmp_path / "run", overrides=FAST
    )
    assert result.baseline.quality.metric == "agreement"
    assert result.baseline.quality.validation == pytest.approx(1.0, abs=1e-5)
    assert result.best is not None
    assert 0.1 <= result.best.figures.quality.onnx <= 1.0  # type: ignore[operator]


def test_what_does_not_fit_is_one_line(model: nn.Module, splits: tuple[TensorDataset, ...]) -> None:
    with pytest.raises(InputError, match="say which data"):
        compressor.optimize(model)
    with pytest.raises(InputError, match="there is no task 'clasification'; did you mean 'classification'"):
        compressor.optimize(model, *splits, task="clasification")
    with pytest.raises(InputError, match="budget soon: expected a time"):
        compressor.optimize(model, *splits, budget="soon")


def test_a_module_is_inspected_and_its_file_is_timed(model: nn.Module, tmp_path: Path) -> None:
    anatomy = compressor.inspect(model, inputs=(1, 8, 8))
    assert anatomy.params == sum(parameter.numel() for parameter in model.parameters())
    assert anatomy.sites["magnitude-prune"]
    from compressor.export.emit import to_onnx

    (tmp_path / "model.onnx").write_bytes(to_onnx(compressor.capture(model, (1, 8, 8))))
    first, second = compressor.bench(tmp_path / "model.onnx", tmp_path / "model.onnx", batch=64)
    assert first.comparison.candidate_us > 0
    assert second.comparison.low < 1.2
