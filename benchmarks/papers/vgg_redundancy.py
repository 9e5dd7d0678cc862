"""Redundant pixels and a lighter VGG16: Gabbasov et al., "Coordinated optimization of neural network parameters for a
given set of images".

tilings    the probe of the recipe: a network trained from new weights on tiled images, one set per seed
masks      a trained teacher given each stem mask and trained on
students   the teacher with a mask and without two wide convolutions, with and without what the teacher says
latency    the document's own networks at 128×128 and full width in ONNX Runtime, untrained

Data, training and the probe's budget are those of ``recipes/vgg_redundancy.toml``.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from compressor_plugins.input_mask import masked_conv
from compressor_plugins.parity_masks import DOCUMENT_MASKS, REFERENCE
from compressor_plugins.stems import REPAIRS, put, repaired_by, stems
from torch import Tensor

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.stratify import stratified
from compressor.engine.apply import apply_edit
from compressor.engine.control import reinitialise
from compressor.engine.plan import Edit
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.measure.latency import compare
from compressor.models import find
from compressor.probe.arms import Arm as ProbeArm
from compressor.probe.arms import run_arm
from compressor.probe.spec import ProbeSpec
from compressor.probe.tilings import NAMES, Tiling, TilingName
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe
from compressor.report.redundancy import pixels_dropped
from compressor.train.evaluate import evaluate, predict
from compressor.train.fit import fit
from compressor.train.spec import Distillation, TrainingSpec
from papers.arms import Arm, Arms, Budget, Figures, mean_std
from papers.page import Claim, Page, Table, Verdict

NETWORK = "vgg16-quarter-32"
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "vgg_redundancy.toml"
STEM, REMOVED = "conv1_1", ("conv4_3..relu4_3", "conv5_3..relu5_3")
STUDENT_MASK = "101000101"
"""The four taps that the document's parameter count of the student asks for."""
STRIDED = f"{REFERENCE}, stride 2"

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
LIGHTER = {"vgg16-s0-student": "3×3 stem", "vgg16-s0-student-4tap": "four-tap stem"}
STUDENTS = ("student, teacher's answers", "student, labels alone", "student, from scratch")
TEACHERS = ("teacher", "teacher, trained on", "teacher, focal loss")


@dataclass(frozen=True)
class Budgets:
    """What the parts of the page are given."""

    tilings: Budget
    teacher: Budget
    masks: Budget
    student: Budget


_PROBE_SETS = 3
TEST_IMAGES = 4000
"""Scored per arm at the default budget: every class with its share, the same ones for all arms."""
DEFAULT = Budgets(
    Budget("default", 3, train=2000),
    Budget("default", 5, train=4000),
    Budget("default", 1, train=4000),
    Budget("default", 2, train=4000),
)
FULL = Budgets(Budget("full", 20, train=9666), Budget("full", 20), Budget("full", 20), Budget("full", 20))
TIMED = Budget("paired", 0)


def run(arms: Arms, seeds: Sequence[int], *, full: bool) -> None:
    """Trains what is missing, seed by seed, so that a page that was interrupted has whole seeds."""
    budgets = FULL if full else DEFAULT
    for seed in seeds:
        for name in NAMES:
            arms.get(f"tiling: {name}", seed, budgets.tilings, functools.partial(_tiling, name, seed, budgets.tilings))
        for arm in (*TEACHERS, *STUDENTS):
            arms.get(arm, seed, budgets.student, functools.partial(_student, arm, seed, budgets))
        for mask in (REFERENCE, STRIDED, *DOCUMENT_MASKS):
            arms.get(f"mask: {mask}", seed, budgets.masks, functools.partial(_mask, mask, seed, budgets))
        for student in LIGHTER:
            arms.get(f"latency: {student}", seed, TIMED, functools.partial(_latency, student, seed))


# --- stage 1 ---------------------------------------------------------------------------------------------------------


