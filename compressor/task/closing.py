"""How a network closes: files from elsewhere often end in a softmax or a sigmoid; their outputs are probabilities."""

from __future__ import annotations

import math

from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.network import Network

TINY = 1e-38
"""The least probability whose logarithm is taken."""


def only_shape(network: Network, task: str) -> tuple[int, ...]:
    """Of the only tensor that a network returns, alone or nested, for one sample. Raises ``CaptureError``."""
    if len(network.output_nodes) != 1:
        names = ", ".join(spec.name for spec in network.signature.outputs)
        raise CaptureError(
            f"the model returns {len(network.output_nodes)} tensors ({names}); task = {task} is for one: name another "
            "task, or one of your own"
        )
    return network.shape(network.output_nodes[0])


def closes_with(network: Network, kind: type[nn.Module]) -> bool:
    """Whether the only output ``ends_with`` a leaf of ``kind``; of several outputs none is looked at."""
    return len(network.output_nodes) == 1 and ends_with(network, network.output_nodes[0], kind)


def ends_with(network: Network, node: fx.Node, kind: type[nn.Module]) -> bool:
    """Whether an output is what a leaf of ``kind`` gives, seen through flattening.

    A softmax counts where it runs over the classes: dimension 1; where its value is flattened afterwards, alone of more
    than one entry per sample.
    """
    flat = False
    while node.op == "call_module":
        leaf, source = network.leaf(str(node.target)), node.args[0]
        if isinstance(leaf, kind):
            return not isinstance(leaf, nn.Softmax) or _over_classes(network, node, leaf, flat)
        if not isinstance(leaf, (nn.Flatten, nn.Identity)) or not isinstance(source, fx.Node):
            return False
        node, flat = source, flat or isinstance(leaf, nn.Flatten)
    return False


def _over_classes(network: Network, node: fx.Node, leaf: nn.Softmax, flat: bool) -> bool:
    shape = network.shape(node)
    return leaf.dim in (1, -len(shape)) and (not flat or math.prod(shape) == shape[0])


def logits_of(probabilities: Tensor) -> Tensor:
    """Logits whose softmax the probabilities are: their logarithms, which a softmax takes for logits."""
    return probabilities.clamp_min(TINY).log()


def log_odds(probabilities: Tensor) -> Tensor:
    """Logits whose sigmoid the probabilities are."""
    return logits_of(probabilities) - logits_of(1.0 - probabilities)
