"""Small MNIST networks and the lottery: "How to reduce training parameters in CNNs while keeping accuracy > 99 %".

dense      the networks A1, A2, A3
lottery    A2: train, prune, rewind to the first weights, train, prune, rewind, train; three schedules
controls   as many weights in every layer, but drawn by chance; the masks of the lottery, but new weights
tiny       the toolkit's own: at most as many weights as the lottery leaves, by ``recipes/mnist_tiny.toml``
"""

from __future__ import annotations

import functools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from compressor_plugins.magnitude_prune.masked_layer import MaskedLayer, masked_layer
from safetensors.torch import load_file
from torch import Tensor, nn

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.models import build, find
from compressor.plugin import sites_of
from compressor.registry import make
from compressor.search.result import RESULT
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec
from papers.arms import Arm, Arms, Budget, Figure, Figures, Job, mean_std
from papers.commands import tables_of
from papers.measured import count, measured, missing, paired, percent, points, settled, so_far, speed, worst
from papers.page import Claim, Page, Table
from papers.weights import trained

ROOT = Path(__file__).parents[2]
DENSE: Mapping[str, str] = {"a1": "99.24", "a2": "99.47", "a3": "> 99"}
"""The document's networks and accuracies, percent."""
PRUNABLE, LEFT = 5_220, 2_309
"""Weights of A2's convolutions, and what the document's two rounds leave of them."""
GOAL = 99.4
"""Percent on test images that ``recipes/mnist_tiny.toml`` is after, with no more weights than the lottery leaves."""
ROUNDS = 2
SCHEDULES: Mapping[str, tuple[float, str]] = {
    "paper": (0.2, "f = p^(1/i), p = 0.2"),
    "constant": (0.2, "f = 0.2"),
    "total": (1 - LEFT / PRUNABLE, "f = 1 − (1 − P)^(1/2), P = 0.558"),
}
"""The schedule's fraction, and the share of the survivors that round i prunes."""
OTHER_SCHEDULES = ("lottery: constant", "lottery: total")
CONTROLS = ("random masks", "new weights")


@dataclass(frozen=True)
class Budgets:
    """What the parts of the page are given."""

    dense: Budget
    lottery: Budget
    tiny: Budget


_SHORT, _OWN = Budget("default", 8, train=20_000), Budget("full", 40)
DEFAULT = Budgets(_SHORT, _SHORT, Budget("recipe", 64))
FULL = Budgets(_OWN, _OWN, Budget("recipe", 64))
BY_MAGNITUDE = Budget("recipe", 62)
"""The recipe as it was before: ranked by |w|, in ten rounds, images turned by up to 10°, the teacher half as loud."""


def training(budget: Budget) -> TrainingSpec:
    """The document's: but it watches test images, and this validation images."""
    return TrainingSpec(epochs=budget.epochs, batch=125, lr=1e-2, schedule="plateau", patience=10)


def jobs(seeds: Sequence[int], budgets: Budgets) -> Iterator[Job]:
    """Seed by seed what the document's own claims rest on; then its other schedules; then the toolkit's own."""
    for later in (False, True):
        for seed in seeds:
            for name, work in _document(seed, budgets.lottery).items():
                if (name in OTHER_SCHEDULES) == later:
                    yield Job(name, seed, budgets.lottery, work)
    for seed in seeds:
        yield Job("tiny", seed, budgets.tiny, functools.partial(_tiny, seed))


def _document(seed: int, budget: Budget) -> dict[str, Callable[[], Figures]]:
    """The arms of one seed by name. The lottery's first training is that of the dense A2."""
    return {
        "dense: a2": functools.partial(_dense_figures, "a2", seed, budget),
        **{f"lottery: {name}": functools.partial(_lottery_figures, name, seed, budget) for name in SCHEDULES},
        "lottery: emptied": functools.partial(_emptied, seed, budget),
        **{f"control: {name}": functools.partial(_control, name, seed, budget) for name in CONTROLS},
        **{f"dense: {name}": functools.partial(_dense_figures, name, seed, budget) for name in ("a3", "a1")},
    }


# --- the document's networks ------------------------------------------------------------------------------------------


