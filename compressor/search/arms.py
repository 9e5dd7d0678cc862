"""A pilot study at work: what it says of itself, one arm, the verdict. Its code is anybody's, and runs under its name;
but for the arms, which are trials to the workers, in a process of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from compressor.apart import apart, mention
from compressor.data.dataset import Data
from compressor.errors import ForeignError
from compressor.foreign import blaming
from compressor.graph.network import Network
from compressor.pilot import ArmResult, Judgement, Pilot
from compressor.recipe.model import PilotSpec, Recipe
from compressor.registry import PILOTS
from compressor.stored import Stored

ARM: Stored[ArmResult] = Stored(ArmResult)
"""``arm.json`` in the folder of an arm that came to an end."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Outline:
    """What a study says of itself before it begins."""

    arms: tuple[str, ...]
    samples: int
    """Training samples that one arm goes through."""
    data: str
    """What the arms are trained on, in words."""


@contextmanager
def conducting(spec: PilotSpec) -> Iterator[Pilot]:
    """The study; what goes wrong within is its doing, and says so."""
    whose = PILOTS.titled(spec.name)
    mention(whose)
    try:
        with blaming(whose, PILOTS.module_of(spec.name)):
            yield PILOTS.make(spec.name, spec.options)
    finally:
        mention("")


def outline(recipe: Recipe, spec: PilotSpec, data: Data) -> Outline:
    """Ask the study. Raises ``ForeignError`` for what it raises, or answers that make no sense."""

    def ask() -> Outline:
        with conducting(spec) as pilot:
            arms = tuple(pilot.arms())
            if not arms or len(set(arms)) < len(arms) or not all(_NAME.fullmatch(arm) for arm in arms):
                raise ForeignError(f"{PILOTS.titled(spec.name)}: arms() has to give names for folders, each once")
            return Outline(arms, int(pilot.samples(len(data.train))), str(pilot.describe(data)))

    return apart(ask, foreign=recipe.limits.plugin_seconds)


def run_arm(
    recipe: Recipe,
    spec: PilotSpec,
    arm: str,
    network: Network,
    data: Data,
    *,
    seed: int,
    progress: Callable[[str, float], None],
) -> ArmResult:
    """One arm, here. Raises ``ForeignError`` for what the study raises, or an answer that is no plain data."""
    with conducting(spec) as pilot:
        found = pilot.run(arm, network, data, recipe.training, seed=seed, progress=progress)
        return ArmResult(json.loads(json.dumps(dict(found.figures))), str(found.about), float(found.seconds))


def judged(recipe: Recipe, spec: PilotSpec, results: Mapping[str, ArmResult], data: Data) -> Judgement:
    """The verdict on the arms that came to an end. Raises ``TrialError`` where the study cannot tell."""

    def judge() -> Judgement:
        with conducting(spec) as pilot:
            said = pilot.judge(results, data)
            return Judgement(bool(said.applies), str(said.reason), json.loads(json.dumps(dict(said.found))))

    return apart(judge, foreign=recipe.limits.plugin_seconds)
