"""Whether a network's weights are numbers that something can be computed with."""

from __future__ import annotations

from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from compressor.errors import ModelFileError
from compressor.graph.network import Network


def check_numbers(network: Network, model: str) -> Network:
    """The network. Raises ``ModelFileError`` where a trained tensor or a running statistic holds NaN or infinity, or a
    variance is negative: all that is measured of such a network would be of no use.
    """
    for path, tensor in network.module.named_parameters():
        _check_finite(tensor, path, model)
    for path, leaf in network.leaves():
        if not isinstance(leaf, _NormBase) or leaf.running_mean is None or leaf.running_var is None:
            continue
        _check_finite(leaf.running_mean, f"{path}.running_mean", model)
        _check_finite(leaf.running_var, f"{path}.running_var", model)
        if bool((leaf.running_var < 0).any()):
            raise ModelFileError(f"{model}: {path}.running_var holds variances below zero; the file is damaged")
    return network


def _check_finite(tensor: Tensor, path: str, model: str) -> None:
    wrong = int((~tensor.detach().isfinite()).sum())
    if wrong:
        raise ModelFileError(
            f"{model}: {wrong:,} of the {tensor.numel():,} values of {path} are NaN or infinite, as after a training "
            "that diverged; take a checkpoint from before that"
        )
