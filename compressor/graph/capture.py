"""Capturing a module as a network: traced by ``torch.export`` in eval mode, then raised to modules again."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.graph.computed import fold_weights
from compressor.graph.faithful import Owner, check_backwards, differences_in_training, keep_frozen
from compressor.graph.given import InputsGiven, given_inputs
from compressor.graph.network import Network
from compressor.graph.owned import refuse_kinds, unwrapped
from compressor.graph.raising.exported import from_exported
from compressor.graph.raising.raise_program import raise_program
from compressor.graph.tracing import OWNER, call_of, trace


def capture(module: nn.Module, inputs: InputsGiven, source: str = "", *, fold: bool = True) -> Network:
    """The network that ``module`` computes, in eval mode, for any batch size.

    ``inputs``: the shape of one sample (without the batch), ``(3, 32, 32)``; or several, in the order of ``forward``'s
    arguments or by their names; each as sizes, a ``TensorSpec``, or an example tensor (see ``given_inputs``).

    The network holds copies of the module's tensors, on the CPU; the module is left as it was. Raises ``CaptureError``
    with the reason where it is more than a graph of tensors: control flow on values, answers that are no tensors…
    What it does in training mode alone is in the network's ``notes``. Weights that it computes from others at each call
    (weight_norm, weight standardisation, masks) become plain ones, as a note says, unless ``fold`` is False.
    """
    module = unwrapped(module)
    refuse_kinds(module)
    given = given_inputs(inputs)
    traced = trace(module, given)
    network = raise_program(from_exported(traced.exported, traced.nesting, traced.names, OWNER), source)
    _keep_momenta(module, network)
    keep_frozen(module, network)
    owner = Owner(module, call_of(module, given), given)
    check_backwards(owner, network)
    network.notes += differences_in_training(owner, network)
    return (fold_weights(network) if fold else network).to("cpu")


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
