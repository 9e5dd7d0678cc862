"""What to train next.

    breed (thousands, on predictions) → sketch (where looks train: some, bytes now known) → look (a few, a second or
    several each) → predict again → train (one)

Of all plans that were looked at the one is proposed from which most is expected: how much it would enlarge the
hypervolume within the limits, averaged over what its regret may be (expected hypervolume improvement, Emmerich et al.
2006). A plan that will break a limit is worth nothing; one that may is proposed when it more probably does not, but for
one proposal in five, so that what the model has wrong is found out; where every plan probably does, the one that does
least probably is tried. What is looked at is chosen in the same way, since plans that only luck could save would crowd
out those that can be trained; but every second one without a plugin of the likeliest plan.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compressor.engine.candidate import Outcome
from compressor.search.floats import Floats
from compressor.search.gains import Gains, worth_of
from compressor.search.hypervolume import improvements
from compressor.search.surrogate.answers import Scale
from compressor.search.surrogate.encoding import Encoding, Values
from compressor.search.surrogate.evolution import evolve
from compressor.search.surrogate.looks import Look, Looks
from compressor.search.surrogate.model import Known, Predicted, Surrogate, known_of
from compressor.search.surrogate.surest import next_step

FIRST, BRED, ROUNDS, MOST_ROUNDS = 18, 6, 2, 12
"""Before the first trial: plans by chance that are looked at, then so many bred ones in each of so many rounds, and in
more of them as long as none is likely to keep the limits."""
PATIENCE_SECONDS, FEWEST, SLOWEST = 60.0, 12, 4
"""Where looks are slow, the first ones stop after this long, but not before so many, or so many times as long."""
SHARE, LEAST, MOST = 0.2, 2, 12
"""Before each later trial: looks for this share of a trial's time, at least and at most so many."""
SKETCHES = 4
"""Where looks train, so many plans are sketched for each that is looked at."""
DOUBT = 5
"""Every fifth proposal is for doubt."""
LIKELY, FIRST_LIKELY = 0.5, 0.75
"""What keeps the limits less probably than that is proposed only for doubt, or where nothing else is left: the first
trial, about which there is only a guess, and those after many."""
FAILED = 10.0
"""A trial that failed, by a loss that is no number for instance, counts as one that lost so many times the limit."""
_QUANTILES = np.array([NormalDist().inv_cdf((index + 0.5) / 15) for index in range(15)])
_STRIDE = 7919


