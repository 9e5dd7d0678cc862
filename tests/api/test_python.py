"""The Python interface: a live module and live data in, a verified file out, in a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import compressor
from compressor.api.optimize import _as_taken
from compressor.api.prepare import set_up
from compressor.data.load import load_data
from compressor.data.open import from_loaders
from compressor.data.spec import DataSpec
from compressor.errors import InputError
from compressor.graph.signature import TensorSpec
from compressor.present import LIVE, present

FAST = (
    "search.trials=2", "search.budget=0", "search.sampler=random", "training.epochs=1", "training.batch=64",
    "measure.finalists=1", "search.automatic_seeds=true",
)  # fmt: skip


@pytest.fixture(scope="module")
def splits() -> tuple[TensorDataset, TensorDataset, TensorDataset]:
    digits = load_data(DataSpec(name="digits"))
    parts = (digits.train, digits.validation, digits.open_test())
    train, validation, test = (TensorDataset(part.images.float() / 255, part.targets()) for part in parts)
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
    """The share of wrong answers: less is better. The outputs come as their owner nested them, in files too."""

    metric = compressor.Metric("error rate", "lower")

    def loss(self, outputs: dict[str, Any], target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs["scores"], target)

    def scores(self, outputs: dict[str, Any], target: Tensor) -> Tensor:
        return -(outputs["scores"].argmax(1) != target).float()


class Nested(nn.Module):
    """Another module's scores in a dictionary, with what is no tensor beside them."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"aux": None, "scores": self.inner(x), "scale": 2}


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
    assert [one.onnx_path.stat().st_size for one in result.front] == [one.figures.size_bytes for one in result.front]
    assert result.front[0].onnx_path.read_bytes() == result.best.onnx_path.read_bytes()
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
    result = compressor.optimize(
        Nested(model), *splits, task=ErrorRate(), max_drop=0.2, out=tmp_path / "run", overrides=FAST
    )
    quality = result.baseline.quality
    assert (quality.metric, quality.direction) == ("error rate", "lower")
    assert quality.validation < 0.2
    assert all(one.figures.quality.validation - quality.validation <= 0.2 for one in result.front)


def test_no_labels_at_all(model: nn.Module, splits: tuple[TensorDataset, ...], tmp_path: Path) -> None:
    unlabelled = [TensorDataset(split.tensors[0]) for split in splits]
    result = compressor.optimize(
        model, *unlabelled, task="agreement", max_drop=0.9, out=tmp_path / "run", overrides=FAST
    )
    assert result.baseline.quality.metric == "agreement"
    assert result.baseline.quality.validation == pytest.approx(1.0, abs=1e-5)
    assert result.best is not None
    assert 0.1 <= result.best.figures.quality.onnx <= 1.0  # type: ignore[operator]


class Conditioned(nn.Module):
    """A signal, and whole numbers beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table, self.end = nn.Conv1d(2, 4, 3), nn.Embedding(3, 4), nn.Linear(4, 2)

    def forward(self, signal: Tensor, kind: Tensor) -> Tensor:
        answer: Tensor = self.end(torch.relu(self.conv(signal).mean(2) + self.table(kind).mean(1)))
        return answer


class Dictionaries(Dataset[Any]):
    """Samples by name, in another order than the network's."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "label": index % 2,
            "kind": torch.tensor([index % 3, 0]),
            "signal": torch.full((2, 8), float(index % 2)),
        }


class Unconditioned(Conditioned):
    """The same with a second input that may be left out."""

    def forward(self, signal: Tensor, kind: Tensor | None = None) -> Tensor:
        return super().forward(signal, torch.zeros(len(signal), 1, dtype=torch.int64) if kind is None else kind)


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (Conditioned, None),
        (Unconditioned, {"signal": (2, 8), "kind": TensorSpec("kind", (2,), torch.int64)}),
    ],
)
def test_a_live_module_takes_the_inputs_that_its_forward_names(kind: type[nn.Module], inputs: Any) -> None:
    """Their names tell dictionaries apart, and whole numbers reach it as such, also when the run goes on later."""
    with present(data=from_loaders(Dictionaries(), spec=_as_taken(kind(), inputs))):
        prepared = set_up(kind(), "auto", data=LIVE, overrides=["search.allow_untrained=true"], inputs=inputs)
    taken = [(spec.name, spec.shape, spec.dtype) for spec in prepared.network.signature.inputs]
    assert taken == [("signal", (2, 8), torch.float32), ("kind", (2,), torch.int64)]


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
