"""The regression: it interpolates, knows what it does not know, and ignores features that do not matter."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.search.surrogate.gaussian_process import Prior, fit_process

RNG = np.random.default_rng(0)


def truth(x: np.ndarray) -> np.ndarray:
    return np.sin(3 * x[:, 0]) + 2 * x[:, 1]


def test_it_predicts_a_smooth_function_among_features_that_do_not_matter() -> None:
    inputs, new = RNG.random((60, 12)), RNG.random((200, 12))
    predicted = fit_process(inputs, truth(inputs)).predict(new)
    error = predicted.mean - truth(new)
    assert np.sqrt(np.mean(error**2)) < 0.1 * np.std(truth(new))
    assert np.mean(np.abs(error) <= 2 * predicted.std) > 0.85


def test_noise_is_not_learned() -> None:
    inputs = RNG.random((80, 4))
    process = fit_process(inputs, RNG.normal(size=80))
    assert np.abs(process.predict(RNG.random((50, 4))).mean).max() < 1.0
    assert process.noise == pytest.approx(1.0, abs=0.3)


def test_uncertainty_grows_away_from_what_is_known() -> None:
    process = fit_process(np.linspace(0, 0.4, 12)[:, None], np.sin(6 * np.linspace(0, 0.4, 12)))
    near, far = process.predict(np.array([[0.2], [1.0]])).std
    assert far > 5 * near


def test_one_observation_moves_the_prior_and_leaves_its_width() -> None:
    process = fit_process(np.array([[0.0, 1.0]]), np.array([1.0]), prior=Prior(scale=2.0))
    here, elsewhere = process.predict(np.array([[0.0, 1.0], [5.0, -4.0]])).std
    assert here < 0.5 < elsewhere


def test_what_was_measured_says_more_than_one_of_many_switches() -> None:
    """Far away in two measured figures, where sixty switches agree, little is known."""
    inputs = np.zeros((1, 62))
    far = np.concatenate([np.zeros(60), np.full(2, 2.5)])[None]
    apart, alike = (
        fit_process(inputs, np.array([0.5]), prior=Prior(1.0, groups=groups)).predict(far).std[0]
        for groups in ((60, 2), (62,))
    )
    assert apart > 1.5 * alike


def test_hyperparameters_may_be_kept() -> None:
    inputs = RNG.random((30, 3))
    first = fit_process(inputs[:20], truth(inputs[:20]))
    again = fit_process(inputs, truth(inputs), start=first, steps=0)
    assert again.hyper.tolist() == first.hyper.tolist()
    assert len(again.inputs) == 30


@pytest.mark.parametrize("answers", [[2.0, 2.0, 2.0], [2.0]])
def test_answers_that_do_not_vary_are_predicted_as_they_are(answers: list[float]) -> None:
    inputs = RNG.random((len(answers), 2))
    assert fit_process(inputs, np.array(answers)).predict(inputs).mean == pytest.approx(2.0)
