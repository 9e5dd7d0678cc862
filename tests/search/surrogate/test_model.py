"""What the surrogate believes of plans that nobody has looked at."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.search.surrogate.model import Surrogate, known_of

SWITCHES = 10


def expected_of_all(each: float, *, shares: bool) -> tuple[float, float]:
    """Warped regret guessed of one of ten edits, each of which was seen alone, and of all of them at once."""
    nothing, alone = np.zeros(SWITCHES), np.eye(SWITCHES)
    looked = [(nothing, (0.0, 0.0, 0.0, 0.0, 0.0), True), *((one, (each, 0.0, 0.0, 0.0, 0.0), True) for one in alone)]
    surrogate = Surrogate()
    surrogate.fit(known_of(looked, [], shares=shares))
    one, together = surrogate.predict(np.stack([alone[0], np.ones(SWITCHES)])).regret.mean
    return float(one), float(together)


def test_edits_seen_alone_are_expected_to_cost_more_together() -> None:
    """A tenth of what is left each: no less than a quarter of it all at once, until a look says more."""
    one, together = expected_of_all(0.1, shares=True)
    assert one == pytest.approx(4.0 * 0.1, abs=0.05)
    assert together > 4.0 * 0.23


def test_untrained_losses_multiply() -> None:
    """Each edit's is e^0.2 times the network's own: far beyond the highest that was seen, all together."""
    one, together = expected_of_all(0.2, shares=False)
    assert together > one + 1


def test_at_the_same_share_lost_training_brings_less_back_where_less_is_left_to_compute() -> None:
    vectors = np.eye(SWITCHES)[:2]
    looks = np.array([[0.5, 0.0, 0.0, 0.0, 0.0], [0.5, 0.0, -1.4, 0.0, 0.0]])
    surrogate = Surrogate()
    surrogate.fit(known_of([(row, look, True) for row, look in zip(vectors, looks, strict=True)], [], shares=True))
    whole, quarter = surrogate.predict(vectors, looks).regret.mean
    assert quarter > whole + 0.5
