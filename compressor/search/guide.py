"""What guides the search beside Optuna's samplers: how values become a plan, and which values are proposed next.

sampler    the study's own sampler proposes; a plan is resolved when its turn comes
surrogate  plans are looked at untrained, and a model of the answers proposes
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from compressor.engine.candidate import Outcome
from compressor.engine.plan import Plan
from compressor.engine.untrained import Untrained
from compressor.errors import CompressorError, Refusal, TrialError, WorkerLost
from compressor.search.clock import Clock
from compressor.search.gains import noise_of
from compressor.search.planning import Planner
from compressor.search.prepare import Prepared
from compressor.search.questions import LookedAt, Resolved, Sketched
from compressor.search.seeds import automatic_seeds, single_sites
from compressor.search.surrogate.answers import Scale, reference_point
from compressor.search.surrogate.encoding import Encoding, Values
from compressor.search.surrogate.looks import Look, Looks
from compressor.search.surrogate.proposer import PATIENCE_SECONDS, Proposed, Proposer

LOOKS, TRIALS = 0.1, 3.0
"""The first looks may take this share of what a budget leaves for trials, and no more than so many trials will."""

SINGLE = 24
"""Before all else as many plans are looked at, at most, that change a single site."""


class Guide(Protocol):
    """Chosen by ``[search] sampler``."""

    def plan(self, values: Values) -> Plan:
        """The plan that values come to, with its effective edits. Raises ``Refusal`` where nothing of it applies."""

    def suggest(self, ended: Mapping[str, Outcome], running: Collection[str]) -> Proposed | None:
        """What to train next, given outcomes and running trials by digest; None: the study's sampler proposes."""

    def sure(self, ended: Mapping[str, Outcome], running: Collection[str]) -> Values | None:
        """What to carry out next without training, once looks have been taken; None: nothing, or not now."""

    def worth(self, plan: Plan, ended: Mapping[str, Outcome]) -> float:
        """The regret below which a plan is worth training to its end; infinite where that cannot be told."""


def guide_of(prepared: Prepared, planner: Planner, clock: Clock, stopped: Callable[[], bool]) -> Guide:
    """The guide that the recipe asks for; ``stopped`` says when nothing new is to be begun."""
    if prepared.recipe.search.sampler == "surrogate":
        return Modelled(prepared, planner, clock, stopped)
    return Plain(prepared, planner)


class Plain:
    """Leaves proposing to the sampler."""

    def __init__(self, prepared: Prepared, planner: Planner) -> None:
        self._space, self._planner = prepared.space, planner
        self._drop = prepared.recipe.constraints.max_drop

    def plan(self, values: Values) -> Plan:
        return cast(Plan, self._planner.answer(self._space.plan(values), Resolved))

    def suggest(self, ended: Mapping[str, Outcome], running: Collection[str]) -> Proposed | None:
        return None

    def sure(self, ended: Mapping[str, Outcome], running: Collection[str]) -> Values | None:
        return None

    def worth(self, plan: Plan, ended: Mapping[str, Outcome]) -> float:
        return math.inf if self._drop is None else self._drop


class Modelled:
    """Proposes by the surrogate; every plan is looked at before it is trained."""

    def __init__(self, prepared: Prepared, planner: Planner, clock: Clock, stopped: Callable[[], bool]) -> None:
        self._space, self._planner, self._stopped = prepared.space, planner, stopped
        self._slots = prepared.recipe.search.jobs
        self._looks = Looks(prepared.run.looks, self._look, self._sketch)
        recipe = prepared.recipe
        self._proposer = Proposer(
            self._looks,
            Encoding(prepared.space.parameters),
            Scale(prepared.baseline.metrics, noise_of(prepared.baseline.metrics)),
            reference_point(recipe.constraints, prepared.judged_by.max_drop or 0.0),
            seeds=[
                *_surest_first([values for _, values in automatic_seeds(prepared.space)]),
                *_spread([values for _, values in single_sites(prepared.space)], SINGLE),
            ],
            seed=recipe.search.seed,
            patience=min(
                max(PATIENCE_SECONDS, clock.trial_seconds),  # where trials are long, looks train too
                LOOKS * clock.for_trials,
                TRIALS * (clock.trial_seconds or math.inf),
            ),
        )

    def plan(self, values: Values) -> Plan:
        look = self._looks.of(values)
        if look is None:
            raise WorkerLost("cancelled")
        if look.found is None:
            raise TrialError(look.reason) if look.failed else Refusal(look.reason)
        return look.found.plan

    def suggest(self, ended: Mapping[str, Outcome], running: Collection[str]) -> Proposed | None:
        return self._proposer.suggest(dict(ended), running)

    def sure(self, ended: Mapping[str, Outcome], running: Collection[str]) -> Values | None:
        return self._proposer.sure(ended, running)

    def worth(self, plan: Plan, ended: Mapping[str, Outcome]) -> float:
        return self._proposer.worth(plan.digest, ended)

    def _look(self, many: Sequence[Values]) -> Iterator[Look]:
        return self._asked(many, self._looked_at)

    def _sketch(self, many: Sequence[Values]) -> Iterator[Look]:
        for look in self._asked(many, lambda plans: self._planner.answers(plans, Sketched)):
            yield replace(look, sketch=True)

    def _asked(self, many: Sequence[Values], ask: Callable[[Sequence[Plan]], list[Any]]) -> Iterator[Look]:
        """Some at a time, so that an interrupt does not wait for all."""
        for start in range(0, len(many), self._slots):
            if self._stopped():
                return
            some = many[start : start + self._slots]
            answers = ask([self._space.plan(values) for values in some])
            for values, answer in zip(some, answers, strict=True):
                match answer:
                    case WorkerLost():
                        return
                    case Refusal():
                        yield Look(values, reason=str(answer))
                    case CompressorError():
                        yield Look(values, reason=f"{type(answer).__name__}: {answer}", failed=True)
                    case found:
                        yield Look(values, found)

    def _looked_at(self, plans: Sequence[Plan]) -> list[Any]:
        """What looking at each plan finds, or the error there is instead.

        Where looks train, it is sketched first: many values mean the same edits (of what a layer was to get that is
        removed, nothing is left), and a tenth to half of all that is bred has been looked at before.
        """
        if not self._looks.trained:
            return self._planner.answers(plans, LookedAt)
        answers = self._planner.answers(plans, Sketched)
        asked = {a.plan.digest: p for p, a in zip(plans, answers, strict=True) if isinstance(a, Untrained)}
        known = {digest: found for digest in asked if (found := self._looks.known(digest)) is not None}
        new = [digest for digest in asked if digest not in known]
        known |= zip(new, self._planner.answers([asked[digest] for digest in new], LookedAt), strict=True)
        return [known[answer.plan.digest] if isinstance(answer, Untrained) else answer for answer in answers]


def _surest_first(seeds: list[Values]) -> list[Values]:
    """Each plugin alone, the last phase's first, which does least to a network; then all of them together."""
    return [*reversed(seeds[:-1]), *seeds[-1:]]


def _spread(seeds: Sequence[Values], most: int) -> list[Values]:
    """All, or so many of them, evenly spread."""
    return [seeds[index * len(seeds) // most] for index in range(most)] if len(seeds) > most else list(seeds)
