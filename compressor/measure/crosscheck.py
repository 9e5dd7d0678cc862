"""A second opinion on an ONNX file: torch's own exporter writes the same network, and the two files must agree."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from compressor.errors import InputError
from compressor.graph.nested import Inputs
from compressor.graph.network import Network
from compressor.measure.parity import LOOSEST, acceptable, file_input, relative_errors, stated_tolerance
from compressor.measure.session import OnnxModel


@dataclass(frozen=True)
class CrossCheck:
    """``unavailable`` when torch's exporter, or the runtime, cannot do this network; ``detail``: why, or how close."""

    status: Literal["agrees", "differs", "unavailable"]
    detail: str


def cross_check(
    network: Network, model: bytes, batches: Iterable[Inputs | Sequence[Any]], tolerance: float = 1e-4
) -> CrossCheck:
    """Export ``network`` by ``torch.onnx.export(dynamo=True)`` and compare all outputs with those of ``model``.

    Takes about a second. Never raises on account of the other exporter. ``batches``: what the network takes, alone or
    paired with targets. The tolerance is relative to the largest value of an output.
    """
    fed = [network.signature.inputs_in(batch) for batch in batches]
    if not fed:
        raise InputError("a cross-check needs at least one image")
    try:
        other = export_by_torch(network)
        runner = OnnxModel(other)
        theirs = _outputs(runner, fed)
    except Exception as error:  # whatever the exporter stumbles over is a finding to report, not a failure of ours
        return CrossCheck("unavailable", f"torch's exporter: {_summary(error)}")
    ours = _outputs(OnnxModel(model), [file_input(network, batch) for batch in fed])
    if len(ours) != len(theirs):
        return CrossCheck("differs", f"{len(ours)} outputs against {len(theirs)}")
    for spec, mine, other_one in zip(network.signature.outputs, ours, theirs, strict=True):
        if mine.shape != other_one.shape:
            shapes = f"shape {mine.shape[1:]} against {other_one.shape[1:]}"
            return CrossCheck("differs", f"outputs of {shapes}" + (f" ({spec.name})" if len(ours) > 1 else ""))
    each = [relative_errors(_rows(one), _rows(other_one)) for one, other_one in zip(theirs, ours, strict=True)]
    errors = np.max(each, axis=0)
    stated = stated_tolerance(network, fed)
    agrees = acceptable(errors, network, fed, max(tolerance, min(stated, LOOSEST)))
    if not agrees and stated > LOOSEST:
        return CrossCheck("unavailable", "the answers of this network jump with the smallest rounding")
    worst = network.signature.outputs[int(np.argmax([one.max() for one in each]))].name
    where = f", in {worst}" if len(each) > 1 else ""
    detail = f"largest relative difference {errors.max():.1e} over {len(errors)} samples{where}"
    return CrossCheck("agrees" if agrees else "differs", detail)


def _outputs(model: OnnxModel, batches: Sequence[Inputs]) -> list[NDArray[Any]]:
    found = [model.run(batch) for batch in batches]
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def _rows(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(len(values), -1)


def export_by_torch(network: Network) -> bytes:
    """The network as torch's exporter writes it, with a dynamic batch. Raises whatever the exporter raises.

    Without its optimiser, which is a third opinion: in torch 2.13 it folds a BatchNorm wrongly into a convolution whose
    weight is itself computed, as binarized layers have them.
    """
    fork = network.fork().eval().to("cpu")
    (end,) = fork.graph.find_nodes(op="output")
    end.args = (fork.output_nodes,)  # flat: the exporter takes no constants between outputs
    fork.module.recompile()
    module = fork.module
    signature = network.signature
    example = signature.tensors(signature.zeros(2))
    batch = torch.export.Dim("batch")
    with _silence():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            dynamic_shapes=tuple({0: batch} for _ in example),
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
