"""The one object that changes a network's structure: a transaction of edits, committed at once.

    editor = Editor(network)
    editor.replace("layer1.0.relu", nn.Identity())
    editor.commit()

Every operation checks first and changes afterwards: one that cannot be done raises ``Refusal`` or ``GraphError`` and
leaves everything as it was. Edit in execution order: an operation sees the shapes that the edits before it have made.
The network runs again after ``commit``. Where ``commit`` itself raises, the edits did not fit together and the network
is to be thrown away: work on a fork.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import fx, nn

from compressor.errors import GraphError, Refusal
from compressor.graph.channels import channel_count, plan_drop, plan_duplicate
from compressor.graph.cleanup import forbid_in_place, remove_dead_nodes, remove_unused_modules
from compressor.graph.cost import cost_of
from compressor.graph.coupling.plan import ChannelPlan, put_in_place
from compressor.graph.coupling.trace import remember
from compressor.graph.leaf import Cost, Shape
from compressor.graph.network import Network
from compressor.graph.placing import add, call_chain, install, place_of
from compressor.graph.repair import repair_chain
from compressor.graph.shapes import input_shapes, settle, shape_of
from compressor.graph.span import find_span, span_cost

if TYPE_CHECKING:
    from compressor.evidence import Evidence


@dataclass(frozen=True)
class Change:
    """One thing that was done: which operation, at which path (or node), and what changed there."""

    kind: str
    path: str
    detail: str


class Editor:
    """One transaction on one network."""

    def __init__(self, network: Network, evidence: Evidence | None = None) -> None:
        self.network = network
        self.evidence = evidence
        """Data, loss and teacher for rewrites that ask; None where a plan is only tried for its structure."""
        self.changes: list[Change] = []
        self._misfits: dict[fx.Node, GraphError] = {}
        self._committed = False
        self._rewired = False
        """Whether nodes have changed, and not only the leaves they call."""

    def require_evidence(self) -> Evidence:
        """The evidence. Raises ``Refusal`` when there is none."""
        if self.evidence is None:
            raise Refusal("needs calibration data, and none was given")
        return self.evidence

    # --- operations ----------------------------------------------------------------------------------------------

    def replace(self, path: str, module: nn.Module) -> None:
        """Put ``module`` where the leaf at ``path`` is, in all its calls; it takes the network's mode and device.

        Raises ``GraphError`` when there is no such leaf, or ``module`` does not take its inputs.
        """
        calls = self._calls(path)
        for call in calls:
            self._fits(path, [module], input_shapes(call))
        old = self.network.leaf(path)
        install(self.network, path, module)
        self._settle(calls)
        self._record("replace", path, f"{_kind(old)} → {_kind(module)}", rewired=False)

    def replace_by_chain(self, path: str, chain: Sequence[tuple[str, nn.Module]]) -> list[str]:
        """Put several leaves in a row where the leaf at ``path`` is, in all its calls; returns their paths.

        A leaf named ``name`` gets the path ``{path}_{name}`` (with a number where that is taken); one named ``""``
        takes over ``path`` itself. Raises ``GraphError`` when the chain does not take the leaf's inputs.
        """
        calls = self._calls(path)
        if not chain or [name for name, _ in chain].count("") > 1:
            raise GraphError(f"{path}: a chain needs at least one leaf, and only one may take over the path")
        for call in calls:
            self._fits(path, [module for _, module in chain], input_shapes(call))
        old = self.network.leaf(path)
        paths = [add(self.network, path, name, module) if name else path for name, module in chain]
        for module in [module for name, module in chain if not name]:
            install(self.network, path, module)
        for call in calls:
            call.replace_all_uses_with(call_chain(self.network, call, paths, call.args))
            self.network.graph.erase_node(call)
        self._settle([node for new in paths for node in self.network.calls_of(new)])
        self._record("replace", path, f"{_kind(old)} → {', '.join(_kind(module) for _, module in chain)}")
        return paths

    def insert_after(self, node: fx.Node, module: nn.Module, name: str) -> fx.Node:
        """Pass the value of ``node`` through ``module`` on its way to all users; returns the node of the call.

        The new leaf's path is ``{leaf path of node, or node name}_{name}``, with a number where that is taken.
        """
        self._check_open()
        shape = self.network.shape(node)
        self._fits(node.name, [module], [shape])
        path = add(self.network, place_of(node), name, module)
        call = self._pass_through(node, path)
        self._record("insert", path, f"{_kind(module)} after {node.name}")
        return call

    def repeat_after(self, node: fx.Node, path: str) -> fx.Node:
        """Pass the value of ``node`` through the leaf at ``path`` once more, on its way to all users.

        Returns the node of the call. Raises ``GraphError`` when there is no such leaf, or it does not take the value.
        """
        self._check_open()
        self._fits(node.name, [self.network.leaf(path)], [self.network.shape(node)])
        call = self._pass_through(node, path)
        self._record("repeat", path, f"after {node.name}")
        return call

    def append(self, what: nn.Module | Callable[..., Any], inputs: Sequence[fx.Node | float], name: str) -> fx.Node:
        """Compute something new from values of the network, which nothing reads yet; see ``redirect``.

        A leaf gets the path that ``insert_after`` would give it behind the last of ``inputs``.
        """
        self._check_open()
        sources = [value for value in inputs if isinstance(value, fx.Node)]
        last = max(sources)
        if isinstance(what, nn.Module):
            self._fits(last.name, [what], [self.network.shape(source) for source in sources])
            path = add(self.network, place_of(last), name, what)
        with self.network.graph.inserting_after(last):
            if isinstance(what, nn.Module):
                node = self.network.graph.call_module(path, tuple(inputs))
            else:
                title = f"{place_of(last)}_{name}".replace(".", "_")
                node = self.network.graph.create_node("call_function", what, tuple(inputs), name=title)
        self._settle([node])
        self._record("append", node.name, f"{_kind(what) if isinstance(what, nn.Module) else what.__name__}")
        return node

    def redirect(self, node: fx.Node, to: fx.Node) -> None:
        """Let everything that reads ``node`` read ``to``, but for what ``to`` itself is computed from.

        Raises ``GraphError`` when their shapes differ.
        """
        self._check_open()
        if self.network.shape(node) != self.network.shape(to):
            raise GraphError(f"{to.name} has another shape than {node.name}")
        within = _upstream(to)
        node.replace_all_uses_with(to, delete_user_cb=lambda user: user not in within)
        self._settle([to])
        self._record("redirect", node.name, f"to {to.name}")

    def add_branch(self, node: fx.Node, chain: Sequence[tuple[str, nn.Module]], name: str) -> fx.Node:
        """Add to the value of ``node`` what a chain of leaves makes of it; all users get ``node + chain(node)``.

        The new leaves' paths are as in ``insert_after``; the node of the sum, which is returned, is named after
        ``name`` in the same way. Raises ``GraphError`` when the chain does not keep the shape.
        """
        self._check_open()
        shape = self.network.shape(node)
        if not chain or self._fits(node.name, [module for _, module in chain], [shape]) != shape:
            raise GraphError(f"{node.name}: the branch does not keep its shape {shape}")
        place = place_of(node)
        paths = [add(self.network, place, leaf, module) for leaf, module in chain]
        last = call_chain(self.network, node.next, paths, (node,))
        with self.network.graph.inserting_after(last):
            total = self.network.graph.create_node(
                "call_function", operator.add, (node, last), name=f"{place}_{name}".replace(".", "_")
            )
        own = {total, *self.network.calls_of(paths[0])}
        node.replace_all_uses_with(total, delete_user_cb=lambda user: user not in own)
        self._settle([*(call for path in paths for call in self.network.calls_of(path)), total])
        self._record("insert", place, f"branch of {', '.join(_kind(module) for _, module in chain)} after {node.name}")
        return total

    def remove_span(
        self, source: fx.Node, last: fx.Node, repair: Sequence[tuple[str, nn.Module]] | None = None
    ) -> None:
        """Cut out everything between ``source`` (which stays) and ``last`` (which goes too).

        Users of ``last`` get the value of ``source``, passed through the leaves of ``repair``: None finds them (pooling
        for space, an identity-like 1×1 convolution for channels), ``[]`` needs none. One named ``""`` takes over the
        path of the leaf that ``last`` calls, which nothing else may call. Leaves that are also called outside the span
        stay for those calls.

        Raises ``Refusal`` when ``source`` does not dominate ``last``, when something outside uses the inside, when the
        shapes do not meet, or when the repair costs as much as what it replaces.
        """
        self._check_open()
        given, wanted = self.network.shape(source), self.network.shape(last)
        span = find_span(source, last)
        chain = repair_chain(given, wanted) if repair is None else list(repair)
        self._check_repair(span, [module for _, module in chain], given, wanted)
        place = place_of(last)
        heirs = [module for name, module in chain if not name]
        if heirs and (len(heirs) > 1 or len(self._calls(place)) != 1):
            raise GraphError(f"{place}: one repair may take over the path of a leaf, and of one that is called once")
        paths = [add(self.network, place, name, module) if name else place for name, module in chain]
        for module in heirs:
            install(self.network, place, module)
        last.replace_all_uses_with(call_chain(self.network, last, paths, (source,)) if paths else source)
        for node in reversed(span):
            self.network.graph.erase_node(node)
        self._settle([node for path in paths for node in self.network.calls_of(path)])
        joined = f", joined by {', '.join(_kind(module) for _, module in chain)}" if chain else ""
        self._record("remove", f"{span[0].name}..{last.name}", f"{len(span)} nodes{joined}")

    def keep_channels(self, path: str, channels: Sequence[int]) -> None:
        """Keep only these output channels of the leaf at ``path``; all that is coupled to them follows.

        Channels keep their order. Raises ``Refusal`` for channels that are tied to the network's input or output, to
        constants, or to an operation that mixes channels.
        """
        self._calls(path)
        every = range(channel_count(self.network, path))
        unknown = sorted(set(channels).difference(every))
        if unknown:
            raise Refusal(f"has {len(every)} channels, no channel {unknown[0]}", path=path)
        self.drop_channels(path, sorted(set(every).difference(channels)))

    def drop_channels(self, path: str, channels: Sequence[int]) -> None:
        """Drop these output channels of the leaf at ``path``; see ``keep_channels``.

        Where the dropped channels were zero the network computes what it did before.
        """
        self._change_channels("drop channels", path, plan_drop, channels)

    def duplicate_channels(self, path: str, channels: Sequence[int]) -> None:
        """Add a copy of each of these output channels right behind it, without changing the network's function.

        A channel listed twice gets two copies. The weights that take a channel are shared out evenly over its copies.
        Raises ``Refusal`` as ``keep_channels`` does.
        """
        self._change_channels("duplicate channels", path, plan_duplicate, channels)

    # --- end -----------------------------------------------------------------------------------------------------

    def commit(self) -> tuple[Change, ...]:
        """Sweep up, lint, bring shapes up to date. Returns what was done; empty if nothing was.

        Raises ``GraphError`` when the edits do not fit together; the network is then unusable.
        """
        self._check_open()
        self._committed = True
        if not self.changes:
            return ()
        rewired = remove_dead_nodes(self.network.graph) or self._rewired
        misfits = {node: error for node, error in self._misfits.items() if not node._erased}
        if misfits:
            raise misfits[min(misfits)]
        remove_unused_modules(self.network.root)
        forbid_in_place(self.network.root)
        if rewired:
            self.network.graph.lint()
            self.network.rewired()
        return tuple(self.changes)

    # --- steps ---------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._committed:
            raise GraphError("this transaction was committed; start a new Editor")

    def _calls(self, path: str) -> list[fx.Node]:
        self._check_open()
        calls = self.network.calls_of(path)
        if not calls:
            raise GraphError(f"the network calls no leaf {path!r}")
        return calls

    def _fits(self, path: str, chain: Sequence[nn.Module], inputs: Sequence[Shape]) -> Shape:
        """The shape after the chain. Raises ``GraphError`` where a leaf does not take what comes."""
        shapes = list(inputs)
        for module in chain:
            if isinstance(module, nn.Sequential):
                raise GraphError(f"{path}: an nn.Sequential is no leaf; use replace_by_chain with its children")
            try:
                shapes = [shape_of(module, *shapes)]
            except GraphError as error:
                raise GraphError(f"{path}: {error}") from error
        return shapes[0]

    def _check_repair(self, span: Sequence[fx.Node], chain: Sequence[nn.Module], given: Shape, wanted: Shape) -> None:
        place = place_of(span[-1])
        result = self._fits(place, chain, [given])
        if result != wanted:
            raise Refusal(f"the repair gives shape {result} where {wanted} is needed", path=place)
        if not chain:
            return
        saved, spent, shape = span_cost(self.network, span), Cost(), given
        for module in chain:
            spent, shape = spent + cost_of(module, shape), shape_of(module, shape)
        if spent.mac_count >= saved.mac_count and spent.weight_bytes >= saved.weight_bytes:
            raise Refusal("the repair costs as much as the span it replaces", path=place)

    def _change_channels(
        self, kind: str, path: str, plan: Callable[[Network, str, Sequence[int]], ChannelPlan], channels: Sequence[int]
    ) -> None:
        self._calls(path)
        if self._misfits:
            raise GraphError(f"{path}: earlier edits of this transaction do not fit together yet")
        planned = plan(self.network, path, channels)
        before = put_in_place(self.network, planned)
        self._settle_plan(planned)
        if self._misfits:
            reason = str(self._misfits[min(self._misfits)])
            put_in_place(self.network, before)
            self._settle_plan(before)
            raise Refusal(f"its channels cannot change in number: {reason}", path=path)
        if planned.trace is not None:
            remember(self.network, planned.trace)
        others = [where for where in planned.leaves if where != path]
        also = f"; also {', '.join(others)}" if others else ""
        self._record(kind, path, f"{planned.before} → {planned.after}{also}", rewired=bool(planned.calls))

    def _settle_plan(self, plan: ChannelPlan) -> None:
        calls = [call for where in plan.leaves for call in self.network.calls_of(where)]
        reads = [
            node for where in plan.constants for node in self.network.graph.find_nodes(op="get_attr", target=where)
        ]
        self._settle([*calls, *(user for node in reads for user in node.users), *plan.calls])

    def _pass_through(self, node: fx.Node, path: str) -> fx.Node:
        """Call the leaf at ``path`` on ``node``, for all that reads it; returns the node of the call."""
        with self.network.graph.inserting_after(node):
            call = self.network.graph.call_module(path, (node,))
        node.replace_all_uses_with(call, delete_user_cb=lambda user: user is not call)
        self._settle([call])
        return call

    def _settle(self, touched: Sequence[fx.Node]) -> None:
        self._misfits = settle(self.network, [*touched, *self._misfits])

    def _record(self, kind: str, path: str, detail: str, *, rewired: bool = True) -> None:
        self._rewired |= rewired
        self.changes.append(Change(kind, path, detail))


def _upstream(node: fx.Node) -> set[fx.Node]:
    """The node and everything it is computed from."""
    found, waiting = {node}, [node]
    while waiting:
        fresh = set(waiting.pop().all_input_nodes) - found
        found |= fresh
        waiting += fresh
    return found


def _kind(module: nn.Module) -> str:
    return type(module).__name__
