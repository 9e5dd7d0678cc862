"""Binarized dense layers of LeNet on Fashion-MNIST: Dziadek et al., "Optimization of Neural Networks".

forms      the document's networks, trained from new weights in that form
rewrites   a trained LeNet, rewritten by the toolkit and trained on with the LeNet as teacher
sweep      the form with three binarized layers at other widths and batch sizes
"""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.models.lenet import lenet
from compressor.train.spec import Distillation, TrainingSpec
from papers.arms import Arm, Arms, Budget, Figures, Job, differences, mean_std
from papers.commands import tables_of
from papers.measured import count, measured, missing, paired, percent, points, settled, so_far, speed, worst
from papers.page import Claim, Page, Table
from papers.resumed import fit
from papers.weights import trained

IMAGE = (1, 28, 28)
TRAINING = TrainingSpec(lr=1e-3, batch=64, restore_best=False)
"""The document's: Adam, no schedule, and the network as it is after the last epoch."""


@dataclass(frozen=True)
class Theirs:
    """A line of the document's table."""

    layers: tuple[str, ...]
    kib: float
    accuracy: float


THEIRS: Mapping[str, Theirs] = {
    "pure": Theirs((), 421.04, 94.23),
    "1 layer": Theirs(("fc3",), 418.56, 93.89),
    "2 layers": Theirs(("fc2", "fc3"), 381.02, 92.21),
    "3 layers": Theirs(("fc1", "fc2", "fc3"), 30.66, 90.52),
}
REWRITES: Mapping[str, tuple[str, Sequence[str]]] = {
    "none": ("float", ()),
    "fc3": ("float", ("fc3",)),
    "fc2, fc3": ("float", ("fc2", "fc3")),
    "fc1, fc2, fc3": ("float", ("fc1", "fc2", "fc3")),
    "all five layers": ("float", ("conv1", "conv2", "fc1", "fc2", "fc3")),
    "fc1, fc2, fc3, binary inputs": ("binary", ("fc1", "fc2", "fc3")),
}
SWEEP = ((0.5, 64), (1.0, 64), (2.0, 64), (1.0, 16), (1.0, 256))
"""Widths and batch sizes."""


@dataclass(frozen=True)
class Budgets:
    """What the three parts of the page are given."""

    forms: Budget
    rewrites: Budget
    sweep: Budget


DEFAULT = Budgets(Budget("default", 5), Budget("default", 2), Budget("default", 4, train=12_000))
FULL = Budgets(Budget("full", 10), Budget("full", 10), Budget("full", 10))


def jobs(seeds: Sequence[int], budgets: Budgets) -> Iterator[Job]:
    """The document's networks and the rewrites seed by seed; what is compared with nothing comes last."""
    for seed in seeds:
        for name in reversed(list(THEIRS)):
            yield Job(f"form: {name}", seed, budgets.forms, functools.partial(_form, name, seed, budgets.forms))
        for name in REWRITES:
            yield Job(f"rewrite: {name}", seed, budgets.rewrites, functools.partial(_rewrite, name, seed, budgets))
    for seed in seeds:
        for width, batch in SWEEP:
            work = functools.partial(_scaled, width, batch, seed, budgets.sweep)
            yield Job(_sweep_name(width, batch), seed, budgets.sweep, work)


def _form(name: str, seed: int, budget: Budget) -> Figures:
    """One of the document's networks, from new weights."""
    network, running = _trained_form(name, seed, budget)
    return {**measured(network, _data(budget.train), _reference()), "running": running}


def _trained_form(name: str, seed: int, budget: Budget) -> tuple[Network, float]:
    """The pure network is the teacher of the rewrites, too."""
    network = _new(seed)
    _binarize(network, "binary", THEIRS[name].layers, None)
    spec = replace(TRAINING, epochs=budget.epochs)
    kept = trained(network, _data(budget.train), spec, seed=seed, page="lenet_binarize", name=name)
    return network, kept.running


def _scaled(width: float, batch: int, seed: int, budget: Budget) -> Figures:
    data = _data(budget.train)
    network = _new(seed, width)
    _binarize(network, "binary", THEIRS["3 layers"].layers, None)
    history = fit(network, data, replace(TRAINING, epochs=budget.epochs, batch=batch), seed=seed)
    return {**measured(network, data, _reference()), "running": history.epochs[-1].train_quality}


def _rewrite(name: str, seed: int, budgets: Budgets) -> Figures:
    """The trained LeNet rewritten, then trained on labels and on the LeNet's own answers."""
    data = _data(budgets.rewrites.train)
    teacher, _ = _trained_form("pure", seed, budgets.forms)
    network = teacher.fork()
    evidence = Evidence(data.calibration_batches(512))
    activations, layers = REWRITES[name]
    _binarize(network, activations, layers, evidence)
    evidence.calibrate(network)
    spec = replace(
        TRAINING,
        epochs=budgets.rewrites.epochs,
        schedule="cosine",
        restore_best=True,
        distillation=Distillation(logits=0.5),
    )
    fit(network, data, spec, seed=seed, teacher=teacher)
    return measured(network, data, _reference())


