"""Capturing a module as a network: traced by ``torch.export`` in eval mode, then raised to modules again."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.errors import CaptureError
from compressor.graph.computed import fold_weights
from compressor.graph.faithful import check_backwards, differences_in_training, keep_frozen
from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.graph.owned import refuse_kinds, unwrapped
from compressor.graph.raising.exported import from_exported
from compressor.graph.raising.raise_program import raise_program
from compressor.graph.shape_rules.probe import in_eval_mode

EXAMPLE_BATCH = 2
"""Batch size of the example input: a size of one would be taken for a constant."""


def capture(module: nn.Module, input_shape: Shape, source: str = "", *, fold: bool = True) -> Network:
    """The network that ``module`` computes on batches of samples of ``input_shape``; in eval mode, for any batch size.

    The network holds copies of the module's tensors; the module is left as it was. Raises ``CaptureError`` with the
    reason where the module is more than a graph of tensors: control flow on values, several inputs or outputs…
    What it does in training mode alone is in the network's ``notes``. Weights that it computes from others at each call
    (weight_norm, weight standardisation, masks) become plain ones, as a note says, unless ``fold`` is False.
    """
    module = unwrapped(module)
    refuse_kinds(module)
    network = raise_program(from_exported(export(module, input_shape)), source)
    _keep_momenta(module, network)
    keep_frozen(module, network)
    check_backwards(module, network)
    network.notes += differences_in_training(module, network)
    return fold_weights(network) if fold else network


def export(module: nn.Module, input_shape: Shape) -> ExportedProgram:
    """``torch.export`` in eval mode with a free batch size. Raises ``CaptureError`` with the tracer's reason."""
    reference = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    example = torch.zeros((EXAMPLE_BATCH, *input_shape), dtype=reference.dtype, device=reference.device)
    with in_eval_mode(module), _quiet():
        try:
            return torch.export.export(module, (example,), dynamic_shapes=({0: Dim("batch")},), strict=False)
        except Exception as error:  # the user's forward runs in there: anything may come out
            raise CaptureError(f"{type(module).__name__} cannot be captured: {_reason(error, input_shape)}") from error


def _reason(error: Exception, input_shape: Shape) -> str:
    """One line for the many ways in which tracing fails."""
    text = str(error).strip()
    first = text.partition("\n")[0][:300] or type(error).__name__
    kind = type(error).__name__
    if "DataDependent" in kind or "data-dependent" in text or "data dependent" in text:
        return "its forward decides by the values in a tensor, or makes tensors whose size depends on them"
    if "Constraint" in kind or "constraint" in text.lower():
        return "it works for one batch size only; write x.size(0) or -1 instead of a number"
    if "dynamic_shapes" in text or ("missing" in text and "argument" in text):
        return f"its forward does not take one tensor ({first})"
    return f"{kind} on a batch of samples of shape {tuple(input_shape)}: {first}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's own warnings: what matters is raised."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _keep_momenta(module: nn.Module, network: Network) -> None:
    """Tell a momentum of 0 from none at all, which the trace cannot."""
    for path, leaf in network.leaves():
        if isinstance(leaf, _BatchNorm) and leaf.momentum is None:
            try:
                original = module.get_submodule(path)
            except AttributeError:
                continue
            if isinstance(original, _BatchNorm):
                leaf.momentum = copy.copy(original.momentum)
