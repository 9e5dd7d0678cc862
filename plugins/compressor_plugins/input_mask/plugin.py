"""Input masks: the network reads one, two or three pixels of every 2×2 tile of the image, and never the others.

Even stride, any kernel and padding — blacking pixels out and masking taps are the same (``parity_masks``):

    W ∗ (image ⊙ tile)   =   (W ⊙ M) ∗ image,        W ← W ⊙ M

Stride 1 — a different network, the document's way: the stem gets stride 2 and a mask, and the sizes behind it are
repaired by dropping the first pool, or nothing has to be repaired up to a pool that gives a fixed size.

Any stride (option ``form = "tile"``) — the image is multiplied by the tile. Exact for every stride and kernel: it shows
what the pixels are worth where the mask cannot be put into the weights. With odd strides the product folds into four
convolutions, one for each phase of the output, at |S| / 4 of the multiply-accumulates; that is faster only for large
kernels or many channels, and done only there (``tiled_conv``). Otherwise nothing is saved.

What zero means: the tile puts zeros where the network's *input* has them. After the usual normalisation by mean and
standard deviation a zero is the mean of the data set, so that masked pixels are filled with the mean and not black;
black pixels, which the document also tries, would be −mean/std there. No mask of weights can do that.

Dropped taps may each be added to the nearest kept ones (``merge_taps``): neighbouring pixels are alike, and the sum of
the kernel, its answer to a flat image, stays what it was. The network is to be trained all the same.

Source: Gabbasov et al., "Coordinated optimization of neural network parameters for a given set of images". The layers:
``masked_conv``; what becomes of them in a file: ``tap_sets``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from compressor.errors import Refusal
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choice, Choices
from compressor.plugin import Plugin, Promise, Refused, Site
from compressor_plugins.common.replaceable import pair
from compressor_plugins.input_mask.masked_conv import MaskedConv2d
from compressor_plugins.input_mask.parity_masks import Tile, tile_name, tiles, useful_masks
from compressor_plugins.input_mask.stems import REPAIRS, Stem, put, repaired_by, stems
from compressor_plugins.input_mask.tiled_conv import TiledConv2d, TileImage

KNOB = "mask"
ZERO = "masked pixels are zeros of the network's input: the data set's mean where images are normalised by it"


@dataclass(frozen=True)
class InputMask(Plugin):
    """Read only some pixels of every 2×2 tile of the image: masked stem convolutions, run as smaller ones."""

    promise: ClassVar[Promise] = Promise.TRAINED

    form: Literal["weights", "tile"] = "weights"
    """Mask the stem's weights (a stem of stride 1 gets stride 2), or multiply the image, which rarely saves."""
    merge_taps: bool = True
    """Add every dropped tap to its nearest kept ones; without, dropped taps are dropped."""
    stripes: bool = False
    """Offer also the four tiles of whole rows or columns, which the document leaves out."""
    repair: Literal["auto", "drop-pool", "shrink"] = "auto"
    """Behind a stem whose stride became 2: drop the first pool, work at half the size, or the first that fits."""

    def sites(self, network: Network) -> Iterator[Site | Refused]:
        for path, stem in stems(network):
            reason = stem if isinstance(stem, str) else self._why_not(network, stem)
            if isinstance(stem, str) or reason:
                yield Refused(path, reason)
                continue
            calls = tuple(node.name for node in network.calls_of(path))
            yield Site(path, {KNOB: Choice(tuple(self._masks(stem)))}, calls, _about(stem, self.form))

    def rewrite(self, editor: Editor, site: Site, choice: Choices) -> None:
        stem = dict(stems(editor.network)).get(site.path, "is no stem of the network as it is now")
        reason = stem if isinstance(stem, str) else self._why_not(editor.network, stem)
        if isinstance(stem, str) or reason:
            raise Refusal(reason, path=site.path)
        masks = self._masks(stem)
        tile, mask = masks[str(choice.get(KNOB, next(iter(masks))))]
        if self.form == "tile":
            _put_tile(editor, stem, tile)
            return
        masked = masked_conv(stem, mask, merge=self.merge_taps)
        put(editor, stem, masked, self._repair(editor.network, stem) or ())

    def _masks(self, stem: Stem) -> dict[str, tuple[Tile, Tensor]]:
        kernel, padding = pair(stem.conv.kernel_size), (stem.padding[0], stem.padding[1])
        masks = useful_masks(kernel, padding, pair(stem.conv.dilation), stripes=self.stripes)
        if self.form == "tile" and len(masks) < len(tiles(stripes=self.stripes)):
            return {tile_name(tile): (tile, torch.ones(kernel)) for tile in tiles(stripes=self.stripes)}
        return masks

    def _why_not(self, network: Network, stem: Stem) -> str:
        if self.form == "tile":
            return ""
        stride = pair(stem.conv.stride)
        if len(self._masks(stem)) < 2:
            return "its taps read pixels of one class only: there is no mask to choose"
        if any(step % 2 for step in stride) and stride != (1, 1):
            return f"has the odd stride {max(stride)}: only the tile is exact (option form), and it saves nothing"
        if stride == (1, 1) and self._repair(network, stem) is None:
            wanted = "" if self.repair == "auto" else f" by {self.repair}"
            return f"has stride 1, and the sizes behind it cannot be repaired{wanted} if it becomes 2"
        return ""

    def _repair(self, network: Network, stem: Stem) -> tuple[str, ...] | None:
        """The pools that go when the stem gets stride 2; None where it cannot."""
        if pair(stem.conv.stride) != (1, 1):
            return ()
        mask = next(iter(self._masks(stem).values()))[1]
        ways = REPAIRS if self.repair == "auto" else (self.repair,)
        return repaired_by(network, stem, masked_conv(stem, mask, merge=False), ways)