@functools.cache
def _data(train: int) -> Data:
    return load_data(DataSpec(name="fashion-mnist", limit=train))


@functools.cache
def _reference() -> bytes:
    """The pure LeNet: its weights do not matter to its speed."""
    return to_onnx(_new(0))


def _sweep_name(width: float, batch: int) -> str:
    return f"sweep: width {width:g}, batch {batch}"


def _new(seed: int, width: float = 1.0) -> Network:
    torch.manual_seed(seed)
    return capture(lenet(width=width), IMAGE, "lenet")


def _binarize(network: Network, activations: str, layers: Sequence[str], evidence: Evidence | None) -> None:
    for path in layers:
        apply_edit(network, Edit("binarize", path, options={"activations": activations}), evidence)


# --- the page --------------------------------------------------------------------------------------------------------


def page(arms: Arms) -> Page:
    budgets = _shown(arms)
    return Page(
        name="lenet_binarize",
        title="LeNet with binarized dense layers, Fashion-MNIST",
        about="Dziadek et al., “Optimization of Neural Networks”: the last one, two or three dense layers of LeNet get "
        "one-bit weights and take one-bit activations. Theirs are single runs of 10 epochs. Here 54,000 of the 60,000 "
        "training images are trained on and 6,000 choose; the 10,000 test images are scored once per training, by the "
        "ONNX file in ONNX Runtime.",
        commands=(
            tables_of("lenet_binarize", full=budgets.forms == FULL.forms),
            "compressor train lenet --data fashion-mnist --out lenet.pt",
            "compressor optimize lenet.pt --recipe recipes/lenet_binarize.toml",
        ),
        tables=(_forms(arms, budgets.forms), _rewrites(arms, budgets), _swept(arms, budgets.sweep)),
        claims=_claims(arms, budgets),
        not_run=[*missing(arms, _wanted(budgets)), *_so_far(arms, budgets), NOT_RUN],
    )


def _shown(arms: Arms) -> Budgets:
    """The document's own budget, part by part, where it has been trained; else the default."""
    parts = ([f"form: {name}" for name in THEIRS], [f"rewrite: {name}" for name in REWRITES])
    budgets = ((FULL.forms, DEFAULT.forms), (FULL.rewrites, DEFAULT.rewrites))
    forms, rewrites = (arms.shown(names, pair) for names, pair in zip(parts, budgets, strict=True))
    sweep = arms.shown([_sweep_name(width, batch) for width, batch in SWEEP], (FULL.sweep, DEFAULT.sweep))
    return Budgets(forms, rewrites, sweep)


def _so_far(arms: Arms, budgets: Budgets) -> list[str]:
    return [
        *so_far(arms, [f"form: {name}" for name in THEIRS], FULL.forms, budgets.forms),
        *so_far(arms, [f"rewrite: {name}" for name in REWRITES], FULL.rewrites, budgets.rewrites),
    ]


def _forms(arms: Arms, budget: Budget) -> Table:
    rows = []
    begun = budget != FULL.forms and all(arms.of(f"form: {name}", FULL.forms) for name in THEIRS)
    own = ("running", "test") if begun else ()
    beside = f"; beside it {FULL.forms.text}, as far as it has been trained" if begun else ""
    for name, theirs in THEIRS.items():
        found = arms.of(f"form: {name}", budget)
        kib = f"{float(found[0].figures['kib']):.2f}" if found else ""
        accuracies = [percent(found, figure) for figure in ("running", "training", "test")]
        last = arms.of(f"form: {name}", FULL.forms) or found  # bytes and time do not depend on the training
        accuracies += [percent(last, figure) for figure in own]
        rows.append((name, f"{theirs.kib}", kib, count(last, "bytes"), f"{theirs.accuracy}", *accuracies, speed(last)))
    return Table(
        "The document's networks, trained from new weights",
        (
            "binarized",
            "KiB theirs",
            "KiB ours",
            "ONNX bytes",
            "accuracy theirs",
            "training, running",
            "training",
            "test",
            *(f"{figure}, {FULL.forms.epochs} epochs" for figure in own),
            "speed-up",
        ),
        rows,
        (
            f"{budget.text}{beside}; Adam 1e-3, batch 64; percent, mean ± standard deviation over the seeds. *Running* "
            "is over the last epoch while it trains, as most frameworks print it; the others are of the network at the "
            "end. KiB: Σ count · bits / 8 / 1024, BatchNorm as 2C; the file also holds the structure. Speed-up over "
            "the pure network for one image, paired, 95 % interval.",
        ),
    )


def _rewrites(arms: Arms, budgets: Budgets) -> Table:
    rows, before = [], FULL.forms if budgets.rewrites == FULL.rewrites else DEFAULT.forms
    for name in REWRITES:
        found = arms.of(f"rewrite: {name}", budgets.rewrites)
        kib = f"{float(found[0].figures['kib']):.2f}" if found else ""
        accuracies = [percent(found, figure) for figure in ("training", "test")]
        points = _points(found, arms.of("form: pure", before))
        rows.append((name, kib, count(found, "bytes"), *accuracies, points, speed(found)))
    return Table(
        "Rewrites of the trained LeNet",
        ("one-bit weights", "KiB", "ONNX bytes", "training", "test", "points against LeNet", "speed-up"),
        rows,
        (
            f"The pure network, trained for {before.text}, then rewritten and trained on for {budgets.rewrites.text} "
            "(cosine, the best validation epoch) with itself as teacher; *none* is the pure network trained as long. "
            "Inputs stay float but in the last row. *Points*: test accuracy less that of the pure network, seed by "
            "seed.",
        ),
    )


