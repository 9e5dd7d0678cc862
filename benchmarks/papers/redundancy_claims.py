"""What became of the claims of Gabbasov et al., by the arms of ``redundancy_arms.py``."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from compressor_plugins.input_mask.parity_masks import DOCUMENT_MASKS
from compressor_plugins.input_mask.stages import pixels_dropped

from compressor.models import find
from compressor.probe.tilings import NAMES, TilingName
from papers.arms import Arms, mean_std
from papers.page import Claim, Verdict
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
    return [
        Claim(
            "A quarter of the pixels can be dropped (black) at no cost in error.",
            _verdict(black["MH"] <= 0.01, *change.values(), doubt=_doubt(change["MH0"], 0.01)),
            f"On the stand-in MH0 changes the error by {100 * black['MH']:+.1f} points against DN "
            f"({mean_std([100 * value for value in change['MH0']], digits=1)}), CHB0 by {100 * black['CHB']:+.1f}, "
            f"GRI0 by {100 * black['GRI']:+.1f}.",
        ),
        Claim(
            "Pixels filled with the image's mean cost more than black ones.",
            _verdict(len(worse) == len(black), *change.values()),
            f"Here the mean is worse than black for {', '.join(worse) or 'none'} of MH, CHB and GRI: "
            + ", ".join(f"{name} {100 * grey[name]:+.1f} and {name}0 {100 * black[name]:+.1f} points" for name in black)
            + ".",
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
    best = min(mean, key=lambda mask: mean[mask])
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
            _verdict(max(mean.values()) <= 0.03 and min(mean.values()) < 0, *change.values()),
            f"Here, in points of error against the unmasked stem of stride 2: {shares}; the best is {best} "
            f"({100 * mean[best]:+.1f}, drops {pixels_dropped(best):.0%}), the worst {100 * max(mean.values()):+.1f}.",
        ),
    ]


def _student_claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    change = {
        name: against(arms, "teacher", arms.of(name, budgets.student), budgets.student)
        for name in (*TEACHERS[1:], *STUDENTS)
    }
    if not all(change.values()):
        return [Claim("The student is better than its teacher.", "not tested", "Not every arm has been trained.")]
    points = {name: 100 * statistics.fmean(values) for name, values in change.items()}
    told, alone, scratch = (points[name] for name in STUDENTS)
    longer = points[TEACHERS[1]]
    return [
        Claim(
            "The lighter student has a lower error than its teacher (.34 → .29).",
            _verdict(told < 0, *change.values()),
            f"Here {told:+.1f} points against the teacher. But the teacher trained on as long has {longer:+.1f}: "
            f"against that the student has {told - longer:+.1f}.",
        ),
        Claim(
            "Distillation is what makes the student better.",
            _verdict(told < alone, *change.values()),
            f"Not to be told from their table, where the teacher has focal loss and the student cross entropy. Here: "
            f"on labels alone {alone:+.1f}, with the teacher's answers {told:+.1f}, from scratch {scratch:+.1f} "
            f"points; the teacher with focal loss instead of cross entropy {points[TEACHERS[2]]:+.1f}.",
        ),
    ]


def _size_claims(arms: Arms) -> list[Claim]:
    teacher, lighter = find("vgg16-s0").params, find("vgg16-s0-student-4tap").params
    share = 1 - lighter / teacher
    size = Claim(
        "29.4 % fewer parameters.",
        _verdict(round(share, 3) == 0.294),
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
            _verdict(saved >= 0.08),
            f"{saved:.1%} less in ONNX Runtime on one thread (mean of {len(found)} paired measurements), at the same "
            "two networks' full width.",
        ),
    ]


def _verdict(held: bool, *behind: Sequence[float], doubt: bool = False) -> Verdict:
    """Trainings ``behind`` it are judged from three seeds on."""
    if any(len(values) < 3 for values in behind):
        return "not tested"
    if doubt:
        return "not decided"
    return "held" if held else "did not hold"


def _doubt(values: Sequence[float], limit: float) -> bool:
    """Whether the limit lies within two standard errors of the mean."""
    if len(values) < 2:
        return True
    return abs(statistics.fmean(values) - limit) < 2 * statistics.stdev(values) / len(values) ** 0.5
