"""What needs no training: a run with a budget begins with it, so that it has something to show however soon it ends.

Of the plans that were looked at, those within the limits of size and time form a staircase: each step loses more, and
is smaller or faster than every step before.

    loss │          ·  ← as soon as one breaks a limit, the search leaves the stairs
         │      ·
         │  ·
         └──────────────  gain (bytes × time saved)

They are carried out untrained from the first step on, as long as quality keeps its limit. (A step that was screened out
for its size or its time says nothing of those behind it.)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from compressor.engine.candidate import Outcome
from compressor.engine.untrained import Untrained
from compressor.search.surrogate.answers import Scale
from compressor.search.surrogate.looks import Look

MOST = 4
"""Steps that are tried at most."""


def next_step(
    looks: Sequence[Look],
    scale: Scale,
    reference: Sequence[float],
    ended: Mapping[str, Outcome],
    running: Collection[str],
) -> Look | None:
    """The plan to carry out untrained now; None where the stairs have been left, or one is under way.

    ``ended``: outcomes by the digest of what was carried out; ``running``: such digests.
    """
    for look in _steps(looks, scale, reference):
        assert look.found is not None
        digest = look.found.plan.untrained().digest
        if digest in running:
            return None
        if digest not in ended:
            return look
        outcome = ended[digest]
        if outcome.status != "screened" and not (outcome.status == "complete" and outcome.within()):
            return None
    return None


def _steps(looks: Sequence[Look], scale: Scale, reference: Sequence[float]) -> list[Look]:
    """At most ``MOST`` of the stairs, the first and the last among them."""
    stairs: list[Look] = []
    best = math.inf
    for look, found in sorted(_whole(looks), key=lambda pair: pair[1].loss):
        _, size, _, _, time = scale.features(found)
        if size <= reference[1] and time <= reference[2] and size + time < best:
            best = size + time
            stairs.append(look)
    if len(stairs) <= MOST:
        return stairs
    return [stairs[round(index * (len(stairs) - 1) / (MOST - 1))] for index in range(MOST)]


def _whole(looks: Sequence[Look]) -> list[tuple[Look, Untrained]]:
    """Those whose figures are those of the whole plan."""
    return [(look, look.found) for look in looks if look.found is not None and look.found.whole]
