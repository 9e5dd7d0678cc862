"""A second opinion on an ONNX file: torch's own exporter writes the same network, and the two files must agree."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.graph.network import Network
from compressor.measure.parity import acceptable, file_input, relative_errors, stated_tolerance
from compressor.measure.session import OnnxModel


@dataclass(frozen=True)
class CrossCheck:
    """``unavailable`` when torch's exporter, or the runtime, cannot do this network; ``detail``: why, or how close."""

    status: Literal["agrees", "differs", "unavailable"]
    detail: str


def cross_check(
    network: Network, model: bytes, batches: Iterable[Tensor | Sequence[Tensor]], tolerance: float = 1e-4
) -> CrossCheck:
    """Export ``network`` by ``torch.onnx.export(dynamo=True)`` and compare outputs with those of ``model``.

    Takes about a second. Never raises on account of the other exporter. ``batches``: image tensors, or pairs with
    labels. The tolerance is relative to the largest output.
    """
    images = [batch if isinstance(batch, Tensor) else batch[0] for batch in batches]
    if not images:
        raise InputError("a cross-check needs at least one image")
    try:
        other = export_by_torch(network)
        runner = OnnxModel(other)
        theirs = np.concatenate([runner.run(batch) for batch in images])
    except Exception as error:  # whatever the exporter stumbles over is a finding to report, not a failure of ours
        return CrossCheck("unavailable", f"torch's exporter: {_summary(error)}")
    mine = OnnxModel(model)
    ours = np.concatenate([mine.run(file_input(network, batch)) for batch in images])
    if ours.shape != theirs.shape:
        return CrossCheck("differs", f"outputs of shape {ours.shape[1:]} against {theirs.shape[1:]}")
    errors = relative_errors(theirs.reshape(len(theirs), -1), ours.reshape(len(ours), -1))
    tolerance = max(tolerance, stated_tolerance(network, images))
    agrees = acceptable(errors, network, images, tolerance)
    detail = f"largest relative difference {errors.max():.1e} over {len(errors)} images"
    return CrossCheck("agrees" if agrees else "differs", detail)


def export_by_torch(network: Network) -> bytes:
    """The network as torch's exporter writes it, with a dynamic batch. Raises whatever the exporter raises.

    Without its optimiser, which is a third opinion: in torch 2.13 it folds a BatchNorm wrongly into a convolution whose
    weight is itself computed, as binarized layers have them.
    """
    module = network.fork().eval().to("cpu").module
    example = torch.zeros(2, *network.spec.shape)
    with _silence():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            optimize=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("it returned nothing")
    data: bytes = program.model_proto.SerializeToString()
    return data


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter prints progress, warns and logs; none of it is for our users."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _summary(error: BaseException) -> str:
    """The first line of the error at the root: the exporter wraps it in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