@dataclass(frozen=True)
class Forecast:
    """What a proposed plan is expected to give: regret with the bounds of two times in three, log bytes, log time."""

    regret: float
    low: float
    high: float
    size: float
    time: float

    def notes(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Proposed:
    values: Values
    forecast: Forecast


class Proposer:
    """Fits the surrogate to what is known and says what to train next."""

    def __init__(
        self,
        looks: Looks,
        encoding: Encoding,
        scale: Scale,
        reference: Sequence[float],
        seeds: Sequence[Values],
        seed: int,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._looks, self._encoding, self._scale = looks, encoding, scale
        self._reference = np.asarray(reference, dtype=np.float64)
        self._seeds, self._seed, self._patience = seeds, seed, patience
        self._surrogate = Surrogate()
        self._begun = False
        self._reached: list[tuple[float, float, float]] = []
        """What complete trials have come to, trained or not."""
        self._failed: frozenset[str] = frozenset()
        self._shares = False
        """Whether all looks were trained shortly: what is modelled of them is then the share lost, not the loss."""

    def suggest(self, ended: dict[str, Outcome], running: Collection[str]) -> Proposed | None:
        """The plan to train next; None where every plan that was found has been tried.

        ``ended``: outcomes by digest; ``running``: digests of the trials under way.
        """
        rng = random.Random(self._seed * _STRIDE + len(ended) + len(running))
        trained = self._trained(ended)
        self._failed = frozenset(d for d, outcome in self._by_search(ended).items() if outcome.status == "failed")
        complete = [outcome.metrics for outcome in ended.values() if outcome.status == "complete"]
        self._reached = [self._scale.answers(metrics) for metrics in complete if metrics is not None]
        if not self._begun and not self._by_search(ended):
            self._look_around(rng)
            for number in range(MOST_ROUNDS):
                if self._tired() or (number >= ROUNDS and self._has_likely(trained)):
                    break
                self._breed(trained, running, BRED, rng)
        elif trained:
            self._breed(trained, running, self._affordable(trained), rng)
        self._begun = True
        if not self._looks.found:
            return None
        return self._best(trained, {*ended, *running}, running, doubt=len(ended) % DOUBT == DOUBT - 1)

    def sure(self, ended: Mapping[str, Outcome], running: Collection[str]) -> Values | None:
        """What to carry out untrained before all else; None where that has been seen to, or one runs."""
        self._look_at_seeds()
        if self._trained(ended):
            return None
        step = next_step(self._looks.found, self._scale, self._reference.tolist(), ended, running)
        return None if step is None else step.values

    def worth(self, digest: str, ended: Mapping[str, Outcome]) -> float:
        """The regret below which a plan that was looked at would be on the front and within the limit."""
        look = next((look for look in self._looks.found if look.digest == digest), None)
        if look is None or look.found is None or not look.found.whole:
            return float(self._reference[0])
        _, size, _, _, time = self._scale.features(look.found)
        reached = [self._scale.answers(o.metrics) for o in ended.values() if o.metrics and o.status == "complete"]
        return worth_of(float(self._reference[0]), size, time, reached)

    def _by_search(self, ended: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """Without what was carried out untrained, which says nothing of what training brings."""
        plans = [look.found.plan for look in self._looks.found if look.found is not None]
        untrained = {plan.untrained().digest for plan in plans} - {plan.digest for plan in plans}
        return {digest: outcome for digest, outcome in ended.items() if digest not in untrained}

    def _trained(self, ended: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """Those of which training has shown what they come to."""
        shown = ("complete", "stopped")
        return {
            d: outcome for d, outcome in self._by_search(ended).items() if outcome.metrics and outcome.status in shown
        }

    # --- look ----------------------------------------------------------------------------------------------------

    def _look_around(self, rng: random.Random) -> None:
        """Seeds and plans by chance."""
        self._look_at_seeds()
        for _ in range(FIRST):  # fewer where the space is small, or most of its plans are refused
            if self._looks.count >= FIRST or self._looks.stopped or self._tired():
                break
            self._looks.at([self._encoding.by_chance(rng) for _ in range(4)])

    def _look_at_seeds(self) -> None:
        for values in self._seeds:
            if not self._tired() and not self._looks.stopped:
                self._looks.at([values])

    def _tired(self) -> bool:
        """Whether the looks so far have taken too long for more."""
        patience = self._patience if self._looks.count >= FEWEST else SLOWEST * self._patience
        return self._looks.seconds > patience

    def _affordable(self, trained: dict[str, Outcome]) -> int:
        """How many looks a share of a trial's time pays for."""
        each = self._looks.seconds / max(self._looks.count, 1)
        trial = sum(sum(outcome.seconds.values()) for outcome in trained.values()) / len(trained)
        return max(LEAST, min(MOST, int(SHARE * trial / max(each, 1e-3))))

    def _breed(self, trained: dict[str, Outcome], running: Collection[str], count: int, rng: random.Random) -> None:
        """Search the surrogate thoroughly and look at the plans of which most is expected together.

        Every second one does without a plugin of the likeliest plan so far: what looks best is what was looked at most,
        and else nothing but its like would ever be.
        """
        if not self._looks.found or self._looks.stopped:
            return
        self._fit(trained)
        likeliest = self._looks.found[int(np.argmax(self._keeping(self._predicted(self._looks.found))))]
        used = self._encoding.plugins(likeliest.values)
        plugin = rng.choice(used) if used else ""
        searched = [self._encoding, self._encoding.without(plugin)] if used else [self._encoding]
        bred = [values for encoding in searched for values in self._bred(encoding, rng)]
        new = list({tuple(self._encoding.vector(values)): values for values in bred}.values())
        if not new:
            return

        def chosen(plans: Sequence[Values], predicted: Predicted, count: int) -> list[Values]:
            without = np.array([plugin not in self._encoding.plugins(values) for values in plans])
            return [plans[index] for index in self._chosen(predicted, without, count, running, trained)]

        predicted = self._surrogate.predict(self._encoding.matrix(new))
        sketches = self._looks.sketched(chosen(new, predicted, SKETCHES * count))
        if sketches:
            self._fit(trained)
            new = [look.values for look in sketches]
            rows = zip(*map(self._row, sketches), strict=True)
            predicted = self._surrogate.sketched(*map(np.array, rows))
        self._looks.at(chosen(new, predicted, count))

    def _bred(self, encoding: Encoding, rng: random.Random) -> list[Values]:
        """The best plans that evolution finds and nobody has looked at."""
        start = [look.values for look in sorted(self._looks.found, key=self._promise)]
        bred = evolve(start, encoding, self._objectives, self._reference.tolist(), rng)
        return [values for values in bred if not self._looks.knows(values)]

    def _chosen(
        self,
        predicted: Predicted,
        without: NDArray[np.bool_],
        count: int,
        running: Collection[str],
        trained: Mapping[str, Outcome],
    ) -> list[int]:
        """The plans of which most is expected together, every second of them among ``without`` as far as they go."""
        front, expected, chosen = self._front(running), self._expected(predicted), list[int]()
        left, keeping = np.ones(len(expected), dtype=np.bool_), self._keeping(predicted)
        for number in range(min(count, len(expected))):
            among = left & without if number % 2 and (left & without).any() else left
            gains = np.where(among, self._gains(predicted, front, len(trained)), 0.0)
            best = int(np.argmax(gains if gains.max() > 0 else np.where(among, keeping, -np.inf)))
            chosen.append(best)
            left[best] = False
            front = np.concatenate([front, expected[[best]]])
        return chosen

    def _has_likely(self, trained: dict[str, Outcome]) -> bool:
        """Whether a plan that was looked at keeps all limits more probably than not."""
        if not self._looks.found:
            return False
        self._fit(trained)
        return bool(np.exp(self._keeping(self._predicted(self._looks.found)).max()) >= LIKELY)

    def _promise(self, look: Look) -> float:
        """By how much the look is beyond the limits; among those within, its bytes and its time."""
        assert look.found is not None
        _, size, macs, _, time = self._scale.features(look.found)
        beyond = max(size - self._reference[1], 0.0) + max(time - self._reference[2], 0.0)
        return float(beyond + 0.01 * (size + time + macs))

    # --- predict -------------------------------------------------------------------------------------------------

    def _fit(self, trained: dict[str, Outcome]) -> None:
        self._surrogate.fit(self._known(trained))

    def _known(self, trained: dict[str, Outcome]) -> Known:
        looks = self._looks.found
        gains = Gains(trained.values())
        rows = []
        self._shares = all(look.found is not None and look.found.lost is not None for look in looks)
        first: dict[str, int] = {}  # many values may come to one plan, of which one training tells once
        for index, look in enumerate(looks):
            first.setdefault(look.digest, index)
        for digest, index in first.items():
            look = looks[index]
            if digest in self._failed:
                _, size, _, _, time = self._row(look)[1]
                rows.append((index, self._scale.warped(FAILED * float(self._reference[0])), size, time))
            outcome = trained.get(digest)
            if outcome is not None and outcome.metrics is not None:
                regret, size, time = self._scale.answers(outcome.metrics)
                if outcome.status == "stopped":  # between phases its file is not the one the plan comes to
                    _, size, _, _, time = self._row(look)[1]
                rows.append((index, self._scale.warped(regret - gains.still_to_come(outcome)), size, time))
        drawn = self._looks.drawn if len(self._looks.drawn) > len(looks) else []
        return known_of(list(map(self._row, looks)), rows, list(map(self._row, drawn)), shares=self._shares)

    def _row(self, look: Look) -> tuple[list[float], tuple[float, ...], bool]:
        assert look.found is not None
        features = self._scale.features(look.found)
        if self._shares and look.found.lost is not None:
            features = (look.found.lost, *features[1:])
        return self._encoding.vector(look.values), features, look.found.whole

    def _objectives(self, many: Sequence[Values]) -> Floats:
        """Regret if lucky, log bytes, log time: what evolution minimises."""
        predicted = self._surrogate.predict(self._encoding.matrix(many))
        regret = self._scale.regret(predicted.regret.mean - predicted.regret.std)
        return np.stack([regret, predicted.size.mean, predicted.time.mean], axis=1)

    def _predicted(self, looks: Sequence[Look]) -> Predicted:
        rows = [self._row(look) for look in looks]
        return self._surrogate.predict(
            np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
        )

    def _front(self, running: Collection[str]) -> Floats:
        """What has been reached, and what running trials are expected to reach."""
        waiting = [look for look in self._looks.found if look.digest in running]
        if waiting:
            return np.concatenate([_rows(self._reached), self._expected(self._predicted(waiting))])
        return _rows(self._reached)

    def _expected(self, predicted: Predicted) -> Floats:
        """Regret, log bytes, log time, ``(N, 3)``."""
        return np.stack([self._scale.regret(predicted.regret.mean), predicted.size.mean, predicted.time.mean], axis=1)

    # --- choose --------------------------------------------------------------------------------------------------

    def _best(
        self, trained: dict[str, Outcome], tried: Collection[str], running: Collection[str], *, doubt: bool
    ) -> Proposed | None:
        self._fit(trained)
        known = {_network(look) for look in self._looks.found if look.digest in tried}
        left = list({_network(look): look for look in self._looks.found if _network(look) not in known}.values())
        if not left:
            return None
        predicted = self._predicted(left)
        mean, std = predicted.regret.mean, predicted.regret.std
        gains = self._gains(predicted, self._front(running), len(trained), doubt=doubt)
        index = int(np.argmax(gains)) if gains.max() > 0 else int(np.argmax(self._keeping(predicted)))
        low, middle, high = self._scale.regret(mean[index] + std[index] * np.array([-1.0, 0.0, 1.0]))
        forecast = Forecast(float(middle), float(low), float(high), *map(float, self._expected(predicted)[index, 1:]))
        return Proposed(left[index].values, forecast)

    def _gains(self, predicted: Predicted, front: Floats, trained: int, *, doubt: bool = False) -> Floats:
        """By how much each plan is expected to enlarge the hypervolume, ``(N,)``.

        But for ``doubt``, plans that probably break the limit on quality count for nothing. Where all do, it counts how
        probably a plan keeps it: what would gain most if it were lucky is then the plan that needs most luck.
        """
        regrets = self._scale.regret(predicted.regret.mean[:, None] + predicted.regret.std[:, None] * _QUANTILES)
        others = np.stack([predicted.size.mean, predicted.time.mean], axis=1)
        gains = improvements(front, regrets, others, self._reference.tolist()).mean(1)
        asked = LIKELY + (FIRST_LIKELY - LIKELY) / (1 + trained)
        if doubt:
            return np.asarray(gains)
        likely = gains * ((regrets < self._reference[0]).mean(1) >= asked)
        if likely.max() > 0:
            return np.asarray(likely)
        return np.where(gains > 0, np.exp(self._keeping(predicted)), 0.0)

    def _keeping(self, predicted: Predicted) -> Floats:
        """How probably each plan keeps all limits, ``(N,)``, as a logarithm."""
        limits = (self._scale.warped(float(self._reference[0])), *self._reference[1:])
        parts = zip(limits, (predicted.regret, predicted.size, predicted.time), strict=True)
        margins = np.stack([(limit - part.mean) / part.std for limit, part in parts])
        return np.asarray(torch.special.log_ndtr(torch.from_numpy(margins)).sum(0))


def _network(look: Look) -> tuple[object, ...]:
    """What a plan comes to: the same edits in another order are another plan, but mostly the same network."""
    assert look.found is not None
    found = look.found
    parts = [part for phase in found.plan.phases for part in phase.parts]
    edits = tuple(tuple(sorted(map(repr, part.steps))) for part in parts)
    return edits, found.loss, found.lost, found.size_bytes, found.macs


def _rows(points: Sequence[tuple[float, float, float]]) -> Floats:
    return np.array(points, dtype=np.float64).reshape(-1, 3)
