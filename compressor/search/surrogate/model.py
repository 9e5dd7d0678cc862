"""The surrogate: predicts any plan's regret after training, its bytes and its time, each with its uncertainty.

    values of the parameters ──process──▶ loss in a look, bytes, MACs, parameters, time ──process──▶ regret trained
                              (of hundreds of plans that were looked at)               (of the trials so far)

Edits are believed to add up, and each to cost something, until looks say otherwise: a process that believes nothing
would try everything at once, of which it knows least. What they cost adds up as logarithms: of the loss, or of what a
short training leaves.

Before any trial has ended, what a plan loses is guessed from its loss untrained and what is left of its arithmetic, or
from what a short training brings back; that guess stays the mean of the process, which trained trials correct. It knows
nothing of plugins, only the parameters of the search and what was measured, so a third party's plugin is modelled like
any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compressor.search.floats import Floats
from compressor.search.surrogate.gaussian_process import (
    STEPS,
    UNINFORMED,
    GaussianProcess,
    Prediction,
    Prior,
    fit_process,
)

LOSS, BYTES, MACS, PARAMS, TIME = range(5)
"""Columns of what a look gives; see ``answers.Scale.features``."""
_PRIOR, _PRIOR_OF_LOST, _PRIOR_NOISE = 1.2, 0.6, 0.2
"""Standard deviation of warped regret around the first guess: within a factor of three or so, two times of three, or of
two after a short training; and what of it another training, and other validation samples, would change."""
_OF_ANY, _OF_LOSS, _OF_MACS = 0.8, 2.5, 0.3
"""The first guess of warped regret: of any plan, of the loss untrained relative to the highest, of each e-fold of MACs.

Of 77 plans for LeNet on Fashion-MNIST, drawn by chance or by TPE, the loss untrained alone ranks regret with 0.86.
"""
_OF_LOST, _OF_FEWER_MACS, _FEWEST_MACS = 4.0, 0.55, -2.0
"""The first guess after a short training: of the share lost, and of each e-fold of MACs, down to so many. Of networks
that are as far behind after it the larger one comes back further. The regrets of 44 plans for three ResNet-8s, 2.2 to
71 points, miss it by 0.19 (root mean square), by 0.22 those of a network it was not set on; it ranks the 39 that lost
less than 15 points with 0.84, the share lost alone with 0.70.
"""
_COST, _COST_OF_LOST = 0.1, 0.02
"""What each number of a plan is believed to add to the logarithm of the loss, or take from that of what is left.

Looks behind the first 20, 35 and 60 of two searches of LeNet are missed by 0.66 of the log loss (root mean square), by
0.79 where nothing is believed and what is off lies in the middle of its range. After a short training, one search of
ResNet-8 foretells what another one looked at within 0.08 of the share lost; were each number believed to take 0.1,
within 0.12, and plans of several edits would be feared.
"""
_LEFT = 0.03
"""The share left that is told from nothing."""
_REFIT, _EVERY = 1.25, 12
"""Hyperparameters are sought again when observations have grown by so much, and with every one of the first; in between
they stay."""
_EXACT = 1e-6


@dataclass(frozen=True)
class Known:
    """All observations of a search, as arrays."""

    vectors: Floats
    """Parameter values of the plans looked at, ``(N, D)``."""
    looks: Floats
    """What the looks gave, ``(N, 5)``."""
    whole: NDArray[np.bool_]
    """Whether a look's bytes are those of the trained file, ``(N,)``."""
    trained: NDArray[np.int64]
    """Which of the plans have been trained, ``(T,)``."""
    regrets: Floats
    """Their warped regret, ``(T,)``."""
    sizes: Floats
    """Their log bytes, ``(T,)``."""
    times: Floats
    """Their log time, ``(T,)``."""
    shares: bool = False
    """Whether losses are shares lost after a short training."""
    drawn: tuple[Floats, Floats] | None = None
    """Vectors ``(M, D)`` and figures ``(M, 5)``, but for the loss, of all plans whose files are known; where None, of
    those that were looked at."""


