"""Where values are held to steps: the regions in which a network computes in integers.

    1. what an integer layer reads is held to steps, and what it makes, behind the rectifier that follows it; the answer
       of the network is left in float where a linear layer makes it
    2. an operation whose inputs are all held to steps stays inside: what only moves values keeps their steps, what
       computes (sums, products, concatenation, averages) gets steps of its own, and what is a weighted sum per channel
       (a BatchNorm that no layer could take in, an average over windows) becomes a depthwise convolution

Rule 2 is applied in execution order, so a region grows as far as it can, and its boundaries are where some input comes
from float arithmetic or ONNX Runtime has no integer form. A value that floats compute and that is only moved before an
integer layer reads it enters where it is smallest, behind a pooling rather than before. Each edit brings the regions up
to date; the order of edits does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import fx, nn

from compressor.graph.editor import Editor
from compressor.graph.layers.kind import Integers
from compressor.graph.network import Network
from compressor.graph.shape_rules.functions import operation
from compressor.graph.steps import (
    COMPUTING_FUNCTIONS,
    JOINING_FUNCTIONS,
    MOVING_FUNCTIONS,
    integers_of,
)
from compressor_plugins.common.neighbours import PASSIVE, leaf_at, only_user
from compressor_plugins.quantize.activations import open_up, opens
from compressor_plugins.quantize.depthwise import depthwise_form
from compressor_plugins.quantize.layer import IntegerLayer
from compressor_plugins.quantize.taken_over import take_over
from compressor_plugins.quantize.value import SteppedValue, clips

Fresh = Callable[[], SteppedValue]
"""Makes a holder of values that is not calibrated yet."""
FreshLayer = Callable[[nn.Module, bool], IntegerLayer]
"""Makes the integer form of a layer, which learns or does not."""


def settle(editor: Editor, fresh: Fresh, fresh_layer: FreshLayer) -> None:
    """Hold every value to steps that the rules say."""
    network = editor.network
    take_over(editor, fresh)
    for node in list(network.graph.nodes):
        leaf = leaf_at(network, node)
        if leaf is not None and _inside(network, node) and (form := depthwise_form(network, node, leaf)) is not None:
            leaf = fresh_layer(*form)
            editor.replace(str(node.target), leaf)
        if isinstance(leaf, IntegerLayer):
            _hold_origin(editor, _source(network, node), fresh)
            end = _behind_rectifiers(network, node)
            if not (isinstance(leaf.shell, nn.Linear) and _is_answer(end)):
                _hold(editor, end, fresh)
        elif _inside(network, node):
            if _moves(leaf, node) or _joins_alike(network, node):
                _hold_alike(editor, node)
            elif opens(leaf) and leaf is not None:
                open_up(editor, node, leaf, fresh)
            elif _computes(leaf, node):
                _hold(editor, _behind_rectifiers(network, node), fresh)
                if operation(node) in JOINING_FUNCTIONS:
                    _share_steps(editor, node)
    for node in list(network.graph.nodes):
        if _inside(network, node) and _moves(leaf_at(network, node), node):
            _hold_alike(editor, node)  # what was held behind it before its input was held, too


def is_held(network: Network, node: fx.Node) -> bool:
    """Whether a value is held to steps."""
    return isinstance(leaf_at(network, _past_passive(network, node)), SteppedValue)


def _source(network: Network, node: fx.Node) -> fx.Node:
    return node.all_input_nodes[0]


def _past_passive(network: Network, node: fx.Node) -> fx.Node:
    while isinstance(leaf_at(network, node), PASSIVE) and not isinstance(leaf_at(network, node), nn.Flatten):
        node = _source(network, node)
    return node


def _behind_rectifiers(network: Network, node: fx.Node) -> fx.Node:
    """The value behind the rectifiers, and what computes nothing, that alone read ``node``."""
    user = only_user(node)
    while user is not None and _rectifies(leaf_at(network, user)):
        node, user = user, only_user(user)
    return node


def _rectifies(leaf: nn.Module | None) -> bool:
    vanishes = isinstance(leaf, PASSIVE) and not isinstance(leaf, nn.Flatten)
    return vanishes or clips(leaf)[0] == 0.0


def _is_answer(node: fx.Node) -> bool:
    return all(user.op == "output" for user in node.users)


def _inside(network: Network, node: fx.Node) -> bool:
    """Whether everything that goes into an operation is held to steps, and it is no number."""
    if node.op not in ("call_module", "call_function") or node.meta.get("shape") is None:
        return False
    sources = node.all_input_nodes
    return bool(sources) and all(is_held(network, source) for source in sources)


def _moves(leaf: nn.Module | None, node: fx.Node) -> bool:
    if isinstance(leaf, nn.Upsample):
        return leaf.mode == "nearest"
    if leaf is None:
        return operation(node) in MOVING_FUNCTIONS
    return integers_of(leaf) is Integers.MOVES


def _joins_alike(network: Network, node: fx.Node) -> bool:
    """Whether a concatenation has parts of the same steps alone: one part, or one part several times."""
    return operation(node) in JOINING_FUNCTIONS and len(node.all_input_nodes) == 1


def _computes(leaf: nn.Module | None, node: fx.Node) -> bool:
    if leaf is None and operation(node) in COMPUTING_FUNCTIONS:
        return len(node.all_input_nodes) > 1  # with a number, or with itself, there is no integer form
    return leaf is not None and integers_of(leaf) is Integers.COMPUTES


def _hold(editor: Editor, node: fx.Node, fresh: Fresh) -> None:
    if not is_held(editor.network, node) and not _read_by_steps(editor.network, node):
        editor.insert_after(node, fresh(), "steps")


def _hold_origin(editor: Editor, node: fx.Node, fresh: Fresh) -> None:
    """Hold a value all the way to here from where it is held; else from where it is smallest on its way from floats."""
    network, way = editor.network, [node]
    while not is_held(network, way[0]) and _moves(leaf_at(network, way[0]), way[0]):
        if len(way[0].all_input_nodes) != 1:
            break
        way.insert(0, _source(network, way[0]))
    if not is_held(network, way[0]):
        start = min(way, key=lambda place: math.prod(network.shape(place)))
        _hold(editor, start, fresh)
        way = way[way.index(start) :]
    for place in way[1:]:
        _hold_alike(editor, place)


def _hold_alike(editor: Editor, node: fx.Node) -> None:
    """Hold what only moves values to the steps they had, whatever held it until now for itself."""
    network = editor.network
    before = _past_passive(network, _source(network, node))
    own = [user for user in node.users if isinstance(leaf_at(network, user), SteppedValue)]
    if any(not _is_its_own(network, user) or _same(network, before, user) for user in own):
        return
    held = leaf_at(network, before)
    alike = held.alike() if isinstance(held, SteppedValue) else None
    if alike is not None:
        again = editor.insert_after(node, alike, "steps")
    else:
        again = editor.repeat_after(node, str(before.target))
    for user in own:
        editor.redirect(user, again)


def _is_its_own(network: Network, steps: fx.Node) -> bool:
    """Whether steps are held by nothing else in the network."""
    return len(network.calls_of(str(steps.target))) == 1


def _same(network: Network, one: fx.Node, other: fx.Node) -> bool:
    """Whether two values are held to the same steps, for good."""
    if one.target == other.target:
        return True
    left, right = leaf_at(network, one), leaf_at(network, other)
    if not (isinstance(left, SteppedValue) and isinstance(right, SteppedValue) and left.fixed and right.fixed):
        return False
    return math.isclose(left.handed_on, right.handed_on, rel_tol=1e-6)


def _share_steps(editor: Editor, node: fx.Node) -> None:
    """Hold the parts of a concatenation, where nothing else reads them, to the steps of the whole: bytes are copied."""
    network = editor.network
    whole = only_user(node)
    if whole is None or not _may_share(network, whole):
        return
    for part in node.all_input_nodes:
        path = str(part.target)
        if not _may_share(network, part) or only_user(part) is not node:
            continue
        if path != str(whole.target) and len(network.calls_of(path)) == 1:
            editor.redirect(part, editor.repeat_after(_source(network, part), str(whole.target)))


def _may_share(network: Network, node: fx.Node) -> bool:
    leaf = leaf_at(network, node)
    return type(leaf) is SteppedValue


def _read_by_steps(network: Network, node: fx.Node) -> bool:
    return any(isinstance(leaf_at(network, user), SteppedValue) for user in node.users)
