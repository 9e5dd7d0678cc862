"""Stem convolutions: those that read the image itself, past nothing but zero padding and what computes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import fx, nn

from compressor.errors import GraphError
from compressor.graph.editor import Editor
from compressor.graph.layers.conv import padding_of
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.graph.onnx_out.pads import split_pads
from compressor_plugins.common.neighbours import PASSIVE, leaf_at, only_user, source_of
from compressor_plugins.input_mask.parity_masks import Pair


@dataclass(frozen=True)
class Stem:
    """A stem convolution with the zero padding that other leaves do for it.

    ``padding`` is all of it, (top, left, bottom, right); ``outside`` the leaves that do part of it, for nothing else;
    ``size`` the image before any padding.
    """

    path: str
    conv: nn.Conv2d
    size: Pair
    padding: tuple[int, int, int, int]
    outside: tuple[str, ...]
    outside_begin: Pair
    """The part of (top, left) that the leaves ``outside`` add."""
    reached: Pair
    """The image's size when it reaches the convolution, padded by those leaves."""


def stems(network: Network) -> Iterator[tuple[str, Stem | str]]:
    """By path: every convolution to which the image comes through no other layer, or why it cannot be masked."""
    for path, leaf in network.leaves():
        if isinstance(leaf, nn.Conv2d | Leaf) and _reads_image(network, network.calls_of(path)[0]):
            yield path, _stem(network, path, leaf)


def _reads_image(network: Network, node: fx.Node) -> bool:
    """Whether the image comes to the node through no layer with weights of its own."""
    pending, seen = list(node.all_input_nodes), set[fx.Node]()
    while pending:
        source = pending.pop()
        leaf = leaf_at(network, source)
        if isinstance(leaf, Leaf) or (leaf is not None and any(p.dim() > 1 for p in leaf.parameters())):
            return False
        if source not in seen:
            seen.add(source)
            pending.extend(source.all_input_nodes)
    return not seen.isdisjoint(network.input_nodes)


def _stem(network: Network, path: str, leaf: nn.Module) -> Stem | str:
    calls = network.calls_of(path)
    if type(leaf) is not nn.Conv2d:
        return f"is a {type(leaf).__name__}, not a plain convolution"
    if len(calls) > 1:
        return "is called more than once"
    if leaf.padding_mode != "zeros":
        return f"pads with {leaf.padding_mode}, and a mask is exact with zeros only"
    (top, left), (bottom, right) = padding_of(leaf)
    node, outside, begin = source_of(calls[0]), [], (0, 0)
    while node.op != "placeholder":
        before = leaf_at(network, node)
        if isinstance(before, nn.ZeroPad2d) and only_user(node) is not None:
            (more_top, more_left), (more_bottom, more_right) = split_pads(before.padding, 2)
            begin = (begin[0] + more_top, begin[1] + more_left)
            bottom, right = bottom + more_bottom, right + more_right
            outside.append(str(node.target))
        elif not (isinstance(before, PASSIVE) and not isinstance(before, nn.Flatten)):
            return f"reads the image through {node.target if before is not None else node.name}"
        node = source_of(node)
    (height, width), reached = network.shape(node)[1:], network.shape(source_of(calls[0]))[1:]
    padding = (top + begin[0], left + begin[1], bottom, right)
    return Stem(path, leaf, (height, width), padding, tuple(outside), begin, (reached[0], reached[1]))


# --- stride 1 becomes stride 2 ---------------------------------------------------------------------------------------


REPAIRS = ("drop-pool", "shrink")


def repaired_by(network: Network, stem: Stem, strided: nn.Module, ways: Sequence[str]) -> tuple[str, ...] | None:
    """Pools that go so that the network comes to terms with ``strided``, a stem of stride 2; None where it cannot.

    ``drop-pool``: the first pool of stride 2 goes, and behind it every size is what it was. ``shrink``: everything
    behind the stem works at half the size, up to a pool that gives a fixed one. The first of ``ways`` that fits.
    """
    for way in ways:
        pools = _first_pool(network) if way == "drop-pool" else ()
        if pools is not None and _fits(network, stem, strided, pools):
            return pools
    return None


def put(editor: Editor, stem: Stem, replacement: nn.Module, pools: tuple[str, ...] = ()) -> None:
    """Make ``replacement``, which does all the padding itself, the stem; ``pools`` go."""
    for path in stem.outside:
        editor.replace(path, nn.Identity())
    editor.replace(stem.path, replacement)
    for path in pools:
        editor.replace(path, nn.Identity())


def _first_pool(network: Network) -> tuple[str, ...] | None:
    for path, leaf in network.leaves():
        if isinstance(leaf, nn.MaxPool2d | nn.AvgPool2d) and leaf.stride in (2, (2, 2)):
            return (path,) if len(network.calls_of(path)) == 1 else None
    return None


def _fits(network: Network, stem: Stem, strided: nn.Module, pools: tuple[str, ...]) -> bool:
    """Tried on a fork: the network gives what it gave, and behind a dropped pool sizes are what they were."""
    fork = network.fork()
    places = [*fork.output_nodes, *(call for path in pools for call in fork.calls_of(path))]
    before = [network.shape(place) for place in places]
    editor = Editor(fork)
    try:
        put(editor, stem, strided, pools)
        editor.commit()
    except GraphError:
        return False
    return [network.shape(place) for place in places] == before