def _dense_figures(name: str, seed: int, budget: Budget) -> Figures:
    network, epochs = _dense(name, seed, budget)
    values = find(name).params
    return {**measured(network, _data(budget.train), _reference()), "values": values, "epochs": epochs}


def _dense(name: str, seed: int, budget: Budget) -> tuple[Network, int]:
    """A trained network, and the epochs it took."""
    network = _new(name, seed)
    kept = trained(network, _data(budget.train), training(budget), seed=seed, page="mnist_lottery", name=name)
    return network, kept.epochs


def _new(name: str, seed: int) -> Network:
    torch.manual_seed(seed)
    return capture(build(name), (1, 28, 28), name)


@functools.cache
def _data(train: int) -> Data:
    return load_data(DataSpec(name="mnist", limit=train))


@functools.cache
def _reference() -> bytes:
    """The dense A2: its weights do not matter to its speed."""
    return to_onnx(_new("a2", 0))


# --- the lottery ------------------------------------------------------------------------------------------------------


def _lottery_figures(schedule: str, seed: int, budget: Budget) -> Figures:
    network, course = _lottery(schedule, seed, budget)
    return {**_sparse_figures(network, budget), **course}


def _lottery(schedule: str, seed: int, budget: Budget) -> tuple[Network, dict[str, Figure]]:
    """The ticket, trained; and after every round the weights left and the validation accuracy.

    Schedules that leave as many weights in a round share its training.
    """
    dense, _ = _dense("a2", seed, budget)
    network, first = dense.fork(), _first_weights(seed)
    data, course, name = _data(budget.train), dict[str, Figure](), "ticket"
    for number in range(1, ROUNDS + 1):
        options = {"structure": "weights", "schedule": schedule, "rounds": ROUNDS}
        apply_edit(network, Edit("magnitude-prune", "all", {"fraction": SCHEDULES[schedule][0]}, options), None)
        network.module.load_state_dict(first, strict=False)  # the masks have no first value, and stay
        course[f"weights {number}"] = _survivors(network)
        name = f"{name} {_survivors(network)}"
        kept = trained(network, data, training(budget), seed=seed, page="mnist_lottery", name=name)
        course[f"validation {number}"] = kept.validation
    return network, course


def _sparse_figures(network: Network, budget: Budget) -> dict[str, Figure]:
    return {
        **measured(network, _data(budget.train), _reference()),
        "weights": _survivors(network),
        "trainable": network_cost(network).parameter_count,
    }


def _emptied(seed: int, budget: Budget) -> Figures:
    """The ticket of the document's schedule without its filters that have no weights; not trained again."""
    network = _lottery("paper", seed, budget)[0].fork()
    options = {"structure": "empty-filters", "block": 0}
    before = _channels(network)
    for site in sites_of(make("magnitude-prune", options), network):
        apply_edit(network, Edit("magnitude-prune", site.path, {}, options), None)
    return {**_sparse_figures(network, budget), "filters": before - _channels(network)}


def _control(name: str, seed: int, budget: Budget) -> Figures:
    """The ticket's architecture: with other masks, from the same first weights; or its masks, from other weights."""
    ticket, _ = _lottery("paper", seed, budget)
    network = _new("a2", seed if name == "random masks" else seed + 1_000)
    generator = torch.Generator().manual_seed(seed)
    for path, mask in _masks(ticket).items():
        leaf = network.leaf(path)
        assert isinstance(leaf, nn.Conv2d)
        chosen = _shuffled(mask, generator) if name == "random masks" else mask
        network.module.set_submodule(path, masked_layer(leaf, chosen))
    fit(network, _data(budget.train), training(budget), seed=seed)
    return _sparse_figures(network, budget)


def _shuffled(mask: Tensor, generator: torch.Generator) -> Tensor:
    """As many, elsewhere."""
    return mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view_as(mask)


def _first_weights(seed: int) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in _new("a2", seed).module.state_dict().items()}


def _masks(network: Network) -> dict[str, Tensor]:
    return {path: leaf.mask for path, leaf in network.leaves() if isinstance(leaf, MaskedLayer)}


def _survivors(network: Network) -> int:
    return sum(int(mask.sum()) for mask in _masks(network).values())


def _channels(network: Network) -> int:
    return sum(len(mask) for mask in _masks(network).values())