@dataclass(frozen=True)
class Predicted:
    """Of N plans, each ``(N,)``: warped regret as a training would show it, log bytes, log time, each with its standard
    deviation."""

    regret: Prediction
    size: Prediction
    time: Prediction


@dataclass
class _Fitted:
    """One process. Its hyperparameters follow from the first so many observations alone, whatever was fitted before, so
    that a search that goes on in another session proposes what it would have proposed; they are kept while those stay.
    """

    process: GaussianProcess | None = None
    _of: bytes = b""
    """What the hyperparameters were sought on."""
    _hyper: GaussianProcess | None = None

    def update(self, inputs: Floats, answers: Floats, prior: Prior = UNINFORMED) -> GaussianProcess:
        first = _milestone(len(answers))
        known = inputs[:first].tobytes() + answers[:first].tobytes()
        if self._hyper is None or known != self._of:
            self._of = known
            self._hyper = fit_process(inputs[:first], answers[:first], steps=STEPS, prior=prior)
        self.process = fit_process(inputs, answers, start=self._hyper, steps=0, prior=prior)
        return self.process


def _milestone(count: int) -> int:
    """Of so many observations, how many the hyperparameters are sought on: all of few, later in steps by a quarter."""
    reached = min(count, _EVERY)
    while int(reached * _REFIT) <= count and reached >= _EVERY:
        reached = int(reached * _REFIT)
    return reached


