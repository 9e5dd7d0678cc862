"""What became of the claims of Gabbasov et al., by the arms of ``redundancy_arms.py``.

Differences of errors are given in points, with the standard error of their mean.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from compressor_plugins.input_mask.parity_masks import DOCUMENT_MASKS
from compressor_plugins.redundancy.stages import pixels_dropped
from compressor_plugins.redundancy.tilings import NAMES, TilingName

from compressor.models import find
from papers.arms import Arms, mean_std
from papers.measured import settled, standard_error
from papers.page import Claim
from papers.redundancy_arms import STRIDED, STUDENTS, TEACHERS, TIMED, Budgets, against


def claims_of(arms: Arms, budgets: Budgets) -> list[Claim]:
    return [
        *_tiling_claims(arms, budgets),
        *_mask_claims(arms, budgets),
        *_student_claims(arms, budgets),
        *_size_claims(arms),
    ]


def _tiling_claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    change = {
        name: against(arms, "tiling: DN", arms.of(f"tiling: {name}", budgets.tilings), budgets.tilings)
        for name in NAMES[1:]
    }
    if not all(change.values()):
        return [Claim("All claims about tilings.", "not tested", "Not every tiling has been trained.")]
    mean = {name: statistics.fmean(values) for name, values in change.items()}
    pairs: tuple[tuple[TilingName, TilingName], ...] = (("MH", "MH0"), ("CHB", "CHB0"), ("GRI", "GRI0"))
    black: dict[str, float] = {name: mean[blackened] for name, blackened in pairs}
    grey: dict[str, float] = {name: mean[name] for name, _ in pairs}
    worse = [name for name in black if grey[name] > black[name]]
    dearer = [
        statistics.fmean(values)
        for values in zip(
            *([one - other for one, other in zip(change[m], change[b], strict=True)] for m, b in pairs), strict=True
        )
    ]
    return [
        Claim(
            "A quarter of the pixels can be dropped (black) at no cost in error.",
            settled([-value for value in change["MH0"]], above=-0.01),
            f"On the stand-in MH0 changes the error by {100 * black['MH']:+.1f} points against DN "
            f"({mean_std([100 * value for value in change['MH0']], digits=1)}), CHB0 by {100 * black['CHB']:+.1f}, "
            f"GRI0 by {100 * black['GRI']:+.1f}.",
        ),
        Claim(
            "Pixels filled with the image's mean cost more than black ones.",
            settled(dearer) if len(worse) in (0, len(black)) else "not decided",
            f"Here the mean is worse than black for {', '.join(worse) or 'none'} of MH, CHB and GRI: "
            + ", ".join(f"{name} {100 * grey[name]:+.1f} and {name}0 {100 * black[name]:+.1f} points" for name in black)
            + f"; over the three {_points(dearer)}.",
        ),
    ]


def _mask_claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    misprint = Claim(
        "The masks 11111111 and 10111101.",
        "misprinted",
        "They have eight taps, a 3×3 mask has nine: read as 111111111, the reference, and 101111101, the fourth of the "
        "masks that drop one pixel in four.",
    )
    own = Claim(
        "A quarter of the pixels is the share that can be dropped.",
        "did not hold",
        "It does not follow from their own table: 000101000, which drops three quarters, has the lowest error (.31) "
        "and the highest precision (.70) of all masks, the reference included; 010111010 (a quarter) has .33 and .68.",
    )
    change = {
        mask: against(arms, f"mask: {STRIDED}", arms.of(f"mask: {mask}", budgets.masks), budgets.masks)
        for mask in DOCUMENT_MASKS
    }
    if not all(change.values()):
        return [misprint, own, Claim("Masks cost nothing.", "not tested", "Not every mask has been trained.")]
    mean = {mask: statistics.fmean(values) for mask, values in change.items()}
    best, worst = min(mean, key=lambda mask: mean[mask]), max(mean, key=lambda mask: mean[mask])
    by_share = {
        share: statistics.fmean(value for mask, value in mean.items() if pixels_dropped(mask) == share)
        for share in (0.25, 0.5, 0.75)
    }
    shares = ", ".join(f"{share:.0%} dropped {100 * value:+.1f}" for share, value in by_share.items())
    return [
        misprint,
        own,
        Claim(
            "No mask raises the error by more than .03, and the best lowers it (their table).",
            settled([-value for value in change[worst]], above=-0.03),
            f"Here, in points of error against the unmasked stem of stride 2: {shares}; the best is {best} "
            f"({_points(change[best])}, drops {pixels_dropped(best):.0%}), the worst {worst} "
            f"({_points(change[worst])}).",
        ),
    ]


def _student_claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    change = {
        name: against(arms, "teacher", arms.of(name, budgets.student), budgets.student)
        for name in (*TEACHERS[1:], *STUDENTS)
    }
    if not all(change.values()):
        return [Claim("The student is better than its teacher.", "not tested", "Not every arm has been trained.")]
    points = {name: _points(values) for name, values in change.items()}
    told, alone, scratch = STUDENTS
    longer = TEACHERS[1]
    gain = [one - other for one, other in zip(change[alone], change[told], strict=True)]
    behind = [one - other for one, other in zip(change[told], change[longer], strict=True)]
    return [
        Claim(
            "The lighter student has a lower error than its teacher (.34 → .29).",
            settled([-value for value in change[told]]),
            f"Here {points[told]} against the teacher; against the teacher trained on as long {_points(behind)}.",
        ),
        Claim(
            "Distillation is what makes the student better.",
            settled(gain),
            "Not to be told from their table, where the teacher has focal loss and the student cross entropy. Here "
            f"the teacher's answers lower the error by {_points(gain)}; from scratch: {points[scratch]}; the teacher "
            f"with focal loss instead of cross entropy: {points[TEACHERS[2]]}.",
        ),
    ]


def _size_claims(arms: Arms) -> list[Claim]:
    teacher, lighter = find("vgg16-s0").params, find("vgg16-s0-student-4tap").params
    share = 1 - lighter / teacher
    size = Claim(
        "29.4 % fewer parameters.",
        "held" if round(share, 3) == 0.294 else "did not hold",
        f"{teacher:,} become {lighter:,}: −{share:.2%}, to the unit with a four-tap stem.",
    )
    found = arms.of("latency: vgg16-s0-student-4tap", TIMED)
    if not found:
        return [size, Claim("10 / 8 / 12 % less time per image.", "not tested", "Not measured.")]
    saved = statistics.fmean(1 - 1 / float(arm.figures["speedup"]) for arm in found)
    return [
        size,
        Claim(
            "10 / 8 / 12 % less time per image.",
            "held" if saved >= 0.08 else "did not hold",
            f"{saved:.1%} less in ONNX Runtime on one thread (mean of {len(found)} paired measurements), at the same "
            "two networks' full width.",
        ),
    ]


def _points(shares: Sequence[float]) -> str:
    """Their mean with its standard error, in points."""
    mean = 100 * statistics.fmean(shares)
    return f"{mean:+.1f} ± {100 * standard_error(shares):.1f}" if len(shares) > 1 else f"{mean:+.1f} (n = 1)"
