"""Conv3d in the place of Conv2d: few small kernels slide over the channels as they do over the image.

    valid   D outputs of C channels by s kernels of depth u:      (C − u + 1) · s = D,     (h·v·u + 1)·s parameters
    same    g volumes of C/g channels, kernels 3 deep, g′ = D·g/C:                         (3·h·v·g + 1)·g′ parameters

In the valid mode s divides D and D/C ≤ s ≤ D, and u = C − D/s + 1; u = C is the ordinary convolution, and no choice.
Multiply-accumulates are u/C and 3g/C of what they were, parameters far less: 16→32 channels with s = 2, 4, 8, 16 have
20, 328, 944, 2,176 instead of 4,640.

Warm start: trained channels have no order in which a kernel could slide, so diagonals of W keep little of its energy.
The kernels are fitted to the layer's input activations instead (``fit``); training, best with distillation, has
to do the rest. A BatchNorm behind stays as it is, one scale per channel.

Source: Kondaurova & Semenov, "Optimization of the number of parameters…", with its two slips put right: the sum
over depths ends at a + u − 1 for a ∈ 1 … C − u + 1. The layers and their form in a file: ``layer``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from compressor.errors import Refusal
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choice, Choices
from compressor.plugin import Plugin, Promise, Refused, Site
from compressor_plugins.common.calibration import activations
from compressor_plugins.common.neighbours import source_of
from compressor_plugins.common.replaceable import WeightLayer, pair, symmetric_padding, weight_layers
from compressor_plugins.conv3d.fit import Moments, fit_kernels, moments
from compressor_plugins.conv3d.layer import ChannelConv3d, SameConv3d, ValidConv3d

KERNELS, VOLUMES = "kernels", "volumes"
DEPTH = 3
"""Of kernels in the same mode."""
_OTHERS: Mapping[type[nn.Module], str] = {
    nn.Conv1d: "is a Conv1d: the kernels that slide over channels are made for images",
    nn.Conv3d: "is a Conv3d: kernels that slide over its channels too would have four dimensions, which no runtime has",
}


@dataclass(frozen=True)
class Conv3d(Plugin):
    """Convolve over the channels too: small kernels shared by many channels in the place of a dense convolution."""

    promise: ClassVar[Promise] = Promise.TRAINED

    mode: Literal["valid", "same"] = "valid"
    """All channels as one volume and no padding along it, or several padded volumes."""
    min_bytes: int = 2000
    """Layers and choices that save less are left alone: the small kernel is unrolled by some 600 bytes of nodes."""
    mildest: int = 4
    """The knob's default is the largest kernel that cuts the layer's parameters by at least this factor."""

    def sites(self, network: Network) -> Iterator[Site | Refused]:
        for layer in weight_layers(network):
            if isinstance(layer.leaf, nn.Linear):
                continue
            reason = self._why_not(layer)
            if reason:
                yield Refused(layer.path, reason)
                continue
            assert isinstance(layer.leaf, nn.Conv2d)
            choices = Choice(tuple(self._choices(layer.leaf)))
            knobs = {self._knob: choices} if len(choices.options) > 1 else {}
            yield Site(layer.path, knobs, tuple(call.name for call in layer.calls), _about(layer.leaf))

    def rewrite(self, editor: Editor, site: Site, choice: Choices) -> None:
        network = editor.network
        layer = next((found for found in weight_layers(network) if found.path == site.path), None)
        if layer is None or isinstance(layer.leaf, nn.Linear):
            raise Refusal("is no plain convolution of the network as it is now", path=site.path)
        reason = self._why_not(layer)
        if reason:
            raise Refusal(reason, path=site.path)
        assert isinstance(layer.leaf, nn.Conv2d)
        count = int(choice.get(self._knob, self._choices(layer.leaf)[0]))
        known = Moments.unknown(layer.leaf.in_channels)
        if editor.evidence is not None:
            known = moments(activations(editor.evidence, network, [source_of(layer.calls[0])])[0], layer.leaf)
        positions = math.prod(network.shape(layer.calls[0])[1:])
        editor.replace(site.path, substitute(layer.leaf, self.mode, count, known, positions))

    @property
    def _knob(self) -> str:
        return VOLUMES if self.mode == "same" else KERNELS

    def _choices(self, conv: nn.Conv2d) -> list[int]:
        """Values of the knob that save enough, the default first, then from many parameters to few."""
        feasible = same_choices(conv) if self.mode == "same" else valid_choices(conv)
        taps, before = math.prod(conv.kernel_size), conv.weight.numel()
        sizes = {count: taps * per_tap for count, per_tap in feasible.items()}
        useful = sorted(
            (c for c, size in sizes.items() if 4 * (before - size) >= self.min_bytes), key=lambda c: -sizes[c]
        )
        mild = [count for count in useful if sizes[count] * self.mildest <= before]
        return [*mild[:1], *(count for count in useful if count not in mild[:1])]

    def _why_not(self, layer: WeightLayer) -> str:
        conv = layer.leaf
        if not isinstance(conv, nn.Conv2d):
            return _OTHERS.get(type(conv), "is transposed, and its kernels would have to slide over channels as well")
        if conv.groups > 1:
            return "is grouped: its kernels do not read all channels"
        if layer.obstacle or self._choices(conv):
            return layer.obstacle
        feasible = same_choices(conv) if self.mode == "same" else valid_choices(conv)
        if feasible:
            return f"no choice saves {self.min_bytes} bytes"
        return f"{conv.in_channels} → {conv.out_channels} channels: no kernel fits in mode {self.mode}"


def valid_choices(conv: nn.Conv2d) -> dict[int, int]:
    """Kernels s → parameters per tap, of every depth u < C with (C − u + 1)·s = D."""
    channels, outputs = conv.in_channels, conv.out_channels
    counts = [count for count in range(1, outputs) if outputs % count == 0 and outputs // count <= channels]
    return {count: count * (channels - outputs // count + 1) for count in counts if outputs // count > 1}


def same_choices(conv: nn.Conv2d) -> dict[int, int]:
    """Volumes g → parameters per tap, of every g that divides C into depths of at least 3 with a whole g′ = D·g/C."""
    channels, outputs = conv.in_channels, conv.out_channels
    counts = [count for count in range(1, channels // DEPTH + 1) if channels % count == 0]
    kernels = {count: outputs * count // channels for count in counts if outputs * count % channels == 0}
    return {count: DEPTH * count * made for count, made in kernels.items() if made}


def substitute(conv: nn.Conv2d, mode: str, count: int, known: Moments, positions: int) -> ChannelConv3d:
    """The layer for ``count`` kernels (valid) or volumes (same), fitted to ``conv``."""
    channels, outputs = conv.in_channels, conv.out_channels
    if mode == "same":
        kernels, volume = outputs * count // channels, channels // count
        reads, writes = _same_indices(channels, count, kernels, volume)
        kind: type[ChannelConv3d] = SameConv3d
    else:
        kernels, places = count, outputs // count
        reads = torch.arange(places)[:, None] + torch.arange(channels - places + 1)
        writes = torch.arange(outputs).view(places, count)
        count, kind = 1, ValidConv3d
    weight, bias = fit_kernels(conv.weight, conv.bias, reads, writes, known)
    return kind(
        weight.view(kernels, count, -1, *conv.kernel_size),
        bias,
        channels,
        stride=pair(conv.stride),
        padding=pair(symmetric_padding(conv)),
        dilation=pair(conv.dilation),
        positions=positions,
    )


def _same_indices(channels: int, volumes: int, kernels: int, volume: int) -> tuple[Tensor, Tensor]:
    place = torch.arange(volume)
    depth = place[:, None] + torch.arange(DEPTH) - DEPTH // 2
    within = (depth >= 0) & (depth < volume)
    channel = depth[:, None] + volume * torch.arange(volumes)[:, None]
    reads = torch.where(within[:, None].expand_as(channel), channel, channels)
    return reads.flatten(1), place[:, None] + volume * torch.arange(kernels)


def _about(conv: nn.Conv2d) -> str:
    return f"{conv.in_channels} → {conv.out_channels} channels, {conv.weight.numel():,} weights"
