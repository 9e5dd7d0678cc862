"""One sound plugin, and many that are wrong in one way each; the conformance kit must tell them apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressor.errors import ExportError, GraphError, Refusal
from compressor.graph.leaf import Cost, Leaf, OnnxBuilder, OnnxValue, Shape
from compressor.knobs import Choice
from compressor.plugin import Plugin, Promise, Refused, Site

COUNTER = itertools.count()
MEMORY: dict[str, nn.Module] = {}


class Plain(Leaf):
    """A linear layer written as a leaf; sound in every respect."""

    def __init__(self, source: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(source.weight.detach().clone())
        self.bias = nn.Parameter(source.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def output_shape(self, *inputs: Shape) -> Shape:
        if inputs != ((self.weight.shape[1],),):
            raise GraphError(f"expects {self.weight.shape[1]} features, got {inputs}")
        return (self.weight.shape[0],)

    def cost(self, *inputs: Shape) -> Cost:
        return Cost({32: self.weight.numel() + len(self.bias)}, {32: self.weight.numel()})

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        weight, bias = builder.constant(self.weight.detach()), builder.constant(self.bias.detach())
        return builder.op("Gemm", [inputs[0], weight, bias], transB=1)

    def keep_outputs(self, channels: Tensor) -> None:
        self.weight = nn.Parameter(self.weight.detach()[channels].clone())
        self.bias = nn.Parameter(self.bias.detach()[channels].clone())

    def keep_inputs(self, channels: Tensor) -> None:
        self.weight = nn.Parameter(self.weight.detach()[:, channels].clone())

    def fold_affine(self, scale: Tensor, shift: Tensor) -> nn.Module:
        folded = nn.Linear(self.weight.shape[1], self.weight.shape[0])
        folded.weight = nn.Parameter(self.weight.detach() * scale[:, None])
        folded.bias = nn.Parameter(self.bias.detach() * scale + shift)
        return folded


@dataclass(frozen=True)
class Sound(Plugin):
    """Replaces every linear layer by an equal leaf."""

    promise: ClassVar[Promise] = Promise.EXACT
    leaf: ClassVar[Callable[[nn.Linear], nn.Module]] = Plain

    def sites(self, network):
        for path, leaf in network.leaves():
            if isinstance(leaf, nn.Linear):
                yield Site(path, nodes=tuple(node.name for node in network.calls_of(path)))

    def rewrite(self, editor, site, choice):
        leaf = editor.network.leaf(site.path)
        if not isinstance(leaf, nn.Linear):
            raise Refusal("is no linear layer", path=site.path)
        editor.replace(site.path, type(self).leaf(leaf))


# --- wrong about sites -----------------------------------------------------------------------------------------------


class MovingSites(Sound):
    def sites(self, network):
        yield Site(f"site{next(COUNTER)}")


class MeddlingSites(Sound):
    def sites(self, network):
        with torch.no_grad():
            next(network.module.parameters()).add_(0.1)
        yield from super().sites(network)


class TwinSites(Sound):
    def sites(self, network):
        for site in super().sites(network):
            yield from (site, site)


class UnknownNodes(Sound):
    def sites(self, network):
        for site in super().sites(network):
            yield Site(site.path, nodes=("nowhere",))


class SilentRefusal(Sound):
    def sites(self, network):
        yield Refused("somewhere", " ")
        yield from super().sites(network)


class CrashingSites(Sound):
    def sites(self, network):
        raise KeyError("lost")


class StrangeShortlist(Sound):
    def worth_measuring(self, network, sites, evidence):
        return [Site("elsewhere")]


class TwinShortlist(Sound):
    def worth_measuring(self, network, sites, evidence):
        return [*sites, *sites]


class MeddlingShortlist(Sound):
    def worth_measuring(self, network, sites, evidence):
        with torch.no_grad():
            next(network.module.parameters()).add_(0.1)
        return sites


class EmptyPromise(Sound):
    def rewrite(self, editor, site, choice):
        raise Refusal("changed my mind", path=site.path)


class DeadKnob(Sound):
    def sites(self, network):
        for site in super().sites(network):
            yield Site(site.path, {"speed": Choice(("fast", "slow"))}, site.nodes)


class LoneKnob(Sound):
    def sites(self, network):
        for site in super().sites(network):
            yield Site(site.path, {"speed": Choice(("fast",))}, site.nodes)


class RefusedKnob(Sound):
    def sites(self, network):
        for site in super().sites(network):
            yield Site(site.path, {"speed": Choice(("fast", "slow"))}, site.nodes)

    def rewrite(self, editor, site, choice):
        if choice["speed"] == "slow":
            raise Refusal("too slow", path=site.path)
        super().rewrite(editor, site, choice)


# --- wrong about rewriting -------------------------------------------------------------------------------------------


class LateRefusal(Sound):
    def rewrite(self, editor, site, choice):
        super().rewrite(editor, site, choice)
        editor.require_evidence()


class StaleCrash(Sound):
    def rewrite(self, editor, site, choice):
        leaf = editor.network.leaf(site.path)
        if not isinstance(leaf, nn.Linear):
            raise AttributeError("no weight")
        super().rewrite(editor, site, choice)


class Idle(Sound):
    def rewrite(self, editor, site, choice):
        pass


class Fickle(Sound):
    promise: ClassVar[Promise] = Promise.TRAINED

    def rewrite(self, editor, site, choice):
        super().rewrite(editor, site, choice)
        with torch.no_grad():
            editor.network.leaf(site.path).weight.mul_(1 + 0.01 * next(COUNTER))


class Sharing(Sound):
    def rewrite(self, editor, site, choice):
        made = Plain(editor.network.leaf(site.path))
        made.weight = MEMORY.setdefault(f"{site.path}{made.weight.shape}", made).weight
        editor.replace(site.path, made)


class Remembering(Sound):
    """Keeps the layer it saw in ``sites`` and edits that."""

    def sites(self, network):
        for site in super().sites(network):
            MEMORY.setdefault(f"seen {site.path}", network.leaf(site.path))
            yield site

    def rewrite(self, editor, site, choice):
        super().rewrite(editor, site, choice)
        with torch.no_grad():
            MEMORY[f"seen {site.path}"].weight.mul_(0.9)


class Overconfident(Sound):
    def rewrite(self, editor, site, choice):
        super().rewrite(editor, site, choice)
        with torch.no_grad():
            editor.network.leaf(site.path).weight.mul_(1.01)


# --- wrong leaves ----------------------------------------------------------------------------------------------------


def with_leaf(kind: type[nn.Module], promised: Promise = Promise.EXACT) -> type[Sound]:
    """The sound plugin, bringing another leaf."""
    return type(kind.__name__, (Sound,), {"leaf": kind, "promise": promised, "__doc__": kind.__doc__})


class BatchMean(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


class Noisy(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.randn_like(x))


class Detached(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.detach(), self.bias)


class HiddenState(Plain):
    """What training does to ``gain`` is in no state_dict."""

    gain = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.gain

    def after_step(self) -> None:
        self.gain += 0.1


class WrongOnnx(Plain):
    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        return builder.op("Relu", [super().emit(builder, inputs)])


class NoOnnx(Plain):
    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        raise ExportError("no such operator")


class Boastful(Plain):
    """Claims one bit per weight and stores 32."""

    def cost(self, *inputs: Shape) -> Cost:
        return Cost({1: self.weight.numel(), 32: len(self.bias)}, {1: self.weight.numel()})


class Overcounting(Plain):
    def cost(self, *inputs: Shape) -> Cost:
        return Cost({32: 2 * self.weight.numel()}, {32: self.weight.numel()})


class WrongShape(Plain):
    def output_shape(self, *inputs: Shape) -> Shape:
        return (self.weight.shape[0], 1) if self.weight.shape[0] == 10 else super().output_shape(*inputs)


class WrongOutputs(Plain):
    def keep_outputs(self, channels: Tensor) -> None:
        super().keep_outputs(channels.flip(0))


class WrongInputs(Plain):
    def keep_inputs(self, channels: Tensor) -> None:
        super().keep_inputs(channels + 1)


class WrongFold(Plain):
    def fold_affine(self, scale: Tensor, shift: Tensor) -> nn.Module:
        return super().fold_affine(scale, torch.zeros_like(shift))


class WrongDeploy(Plain):
    def deploy(self) -> nn.Module:
        return nn.Linear(self.weight.shape[1], self.weight.shape[0])


BROKEN: dict[str, tuple[type[Plugin], ...]] = {
    "sites-are-deterministic": (MovingSites,),
    "sites-leave-the-network-alone": (MeddlingSites,),
    "sites-are-well-formed": (TwinSites, UnknownNodes, SilentRefusal, CrashingSites),
    "shortlists-are-sites": (StrangeShortlist, TwinShortlist, MeddlingShortlist),
    "sites-can-be-rewritten": (EmptyPromise,),
    "knobs-are-useful": (DeadKnob, LoneKnob, RefusedKnob),
    "refusals-come-before-edits": (LateRefusal, StaleCrash),
    "rewrites-change-something": (Idle,),
    "rewrites-are-deterministic": (Fickle, Sharing),
    "forks-are-isolated": (Remembering,),
    "networks-run": (with_leaf(BatchMean, Promise.TRAINED), with_leaf(Noisy, Promise.TRAINED)),
    "gradients-flow": (with_leaf(Detached),),
    "trained-weights-survive": (with_leaf(HiddenState),),
    "promises-are-kept": (Overconfident,),
    "onnx-agrees": (with_leaf(WrongOnnx), with_leaf(NoOnnx)),
    "costs-are-true": (with_leaf(Boastful), with_leaf(Overcounting)),
    "shapes-are-true": (with_leaf(WrongShape),),
    "channels-can-be-lost": (with_leaf(WrongOutputs), with_leaf(WrongInputs)),
    "folding-is-exact": (with_leaf(WrongFold), with_leaf(WrongDeploy)),
}
"""By the check that must catch them."""