# --- the toolkit's own ------------------------------------------------------------------------------------------------

TINY = (
    "compressor train mnist-cnn --data mnist --epochs 12 --shift 2 --rotate 10 --precision bfloat16 --seed {seed} "
    "--out {folder}/mnist.pt",
    "compressor optimize {folder}/mnist.pt --recipe recipes/mnist_tiny.toml --seed {seed} --out {folder}/run",
)


def _tiny(seed: int) -> Figures:
    """The two commands of the page, and what ``result.json`` says."""
    with tempfile.TemporaryDirectory() as folder:
        for command in TINY:
            words = command.format(seed=seed, folder=folder).split()[1:]
            done = subprocess.run([sys.executable, "-m", "compressor.cli.main", *words], cwd=ROOT, check=False)
            if done.returncode > 1:
                raise SystemExit(f"{command}: ended with {done.returncode}")
        return tiny_figures(Path(folder) / "run")


def tiny_figures(folder: Path) -> Figures:
    """The figures of a run folder's best candidate."""
    result = RESULT.read(folder / "result.json")
    best = result.best
    if best is None:
        raise SystemExit(f"{folder}: no candidate within the limits")
    weights = load_file(folder / "best" / "weights.safetensors")
    assert best.quality.onnx is not None
    assert result.baseline.quality.onnx is not None
    return {
        "validation": best.quality.validation,
        "test": best.quality.onnx,
        "dense": result.baseline.quality.onnx,
        "weights": sum(int(tensor.sum()) for name, tensor in weights.items() if name.endswith(".mask")),
        "trainable": best.params,
        "bytes": best.size_bytes,
        "dense bytes": result.baseline.size_bytes,
        "speedup": best.latency.speedup,
        "low": best.latency.low,
        "high": best.latency.high,
    }


# --- the page --------------------------------------------------------------------------------------------------------


def page(arms: Arms) -> Page:
    budgets = Budgets(
        arms.shown([f"dense: {name}" for name in DENSE], (FULL.dense, DEFAULT.dense)),
        arms.shown(NEEDED, (FULL.lottery, DEFAULT.lottery)),
        FULL.tiny,
    )
    wanted = [
        *((f"dense: {name}", budgets.dense) for name in DENSE),
        *((name, budgets.lottery) for name in _document(0, budgets.lottery) if not name.startswith("dense: ")),
        ("tiny", budgets.tiny),
    ]
    waiting = [
        *so_far(arms, [f"dense: {name}" for name in DENSE], FULL.dense, budgets.dense),
        *so_far(arms, [name for name in NEEDED if not name.startswith("dense: ")], FULL.lottery, budgets.lottery),
    ]
    return Page(
        name="mnist_lottery",
        title="Small networks and the lottery, MNIST",
        about="“How to reduce training parameters in CNNs while keeping accuracy > 99 %”: networks of a few thousand "
        "parameters, and pruning in rounds with a return to the first weights. Theirs are single runs of up to 40 "
        "epochs on all training images, stopped by the *test* accuracy. Here 6,000 of the 60,000 training images "
        "choose the epoch, and the 10,000 test images are scored once per training, by the ONNX file in ONNX Runtime. "
        "“Weights” are those of convolutions and dense layers without biases: 5,220 in A2.",
        commands=(tables_of("mnist_lottery", full=budgets.lottery == FULL.lottery),),
        tables=(
            _tiny_table(arms, budgets.tiny),
            _dense_table(arms, budgets.dense),
            _lottery_table(arms, budgets.lottery),
        ),
        claims=[_goal(arms, budgets.tiny), _dense_claim(arms, budgets.dense), *_claims(arms, budgets.lottery)],
        not_run=[*missing(arms, wanted), *waiting, NOT_RUN],
    )


