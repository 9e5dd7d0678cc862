"""The contract of a leaf: all the toolkit must know of a kind of module, said in one class.

The leaves of a network are ``nn.Module`` s. For torch's own layers the toolkit knows four things: the shape rule, the
cost, the ONNX form, and how channels are lost. A plugin that brings a layer of its own derives it from ``Leaf`` and
says the same four there, so that shapes, pruning, accounting and export need no other place.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, fx, nn

from compressor.graph.nested import Nested

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Shape = tuple[int, ...]
"""Sizes of one sample: the batch dimension is never part of it. An image is ``(C, H, W)``, a feature row ``(K,)``."""


@dataclass(frozen=True)
class Cost:
    """What a leaf costs for one sample.

    ``parameters``: trainable values by the bits each takes when stored; ``macs``: multiply-accumulates by the bits of
    the narrower operand. ``Cost() + Cost()`` adds up.
    """

    parameters: Mapping[int, int] = field(default_factory=dict)
    macs: Mapping[int, int] = field(default_factory=dict)

    def __add__(self, other: Cost) -> Cost:
        return Cost(_add(self.parameters, other.parameters), _add(self.macs, other.macs))

    @property
    def parameter_count(self) -> int:
        return sum(self.parameters.values())

    @property
    def mac_count(self) -> int:
        return sum(self.macs.values())

    @property
    def weight_bytes(self) -> float:
        """Σ count · bits / 8: an accounting figure, shown beside the bytes of the file, never instead of them."""
        return sum(bits * count for bits, count in self.parameters.items()) / 8


def _add(left: Mapping[int, int], right: Mapping[int, int]) -> dict[int, int]:
    return {bits: left.get(bits, 0) + right.get(bits, 0) for bits in sorted({*left, *right}, reverse=True)}


class OnnxValue(Protocol):
    """A tensor in the ONNX graph being built."""

    name: str | None


class OnnxBuilder(Protocol):
    """What a leaf may use to write itself into an ONNX graph. ONNX names and semantics throughout."""

    opset: int

    def constant(self, value: Tensor | NDArray[Any] | np.generic, hint: str = "c") -> OnnxValue:
        """An initializer holding ``value``; its dtype is kept."""

    def op(
        self, op_type: str, inputs: Sequence[OnnxValue | None], /, *, domain: str = "", **attributes: Any
    ) -> OnnxValue:
        """A node with one output. Attributes are Python scalars, strings, or sequences of them."""

    def ops(
        self, op_type: str, inputs: Sequence[OnnxValue | None], outputs: int, /, *, domain: str = "", **attributes: Any
    ) -> Sequence[OnnxValue]:
        """A node with several outputs."""


class Passes(Protocol):
    """The calibration samples on their way through a network, in eval mode, each time anew."""

    def __call__(self) -> None:
        """All of them, without gradients."""

    def followed(self) -> Iterator[Nested]:
        """Some of them, a few at a time, with gradients: what the network answers to each few."""


class Leaf(nn.Module):
    """A module of a plugin's own, complete with what the toolkit must know of it.

    Invariant: ``forward`` accepts any batch size, and ``output_shape``, ``cost`` and ``emit`` describe exactly what
    ``forward`` computes in eval mode.

    A leaf that treats each channel alone, so that output i is lost together with input i, says so by writing
    ``keep_inputs = keep_outputs`` in its class.
    """

    channel_dim: int = 1
    """Dimension of a batch in which inputs and outputs count their channels; −1: the last, as in ``nn.Linear``."""

    @property
    def takes_signs(self) -> bool:
        """Whether it reads the signs of its inputs, so that the smallest error at zero is as large as any."""
        return False

    jitter: float = 0.0
    """Of a leaf that rounds values: by how much, in steps, it moves them before. Set by the parity check alone."""

    @property
    def held_bits(self) -> int:
        """To how many bits it holds the value it hands on, with one step for all of it; 0 where it does not."""
        return 0

    @property
    def held_step(self) -> float:
        """How large that step is."""
        return 0.0

    def as_filed(self, step: float) -> Leaf:
        """What its file computes where it takes values held to steps of this size: itself, but for what ONNX Runtime
        rounds besides, as a bias that is added to whole numbers."""
        return self

    @property
    def rounds_values(self) -> bool:
        """Whether it rounds values to steps, so that an error of rounding may move its output by a whole step."""
        return False

    @abstractmethod
    def output_shape(self, *inputs: Shape) -> Shape:
        """Shape of one output sample from the shapes of the input samples."""

    @abstractmethod
    def cost(self, *inputs: Shape) -> Cost:
        """Parameters by bit width and multiply-accumulates by precision, for one sample."""

    @abstractmethod
    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        """Write the eval-mode function into an ONNX graph. Raises ``ExportError`` where there is no such form."""

    def keep_outputs(self, channels: Tensor) -> None:
        """Keep only these output channels (indices, ascending or repeated). Default: refuse."""
        raise NotImplementedError(f"{type(self).__name__} cannot lose output channels")

    def keep_inputs(self, channels: Tensor) -> None:
        """Keep only these input channels (indices, ascending). Default: refuse."""
        raise NotImplementedError(f"{type(self).__name__} cannot lose input channels")

    @classmethod
    def calibrate(cls, leaves: Sequence[Leaf], passes: Passes) -> None:
        """Learn from data what takes no training: ranges, corrections. Default: nothing.

        Called where BatchNorm is re-estimated, once for all leaves of a network whose classes share this method, which
        are ``leaves``; ``passes()`` passes the calibration batches through the network.
        """

    def after_step(self) -> None:
        """Called after every optimizer step: clip latent weights, hold masks. Default: nothing.

        What it has to remember are parameters and buffers: a training that is cut off goes on with nothing else.
        """

    def deploy(self) -> nn.Module | None:
        """An equal module that is cheaper to run, made of known leaves; export uses it. Default: none."""
        return None

    def deploy_with(self, call: fx.Node, modules: Mapping[fx.Node, nn.Module]) -> Mapping[fx.Node, nn.Module]:
        """What may stand at this call and at others, so that together they are equal and cheaper to run.

        ``modules`` holds what stands at every call now. Default: nothing changes.
        """
        return {}

    def fold_affine(self, scale: Tensor, shift: Tensor) -> nn.Module | None:
        """A new module equal to ``scale · self(x) + shift`` per output channel (a BN folded in), or None."""
        return None
