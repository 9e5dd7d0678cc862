"""Checks of the leaves a plugin brings: shape rule, channel loss, folding, deployed form."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from compressor.graph.leaf import Leaf
from compressor.testing.case import Case
from compressor.testing.site_checks import Messages

TOLERANCE = 1e-4
"""Largest difference relative to the largest output."""


def shapes_are_true(case: Case) -> Messages:
    """``output_shape`` says what ``forward`` gives."""
    for path, leaf, inputs in _own_leaves(case):
        stated = leaf.output_shape(*(tuple(value.shape[1:]) for value in inputs))
        found = tuple(_call(leaf, *inputs).shape[1:])
        if stated != found:
            yield path, f"{type(leaf).__name__} states output shape {stated} and gives {found}"


def channels_can_be_lost(case: Case) -> Messages:
    """``keep_outputs`` and ``keep_inputs`` refuse with NotImplementedError, or do what they say.

    A leaf that treats each channel alone has one method for both: it loses inputs together with outputs.
    """
    for path, leaf, inputs in _own_leaves(case):
        full, dim = _call(leaf, *inputs), leaf.channel_dim
        kept = torch.arange(0, full.shape[dim], 2)
        shrunk = _try(leaf, "keep_outputs", kept)
        channelwise = type(leaf).keep_inputs is type(leaf).keep_outputs
        left = [value.index_select(dim, kept) for value in inputs] if channelwise else inputs
        if shrunk is not None and not _close(_call(shrunk, *left), full.index_select(dim, kept)):
            yield path, f"{type(leaf).__name__}.keep_outputs does not keep these outputs"
        if channelwise or len(inputs) != 1:
            continue
        kept = torch.arange(0, inputs[0].shape[dim], 2)
        shrunk = _try(leaf, "keep_inputs", kept)
        if shrunk is not None and not _inputs_kept(leaf, shrunk, inputs[0], kept):
            yield path, f"{type(leaf).__name__}.keep_inputs does not keep these inputs"


def folding_is_exact(case: Case) -> Messages:
    """``fold_affine`` and ``deploy`` give equal modules, or none."""
    for path, leaf, inputs in _own_leaves(case):
        full = _call(leaf, *inputs)
        generator = torch.Generator().manual_seed(0)
        scale = torch.rand(full.shape[1], generator=generator) * 2 - 1
        shift = torch.randn(full.shape[1], generator=generator)
        folded = leaf.fold_affine(scale, shift)
        axes = (1, -1, *[1] * (full.dim() - 2))
        if folded is not None and not _close(_call(folded, *inputs), full * scale.view(axes) + shift.view(axes)):
            yield path, f"{type(leaf).__name__}.fold_affine is not scale · y + shift"
        deployed = leaf.deploy()
        if deployed is not None and not _close(_call(deployed, *inputs), full):
            yield path, f"{type(leaf).__name__}.deploy gives another function"


def _own_leaves(case: Case) -> Iterator[tuple[str, Leaf, list[Tensor]]]:
    """Leaves that rewrites brought in, each class once per rewrite, with the inputs they get."""
    for done in case.rewritten:
        seen: set[type] = set()
        for node, leaf in done.network.calls():
            if isinstance(leaf, Leaf) and type(leaf) not in seen:
                seen.add(type(leaf))
                values = case.evidence.activations(done.network, node.all_input_nodes)
                inputs = [values[source.name] for source in node.args if isinstance(source, fx.Node)]
                yield done.site.path, leaf.eval(), inputs


def _inputs_kept(leaf: Leaf, shrunk: nn.Module, x: Tensor, kept: Tensor) -> bool:
    """Inputs that differ in the kept channels alone lead to the same difference of outputs in both layers."""
    dim = leaf.channel_dim
    own = x.index_select(dim, kept)
    moved = own.roll(1, 0)
    full = _call(leaf, x.index_copy(dim % x.dim(), kept, moved)) - _call(leaf, x)
    small = _call(shrunk, moved) - _call(shrunk, own)
    return _close(small, full)


def _try(leaf: Leaf, method: str, channels: Tensor) -> Leaf | None:
    shrunk = copy.deepcopy(leaf)
    try:
        getattr(shrunk, method)(channels)
    except NotImplementedError:
        return None
    return shrunk


@torch.no_grad()
def _call(module: nn.Module, *inputs: Tensor) -> Tensor:
    result: Tensor = module.eval()(*inputs)
    return result


def _close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= TOLERANCE * max(float(expected.abs().max()), 1e-6))
