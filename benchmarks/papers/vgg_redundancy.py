"""Redundant pixels and a lighter VGG16: Gabbasov et al., "Coordinated optimization of neural network parameters for a
given set of images".

tilings    the probe of the recipe: a network trained from new weights on tiled images, one set per seed
masks      a trained teacher given each stem mask and trained on
students   the teacher with a mask and without two wide convolutions, with and without what the teacher says
latency    the document's own networks at 128×128 and full width in ONNX Runtime, untrained
large      the document's own networks at 128×128 and full width, trained: for a GPU
recipe     ``recipes/vgg_redundancy.toml`` as its user runs it
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Mapping, Sequence

from compressor_plugins.input_mask.parity_masks import DOCUMENT_MASKS, REFERENCE
from compressor_plugins.redundancy.stages import pixels_dropped
from compressor_plugins.redundancy.tilings import NAMES, Tiling, TilingName

from compressor.models import find
from papers import redundancy_large
from papers.arms import Arm, Arms, Budget, Job, mean_std
from papers.commands import line, tables_of
from papers.page import Page, Table
from papers.redundancy_arms import (
    DEFAULT,
    FULL,
    LIGHTER,
    STRIDED,
    STUDENT_MASK,
    STUDENTS,
    TEACHERS,
    TEST_IMAGES,
    TIMED,
    Budgets,
    against,
    time_lighter,
    train_mask,
    train_student,
    train_tiling,
)
from papers.redundancy_claims import claims_of
from papers.redundancy_large import OWN, TINY, Large
from papers.redundancy_recipe import RECIPE, TRAIN, TRAINED, recipe_table, run_recipe

GPU, REHEARSAL = OWN, TINY
"""Of the document's own networks alone."""
THEIR_TILINGS: Mapping[TilingName, Sequence[float]] = {
    "DN": (0.36, 0.38, 0.32),
    "MH": (0.40, 0.34, 0.37),
    "CHB": (0.44, 0.42, 0.44),
    "GRI": (0.51, 0.41, 0.51),
    "MH0": (0.36, 0.30, 0.31),
    "CHB0": (0.36, 0.33, 0.34),
    "GRI0": (0.35, 0.35, 0.36),
    "MH1": (0.44, 0.37, 0.35),
    "CHB1": (0.38, 0.32, 0.32),
    "GRI1": (0.37, 0.37, 0.40),
}
"""Error by set."""
THEIR_MASKS: Mapping[str, tuple[float, float, float]] = {
    "111111111": (0.34, 0.68, 0.67),
    "010111010": (0.33, 0.68, 0.67),
    "111101111": (0.36, 0.66, 0.68),
    "101111101": (0.34, 0.69, 0.68),
    "111010111": (0.36, 0.68, 0.69),
    "101010101": (0.37, 0.66, 0.70),
    "010101010": (0.36, 0.67, 0.69),
    "101000101": (0.34, 0.69, 0.66),
    "000010000": (0.34, 0.68, 0.69),
    "010000010": (0.34, 0.67, 0.70),
    "000101000": (0.31, 0.70, 0.68),
}
"""Error, precision, recall; the two misprinted masks corrected."""
THEIR_TEACHER, THEIR_STUDENT = (0.34, 0.34, 0.36), (0.29, 0.30, 0.30)
THEIR_TIMES = ((0.92, 0.83), (0.95, 0.87), (0.95, 0.84))
"""Milliseconds per image by set: teacher, student."""


def jobs(seeds: Sequence[int], budgets: Budgets | Large) -> Iterator[Job]:
    """Seed by seed, so that a page that was interrupted has whole seeds."""
    if isinstance(budgets, Large):
        yield from redundancy_large.jobs(seeds, budgets)
        return
    for seed in seeds:
        for name in NAMES:
            work = functools.partial(train_tiling, name, seed, budgets.tilings)
            yield Job(f"tiling: {name}", seed, budgets.tilings, work)
        for arm in (*TEACHERS, *STUDENTS):
            yield Job(arm, seed, budgets.student, functools.partial(train_student, arm, seed, budgets))
        for taps in (REFERENCE, STRIDED, *DOCUMENT_MASKS):
            yield Job(f"mask: {taps}", seed, budgets.masks, functools.partial(train_mask, taps, seed, budgets))
        for lighter in LIGHTER:
            yield Job(f"latency: {lighter}", seed, TIMED, functools.partial(time_lighter, lighter, seed))
        yield Job("recipe", seed, RECIPE, functools.partial(run_recipe, seed))
    if budgets is FULL:
        yield from redundancy_large.jobs(seeds, OWN)