def _tiny_table(arms: Arms, budget: Budget) -> Table:
    found = arms.of("tiny", budget)
    theirs = ("theirs: A2, lottery", "", f"{LEFT:,}", "2,471", "", "99.2", "", "")
    rows = [theirs, *(_tiny_row(arm) for arm in found)]
    rows.append(("mean", percent(found, "dense"), "", "", "", percent(found, "test"), "", ""))
    before = arms.of("tiny", BY_MAGNITUDE)
    sizes = [count(before, figure) for figure in ("weights", "trainable", "bytes")]
    rows.append(("by magnitude", percent(before, "dense"), *sizes, percent(before, "test"), "", ""))
    columns = ("", "dense", "weights", "trainable", "ONNX bytes", "test", "bytes, dense", "speed-up")
    commands = "`, then `".join(command.format(seed=0, folder="tiny") for command in TINY)
    return Table(
        "As accurate as can be with 2,309 weights",
        columns,
        rows,
        (
            f"`{commands}`, and so for every seed. The recipe takes 19 % of the 28,824 weights of `mnist-cnn` before "
            "each of twelve epochs, by LAMP, and trains what is left for 40 more, on shifted and turned images, with "
            "the dense network as teacher. *Trainable* includes two values of BatchNorm per channel. Speed-up over "
            "the dense file: zeros within a filter buy none.",
            "*By magnitude* is the recipe as it was before: ranked by |w|, in ten rounds, images turned by up to 10°, "
            "the teacher half as loud. Validation images chose between the two; the test figures of the earlier one "
            "were known then.",
        ),
    )


def _tiny_row(arm: Arm) -> tuple[str, ...]:
    f = arm.figures
    return (
        f"seed {arm.seed}",
        f"{100 * float(f['dense']):.2f}",
        f"{f['weights']:,}",
        f"{f['trainable']:,}",
        f"{f['bytes']:,}",
        f"{100 * float(f['test']):.2f}",
        f"{f['dense bytes']:,}",
        speed([arm]),
    )


def _dense_table(arms: Arms, budget: Budget) -> Table:
    rows = []
    for name, theirs in DENSE.items():
        found = arms.of(f"dense: {name}", budget)
        figures = [count(found, key) for key in ("values", "parameters", "bytes")]
        rows.append((name.upper(), *figures, theirs, percent(found, "test"), percent(found, "training"), speed(found)))
    return Table(
        "The document's networks",
        ("network", "values", "trainable", "ONNX bytes", "theirs", "test", "training", "speed-up"),
        rows,
        (
            f"At most {budget.text}; percent, mean ± standard deviation over the seeds. Adam 1e-2, batch 125, the rate "
            "halved on a plateau of five epochs, stopped after ten without a better validation accuracy, the best "
            "epoch kept. *Values* count BatchNorm as 4C, *trainable* as 2C. Speed-up over A2 for one image.",
        ),
    )


def _lottery_table(arms: Arms, budget: Budget) -> Table:
    lines = {
        "A2, dense": "dense: a2",
        **{f"lottery, {about}": f"lottery: {name}" for name, (_, about) in SCHEDULES.items()},
        "lottery, paper; empty filters gone": "lottery: emptied",
        "random masks, first weights": "control: random masks",
        "masks of the lottery, new weights": "control: new weights",
    }
    rows = []
    for title, name in lines.items():
        found = arms.of(name, budget)
        if not found and name in OTHER_SCHEDULES:
            continue
        rounds = " → ".join(text for i in range(1, ROUNDS + 1) if (text := count(found, f"weights {i}")))
        left = rounds or count(found, "weights") or (f"{PRUNABLE:,}" if found else "")
        accuracies = [percent(found, figure) for figure in ("validation", "test")]
        trainable = count(found, "parameters")
        rows.append((title, left, trainable, count(found, "bytes"), *accuracies, speed(found)))
    return Table(
        "The lottery on A2",
        ("", "weights", "trainable", "ONNX bytes", "validation", "test", "speed-up"),
        rows,
        (
            f"At most {budget.text}, in every round anew; everything goes back to its first value before it, biases "
            "and BatchNorm included. Theirs: 5,220 → 4,176 → 2,309 weights, 2,471 trainable, 99.2 %. Random masks keep "
            "as many weights in every layer as the lottery with the document's schedule.",
            _filters(arms.of("lottery: emptied", budget)),
        ),
    )


def _filters(found: Sequence[Arm]) -> str:
    gone = [int(arm.figures["filters"]) for arm in found]
    if not gone:
        return "The pass over empty filters has not been run."
    if not any(gone):
        return "No filter has lost all its weights, so none can go: at 56 % zeros the file gets no faster."
    return f"Filters without weights, by seed: {', '.join(map(str, gone))} of 54."


