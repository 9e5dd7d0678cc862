"""Small MNIST networks and the lottery: "How to reduce training parameters in CNNs while keeping accuracy > 99 %".

dense      the networks A1, A2, A3
lottery    A2: train, prune, rewind to the first weights, train, prune, rewind, train; three schedules
controls   as many weights in every layer, but drawn by chance; the masks of the lottery, but new weights
tiny       the toolkit's own: at most as many weights as the lottery leaves, by ``recipes/mnist_tiny.toml``
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from papers.arms import Arm, Arms, Budget, Job
from papers.commands import tables_of
from papers.lottery_arms import DENSE, OTHER_SCHEDULES, OWN, PRUNABLE, ROUNDS, SCHEDULES, document_arms
from papers.lottery_claims import NEEDED, dense_claims, lottery_claims
from papers.lottery_tiny import tiny_claim, tiny_table, train_tiny
from papers.measured import count, missing, percent, so_far, speed
from papers.page import Page, Table

NOT_RUN = "More than two rounds; the document has none."


@dataclass(frozen=True)
class Budgets:
    """What the parts of the page are given."""

    dense: Budget
    lottery: Budget
    tiny: Budget


_SHORT = Budget("default", 8, train=20_000)
DEFAULT = Budgets(_SHORT, _SHORT, Budget("recipe", 64))
FULL = Budgets(OWN, OWN, Budget("recipe", 64))


def jobs(seeds: Sequence[int], budgets: Budgets) -> Iterator[Job]:
    """Seed by seed what the document's own claims rest on; then its other schedules; then the toolkit's own."""
    for later in (False, True):
        for seed in seeds:
            for name, work in document_arms(seed, budgets.lottery).items():
                if (name in OTHER_SCHEDULES) == later:
                    yield Job(name, seed, budgets.lottery, work)
    for seed in seeds:
        yield Job("tiny", seed, budgets.tiny, functools.partial(train_tiny, seed))


def page(arms: Arms) -> Page:
    budgets = Budgets(
        arms.shown([f"dense: {name}" for name in DENSE], (FULL.dense, DEFAULT.dense)),
        arms.shown(NEEDED, (FULL.lottery, DEFAULT.lottery)),
        FULL.tiny,
    )
    wanted = [
        *((f"dense: {name}", budgets.dense) for name in DENSE),
        *((name, budgets.lottery) for name in document_arms(0, budgets.lottery) if not name.startswith("dense: ")),
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
        commands=(
            tables_of("mnist_lottery", full=budgets.lottery == FULL.lottery),
            tables_of("mnist_lottery", only="tiny", seeds=5),
        ),
        tables=(
            tiny_table(arms, budgets.tiny),
            _dense_table(arms, budgets.dense),
            _lottery_table(arms, budgets.lottery),
        ),
        claims=[
            tiny_claim(arms, budgets.tiny),
            *dense_claims(arms, budgets.dense),
            *lottery_claims(arms, budgets.lottery),
        ],
        not_run=[*missing(arms, wanted), *waiting, NOT_RUN],
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