def _tiling(name: TilingName, seed: int, budget: Budget) -> Figures:
    """An arm of the recipe's probe, with its seeds, scored on validation images: a probe opens no test split."""
    recipe = _recipe()
    spec = replace(recipe.probe or ProbeSpec(), sets=_PROBE_SETS, epochs=budget.epochs, limit=budget.train)
    arm = ProbeArm(name, seed % _PROBE_SETS + 1, seed // _PROBE_SETS + 1)
    score = run_arm(_new(0), _probed_data(budget.train), spec, recipe.training, arm, seed=recipe.search.seed)
    return {"error": score.error, "loss": score.loss}


# --- stages 2 and 3 --------------------------------------------------------------------------------------------------


@functools.lru_cache(1)
def _teacher(seed: int, budget: Budget, loss: str = "cross-entropy") -> Network:
    network = _new(seed)
    spec = replace(_training(budget), loss="focal" if loss == "focal" else "cross-entropy", lr=2e-3)
    fit(network, _data(budget.train), spec, seed=seed)
    return network


def _mask(mask: str, seed: int, budgets: Budgets) -> Figures:
    """The teacher, masked and trained on; ``111111111`` keeps its stride, its twin has stride 2 as masks do."""
    data, network = _data(budgets.masks.train), _teacher(seed, budgets.teacher).fork()
    if mask == STRIDED:
        _stride_two(network)
    elif mask != REFERENCE:
        apply_edit(network, Edit("input-mask", STEM, {"mask": mask}), _evidence(data))
    _evidence(data).calibrate(network)
    fit(network, data, _training(budgets.masks), seed=seed)
    return _scored(network, data)


def _student(name: str, seed: int, budgets: Budgets) -> Figures:
    data = _data(budgets.student.train)
    if name == "teacher, focal loss":
        return _scored(_teacher.__wrapped__(seed, budgets.teacher, "focal"), data)
    teacher = _teacher(seed, budgets.teacher)
    if name == "teacher":
        return _scored(teacher, data)
    network, spec = teacher.fork(), _training(budgets.student)
    if name != "teacher, trained on":
        apply_edit(network, Edit("input-mask", STEM, {"mask": STUDENT_MASK}), _evidence(data))
        for path in REMOVED:
            apply_edit(network, Edit("layer-removal", path), _evidence(data))
        _evidence(data).calibrate(network)
    if name == "student, from scratch":
        reinitialise(network, seed)
        spec = replace(spec, epochs=spec.epochs + budgets.teacher.epochs, lr=2e-3)
    if name == "student, teacher's answers":
        spec = replace(spec, distillation=Distillation(logits=0.5))
    fit(network, data, spec, seed=seed, teacher=teacher)
    return _scored(network, data)


def _stride_two(network: Network) -> None:
    """What a mask does to a stem of stride 1, with all taps: the reference that differs from masks in nothing else."""
    stem = dict(stems(network))[STEM]
    assert not isinstance(stem, str)
    strided = masked_conv(stem, torch.ones(3, 3, dtype=torch.bool), merge=False)
    editor = Editor(network)
    put(editor, stem, strided, repaired_by(network, stem, strided, REPAIRS) or ())
    editor.commit()


def _scored(network: Network, data: Data) -> Figures:
    """Error, precision and recall on the test split, opened here, once; macro averages over the classes."""
    test = data.open_test()
    if len(data.train) < len(test):  # the default budget
        test = test.take(stratified(test.labels, TEST_IMAGES, 0)[1])
    answers = predict(network, data, test.images).argmax(1)
    precision, recall = _macro(answers, test.labels, len(data.classes))
    cost = network_cost(network)
    return {
        "validation error": 1 - evaluate(network, data, data.validation).accuracy,
        "error": float((answers != test.labels).float().mean()),
        "precision": precision,
        "recall": recall,
        "parameters": cost.parameter_count,
        "macs": cost.mac_count,
    }


def _macro(answers: Tensor, labels: Tensor, classes: int) -> tuple[float, float]:
    right = torch.bincount(labels[answers == labels], minlength=classes).double()
    given = torch.bincount(answers, minlength=classes).clamp_min(1)
    there = torch.bincount(labels, minlength=classes).clamp_min(1)
    return float((right / given).mean()), float((right / there).mean())


def _latency(name: str, seed: int) -> Figures:
    """One image of 3×128×128 through the document's networks at full width; weights are drawn."""
    teacher, student = (to_onnx(_untrained(each)) for each in ("vgg16-s0", name))
    timing = compare(teacher, student, seed=seed)
    return {
        "teacher us": timing.baseline_us,
        "student us": timing.candidate_us,
        "speedup": timing.speedup,
        "low": timing.low,
        "high": timing.high,
        "parameters": find(name).params,
    }


# --- what all share --------------------------------------------------------------------------------------------------


@functools.cache
def _recipe() -> Recipe:
    return read_recipe(RECIPE)


def _training(budget: Budget) -> TrainingSpec:
    return replace(_recipe().training, epochs=budget.epochs, distillation=Distillation())


@functools.cache
def _probed_data(each: int) -> Data:
    """As the recipe has it, or all of it where the sets need more."""
    spec = _recipe().data
    return load_data(spec if _PROBE_SETS * each <= spec.limit else replace(spec, limit=0))


@functools.cache
def _data(train: int) -> Data:
    return load_data(replace(_recipe().data, limit=train))


def _evidence(data: Data) -> Evidence:
    return Evidence(data.calibration_batches(512))


def _new(seed: int) -> Network:
    torch.manual_seed(seed)
    return _untrained(NETWORK)


def _untrained(name: str) -> Network:
    entry = find(name)
    return capture(entry.build(), entry.input_shape, name)


# --- the page --------------------------------------------------------------------------------------------------------


def page(arms: Arms, *, full: bool) -> Page:
    budgets = FULL if full else DEFAULT
    return Page(
        name="vgg_redundancy",
        title="Redundant pixels and a lighter VGG16, a stand-in for Caltech-256",
        about="Gabbasov et al., “Coordinated optimization of neural network parameters for a given set of images”. "
        "Theirs is VGG16 on three sets of ten classes of Caltech-256 at 128×128. **Ours stands in for it**: CIFAR-10 "
        "at its own 32×32 and VGG16 at a quarter of the width with a stem of stride 1. CIFAR-10 images are small and "
        "sharp: a dropped pixel is 1/1,024 of the image there, 1/16,384 in theirs, so that ours says little about "
        "theirs, and errors are not comparable in level. Latency is that of their own networks.",
        commands=(
            "python benchmarks/paper_tables.py --recipe vgg_redundancy" + (" --full" if full else ""),
            f"compressor train {NETWORK} --data cifar-10 --limit 10000 --epochs 8 --out model.pt",
            "compressor optimize model.pt --recipe recipes/vgg_redundancy.toml",
        ),
        tables=(
            _tilings_table(arms, budgets),
            _masks_table(arms, budgets),
            _students_table(arms, budgets),
            _latency_table(arms),
        ),
        claims=_claims(arms, budgets),
        not_run=(*_missing(arms, budgets), *(() if full else NOT_RUN)),
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
            f"Ours: {budgets.tilings}, from new weights, one disjoint set of training images per seed, on validation "
            "images. *Against DN*: with the same set, seed and order of batches. Errors are shares.",
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
                *(
                    mean_std([float(arm.figures[key]) for arm in found], digits=3)
                    for key in ("error", "precision", "recall")
                ),
                _change(arms, f"mask: {STRIDED}", found, budgets.masks),
            )
        )
    return Table(
        "Stage 2: masks",
        (
            "mask",
            "dropped",
            "theirs: error / precision / recall",
            "error ours",
            "precision ours",
            "recall ours",
            "error against stride 2",
        ),
        rows,
        (
            f"Ours: the teacher of each seed ({budgets.teacher}) with the mask, dropped taps added to their nearest "
            f"ones, trained on ({budgets.masks}); {_tested(budgets)}. Masks make the stem's stride 2, so their "
            "reference is the unmasked stem with stride 2; the first row keeps stride 1. Theirs were trained from new "
            "weights. Two masks are misprinted in the document: 11111111 is 111111111 and 10111101 is 101111101.",
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
            f"Ours: mask {STUDENT_MASK}, without conv4_3 and conv5_3; teacher {budgets.teacher}, all that start from "
            f"it {budgets.student}; {_tested(budgets)}. *From scratch* trains as long as both together. Theirs: the "
            "teacher with focal loss, the student with cross entropy and what the teacher says; which of the two "
            "helped cannot be told from their table, the arms here keep them apart.",
        ),
    )