def _points(found: Sequence[Arm], pure: Sequence[Arm]) -> str:
    return mean_std([100 * share for share in differences(found, pure, "test")])


def _swept(arms: Arms, budget: Budget) -> Table:
    rows = []
    for width, batch in SWEEP:
        found = arms.of(_sweep_name(width, batch), budget)
        accuracies = [percent(found, figure) for figure in ("running", "training", "test")]
        rows.append((f"{width:g}", str(batch), count(found, "bytes"), *accuracies, speed(found)))
    return Table(
        "Three binarized layers at other widths and batch sizes",
        ("width", "batch", "ONNX bytes", "training, running", "training", "test", "speed-up"),
        rows,
        (
            f"{budget.text}. Width multiplies the channels and features of every hidden layer; speed-up over the pure "
            "network at width 1. The document varies both, on axes that are not known to us: nothing is compared.",
        ),
    )


def _claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    found = {name: arms.of(f"form: {name}", budgets.forms) for name in THEIRS}
    if not all(found.values()):
        return [MISPRINT, Claim("All others.", "not tested", "Not every form has been trained.")]
    mean = {
        name: {
            key: 100 * statistics.mean(float(arm.figures[key]) for arm in some)
            for key in ("running", "training", "test")
        }
        for name, some in found.items()
    }
    kib = {name: float(some[0].figures["kib"]) for name, some in found.items()}
    exact = all(round(kib[name], 2) == theirs.kib for name, theirs in THEIRS.items())
    ours, running, training = (mean["pure"][key] for key in ("test", "running", "training"))
    last = {name: arms.of(f"form: {name}", FULL.forms) or some for name, some in found.items()}
    size = {name: int(some[0].figures["bytes"]) for name, some in last.items()}
    drop = mean["pure"]["test"] - mean["3 layers"]["test"]
    falling, names = [mean[name]["test"] for name in THEIRS], [f"form: {name}" for name in THEIRS]
    steps = [paired(arms, budgets.forms, *pair) for pair in itertools.pairwise(names)]
    fastest = max(float(last[name][0].figures["speedup"]) for name in list(THEIRS)[1:])
    return [
        Claim(
            "421.04 KiB become 30.66 KiB with three binarized layers.",
            "held" if exact else "did not hold",
            f"The counts agree to the unit. Of the ONNX file {size['pure']:,} bytes become {size['3 layers']:,}: "
            f"{size['pure'] / size['3 layers']:.1f}× smaller, by the counts {kib['pure'] / kib['3 layers']:.1f}×.",
        ),
        MISPRINT,
        Claim(
            "LeNet reaches 94.23 %.",
            "held" if ours >= 94 else "did not hold",
            f"Not on test images: {ours:.2f} % there, {running:.2f} % on the training images of the last epoch, after "
            f"{budgets.forms.epochs} epochs, {training:.2f} % with the weights at their end."
            f"{_longer(arms, budgets.forms)} No LeNet of this size is known to reach it on the test images; it is very "
            "probably training accuracy.",
        ),
        Claim(
            "Every further binarized layer costs accuracy; three cost 3.71 points.",
            worst(map(settled, steps)),
            f"Test accuracy with 0, 1, 2, 3 layers: {', '.join(f'{value:.2f}' for value in falling)} %. The first "
            f"costs {points(steps[0])}, the second {points(steps[1])}, the third {points(steps[2])}; together "
            f"{drop:.2f}.",
        ),
        Claim(
            "Binary multiply-accumulates make the network cheaper to run.",
            "held" if fastest > 1.02 else "did not hold",
            f"In ONNX Runtime on a CPU the best of the three forms runs at {fastest:.2f}× of the pure network: its "
            "binary layers are a small part of the work, and the kernels for them are no faster on so few rows.",
        ),
    ]


def _longer(arms: Arms, shown: Budget) -> str:
    """The pure network after the document's 10 epochs, where it has been trained so long, but is not shown yet."""
    found = arms.of("form: pure", FULL.forms)
    if not found or shown == FULL.forms:
        return ""
    return f" After {FULL.forms.epochs}: {percent(found, 'test')} and {percent(found, 'running')} %."


def _wanted(budgets: Budgets) -> list[tuple[str, Budget]]:
    return [
        *((f"form: {name}", budgets.forms) for name in THEIRS),
        *((f"rewrite: {name}", budgets.rewrites) for name in REWRITES),
        *((_sweep_name(width, batch), budgets.sweep) for width, batch in SWEEP),
    ]


MISPRINT = Claim("682,880 multiply-accumulates at 32 bits with two layers.", "misprinted", "They are 682,080.")
NOT_RUN = "The document's figures over widths and batch sizes with their own axes, which we do not have."