@dataclass
class Surrogate:
    """Fitted to what is known; ``fit_process`` may be called as often as something new is."""

    _looks: list[_Fitted] = field(default_factory=lambda: [_Fitted() for _ in range(4)])
    _time: _Fitted = field(default_factory=_Fitted)
    _regret: _Fitted = field(default_factory=_Fitted)
    _noise: float = 0.0
    """Of one training's warped regret."""

    def fit(self, known: Known) -> None:
        """``known`` holds at least one plan."""
        self._known = known
        self._mean, self._std = known.looks.mean(0), known.looks.std(0) + 1e-3
        self._lowest, self._highest = float(known.looks[:, LOSS].min()), float(known.looks[:, LOSS].max())
        self._looks[LOSS].update(known.vectors, self._beyond(known.vectors, known.looks[:, LOSS]))
        vectors, drawn = known.drawn or (known.vectors, known.looks)
        for column in (BYTES, MACS, PARAMS):
            self._looks[column].update(vectors, drawn[:, column])
        where = np.concatenate([vectors, known.vectors[known.trained]])
        self._time.update(where, np.concatenate([drawn[:, TIME], known.times]))
        if len(known.trained):
            looks = known.looks[known.trained]
            inputs = self._inputs(known.vectors[known.trained], looks)
            prior = Prior(self._doubt, _PRIOR_NOISE, groups=(known.vectors.shape[1], TIME))
            self._noise = self._regret.update(inputs, known.regrets - self._first_guess(looks), prior).noise

    def predict(
        self, vectors: Floats, looks: Floats | None = None, whole: NDArray[np.bool_] | None = None
    ) -> Predicted:
        """Of plans with these parameter values ``(N, D)``; ``looks`` ``(N, 5)``: what is known of them untrained."""
        time = _predict(self._time, vectors)
        if looks is None:
            columns = [_predict(fitted, vectors) for fitted in self._looks]
            loss = self._loss(vectors, columns[LOSS].mean)
            looks = np.stack([loss, *(column.mean for column in columns[BYTES:]), time.mean], axis=1)
            size = columns[1]
        else:
            exact = np.ones(len(looks), dtype=np.bool_) if whole is None else whole
            guess = _predict(self._looks[1], vectors)
            size = Prediction(
                np.where(exact, looks[:, BYTES], guess.mean), np.where(exact, _EXACT, np.maximum(guess.std, _EXACT))
            )
        return Predicted(self._regret_of(vectors, looks), size, time)

    def sketched(self, vectors: Floats, sketches: Floats, whole: NDArray[np.bool_]) -> Predicted:
        """Of plans of which all is known but the loss."""
        loss = self._loss(vectors, _predict(self._looks[LOSS], vectors).mean)
        return self.predict(vectors, np.concatenate([loss[:, None], sketches[:, BYTES:]], axis=1), whole)

    def _regret_of(self, vectors: Floats, looks: Floats) -> Prediction:
        guess = self._first_guess(looks)
        if not len(self._known.trained):
            return Prediction(guess, np.full(len(guess), self._doubt))
        correction = _predict(self._regret, self._inputs(vectors, looks))
        return Prediction(guess + correction.mean, np.hypot(correction.std, self._noise))

    @property
    def _doubt(self) -> float:
        """How far off the first guess may be."""
        return _PRIOR_OF_LOST if self._known.shares else _PRIOR

    def _beyond(self, vectors: Floats, loss: Floats) -> Floats:
        """What plans cost beyond what is believed of them, as logarithms."""
        cost = -np.log(np.maximum(1 - loss, _LEFT)) if self._known.shares else loss
        return np.asarray(cost - self._believed(vectors))

    def _loss(self, vectors: Floats, beyond: Floats) -> Floats:
        """The inverse of ``_beyond``."""
        cost = beyond + self._believed(vectors)
        return np.asarray(1 - np.exp(-cost) if self._known.shares else cost)

    def _believed(self, vectors: Floats) -> Floats:
        return np.asarray((_COST_OF_LOST if self._known.shares else _COST) * vectors.sum(1))

    def _first_guess(self, looks: Floats) -> Floats:
        if self._known.shares:
            fewer = np.clip(looks[:, MACS], _FEWEST_MACS, 0)
            return np.asarray(_OF_LOST * np.clip(looks[:, LOSS], 0, 1.2) - _OF_FEWER_MACS * fewer)
        spread = max(self._highest - self._lowest, 1e-3)
        return np.asarray(
            _OF_ANY
            + _OF_LOSS * np.clip((looks[:, LOSS] - self._lowest) / spread, 0, 1.5)
            - _OF_MACS * np.minimum(looks[:, MACS], 0.0)
        )

    def _inputs(self, vectors: Floats, looks: Floats) -> Floats:
        return np.concatenate([vectors, (looks[:, :TIME] - self._mean[:TIME]) / self._std[:TIME]], axis=1)


def _predict(fitted: _Fitted, inputs: Floats) -> Prediction:
    assert fitted.process is not None, "fit comes first"
    return fitted.process.predict(inputs)


def known_of(
    looked: Sequence[tuple[Sequence[float], Sequence[float], bool]],
    trained: Sequence[tuple[int, float, float, float]],
    drawn: Sequence[tuple[Sequence[float], Sequence[float], bool]] = (),
    *,
    shares: bool = False,
) -> Known:
    """``looked``: vector, look, wholeness of each plan; ``trained``: its index, warped regret, log bytes, log time.

    ``drawn``: all plans whose files are known, in the order they came.
    """
    table = np.array([row[1:] for row in trained], dtype=np.float64).reshape(len(trained), 3)
    looks = np.array([look for _, look, _ in looked], dtype=np.float64)
    where = np.array([row[0] for row in trained], dtype=np.int64)
    looks[where, BYTES] = table[:, 1]
    return Known(
        vectors=np.array([vector for vector, _, _ in looked], dtype=np.float64),
        looks=looks,
        whole=np.array([whole for _, _, whole in looked], dtype=np.bool_),
        trained=where,
        regrets=table[:, 0],
        sizes=table[:, 1],
        times=table[:, 2],
        shares=shares,
        drawn=(np.array([row[0] for row in drawn]), np.array([row[1] for row in drawn])) if drawn else None,
    )
