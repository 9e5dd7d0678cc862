"""A layer with binary weights and activations: BN(q(V) ∗ q(BN(x))), warm-started on calibration activations.

Per output channel the second BN is the regression of the layer's old output y on the sum of signs z = q(V) ∗ q(BN(x)):

    γ = cov(y, z) / σ_z,   β = mean(y),   running statistics = those of z
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor_plugins.binarize.layers import BinaryLayer, binary_layer
from compressor_plugins.common.calibration import activations
from compressor_plugins.common.neighbours import before, behind, is_batch_norm, leaf_at, only_user, source_of


def binarize_with_input(editor: Editor, node: fx.Node, leaf: nn.Linear | nn.Conv2d) -> None:
    """Put the block in the place of ``leaf``, which only ``node`` calls; BatchNorms that are there already serve."""
    network = editor.network
    outputs, inputs = leaf.weight.shape[0], network.shape(source_of(node))[0]
    old = activations(editor.evidence, network, [node])[0] if editor.evidence else None
    following = leaf_at(network, only_user(node))
    last = only_user(node) if is_batch_norm(following) else node
    assert last is not None
    for superfluous in [*_superfluous_before(network, node), *_superfluous_behind(network, last)]:
        editor.remove_span(source_of(superfluous), superfluous, [])

    binary = binary_layer(leaf, binary_input=True, scaled=False, bias=False)
    rank = len(network.shape(node))
    first = None if is_batch_norm(leaf_at(network, before(network, node))) else batch_norm(rank, inputs, leaf)
    second = None if isinstance(following, _BatchNorm) else batch_norm(rank, outputs, leaf)
    if editor.evidence and old is not None:
        now = activations(editor.evidence, network, [source_of(node)])[0]
        sums = _sums(now, first, binary)
        set_statistics(following if second is None else second, sums)
        if second is not None:
            _regress(second, old[: len(sums)], sums)
    chain = [("before", first), ("", binary), ("after", second)]
    editor.replace_by_chain(str(node.target), [(name, module) for name, module in chain if module is not None])


def batch_norm(rank: int, channels: int, like: nn.Linear | nn.Conv2d) -> _BatchNorm:
    """A BatchNorm for samples of this rank (1: rows, 3: images)."""
    norm = nn.BatchNorm1d(channels) if rank == 1 else nn.BatchNorm2d(channels)
    return norm.to(like.weight.device)


def set_statistics(norm: nn.Module | None, values: Tensor) -> None:
    """Make the running statistics those of ``values`` ``(N, C, …)``."""
    if isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None:
        axes = [axis for axis in range(values.dim()) if axis != 1]
        norm.running_mean.copy_(values.mean(axes))
        norm.running_var.copy_(values.var(axes, unbiased=False))


@torch.no_grad()
def _sums(x: Tensor, norm: _BatchNorm | None, binary: BinaryLayer) -> Tensor:
    """q(V) ∗ q(BN(x)); gives ``norm`` the statistics of ``x`` on the way."""
    if norm is None:
        return binary(x)  # type: ignore[no-any-return]
    set_statistics(norm, x)
    return binary(norm.eval()(x))  # type: ignore[no-any-return]


@torch.no_grad()
def _regress(norm: _BatchNorm, y: Tensor, z: Tensor) -> None:
    axes = [axis for axis in range(y.dim()) if axis != 1]
    centred = z - z.mean(axes, keepdim=True)
    covariance = ((y - y.mean(axes, keepdim=True)) * centred).mean(axes)
    norm.weight.copy_(covariance / (z.var(axes, unbiased=False) + norm.eps).sqrt())
    norm.bias.copy_(y.mean(axes))


# --- between two binary layers BN∘ReLU∘BN∘q is a threshold on a sum of signs, and so is BN∘q ---------------------


def _superfluous_before(network: Network, node: fx.Node) -> list[fx.Node]:
    """The ReLU between the BN of a binary layer and ``node``."""
    relu = before(network, node)
    if not (isinstance(leaf_at(network, relu), nn.ReLU) and behind(network, relu) is node):
        return []
    norm = before(network, relu)
    if not (is_batch_norm(leaf_at(network, norm)) and behind(network, norm) is relu):
        return []
    return [relu] if _takes_signs(leaf_at(network, before(network, norm))) else []


def _superfluous_behind(network: Network, node: fx.Node) -> list[fx.Node]:
    """The ReLU and the BN between ``node`` and a binary layer."""
    relu = behind(network, node)
    norm = behind(network, relu) if relu is not None and isinstance(leaf_at(network, relu), nn.ReLU) else None
    binary = behind(network, norm) if norm is not None and is_batch_norm(leaf_at(network, norm)) else None
    if relu is None or norm is None or not _takes_signs(leaf_at(network, binary)):
        return []
    return [relu, norm]


def _takes_signs(leaf: nn.Module | None) -> bool:
    return isinstance(leaf, BinaryLayer) and leaf.binary_input
