"""A value that is held to 256 steps: where it stands, the network reads integers 0…255.

    q = clip(round(x / s) + z, 0, 255)        x̂ = (q − z) · s

Until it is calibrated it hands its value through, so that putting it in changes nothing. Behind an operation that only
moves values (pooling by maximum, flattening, …) the same leaf is called again: equal steps make that exact, and the
runtime moves bytes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, fx, nn

from compressor.graph.leaf import Cost, OnnxBuilder, OnnxValue, Shape
from compressor_plugins.quantize.effects import Effects
from compressor_plugins.quantize.ranges import STEPS, Method, Seen, grid_of, range_of, some_width
from compressor_plugins.quantize.rounding import RoundingLeaf, rounded

_POOLINGS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


class SteppedValue(RoundingLeaf):
    """Rounds a value, of any shape, to 256 steps of one size; ``step`` is learned where training reaches it."""

    zero: Tensor

    def __init__(self, method: Method = "outputs", trainable: bool = True) -> None:
        super().__init__()
        self.method, self.fixed = method, False
        self.log_step = nn.Parameter(torch.tensor(0.0), requires_grad=trainable)
        self.register_buffer("zero", torch.tensor(0.0))
        self.stays = False
        """At export: behind a pooling of floats, where it is to be rounded."""
        self._seen: Seen | None = None
        self._followed: list[Tensor] = []
        self._effects: Effects | None = None

    @property
    def step(self) -> Tensor:
        """Learned as a logarithm, so that it is never 0 or less."""
        return self.log_step.exp()

    @property
    def held_bits(self) -> int:
        return 8

    @property
    def handed_on(self) -> float:
        """Size of the steps of what is handed on."""
        return float(self.step.detach())

    @property
    def held_step(self) -> float:
        return self.handed_on if self.ready and not self.paused else 0.0

    def alike(self) -> SteppedValue | None:
        """What holds values that this one has handed on to the same steps; None: this one itself, called again."""
        return None

    def hold(self, step: float, zero: int) -> None:
        """Take these steps, as if calibration had found them."""
        with torch.no_grad():
            self.log_step.fill_(math.log(step))
        self.zero.fill_(zero)
        self.ready.fill_(True)

    def fix(self, width: float, zero: int) -> None:
        """Hold values to 256 steps over ``width`` for good, whatever is seen."""
        self.fixed = True
        self.hold(width / STEPS, zero)

    def forward(self, x: Tensor) -> Tensor:
        if self.paused and self._seen is not None:
            if self.following:
                return self._keep(x)
            self._seen.add(x)
        if self.training and not (self.ready or self.paused):
            self._begin_with(x)
        if self.jitter:
            x = x + self.jitter * self.step.detach() * torch.randn_like(x)
        if self.ready and not self.paused:
            x = rounded(x, self.step, -float(self.zero), STEPS - float(self.zero))
        return x

    def _begin_with(self, x: Tensor) -> None:
        """Trained without having been calibrated, it takes its steps from the first batch."""
        self.begin()
        if self._seen is not None:
            self._seen.add(x)
        self.settle()

    def reset_parameters(self) -> None:
        """Another step, and none that counts: the first batch says which."""
        if not self.fixed:
            with torch.no_grad():
                self.log_step.normal_()
            self.ready.fill_(False)

    def begin(self) -> None:
        self._seen = None if self.fixed else Seen()

    def follow(self) -> list[Tensor] | None:
        if self._seen is None or self.method != "outputs":
            return None
        self._followed, self._effects = [], Effects(self._seen.low, self._seen.high)
        return self._followed

    def _keep(self, x: Tensor) -> Tensor:
        """``x``, whose slopes are asked for behind this pass; nothing that comes next may change it."""
        if self._effects is None:
            return x
        x = x if x.requires_grad else x.detach().requires_grad_()
        self._followed.append(x)
        return x.clone()

    def learn(self, value: Tensor, slope: Tensor) -> None:
        if self._effects is not None:
            self._effects.add(value, slope)

    def settle(self) -> None:
        if self._seen is not None and len(self._seen.samples):
            best = self._effects.best() if self._effects is not None else None
            low, high = range_of(self._seen, self.method) if best is None else some_width(*best)
            self.hold(*grid_of(low, high))
        self._seen, self._effects, self._followed = None, None, []

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def cost(self, *inputs: Shape) -> Cost:
        return Cost({32: 1})

    def keep_outputs(self, channels: Tensor) -> None:
        """One step for all channels: whichever stay."""

    keep_inputs = keep_outputs

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        if not self.ready:
            return inputs[0]
        step, zero = float(self.step.detach()), int(self.zero)
        value = _kept_here(builder, inputs[0], zero) if self.stays else inputs[0]
        whole = builder.op("QuantizeLinear", [value, *self.grid(builder, step, zero)])
        return builder.op("DequantizeLinear", [whole, *self.grid(builder, self.handed_on, zero)])

    @staticmethod
    def grid(builder: OnnxBuilder, step: float, zero: int) -> list[OnnxValue]:
        """Step and zero point as scalars of the file."""
        return [_scalar(builder, step), builder.constant(np.array(zero, dtype=np.uint8), "z")]

    def deploy_with(self, call: fx.Node, modules: Mapping[fx.Node, nn.Module]) -> Mapping[fx.Node, nn.Module]:
        """The steps clip already what a rectifier in front of them would; floats are pooled before they are rounded."""
        before = call.args[0]
        if not self.ready or not isinstance(before, fx.Node) or len(before.users) != 1:
            return {}
        if isinstance(modules.get(before), _POOLINGS):
            pooled = before.args[0]
            held = isinstance(pooled, fx.Node) and isinstance(modules.get(pooled), SteppedValue)
            return {} if held else {call: self._staying()}
        low, high = clips(modules.get(before))
        step, zero = float(self.step.detach()), float(self.zero)
        least, most = -zero * step, (STEPS - zero) * step
        redundant = low is not None and least >= low and (high is None or most <= high * (1 + 1e-6))
        return {before: nn.Identity()} if redundant else {}

    def _staying(self) -> Self:
        """A copy that shares the tensors."""
        deployed = copy.copy(self)
        deployed.stays = True
        return deployed

    def extra_repr(self) -> str:
        return f"step {float(self.step.detach()):.3g}, zero {int(self.zero)}" if self.ready else "not calibrated"


def _scalar(builder: OnnxBuilder, value: float) -> OnnxValue:
    return builder.constant(np.array(value, dtype=np.float32), "s")


def _kept_here(builder: OnnxBuilder, value: OnnxValue, zero: int) -> OnnxValue:
    """The value itself, through something that ONNX Runtime does not move a QuantizeLinear past.

    It moves one from behind a MaxPool to before it, where four times as many values are rounded and the pooling of
    bytes, in the layout of floats, takes a hundred times as long as that of floats. The Relu vanishes later.
    """
    return builder.op("Relu", [value]) if zero == 0 else builder.op("LeakyRelu", [value], alpha=1.0)


def clips(module: nn.Module | None) -> tuple[float | None, float | None]:
    """Below and above which values a rectifier clips; ``(None, None)`` for what is none."""
    match module:
        case nn.ReLU6():
            return 0.0, 6.0
        case nn.Hardtanh():
            return float(module.min_val), float(module.max_val)
        case nn.ReLU():
            return 0.0, None
    return None, None