def masked_conv(stem: Stem, mask: Tensor, *, merge: bool) -> MaskedConv2d:
    """The stem with the taps of ``mask`` only; a stride of 1 becomes 2."""
    conv = stem.conv
    weight = merged_taps(conv.weight.detach(), mask) if merge else conv.weight.detach()
    stride = pair(conv.stride)
    return MaskedConv2d(
        weight,
        conv.bias,
        mask,
        stem.size,
        stride=(2, 2) if stride == (1, 1) else stride,
        padding=stem.padding,
        dilation=pair(conv.dilation),
        groups=conv.groups,
    )


def merged_taps(weight: Tensor, mask: Tensor) -> Tensor:
    """Kernels (D, C, kh, kw) with every tap outside the mask moved to the nearest inside, in equal shares."""
    places = torch.cartesian_prod(*(torch.arange(size) for size in mask.shape)).double()
    distances = torch.cdist(places, places)
    distances[:, ~mask.flatten()] = torch.inf
    nearest = (distances <= distances.amin(1, keepdim=True) + 1e-9).to(weight)
    return (weight.flatten(2) @ (nearest / nearest.sum(1, keepdim=True))).view_as(weight)


def _put_tile(editor: Editor, stem: Stem, tile: Tile) -> None:
    """In front of the stem or, where that is faster, folded into it."""
    tiled = tiled_conv(stem, tile)
    if tiled is not None and tiled.pays():
        put(editor, stem, tiled)
    else:
        editor.replace_by_chain(stem.path, [("tile", _tile_image(stem, tile)), ("", stem.conv)])


def tiled_conv(stem: Stem, tile: Tile) -> TiledConv2d | None:
    """The stem with the tile in it; None where the stride is even."""
    conv = stem.conv
    if any(step % 2 == 0 for step in pair(conv.stride)):
        return None
    return TiledConv2d(
        conv.weight.detach(),
        conv.bias,
        tile,
        stem.size,
        stride=pair(conv.stride),
        padding=stem.padding,
        dilation=pair(conv.dilation),
        groups=conv.groups,
    )


def _tile_image(stem: Stem, tile: Tile) -> TileImage:
    """The tile for what reaches the convolution, which other leaves may have padded."""
    top, left = stem.outside_begin
    moved = frozenset(((row + top) % 2, (column + left) % 2) for row, column in tile)
    return TileImage(moved, stem.reached)


def _about(stem: Stem, form: str) -> str:
    kernel, stride = pair(stem.conv.kernel_size), pair(stem.conv.stride)
    becomes = " → 2" if stride == (1, 1) and form == "weights" else ""
    return f"stem {kernel[0]}×{kernel[1]}, stride {stride[0]}{becomes}; {ZERO}"
