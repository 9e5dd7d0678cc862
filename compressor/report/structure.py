"""What a network is built of, stage by stage, and which steps added to it or took from it.

A block is what lies between two values that every path passes, as far as it holds a layer: a residual block with its
normalisation and activation, or in a plain chain a single layer with its own. A stage is a run of blocks with feature
maps of one size. The mean |γ| of a block's weakest BatchNorm says how much of the block gets through: near zero, it was
added and never taken up, or is not needed any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from compressor.apart import apart
from compressor.engine.apply import apply_edit
from compressor.engine.plan import PLAN, Edit, Plan
from compressor.engine.survey import PLUGIN_SECONDS
from compressor.errors import CompressorError, NoAnswer
from compressor.evidence import Evidence
from compressor.graph.cost import network_cost
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.graph.pt2 import read_pt2
from compressor.graph.trunk import trunk
from compressor.report import text
from compressor.report.table import Table, table

_LAYERS = (_ConvNd, nn.Linear, Leaf)


@dataclass(frozen=True)
class Block:
    """``width``: channels it gives; ``gamma``: mean |γ| of its weakest BatchNorm, None without any."""

    path: str
    """Its first and its last layer."""
    size: tuple[int, ...]
    """Height and width of the feature map; empty for a row of features."""
    width: int
    layers: int
    gamma: float | None


@dataclass(frozen=True)
class NetworkStage:
    """Blocks in a row with feature maps of one size."""

    size: tuple[int, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class HistoryStep:
    """One edit of a plan and what it added; negative where it took away."""

    phase: str
    plugin: str
    site: str
    params: int
    macs: int


@dataclass(frozen=True)
class Structure:
    """A baseline and a candidate, and the way from one to the other."""

    before: tuple[NetworkStage, ...]
    after: tuple[NetworkStage, ...]
    history: tuple[HistoryStep, ...]


def stages(network: Network) -> tuple[NetworkStage, ...]:
    """The blocks of a network, in order, by stage."""
    return tuple(
        NetworkStage(size, tuple(run)) for size, run in groupby(_blocks(network), key=lambda block: block.size)
    )


def replay(plan: Plan, network: Network, evidence: Evidence) -> tuple[HistoryStep, ...]:
    """Carry out the edits of a plan on ``network``, without its training; what each of them added.

    Raises ``Refusal`` where an edit does not apply.
    """
    steps: list[HistoryStep] = []
    before = network_cost(network)
    for phase in plan.parts:
        for edit in phase.steps:
            if not isinstance(edit, Edit):
                continue
            apply_edit(network, edit, evidence)
            after = network_cost(network)
            added = after.parameter_count - before.parameter_count, after.mac_count - before.mac_count
            steps.append(HistoryStep(phase.name, edit.plugin, edit.site, *added))
            before = after
    return tuple(steps)


def read_structure(baseline: Path, candidate: Path) -> Structure | None:
    """From the folders of a run; None where a file is missing or the plan cannot be carried out again.

    The plan is carried out in a process of its own, since its plugins are anybody's code. Places and sizes follow from
    the plan and not from data, so noise serves as evidence; the weights are those stored.
    """
    try:
        return apart(lambda: _rebuilt(baseline, candidate), seconds=PLUGIN_SECONDS)
    except NoAnswer:
        return None


def _rebuilt(baseline: Path, candidate: Path) -> Structure | None:
    needed = [baseline / "model.pt2", candidate / "plan.json", candidate / "weights.safetensors"]
    if not all(file.is_file() for file in needed):
        return None
    try:
        network = read_pt2(needed[0])
        before = stages(network)
        history = replay(PLAN.read(needed[1]), network, _noise(network))
        safetensors.torch.load_model(network.module, str(needed[2]))
    except (CompressorError, OSError, RuntimeError, ValueError, KeyError, SafetensorError):
        return None
    return Structure(before, stages(network), history)


def stages_table(structure: Structure) -> Table:
    """Stage by stage: blocks, their widths and their mean |γ|, before and after."""
    before, after = _by_size(structure.before), _by_size(structure.after)
    sizes = [*before, *(size for size in after if size not in before)]
    rows = [
        (text.shape(size) if size else "features", *_cells(before.get(size, [])), *_cells(after.get(size, [])))
        for size in sizes
    ]
    return table("maps, >blocks, widths, mean |γ|, >blocks after, widths after, mean |γ| after", rows)


def history_table(history: Sequence[HistoryStep]) -> Table:
    """Every edit in order, with what it added or removed."""
    rows = [
        (step.phase, step.plugin, step.site, _kind(step), _signed(step.params), _signed(step.macs)) for step in history
    ]
    return table("phase, plugin, site, change, >parameters, >MACs", rows)


def _blocks(network: Network) -> list[Block]:
    groups: list[list[fx.Node]] = []
    ends: list[fx.Node] = []
    waiting: list[fx.Node] = []
    passed_by_all = set(trunk(network))
    for node in network.graph.nodes:
        waiting.append(node)
        if node not in passed_by_all:
            continue
        if any(isinstance(_leaf(network, other), _LAYERS) for other in waiting):
            groups.append(waiting)
            ends.append(node)
        elif groups:
            groups[-1] += waiting
        waiting = []
    return [_block(network, group, end) for group, end in zip(groups, ends, strict=True)]


def _block(network: Network, nodes: Sequence[fx.Node], end: fx.Node) -> Block:
    """``end`` is where the layers of the block have come together; what follows it acts on their result."""
    layers = [str(node.target) for node in nodes if isinstance(_leaf(network, node), _LAYERS)]
    norms = [leaf for node in nodes if isinstance(leaf := _leaf(network, node), _BatchNorm) and leaf.affine]
    gammas = [float(norm.weight.detach().abs().mean()) for norm in norms]
    width, *size = network.shape(end) or (1,)
    path = layers[0] if len(layers) == 1 else f"{layers[0]}..{layers[-1]}"
    return Block(path, tuple(size), width, len(layers), min(gammas, default=None))


def _leaf(network: Network, node: fx.Node) -> nn.Module | None:
    return network.leaf(str(node.target)) if node.op == "call_module" else None


def _noise(network: Network) -> Evidence:
    return Evidence([(network.signature.random(8), None)])


def _by_size(found: Sequence[NetworkStage]) -> dict[tuple[int, ...], list[Block]]:
    blocks: dict[tuple[int, ...], list[Block]] = {}
    for stage in found:
        blocks.setdefault(stage.size, []).extend(stage.blocks)
    return blocks


def _cells(blocks: Sequence[Block]) -> tuple[str, str, str]:
    """``3``, ``16, 32 (2×)``, ``0.98 1.02 –``"""
    widths = [(width, len(list(run))) for width, run in groupby(block.width for block in blocks)]
    shown = ", ".join(f"{width} ({times}×)" if times > 1 else str(width) for width, times in widths)
    known = any(block.gamma is not None for block in blocks)
    gammas = " ".join(text.NONE if block.gamma is None else f"{block.gamma:.2f}" for block in blocks)
    return str(len(blocks)), shown or text.NONE, gammas if known else text.NONE


def _kind(step: HistoryStep) -> str:
    total = step.params or step.macs
    return "added" if total > 0 else "removed" if total < 0 else "changed"


def _signed(number: int) -> str:
    """``+1,234``, ``−56``, ``0``"""
    return f"+{number:,}" if number > 0 else f"−{-number:,}" if number else "0"
