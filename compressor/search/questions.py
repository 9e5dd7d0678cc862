"""What the driver asks of its workers, and how a worker answers: everything but trials that runs a plugin's code.

The driver itself never imports a plugin. Questions and answers are plain data; an answer depends on the run folder and
on the question alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from compressor.engine.plan import Edit, Plan
from compressor.engine.policy import admitting
from compressor.engine.resolve import resolve
from compressor.engine.sensitivity import SiteSensitivity
from compressor.engine.short_training import Practice
from compressor.engine.site_measurement import Reference, adds_exactly, measure_site, onnx_timer, reference, shortlist
from compressor.engine.together import saved_together
from compressor.engine.untrained import Untrained, look_at
from compressor.knobs import Value
from compressor.registry import make
from compressor.search.context import Context


class Use(NamedTuple):
    """One use of a plugin in a recipe, as far as what is measured of its sites depends on it."""

    name: str
    options: Mapping[str, Any]
    only: Sequence[str] = ("*",)
    skip: Sequence[str] = ()
    """The patterns of sites it may and may not act on."""
    fixed: Mapping[str, Value] = {}
    """Values of knobs that the recipe leaves nobody to choose."""

    @property
    def plugin(self) -> tuple[str, Mapping[str, Any]]:
        return self.name, self.options


@dataclass(frozen=True)
class Unchanged:
    """What is the loss of the unchanged network, and (where a plugin of ``uses`` may ask) its gradient?"""

    uses: tuple[Use, ...]

    def answer(self, context: Context) -> Reference:
        gradient = any(adds_exactly(use.name, use.options) for use in self.uses)
        return reference(context.baseline.network, context.evidence, gradient=gradient)


@dataclass(frozen=True)
class WorthMeasuring:
    """Which edits of a plugin are to be measured, at sites that one of its ``uses`` admits?"""

    name: str
    options: Mapping[str, Any]
    uses: tuple[Use, ...]

    def answer(self, context: Context) -> list[Edit]:
        admits, fixed = admitting([use[:4] for use in self.uses]), [use.fixed for use in self.uses]
        return shortlist(self.name, self.options, context.baseline.network, context.evidence, admits, fixed)


@dataclass(frozen=True)
class SavedTogether:
    """What share of the time does each site save where all are rewritten? None where its time alone says it.

    ``edits``: one for each site of a plugin.
    """

    edits: tuple[Edit, ...]

    def answer(self, context: Context) -> Mapping[str, float] | None:
        first, baseline = self.edits[0], context.baseline
        if not make(first.plugin, first.options).timed_together:
            return None
        batch = context.recipe.measure.batch
        return saved_together(baseline.network, baseline.onnx, self.edits, context.evidence, batch)


@dataclass(frozen=True)
class Sensitivity:
    """What does this edit alone do to the unchanged network? None where it is refused."""

    edit: Edit
    unchanged: Reference
    saved: float | None = None
    """The share of the time that it saves, where that is known."""

    def answer(self, context: Context) -> SiteSensitivity | None:
        baseline = context.baseline
        timer = onnx_timer(baseline.onnx, context.recipe.measure.batch)
        return measure_site(
            self.edit, baseline.network, context.evidence, self.unchanged, timer=timer, saved=self.saved
        )


@dataclass(frozen=True)
class Resolved:
    """Which effective edits do the decisions of a plan come to? Raises ``Refusal`` where nothing of it applies."""

    plan: Plan

    def answer(self, context: Context) -> Plan:
        return resolve(self.plan, context.baseline.network, context.sensitivities, context.evidence)


@dataclass(frozen=True)
class LookedAt:
    """What does a plan come to, and what is known of it before it is trained? Raises ``Refusal`` likewise."""

    plan: Plan

    def answer(self, context: Context) -> Untrained:
        return looked_at(self.plan, context, context.practice)


@dataclass(frozen=True)
class Sketched:
    """What does a plan come to, and what does its file say? Raises ``Refusal`` likewise."""

    plan: Plan

    def answer(self, context: Context) -> Untrained:
        return looked_at(self.plan, context)


def looked_at(plan: Plan, context: Context, practice: Practice | None = None) -> Untrained:
    return look_at(
        plan,
        context.baseline,
        context.sensitivities,
        context.evidence,
        batch=context.recipe.measure.batch,
        seed=context.recipe.search.seed,
        practice=practice,
    )


About = Unchanged | WorthMeasuring | SavedTogether | Sensitivity | Resolved | LookedAt | Sketched


def respond(about: About, context: Context, threads: int = 1) -> Any:
    """The answer, from the same random state whoever asks and whenever."""
    torch.set_num_threads(threads)
    torch.manual_seed(context.recipe.search.seed)
    return about.answer(context)
