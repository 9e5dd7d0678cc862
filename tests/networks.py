"""Small convolutional networks for tests, in the styles people write: modules, functions, in-place, shared, mixed.

Every network takes images of at most 32 × 32, is narrow, and runs in milliseconds. ``NETWORKS`` names them with their
input shape; ``calibrated`` builds one whose output depends strongly on its input, without which a test of equality
between two networks passes whatever they compute.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, ...]


class BasicBlock(nn.Module):
    """One ReLU module called twice, an in-place sum, an optional projection."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width))
        self.layer3 = nn.Sequential(BasicBlock(2 * width, 4 * width, 2), BasicBlock(4 * width, 4 * width))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class VGG(nn.Module):
    """A plain chain, ``view(x.size(0), -1)``, dropout between linear layers."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in (8, 8, 0, 16, 16, 0, 24, 24, 0):
            if width == 0:
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(channels * 4, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 32), nn.ReLU(True), nn.Dropout(0.3),
            nn.Linear(32, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(x.view(x.size(0), -1))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        layers: list[nn.Module] = []
        if expand != 1:
            layers += [nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(True)]
        layers += [nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden)]
        layers += [nn.ReLU6(True), nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Depthwise convolutions, ReLU6, functional pooling, ``reshape(x.shape[0], -1)``."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        channels = 8
        layers: list[nn.Module] = [
            nn.Conv2d(3, channels, 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(True),
        ]
        for expand, width, repeat, stride in ((1, 8, 1, 1), (4, 12, 2, 2), (4, 16, 2, 2)):
            for index in range(repeat):
                layers.append(InvertedResidual(channels, width, stride if index == 0 else 1, expand))
                channels = width
        layers += [nn.Conv2d(channels, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU6(True)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(48, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1)).reshape(x.shape[0], -1)
        return self.classifier(x)


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 2 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * growth)
        self.conv2 = nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, earlier: list[Tensor]) -> Tensor:
        x = self.conv1(F.relu(self.norm1(torch.cat(earlier, 1))))
        x = self.conv2(F.relu(self.norm2(x)))
        return F.dropout(x, p=0.1, training=self.training)


class DenseNet(nn.Module):
    """Concatenation of lists, functional ReLU, dropout and pooling, a mean over space."""

    def __init__(self, blocks: tuple[int, ...] = (3, 3), growth: int = 6, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.norm0 = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList()
        self.transitions = nn.ModuleList()
        for number, length in enumerate(blocks):
            self.blocks.append(nn.ModuleList([DenseLayer(width + k * growth, growth) for k in range(length)]))
            width += length * growth
            if number < len(blocks) - 1:
                layers = [
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                    nn.Conv2d(width, width // 2, 1, bias=False),
                    nn.AvgPool2d(2),
                ]
                self.transitions.append(nn.Sequential(*layers))
                width //= 2
        self.norm5 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm0(self.conv0(x))), 3, 2, 1)
        for number, block in enumerate(self.blocks):
            parts = [x]
            for layer in block:
                parts.append(layer(parts))
            x = torch.cat(parts, 1)
            if number < len(self.transitions):
                x = self.transitions[number](x)
        return self.fc(F.relu(self.norm5(x)).mean((2, 3)))


class Fire(nn.Module):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.squeeze(x))
        return torch.cat([self.act(self.expand1(x)), self.act(self.expand3(x))], 1)


class SqueezeNet(nn.Module):
    """No linear layer, no normalisation, pooling that rounds up, one activation module called three times."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(16, 6, 12), Fire(24, 6, 12),
            nn.MaxPool2d(3, 2, ceil_mode=True), Fire(24, 8, 16),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Conv2d(32, classes, 1), nn.ReLU(True), nn.AdaptiveAvgPool2d((1, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


class ConvBnRelu(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], **options: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **options)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Four branches joined along the channels: 1×1, factorised 1×3 and 3×1, two 3×3, and pooling."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branch1 = ConvBnRelu(inputs, width, 1)
        self.branch7_1 = ConvBnRelu(inputs, width, (1, 3), padding=(0, 1))
        self.branch7_2 = ConvBnRelu(width, width, (3, 1), padding=(1, 0))
        self.branch3_1 = ConvBnRelu(inputs, width, 3, padding="same")
        self.branch3_2 = ConvBnRelu(width, width, 3, padding=1)
        self.pooled = ConvBnRelu(inputs, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        branches = [self.branch1(x), self.branch7_2(self.branch7_1(x)), self.branch3_2(self.branch3_1(x))]
        return torch.cat([*branches, self.pooled(pooled)], 1)


class Reduction(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branch3 = ConvBnRelu(inputs, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch3(x), F.max_pool2d(x, kernel_size=3, stride=2)), 1)


class Inception(nn.Module):
    """Parallel branches of unlike depth, unpadded strided reduction, ``flatten(1)`` as a method."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = ConvBnRelu(3, 8, 3, stride=2)
        self.mixed1 = Mixed(8, 6)
        self.reduce = Reduction(24, 8)
        self.mixed2 = Mixed(32, 8)
        self.dropout = nn.Dropout(0.25)
        self.fc = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mixed2(self.reduce(self.mixed1(self.stem(x))))
        x = self.dropout(F.adaptive_avg_pool2d(x, 1))
        return self.fc(x.flatten(1))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "resnet": (ResNet, (3, 32, 32)),
    "vgg": (VGG, (3, 32, 32)),
    "mobilenetv2": (MobileNetV2, (3, 32, 32)),
    "densenet": (DenseNet, (3, 24, 24)),
    "squeezenet": (SqueezeNet, (3, 32, 32)),
    "inception": (Inception, (3, 28, 28)),
}
"""Name → (how to build it, shape of one input sample)."""


def calibrated(name: str, seed: int = 0) -> nn.Module:
    """The network ``name`` with seeded Kaiming weights and BatchNorm statistics of real activations, in eval mode."""
    build, shape = NETWORKS[name]
    generator_state = torch.get_rng_state()
    try:
        torch.manual_seed(seed)
        return make_sensitive(build(), shape)
    finally:
        torch.set_rng_state(generator_state)


def make_sensitive(model: nn.Module, shape: Shape, batches: int = 3) -> nn.Module:
    """Initialise ``model`` so that its output varies with its input as a trained one does; leaves it in eval mode."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0, 0.1)
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.2)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None
    model.train()
    with torch.no_grad():
        for _ in range(batches):
            model(torch.randn(16, *shape))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
