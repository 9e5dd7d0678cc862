"""Small networks of two families for 32×32 images: MobileNetV2 (depthwise, ReLU6) and EfficientNet (SiLU, gates)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from compressor.models import find

STAGES = ((4, 24, 2, 2), (4, 40, 2, 2), (4, 64, 2, 1))
"""(expansion, width, blocks, stride of the first block)."""


class Gate(nn.Module):
    """Squeeze and excitation (Hu et al., arXiv:1709.01507)."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.pool, self.down = nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, squeezed, 1)
        self.act, self.up, self.gate = nn.SiLU(), nn.Conv2d(squeezed, width, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = x * self.gate(self.up(self.act(self.down(self.pool(x)))))
        return gated


class Inverted(nn.Module):
    """1×1 to ``expansion`` times the width, depthwise 3×3, 1×1 back (Sandler et al., arXiv:1801.04381)."""

    def __init__(self, inputs: int, width: int, expansion: int, stride: int, act: type[nn.Module], gates: bool) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = _unit(inputs, inner, 1, act=act)
        self.depthwise = _unit(inner, inner, 3, stride, inner, act)
        self.gate = Gate(inner, inputs // 4) if gates else nn.Identity()
        self.project = _unit(inner, width, 1)
        self.adds = stride == 1 and inputs == width

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + y if self.adds else y


def inverted(act: type[nn.Module], gates: bool, classes: int = 10) -> nn.Module:
    """Input ``(N, 3, 32, 32)``."""
    layers, inputs = [_unit(3, 16, 3, act=act)], 16
    for expansion, width, blocks, stride in STAGES:
        for index in range(blocks):
            layers.append(Inverted(inputs, width, expansion, 1 if index else stride, act, gates))
            inputs = width
    layers += [_unit(inputs, 192, 1, act=act), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, classes)]
    return nn.Sequential(*layers)


def _unit(
    inputs: int, width: int, kernel: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = None
) -> nn.Module:
    conv = nn.Conv2d(inputs, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), *([] if act is None else [act()]))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet-8": find("resnet8").build,
    "ResNet-20": find("resnet20").build,
    "MobileNetV2-like": lambda: inverted(nn.ReLU6, gates=False),
    "EfficientNet-like": lambda: inverted(nn.SiLU, gates=True),
}
