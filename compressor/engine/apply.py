"""Apply edits to a network: find the site, complete the choice, rewrite, hold the plugin to its promise."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from compressor.apart import mention
from compressor.engine.plan import Edit
from compressor.errors import BrokenPromise, ExportError, ForeignError, GraphError, Refusal
from compressor.evidence import Evidence
from compressor.foreign import blaming
from compressor.graph.editor import Change, Editor
from compressor.graph.network import Network
from compressor.knobs import Value
from compressor.plugin import Plugin, Refused, Site
from compressor.registry import make, module_of, titled

PASSES = 20
"""How many passes of the network over the calibration data a rewrite may take, besides its plugin's own time."""


def rewrite_seconds(own: float, network: Network, evidence: Evidence) -> float:
    """How long one rewrite may take: a plugin's ``own`` time, and that of ``PASSES`` over the data, here and now."""
    start = time.monotonic()
    evidence.mean_loss(network)
    return own + PASSES * (time.monotonic() - start)


def silence_of(own: float) -> float:
    """How long a trial or a final measurement may go without one batch of its network or file: a plugin's layer hangs
    then. ``own``: a plugin's own time.
    """
    return 10 * own


def find_site(plugin: Plugin, network: Network, path: str) -> Site:
    """The plugin's site at ``path`` in the network as it is now. Raises ``Refusal`` when it is not there."""
    for place in plugin.sites(network):
        if place.path == path:
            if isinstance(place, Refused):
                raise Refusal(place.reason, path=path)
            return place
    raise Refusal("no such site in the network as it is now", path=path)


@contextmanager
def acting(plugin: str, site: str = "") -> Iterator[None]:
    """What goes wrong within is the doing of a plugin, and says so: which one, at which site, and at which line.

    Refusals pass as they are.
    """
    whose = f"{titled(plugin)}, site {site}" if site else titled(plugin)
    mention(whose, (plugin, site))
    try:
        with blaming(whose, module_of(plugin)):
            yield
    except ForeignError as error:
        error.culprit = plugin, site
        raise
    except (GraphError, BrokenPromise, ExportError) as error:
        named = type(error)(f"{whose}: {error}")
        named.culprit = plugin, site
        raise named from error
    finally:
        mention("")


def complete_choice(site: Site, choice: Mapping[str, Value]) -> dict[str, Value]:
    """``choice`` with the site's defaults filled in. Raises ``Refusal`` for an unknown knob or a value out of range."""
    for name, value in choice.items():
        if name not in site.knobs:
            raise Refusal(f"has no knob {name!r}", path=site.path)
        if not site.knobs[name].contains(value):
            raise Refusal(f"knob {name} cannot be {value!r}", path=site.path)
    return {name: choice.get(name, knob.default) for name, knob in site.knobs.items()}


def apply_edit(network: Network, edit: Edit, evidence: Evidence | None) -> tuple[Change, ...]:
    """Change ``network`` as one edit says; returns what changed.

    Raises ``Refusal``, and then nothing has changed; ``GraphError`` and ``ForeignError`` name the plugin and the site.
    """
    with acting(edit.plugin, edit.site):
        plugin = make(edit.plugin, edit.options)
        site = find_site(plugin, network, edit.site)
        editor = Editor(network, evidence)
        plugin.rewrite(editor, site, complete_choice(site, edit.choice))
        if not editor.changes:
            raise Refusal(f"{edit.plugin} changed nothing", path=edit.site)
        return editor.commit()


def apply_edits(network: Network, edits: Sequence[Edit], evidence: Evidence | None) -> list[Change]:
    """Apply edits in order. Raises ``Refusal`` at the first that does not apply."""
    return [change for edit in edits for change in apply_edit(network, edit, evidence)]
