"""The contract of a plugin: where it can act, and how it acts on one place.

    @dataclass(frozen=True)
    class DropDropout(Plugin):
        '''Replace dropout by the identity.'''

        promise = Promise.EXACT

        def sites(self, network):
            for path, leaf in network.leaves():
                if isinstance(leaf, nn.Dropout):
                    yield Site(path)

        def rewrite(self, editor, site, choice):
            editor.replace(site.path, nn.Identity())

A package registers it under the entry-point group ``compressor.plugins``; the entry point's name is the plugin's name.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from compressor.graph.computed import unseen_layers
from compressor.knobs import Choices, Knob, Value

if TYPE_CHECKING:
    from compressor.evidence import Evidence
    from compressor.graph.editor import Editor
    from compressor.graph.network import Network
    from compressor.report.gather import Facts
    from compressor.report.section import Section


class Promise(enum.Enum):
    """What a rewrite says about the function of the network in eval mode. The engine checks it."""

    EXACT = "exact"
    """The same function, up to rounding."""
    APPROXIMATE = "approximate"
    """Close to the same function: warm-started, useful before any training."""
    TRAINED = "trained"
    """A different function until it has been trained."""


@dataclass(frozen=True)
class Site:
    """A place in one network where a plugin can act, and the knobs that make sense there.

    ``path`` names the place (a leaf's path, or ``first..last`` for a span) and is unique among the plugin's sites;
    ``nodes`` are the graph nodes it is about; ``knobs`` hold useful values only; ``about`` is a line for people.
    """

    path: str
    knobs: Mapping[str, Knob] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    about: str = ""


@dataclass(frozen=True)
class Refused:
    """A place where one would expect the plugin to act and it does not, with the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class Suggestion:
    """How a plugin would take part in a recipe that nobody wrote: ``why`` in a few words, for people.

    ``phase``: ``structure`` (what is not needed goes) comes before ``bits`` (the rest in fewer bits).
    """

    phase: Literal["structure", "bits"]
    why: str
    policy: Literal["spread", "threshold", "mixed", "each", "all"] = "spread"
    options: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Plugin(ABC):
    """One kind of rewrite. Its fields are its options in a recipe; its docstring's first line is its summary.

    Invariant: valid before, valid after. Both methods are deterministic, and keep no state in the plugin.
    """

    promise: ClassVar[Promise] = Promise.TRAINED
    timed_together: ClassVar[bool] = False
    """Whether its sites are faster beside one another than alone, as layers in integers are: then the time that a site
    saves is measured where all of them are rewritten."""

    @abstractmethod
    def sites(self, network: Network) -> Iterable[Site | Refused]:
        """Where the plugin can act, in execution order, and where it will not and why. Never changes the network."""

    @abstractmethod
    def rewrite(self, editor: Editor, site: Site, choice: Choices) -> None:
        """Change one site through ``editor``, or raise ``Refusal`` before the first edit.

        ``choice`` holds a value for every knob of the site. Data, loss and teacher are at ``editor.evidence``.
        """

    def worth_measuring(self, network: Network, sites: Sequence[Site], evidence: Evidence) -> Sequence[Site]:
        """Those of ``sites`` that are worth a measurement each; all, unless a plugin has a cheap way to tell.

        The engine rewrites and measures one after the other; the rest ranks behind them.
        """
        return sites

    def suggest(self, network: Network, sites: Sequence[Site]) -> Suggestion | None:
        """How the plugin would take part in a recipe chosen for ``network``, where it offers ``sites``, at least one;
        None (so unless a plugin says otherwise) where it had better not.
        """
        return None

    def tell(self, run: Facts) -> Iterable[Section]:
        """What the plugin has to say about a finished run in which it was used, besides what is said of every plugin.

        Each section (``compressor.report.section.Section``) stands in the terminal and in ``report.html``; most plugins
        have none. ``run`` holds the result, the trials with their plans, what was measured.
        """
        return ()

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]


def sites_of(plugin: Plugin, network: Network) -> list[Site]:
    """The sites of a plugin, without the refusals."""
    return [place for place in plugin.sites(network) if isinstance(place, Site)]


def refusals_of(plugin: Plugin, network: Network) -> list[Refused]:
    """The refusals of a plugin, without the sites, and the layers that no plugin can see."""
    return [*(place for place in plugin.sites(network) if isinstance(place, Refused)), *unseen(network)]


def unseen(network: Network) -> list[Refused]:
    """Layers that are no leaves of the network, such as those whose weights are computed: no plugin acts on them."""
    return [Refused(path, reason) for path, reason in unseen_layers(network)]
