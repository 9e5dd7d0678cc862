"""A linear or convolutional layer whose weights are integers, and which computes in integers where its input is.

    ŵ = s_w ⊙ clip(round(w / s_w), −m, m)            m = 127, or 63 where pairs of products must fit 16 bits, or 7
    y = ŵ ∗ x̂ + b,    b in steps of s_x · s_w        s_x the step of the input

In the file weights and input are integers behind DequantizeLinear, the form that ONNX Runtime turns into QLinearConv,
QGemm or MatMulIntegerToFloat; of 4 bits they lie two to a byte, and are spread to bytes at load. The bias of a
convolution is float: ONNX Runtime makes the integers of it, whose steps would be a second vector of scales in the file.
Where the input is not held to steps, weights are unpacked to float at load.

Calibration looks at what the layer reads while nothing rounds. Rounding weights moves the mean of an output, which goes
back into the bias (Nagel et al., data-free quantization, arXiv:1906.04721, with data in place of statistics); weights
may make up for one another's rounding (``compensation``). What the rounding of values before it moves is left: mended
from one batch it cost more than it brought.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd

from compressor.graph.cost import cost_of
from compressor.graph.coupling.select import with_inputs, with_outputs
from compressor.graph.layers.table import vanishes
from compressor.graph.leaf import Cost, OnnxBuilder, OnnxValue, Shape
from compressor.graph.shapes import shape_of
from compressor_plugins.common.nibbles import pack_nibbles, unpack_nibbles
from compressor_plugins.common.weight_steps import least_error_steps
from compressor_plugins.quantize.compensation import Inputs, compensated
from compressor_plugins.quantize.geometry import attributes, filled, output_axis, shell_of
from compressor_plugins.quantize.rounding import RoundingLeaf, rounded
from compressor_plugins.quantize.value import SteppedValue

_FLOAT, _INT8 = 1, 3
"""``TensorProto.FLOAT`` and ``TensorProto.INT8``."""
Rounding = Literal["nearest", "compensated"]
PACKED_BITS = 4
"""So many bits and fewer lie two to a byte."""
_MOST = 2.0**30
"""Steps a bias may take, well inside 32 bits."""


class IntegerLayer(RoundingLeaf):
    """``weight`` and ``bias`` as in the torch layer it stands for; ``log_step`` (outputs,)."""

    def __init__(
        self,
        layer: nn.Module,
        weight_bits: int = 8,
        correct: bool = True,
        trainable: bool = True,
        rounding: Rounding = "nearest",
    ) -> None:
        super().__init__()
        weight: Tensor = layer.weight  # type: ignore[assignment]
        self._shell = (shell_of(layer),)  # in a tuple: no module of this one
        outputs = weight.shape[output_axis(layer)]
        bias: Tensor | None = layer.bias  # type: ignore[assignment]
        self.weight_bits, self.correct, self.rounding = weight_bits, correct, rounding
        self.weight = nn.Parameter(weight.detach().clone(), requires_grad=trainable)
        self.bias = nn.Parameter(torch.zeros(outputs, device=weight.device) if bias is None else bias.detach().clone())
        self.log_step = nn.Parameter(least_error_steps(self._rows(weight), self.largest).log(), requires_grad=trainable)
        self.reads: SteppedValue | None = None
        """At export: what holds the input to steps."""
        self.rank = 1
        """At export: dimensions of a sample of the input."""
        self._seen: Inputs | None = None

    @property
    def shell(self) -> nn.Module:
        return self._shell[0]

    @property
    def step(self) -> Tensor:
        """One per output channel; learned as a logarithm, so that it is never 0 or less."""
        return self.log_step.exp()

    @property
    def largest(self) -> int:
        """The largest integer a weight can be."""
        return int(2 ** (self.weight_bits - 1) - 1)

    # --- the function --------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        if self._seen is not None and not self.following:
            self._seen.add(self.shell, x)
        return self._with(self.weight if self.paused else self.effective_weight(), x)

    def _with(self, weight: Tensor, x: Tensor) -> Tensor:
        y: Tensor = functional_call(self.shell, {"weight": weight, "bias": self.bias}, (x,))
        return y

    def effective_weight(self) -> Tensor:
        return rounded(self.weight, self._spread(self.step), -self.largest, self.largest)

    def reset_parameters(self) -> None:
        """Weight and bias as the torch layer draws them, steps from the new weight."""
        layer = filled(self.shell, self.weight, self.bias)
        layer.reset_parameters()  # type: ignore[operator]
        with torch.no_grad():
            self.weight.copy_(layer.weight)  # type: ignore[arg-type]
            self.bias.copy_(layer.bias)  # type: ignore[arg-type]
            self.log_step.copy_(least_error_steps(self._rows(self.weight), self.largest).log())
        self.ready.fill_(False)

    # --- calibration ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        compensates = self.rounding == "compensated"
        self._seen = Inputs(compensates) if compensates or self.correct else None

    def settle(self) -> None:
        seen, self._seen = self._seen, None
        if seen is None or seen.mean is None:
            return
        with torch.no_grad():
            before = self._grouped(self.weight)
            if seen.moments is not None:
                steps = self._grouped(self._spread(self.step).expand_as(self.weight))[..., :1]
                whole = compensated(before, steps, self.largest, seen.moments)
                self.weight.copy_(whole.view_as(self.weight))
            if self.correct:
                lost = before - self._grouped(self.effective_weight())
                self.bias.add_((lost @ seen.mean[..., None]).flatten())

    def _grouped(self, weight: Tensor) -> Tensor:
        """The weight as (groups, outputs of a group, K), a copy."""
        groups = self.shell.groups if isinstance(self.shell, _ConvNd) else 1
        return weight.detach().clone().view(groups, len(weight) // groups, -1)

    # --- contract of a leaf --------------------------------------------------------------------------------------

    def output_shape(self, *inputs: Shape) -> Shape:
        return shape_of(self.shell, *inputs)

    def cost(self, *inputs: Shape) -> Cost:
        macs = cost_of(self.shell, *inputs).mac_count
        return Cost({32: 2 * len(self.bias), self.weight_bits: self.weight.numel()}, {8: macs} if macs else {})

    def as_filed(self, step: float) -> Self:
        """Its bias in steps of weight times input."""
        if not step:
            return self
        steps = torch.maximum(self.step.detach() * step, self.bias.detach().abs() / _MOST)
        filed = copy.copy(self)
        filed._parameters = {**self._parameters, "bias": _fixed((self.bias / steps).round() * steps)}
        return filed

    def keep_outputs(self, channels: Tensor) -> None:
        self._become(with_outputs(filled(self.shell, self.weight, self.bias), channels), self.step.detach()[channels])

    def keep_inputs(self, channels: Tensor) -> None:
        share = torch.ones(len(channels), device=channels.device)
        self._become(with_inputs(filled(self.shell, self.weight, self.bias), channels, share), self.step.detach())

    def _become(self, layer: nn.Module, step: Tensor) -> None:
        self._shell = (shell_of(layer),)
        for name, value in (("weight", layer.weight), ("bias", layer.bias), ("log_step", step.log())):
            old = getattr(self, name)
            setattr(self, name, nn.Parameter(value.detach().clone(), old.requires_grad))  # type: ignore[operator]

    def deploy_with(self, call: fx.Node, modules: Mapping[fx.Node, nn.Module]) -> Mapping[fx.Node, nn.Module]:
        source = call.args[0]
        if not isinstance(source, fx.Node):
            return {}
        held = modules.get(_past_vanishing(source, modules))
        reads = held if isinstance(held, SteppedValue) and held.ready else None
        return {call: self._standing(len(source.meta.get("shape") or ()), reads)}

    def _standing(self, rank: int, reads: SteppedValue | None) -> Self:
        """A copy that knows what it reads; it shares the tensors."""
        deployed = copy.copy(self)
        deployed.rank = rank
        object.__setattr__(deployed, "reads", reads)  # no module of this one
        return deployed

    # --- in the file ---------------------------------------------------------------------------------------------

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        if self.reads is None:
            return self._emit_layer(builder, inputs[0], self._unpacked(builder), self._float_bias(builder))
        scale = self._scale()
        if isinstance(self.shell, _ConvNd):
            bias = self._float_bias(builder)
        else:
            bias = self._whole_bias(builder, scale * np.float32(self.reads.handed_on))
        return self._emit_layer(builder, inputs[0], self._dequantized(builder, scale), bias)

    def _whole_bias(self, builder: OnnxBuilder, scale: NDArray[np.float32]) -> OnnxValue:
        whole = np.rint(self.bias.detach().double().cpu().numpy() / scale).astype(np.int32)
        held = [builder.constant(whole, "b"), builder.constant(scale, "s"), *self._zero(builder, np.int32)]
        return builder.op("DequantizeLinear", held, axis=0)

    def _scale(self) -> NDArray[np.float32]:
        """The steps of the weights; wider where the bias would not fit 32 bits of them."""
        step: NDArray[np.float32] = self.step.detach().float().cpu().numpy()
        if self.reads is None:
            return step
        least = np.abs(self.bias.detach().cpu().numpy()) / (_MOST * self.reads.handed_on)
        wide: NDArray[np.float32] = np.maximum(step, least).astype(np.float32)
        return wide

    def _integers(self, scale: NDArray[np.float32]) -> NDArray[np.int8]:
        steps = self._spread(torch.from_numpy(scale))
        whole: NDArray[np.int8] = (
            (self.weight.detach().cpu() / steps).round().clamp(-self.largest, self.largest).numpy().astype(np.int8)
        )
        return whole

    def _dequantized(self, builder: OnnxBuilder, scale: NDArray[np.float32]) -> OnnxValue:
        whole, axis = self._integers(scale), 0
        if self._multiplies:
            whole, axis = np.ascontiguousarray(whole.T), 1
        held = [self._stored(builder, whole, _INT8), builder.constant(scale, "s"), *self._zero(builder, np.int8)]
        return builder.op("DequantizeLinear", held, axis=axis)

    def _zero(self, builder: OnnxBuilder, kind: type[np.int8 | np.int32]) -> list[OnnxValue]:
        """Zero points where ONNX Runtime has no integer kernel without; a convolution takes the default, 0."""
        if isinstance(self.shell, _ConvNd):
            return []
        return [builder.constant(np.zeros(len(self.bias), kind), "z")]

    def _stored(self, builder: OnnxBuilder, whole: NDArray[np.int8], kind: int) -> OnnxValue:
        """The weights as the file holds them, as values of this kind."""
        if self.weight_bits <= PACKED_BITS:
            value = unpack_nibbles(builder, pack_nibbles(whole), whole.shape)
            return value if kind == _FLOAT else builder.op("Cast", [value], to=kind)
        value = builder.constant(whole, "q")
        return value if kind == _INT8 else builder.op("Cast", [value], to=kind)

    def _unpacked(self, builder: OnnxBuilder) -> OnnxValue:
        scale = self._scale()
        whole, spread = self._integers(scale), self._spread(torch.from_numpy(scale))
        if self._multiplies:
            whole, spread = np.ascontiguousarray(whole.T), spread.T
        value = self._stored(builder, whole, _FLOAT)
        return builder.op("Mul", [value, builder.constant(spread.contiguous(), "s")])

    def _float_bias(self, builder: OnnxBuilder) -> OnnxValue:
        return builder.constant(self.bias.detach().float(), "b")

    def _emit_layer(self, builder: OnnxBuilder, x: OnnxValue, weight: OnnxValue, bias: OnnxValue) -> OnnxValue:
        if isinstance(self.shell, _ConvNd):
            return builder.op("Conv", [x, weight, bias], **attributes(self.shell))
        if self._multiplies:
            return builder.op("Add", [builder.op("MatMul", [x, weight]), self._float_bias(builder)])
        return builder.op("Gemm", [x, weight, bias], transB=1)

    @property
    def _multiplies(self) -> bool:
        """A linear layer along the last of several dimensions, which is a MatMul."""
        return isinstance(self.shell, nn.Linear) and self.rank > 1

    # --- steps ---------------------------------------------------------------------------------------------------

    def _rows(self, weight: Tensor) -> Tensor:
        return weight.detach().transpose(0, output_axis(self.shell)).flatten(1)

    def _spread(self, step: Tensor) -> Tensor:
        """(outputs,) shaped to broadcast over the weight."""
        sizes = [1] * self.weight.dim()
        sizes[output_axis(self.shell)] = -1
        return step.view(sizes)

    def extra_repr(self) -> str:
        return f"{self.shell}, {self.weight_bits}-bit weights"


def _fixed(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach(), requires_grad=False)


def _past_vanishing(node: fx.Node, modules: Mapping[fx.Node, nn.Module]) -> fx.Node:
    """The value itself, where what stands between does nothing at inference."""
    while vanishes(modules.get(node)) and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node