def _dense_claim(arms: Arms, budget: Budget) -> Claim:
    """A training that is shorter than theirs cannot refute an accuracy."""
    text = "A1, A2 and A3 reach 99.24, 99.47 and more than 99 %."
    found = {name: [100 * value for value in arms.values(f"dense: {name}", budget, "test")] for name in DENSE}
    if not all(found.values()):
        return Claim(text, "not tested", "Not every network has been trained.")
    bounds = {"a1": 99.1, "a2": 99.3, "a3": 99.0}
    verdict = worst(settled(found[name], above=bounds[name]) for name in DENSE)
    if budget != FULL.dense and verdict != "held":
        verdict = "not tested"
    means = ", ".join(f"{name.upper()} {mean_std(found[name])}" for name in DENSE)
    return Claim(
        text,
        verdict,
        f"{means} % on test images, after at most {budget.text}; 99.1, 99.3 and 99 count as reached. Theirs were "
        "trained on 60,000 images, and the test images chose the epoch.",
    )


def _claims(arms: Arms, budget: Budget) -> list[Claim]:
    if not all(arms.of(name, budget) for name in NEEDED):
        return [*MISPRINTS, Claim("All others.", "not tested", "Not every arm has been trained.")]
    test = {name: 100 * statistics.mean(arms.values(name, budget, "test")) for name in NEEDED}
    ticket = arms.of("lottery: paper", budget)[0].figures
    exact = (ticket["weights 1"], ticket["weights 2"], ticket["trainable"]) == (4_176, LEFT, 2_471)
    speedup = float(ticket["speedup"])
    gain, chance, fresh = (
        paired(arms, budget, "lottery: paper", other)
        for other in ("dense: a2", "control: random masks", "control: new weights")
    )
    return [
        Claim(
            "5,220 weights become 4,176, then 2,309; 2,471 trainable parameters remain.",
            "held" if exact else "did not hold",
            f"{ticket['weights 1']:,}, then {ticket['weights 2']:,}; {ticket['trainable']:,} trainable.",
        ),
        *MISPRINTS,
        Claim(
            "The pruned network keeps its accuracy (99.47 → 99.2 %).",
            settled(gain, above=-0.4),
            f"{test['dense: a2']:.2f} → {test['lottery: paper']:.2f} %; {points(gain)}, 0.4 lost at most is keeping.",
        ),
        Claim(
            "It is the first weights and the masks that win.",
            worst((settled(chance), settled(fresh))),
            f"The ticket against random masks: {points(chance)}; against new weights under its own masks: "
            f"{points(fresh)}.",
        ),
        Claim(
            "Fewer parameters make the network faster.",
            "held" if speedup > 1.02 else "did not hold",
            f"{speedup:.2f}× in ONNX Runtime: zeros within a filter are multiplied like any other weight.",
        ),
    ]


def _goal(arms: Arms, budget: Budget) -> Claim:
    text = f"At least {GOAL} % with at most {LEFT:,} weights (the toolkit's own goal)."
    found = arms.of("tiny", budget)
    if not found:
        return Claim(text, "not tested", "Not run.")
    values = [100 * value for value in arms.values("tiny", budget, "test")]
    most = max(int(arm.figures["weights"]) for arm in found)
    verdict = settled(values, above=GOAL) if most <= LEFT else "did not hold"
    return Claim(
        text,
        verdict,
        f"{percent(found, 'test')} % with {most:,} weights at most; the mean is {points([v - GOAL for v in values])} "
        "away.",
    )


MISPRINTS = (
    Claim("A1 flattens to 126 features; A2 has one layer of 16.", "misprinted", "350, and two: the counts say so."),
    Claim(
        "The sparsity is 55.777 %.",
        "misprinted",
        "By the counts 55.766 %; 55.777 % is the formula, and every round is rounded down.",
    ),
)
NEEDED = ("dense: a2", "lottery: paper", "lottery: emptied", *(f"control: {name}" for name in CONTROLS))
"""What the document's claims about the lottery rest on."""
NOT_RUN = "More than two rounds; the document has none."
