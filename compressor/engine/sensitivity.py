"""How much each site hurts, and how much it saves: measured once, one rewrite at a time, without training.

A site with knobs is measured at several of their values (``knob_values``), so that what 4 bits cost is not taken from
what 8 bits cost.

    efficiency of a site = loss increase when it alone is rewritten / what that saves

The loss is the mean over the calibration batches after BatchNorm has been recalibrated; the saving is the sum of the
relative savings in weight bytes, in multiply-accumulates and in time: measured on the ONNX file of the network with
this rewrite alone, or, where nothing is timed, the share of latency of the layers that vanish. Sites that save the same
bytes and the same multiply-accumulates do the same work; their median saving of time is taken for each of them, so that
the noise of a measurement does not choose between equal blocks. Where sites are faster beside one another than alone
(``Plugin.timed_together``), the time of a site is what it contributes where all of them are rewritten.
Measuring the bypass itself is the most reliable criterion for removing layers; the same measurement ranks
the sites of any plugin, so a third party's gets it for nothing.

An exact rewrite that makes the network larger hurts nothing and saves nothing. What it is good for is training, and the
first step of training sees it as a larger gradient:

    efficiency of a growth = (‖∇L after‖² − ‖∇L before‖²) / what it adds

For a gated branch that is the squared gradient of the gate (Firefly, arXiv:2102.08574), for new units what GradMax
(arXiv:2201.05125) maximises; weights that were there before have the same gradient on both sides. Inputs that are
copies of one another count once: they open no direction that was not there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compressor.knobs import Choices
from compressor.plugin import Site
from compressor.stored import Figure, Stored

Admits = Callable[[str, Mapping[str, Any], Site], bool]
"""Whether anybody may act on a site of the plugin with this name and these options."""


@dataclass(frozen=True)
class SiteSensitivity:
    """What rewriting one site alone does; savings are shares of the whole network (negative: it grows)."""

    loss_increase: Figure
    bytes_saved: Figure
    macs_saved: Figure
    latency_saved: Figure = 0.0
    speedup: Figure = 0.0
    """Measured on the ONNX file of the network with this site alone rewritten; 0 where nobody timed it. What counts is
    ``latency_saved``."""
    gain: Figure = 0.0
    """Of an exact rewrite that enlarges the network: the squared gradient it adds to what training can follow."""
    choice: Choices = field(default_factory=dict)
    """The values of the knobs that this was measured at."""
    others: tuple[SiteSensitivity, ...] = ()
    """The same at other values of the knobs."""

    @property
    def every(self) -> tuple[SiteSensitivity, ...]:
        """At all values that were measured."""
        return self, *self.others

    def at(self, choice: Choices) -> SiteSensitivity:
        """At the values nearest to ``choice``: of those that were measured the ones that share the most with it."""
        return max(self.every, key=lambda entry: sum(choice.get(name) == value for name, value in entry.choice.items()))

    @property
    def saving(self) -> float:
        return self.bytes_saved + self.macs_saved + self.latency_saved

    @property
    def is_finite(self) -> bool:
        """Whether it says anything: a rewrite may give a network whose loss is no number."""
        return all(math.isfinite(figure) for figure in (self.loss_increase, self.saving, self.gain))


@dataclass(frozen=True)
class Sensitivities:
    """By plugin (with its options) and site path."""

    entries: Mapping[str, Mapping[str, SiteSensitivity]] = field(default_factory=dict)
    failed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By plugin (its name alone) and site path: how rewriting the site failed."""

    def of(self, plugin: str, options: Mapping[str, Any]) -> Mapping[str, SiteSensitivity]:
        """What is known of a plugin's sites; empty when nothing was measured."""
        return self.entries.get(key_of(plugin, options), {})

    def to_json(self) -> str:
        return SENSITIVITIES.to_json(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Sensitivities:
        return SENSITIVITIES.from_json(text)


def rank(paths: Sequence[str], known: Mapping[str, SiteSensitivity], follow: float) -> list[str]:
    """Sites from the most to the least worth rewriting: by loss increase to the power ``follow`` per saving.

    Sites that grow come behind those that save, by gain to the power ``follow`` per growth. ``follow`` = 0 ranks by
    saving or growth alone. Sites nobody measured, or whose figures are no numbers, come last, in their own order.
    """

    def score(path: str) -> tuple[int, float]:
        entry = known.get(path)
        if entry is None or not entry.is_finite:
            return 2, 0.0
        if entry.saving > 0:
            return 0, float(max(entry.loss_increase, 1e-4) ** follow / entry.saving)
        if entry.gain > 0:
            return 1, -float(entry.gain**follow / max(-entry.saving, 1e-9))
        return 2, 0.0

    return sorted(paths, key=score)


def key_of(plugin: str, options: Mapping[str, Any]) -> str:
    """What a plugin with its options is called among the entries."""
    return plugin if not options else f"{plugin} {json.dumps(dict(options), sort_keys=True)}"


SENSITIVITIES: Stored[Sensitivities] = Stored(Sensitivities)
