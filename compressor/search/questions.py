"""What the driver asks of its workers, and how a worker answers: everything but trials that runs a plugin's code.

The driver itself never imports a plugin. Questions and answers are plain data; an answer depends on the run folder and
on the question alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from compressor.engine.plan import Edit, Plan
from compressor.engine.policy import admitting
from compressor.engine.resolve import resolve
from compressor.engine.sensitivity import SiteSensitivity
from compressor.engine.site_measurement import Reference, adds_exactly, measure_site, onnx_timer, reference, shortlist
from compressor.engine.untrained import Untrained, look_at
from compressor.search.context import Context

Use = tuple[str, Mapping[str, Any], Sequence[str], Sequence[str]]
"""A plugin's name, its options, and the patterns of sites it may and may not act on."""


@dataclass(frozen=True)
class Unchanged:
    """What is the loss of the unchanged network, and (where a plugin of ``uses`` may ask) its gradient?"""

    uses: tuple[Use, ...]

    def answer(self, context: Context) -> Reference:
        gradient = any(adds_exactly(name, options) for name, options, _, _ in self.uses)
        return reference(context.baseline.network, context.evidence, gradient=gradient)


@dataclass(frozen=True)
class WorthMeasuring:
    """Which sites of a plugin are to be measured, of those that one of its ``uses`` admits?"""

    name: str
    options: Mapping[str, Any]
    uses: tuple[Use, ...]

    def answer(self, context: Context) -> list[str]:
        admits = admitting(list(self.uses))
        return shortlist(self.name, self.options, context.baseline.network, context.evidence, admits)


@dataclass(frozen=True)
class Sensitivity:
    """What does this edit alone do to the unchanged network? None where it is refused."""

    edit: Edit
    unchanged: Reference

    def answer(self, context: Context) -> SiteSensitivity | None:
        timer = onnx_timer(context.baseline.onnx, context.recipe.measure.batch)
        return measure_site(self.edit, context.baseline.network, context.evidence, self.unchanged, timer=timer)


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
        recipe = context.recipe
        return look_at(
            self.plan,
            context.baseline,
            context.sensitivities,
            context.evidence,
            batch=recipe.measure.batch,
            seed=recipe.search.seed,
        )


About = Unchanged | WorthMeasuring | Sensitivity | Resolved | LookedAt


def respond(about: About, context: Context, threads: int = 1) -> Any:
    """The answer, from the same random state whoever asks and whenever."""
    torch.set_num_threads(threads)
    torch.manual_seed(context.recipe.search.seed)
    return about.answer(context)
