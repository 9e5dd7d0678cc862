"""Depthwise-separable convolution: W[o, i] ≈ p[o, i] · d[i], per input channel the best rank-1 fit (its SVD)."""

from dataclasses import dataclass

import torch
from torch import nn

from compressor.errors import Refusal
from compressor.plugin import Plugin, Promise, Refused, Site


@dataclass(frozen=True)
class DepthwiseSeparable(Plugin):
    """Split a convolution into one filter per input channel and a 1×1 mix."""

    promise = Promise.TRAINED
    min_inputs: int = 8

    def sites(self, network):
        for path, leaf in network.leaves():
            if type(leaf) is nn.Conv2d and leaf.groups == 1 and leaf.kernel_size != (1, 1):
                few = leaf.in_channels < self.min_inputs
                yield Refused(path, f"only {leaf.in_channels} input channels") if few else Site(path)

    def rewrite(self, editor, site, choice):
        old = editor.network.leaf(site.path)
        if type(old) is not nn.Conv2d or old.groups != 1 or old.kernel_size == (1, 1):
            raise Refusal("is no dense convolution", path=site.path)
        inputs, outputs = old.in_channels, old.out_channels
        one_each = nn.Conv2d(inputs, inputs, old.kernel_size, old.stride, old.padding, old.dilation, inputs, bias=False)
        mix = nn.Conv2d(inputs, outputs, 1, bias=old.bias is not None)
        with torch.no_grad():
            u, s, v = torch.linalg.svd(old.weight.transpose(0, 1).flatten(2), full_matrices=False)
            one_each.weight.copy_(v[:, 0].view_as(one_each.weight))
            mix.weight.copy_((u[:, :, 0] * s[:, :1]).T[:, :, None, None])
            if old.bias is not None:
                mix.bias.copy_(old.bias)
        editor.replace_by_chain(site.path, [("depthwise", one_each), ("", mix)])