# --- the page --------------------------------------------------------------------------------------------------------


def page(arms: Arms) -> Page:
    names = (*TEACHERS, *STUDENTS)
    budgets = FULL if arms.shown(names, (FULL.student, DEFAULT.student)) == FULL.student else DEFAULT
    return Page(
        name="vgg_redundancy",
        title="Redundant pixels and a lighter VGG16, a stand-in for Caltech-256",
        about="Gabbasov et al., “Coordinated optimization of neural network parameters for a given set of images”. "
        "Theirs is VGG16 on three sets of ten classes of Caltech-256 at 128×128. **Ours stands in for it**: CIFAR-10 "
        "at its own 32×32 and VGG16 at a quarter of the width with a stem of stride 1. CIFAR-10 images are small and "
        "sharp: a dropped pixel is 1/1,024 of the image there, 1/16,384 in theirs, so that ours says little about "
        "theirs, and errors are not comparable in level. Latency is that of their own networks.",
        commands=(
            tables_of("vgg_redundancy", full=budgets is FULL),
            line((*TRAIN, "--epochs", str(TRAINED.epochs), "--out", "model.pt")),
            "compressor optimize model.pt --recipe recipes/vgg_redundancy.toml",
        ),
        tables=(
            _tilings_table(arms, budgets),
            _masks_table(arms, budgets),
            _students_table(arms, budgets),
            _latency_table(arms),
            *redundancy_large.table(arms),
            recipe_table(arms.of("recipe", RECIPE)),
        ),
        claims=claims_of(arms, budgets),
        not_run=(*_missing(arms, budgets), *(NOT_RUN[1:] if budgets is FULL else NOT_RUN)),
    )


NOT_RUN = (
    "`--full`: 20 epochs on all of CIFAR-10 (9,666 images per set in the probe, as theirs).",
    "Caltech-256 itself cannot be had here; the recipe takes a folder of classes (three lines to change).",
    "128×128 and full width: 363 ms per training image on one core, so a GPU is needed.",
)


def _missing(arms: Arms, budgets: Budgets) -> list[str]:
    """What the tables show as not run, or with fewer than three seeds."""
    parts = {
        "tilings": [(f"tiling: {name}", budgets.tilings) for name in NAMES],
        "masks": [(f"mask: {mask}", budgets.masks) for mask in (REFERENCE, STRIDED, *DOCUMENT_MASKS)],
        "students": [(name, budgets.student) for name in (*TEACHERS, *STUDENTS)],
        "recipe": [("recipe", RECIPE)],
    }
    short = [part for part, wanted in parts.items() if any(len(arms.of(name, each)) < 3 for name, each in wanted)]
    if not short:
        return []
    return [f"Three seeds of the {', '.join(short)}: claims about them are not judged yet; the command above goes on."]


def _tilings_table(arms: Arms, budgets: Budgets) -> Table:
    rows = []
    for name, theirs in THEIR_TILINGS.items():
        found = arms.of(f"tiling: {name}", budgets.tilings)
        tiling = Tiling.of(name)
        rows.append(
            (
                name,
                f"{tiling.dropped:.0%}",
                "–" if name == "DN" else tiling.fill,
                f"{statistics.fmean(theirs):.2f} ({' '.join(f'{value:.2f}' for value in theirs)})",
                mean_std([float(arm.figures["error"]) for arm in found], digits=3),
                _change(arms, "tiling: DN", found, budgets.tilings),
                mean_std([float(arm.figures["loss"]) for arm in found], digits=2),
            )
        )
    return Table(
        "Stage 1: error by tiling",
        ("tiling", "dropped", "fill", "error theirs (sets)", "error ours", "against DN", "loss ours"),
        rows,
        (
            f"Ours: {budgets.tilings.text}, from new weights, one disjoint set per seed, on validation images. "
            "*Against DN*: with the same set, seed and order of batches. Errors are shares.",
        ),
    )


