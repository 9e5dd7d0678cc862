"""The lines of Python that a report offers run as they stand, whatever the network takes and gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.graph.normalisation import Normalisation
from compressor.graph.signature import TensorSpec
from compressor.report.usage import entries_of, usage


class Two(nn.Module):
    """An image and whole numbers in, two values by awkward names out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table = nn.Conv2d(3, 4, 3), nn.Embedding(2, 4)

    def forward(self, image: Tensor, kind: Tensor) -> dict[str, Any]:
        seen = self.conv(image).mean((2, 3)) + self.table(kind).mean(1)
        return {"class": seen, "head": {"0": seen.sum(1)}}


def two() -> Network:
    return capture(Two(), (TensorSpec("image", (3, 8, 8)), TensorSpec("kind", (2,), torch.int64)))


def one() -> Network:
    return capture(nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten()), (2, 9))


@pytest.mark.parametrize("network", [one(), two()], ids=["one", "several"])
@pytest.mark.parametrize("known", [None, Normalisation((0.5,) * 3, (0.2,) * 3, 255.0)], ids=["as it is", "pixels"])
def test_what_is_offered_runs_and_gives_what_the_network_gives(
    network: Network, known: Normalisation | None, tmp_path: Path
) -> None:
    if known is not None and len(network.signature.inputs) == 1:
        known = Normalisation((0.0,) * 2, (1.0,) * 2, 1.0)
    file = tmp_path / "model.onnx"
    file.write_bytes(to_onnx(network))
    names = [spec.name for spec in network.signature.inputs]
    given = network.signature.random(4)
    tensors = network.signature.tensors(given)
    scope: dict[str, Any] = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    exec(usage(str(file), entries_of(file.read_bytes()), known), scope)
    prepared = (
        tensors[0]
        if known is None
        else torch.from_numpy(eval(known.formula(), {"pixels": scope[names[0]], "numpy": np})).float()
    )
    wanted = network.signature.flatten(network.eval()(network.signature.inputs_of((prepared, *tensors[1:]))))
    told = [scope[name] for name in (["_class", "head_0"] if len(wanted) > 1 else ["output"])]
    for ours, theirs in zip(told, wanted, strict=True):
        assert np.allclose(ours, theirs.detach().numpy(), atol=1e-4)