def _latency_table(arms: Arms) -> Table:
    rows = []
    teacher_params = find("vgg16-s0").params
    for name, about in LIGHTER.items():
        for arm in arms.of(f"latency: {name}", TIMED):
            figures = arm.figures
            before, after = THEIR_TIMES[arm.seed % len(THEIR_TIMES)]
            rows.append(
                (
                    about,
                    str(arm.seed),
                    f"{before:.2f} → {after:.2f} ({1 - after / before:.0%})",
                    f"{float(figures['teacher us']) / 1000:.2f} → {float(figures['student us']) / 1000:.2f}",
                    f"{1 - 1 / float(figures['speedup']):.1%} "
                    f"[{1 - 1 / float(figures['low']):.1%}, {1 - 1 / float(figures['high']):.1%}]",
                    f"{int(figures['parameters']):,} ({_fewer(figures['parameters'], teacher_params)})",
                )
            )
    return Table(
        "Time per image at 128×128, full width",
        ("student", "measurement", "ms theirs (by set)", "ms ours", "less time, 95 %", "parameters"),
        rows,
        (
            "Ours: ONNX Runtime, one thread, one image per call, thread CPU time, paired with the teacher in random "
            "order; without conv4_3 and conv5_3. Theirs: on hardware and at a batch size they do not name, so only the "
            "shares can be compared. Which two convolutions their student lacks does not follow from its count.",
        ),
    )