def _masks_table(arms: Arms, budgets: Budgets) -> Table:
    rows = []
    for mask in (REFERENCE, STRIDED, *DOCUMENT_MASKS):
        found = arms.of(f"mask: {mask}", budgets.masks)
        theirs = THEIR_MASKS.get(mask)
        rows.append(
            (
                mask,
                f"{pixels_dropped(mask[:9]):.0%}",
                " / ".join(f"{value:.2f}" for value in theirs) if theirs else "",
                " / ".join(f"{_mean(found, key):.2f}" for key in ("error", "precision", "recall")) if found else "",
                _change(arms, f"mask: {STRIDED}", found, budgets.masks),
            )
        )
    return Table(
        "Stage 2: masks",
        (
            "mask",
            "dropped",
            "theirs: error / precision / recall",
            "ours",
            "error against stride 2",
        ),
        rows,
        (
            f"Ours: the teacher of each seed ({budgets.teacher.text}) with the mask, dropped taps added to their "
            f"nearest ones, trained on ({budgets.masks.text}); {_tested(budgets)}. Masks make the stem's stride 2, so "
            "their reference is the unmasked stem with stride 2; the first row keeps stride 1. Theirs were trained "
            "from new weights.",
        ),
    )


def _students_table(arms: Arms, budgets: Budgets) -> Table:
    theirs = {"teacher": THEIR_TEACHER, "teacher, focal loss": THEIR_TEACHER, STUDENTS[0]: THEIR_STUDENT}
    rows = []
    for name in (*TEACHERS, *STUDENTS):
        found = arms.of(name, budgets.student)
        printed = " ".join(f"{value:.2f}" for value in theirs[name]) if name in theirs else ""
        rows.append(
            (
                name,
                printed,
                mean_std([float(arm.figures["error"]) for arm in found], digits=3),
                _change(arms, "teacher", found, budgets.student),
                f"{int(found[0].figures['parameters']):,}" if found else "",
                f"{int(found[0].figures['macs']):,}" if found else "",
            )
        )
    return Table(
        "Stage 3: the student",
        ("arm", "error theirs (sets)", "error ours", "against the teacher", "parameters", "MACs"),
        rows,
        (
            f"Ours: mask {STUDENT_MASK}, without conv4_3 and conv5_3; teacher {budgets.teacher.text}, all "
            f"that start from it {budgets.student.text}; {_tested(budgets)}. *From scratch* trains as long as both "
            "together. Theirs: the teacher with focal loss, the student with cross entropy and what the teacher says; "
            "the arms here keep the two apart.",
        ),
    )


def _latency_table(arms: Arms) -> Table:
    rows = []
    teacher_params = find("vgg16-s0").params
    printed = ", ".join(f"{before:.2f} → {after:.2f}" for before, after in THEIR_TIMES)
    saved = " / ".join(f"{100 * (1 - after / before):.0f}" for before, after in THEIR_TIMES)
    for name, about in LIGHTER.items():
        found = arms.of(f"latency: {name}", TIMED)
        if not found:
            continue
        times = ", ".join(
            f"{_mean([arm], 'teacher us') / 1e3:.1f} → {_mean([arm], 'student us') / 1e3:.1f}" for arm in found
        )
        ours = " / ".join(f"{100 * (1 - 1 / float(arm.figures['speedup'])):.1f}" for arm in found)
        count = found[0].figures["parameters"]
        rows.append((about, printed, saved, times, ours, f"{int(count):,} ({_fewer(count, teacher_params)})"))
    return Table(
        "Time per image at 128×128, full width",
        ("student", "ms theirs (by set)", "% less", "ms ours (three times)", "% less, ours", "parameters"),
        rows,
        (
            "Ours: ONNX Runtime, one thread, one image per call, thread CPU time, paired with the teacher in random "
            "order; without conv4_3 and conv5_3. Theirs: on hardware and at a batch size they do not name, so only the "
            "shares can be compared. Which two convolutions their student lacks does not follow from its count.",
        ),
    )


def _mean(found: Sequence[Arm], figure: str) -> float:
    return statistics.fmean(float(arm.figures[figure]) for arm in found)


def _tested(budgets: Budgets) -> str:
    return "all test images" if budgets is FULL else f"{TEST_IMAGES:,} of the 10,000 test images"


def _fewer(params: object, teacher: int) -> str:
    return f"{100 * (int(str(params)) / teacher - 1):.1f} %".replace("-", "−")


def _change(arms: Arms, reference: str, found: Sequence[Arm], budget: Budget) -> str:
    if found and found[0].name == reference:
        return "–"
    return mean_std(against(arms, reference, found, budget), digits=3).replace("-", "−")
