"""What the study found: a row per tiling, the largest share of pixels that was not needed, and whether to go on."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from compressor.errors import TrialError
from compressor.pilot import Judgement
from compressor.stored import Figure, Stored
from compressor_plugins.redundancy.arms import Arm, ArmScore, arms_of
from compressor_plugins.redundancy.tilings import REFERENCE, Fill, Tiling, TilingName

if TYPE_CHECKING:
    from compressor_plugins.redundancy.study import Redundancy

NOT_APPLICABLE = "the method does not apply to this data"


@dataclass(frozen=True)
class Variant:
    """One tiling, averaged over sets × repeats. Changes are against ``DN`` with the same set and repeat."""

    name: TilingName
    dropped: Figure
    fill: Fill
    error: Figure
    loss: Figure
    errors: tuple[Figure, ...]
    """Mean over the repeats, by set."""
    error_change: Figure
    error_spread: Figure
    """Standard error of ``error_change`` over sets × repeats; 0 where there is only one."""
    loss_change: Figure
    redundant: bool
    """Whether error and loss are within the tolerances."""


@dataclass(frozen=True)
class Tilings:
    """The figures behind the verdict."""

    dropped: Figure
    """Largest share of pixels that a redundant tiling drops; 0 where none is redundant."""
    variants: tuple[Variant, ...]
    spec: Mapping[str, Any]
    """The options of the study, all of them."""
    stand_in: bool = False
    """The data stand in for others: those of ``stand_in_for``, or a set that could not be had."""

    @property
    def redundant(self) -> tuple[TilingName, ...]:
        """The tilings that passed."""
        return tuple(variant.name for variant in self.variants if variant.redundant)


def judged(spec: Redundancy, scores: Iterable[ArmScore], stand_in: bool = False) -> Judgement:
    """Average, compare with ``DN``, decide. A tiling of which an arm is missing is left out.

    Raises ``TrialError`` where ``DN`` is not whole.
    """
    by_arm = {score.arm: score for score in scores}
    pairs = [(arm.set, arm.repeat) for arm in arms_of(spec) if arm.tiling == REFERENCE]
    if any(Arm(REFERENCE, number, repeat) not in by_arm for number, repeat in pairs):
        raise TrialError(f"the reference {REFERENCE} could not be trained")
    rows: dict[TilingName, list[ArmScore]] = {}
    for name in spec.tilings:
        found = [by_arm.get(Arm(name, number, repeat)) for number, repeat in pairs]
        if all(found):
            rows[name] = [score for score in found if score is not None]
    variants = tuple(_variant(name, rows, spec) for name in spec.tilings if name in rows)
    passed = [variant for variant in variants if variant.redundant and variant.name != REFERENCE]
    dropped = max((variant.dropped for variant in passed), default=0.0)
    behind = Tilings(dropped, variants, asdict(spec), stand_in or bool(spec.stand_in_for))
    return Judgement(bool(passed), _reason(spec, variants, dropped), FOUND.plain(behind))


def _variant(name: TilingName, rows: Mapping[TilingName, Sequence[ArmScore]], spec: Redundancy) -> Variant:
    own, reference = rows[name], rows[REFERENCE]
    errors = [a.error - b.error for a, b in zip(own, reference, strict=True)]
    losses = [a.loss - b.loss for a, b in zip(own, reference, strict=True)]
    error_change, loss_change = statistics.fmean(errors), statistics.fmean(losses)
    tiling = Tiling.of(name)
    return Variant(
        name=name,
        dropped=tiling.dropped,
        fill=tiling.fill,
        error=statistics.fmean(score.error for score in own),
        loss=statistics.fmean(score.loss for score in own),
        errors=tuple(_by_set(own)),
        error_change=error_change,
        error_spread=statistics.stdev(errors) / len(errors) ** 0.5 if len(errors) > 1 else 0.0,
        loss_change=loss_change,
        redundant=error_change <= spec.error_tolerance and loss_change <= spec.loss_tolerance,
    )


def _by_set(scores: Sequence[ArmScore]) -> Iterable[float]:
    for number in sorted({score.arm.set for score in scores}):
        yield statistics.fmean(score.error for score in scores if score.arm.set == number)


def _reason(spec: Redundancy, variants: Sequence[Variant], dropped: float) -> str:
    within = f"within {100 * spec.error_tolerance:g} points of error and {spec.loss_tolerance:g} of loss"
    if dropped:
        names = ", ".join(v.name for v in variants if v.redundant and v.dropped == dropped)
        return f"{dropped:.0%} of the pixels are not needed: {names} did as well as the whole image, {within}"
    others = [variant for variant in variants if variant.name != REFERENCE]
    if not others:
        return f"{NOT_APPLICABLE}: no tiling could be trained"
    best = min(others, key=lambda variant: variant.error_change)
    return (
        f"{NOT_APPLICABLE}: no tiling does as well as the whole image {within}; the nearest, {best.name}, has "
        f"{100 * best.error_change:+.1f} points of error and {best.loss_change:+.2f} of loss"
    )


FOUND: Stored[Tilings] = Stored(Tilings)