def _tested(budgets: Budgets) -> str:
    return "all test images" if budgets is FULL else f"{TEST_IMAGES:,} of the 10,000 test images"


def _fewer(params: object, teacher: int) -> str:
    return f"{100 * (int(str(params)) / teacher - 1):.1f} %".replace("-", "−")


def _against(arms: Arms, reference: str, found: Sequence[Arm], budget: Budget) -> list[float]:
    """Errors less those of the reference, seed by seed."""
    before = {arm.seed: float(arm.figures["error"]) for arm in arms.of(reference, budget)}
    return [float(arm.figures["error"]) - before[arm.seed] for arm in found if arm.seed in before]


def _change(arms: Arms, reference: str, found: Sequence[Arm], budget: Budget) -> str:
    if found and found[0].name == reference:
        return "–"
    return mean_std(_against(arms, reference, found, budget), digits=3).replace("-", "−")


# --- claims ----------------------------------------------------------------------------------------------------------


def _claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    return [
        *_tiling_claims(arms, budgets),
        *_mask_claims(arms, budgets),
        *_student_claims(arms, budgets),
        *_size_claims(arms),
    ]


def _tiling_claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    change = {
        name: _against(arms, "tiling: DN", arms.of(f"tiling: {name}", budgets.tilings), budgets.tilings)
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
        mask: _against(arms, f"mask: {STRIDED}", arms.of(f"mask: {mask}", budgets.masks), budgets.masks)
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
        name: _against(arms, "teacher", arms.of(name, budgets.student), budgets.student)
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
