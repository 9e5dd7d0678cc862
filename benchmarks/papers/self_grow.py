"""Self-optimizing networks: grow → train → score → remove → retrain, round after round (Lee; a proposal, no results).

small            the network as it is, trained on as long as the others
grown            the loop: growth where the gradient says, removal of what is efficient to remove (below τ)
never removed    the loop without removal
random growth    as many growths at places drawn by chance, the removals where they were
random removal   as many removals at places drawn by chance, the growths where they were
grown size       the network the loop ends with, from new weights, trained as long in all
stop rule        the loop, undoing and ending with the first round that brings less than ``MIN_GAIN``
"""

from __future__ import annotations

import functools
import random
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edit
from compressor.engine.baseline import Baseline, measure_baseline
from compressor.engine.candidate import Outcome
from compressor.engine.control import reinitialise
from compressor.engine.plan import Decision, Edit, Phase, Plan, Stop
from compressor.engine.policy import edit_at
from compressor.engine.trial import TrialSettings, load_candidate, run_trial
from compressor.errors import Refusal
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.models.resnet import ResNet
from compressor.plugin import sites_of
from compressor.registry import make
from compressor.train.spec import Augmentation, TrainingSpec
from papers.arms import Arms, Budget, Figure, Figures, Job
from papers.commands import tables_of
from papers.measured import count, measured, paired, percent, settled, speed, standard_error
from papers.page import Claim, Page, Table
from papers.resumed import checkpoints, fit

TAU, MIN_GAIN = 0.05, 0.005
GROWTH, REMOVAL = "self-grow", "layer-removal"
NAMES = ("small", "grown", "never removed", "random growth", "random removal", "grown size", "stop rule")
SETTINGS = TrialSettings(calibration=256)


@dataclass(frozen=True)
class Setup:
    """What an arm is given: a network on a data set, its first training, and the rounds after it."""

    budget: Budget
    data: str
    classes: int
    blocks: int
    widths: tuple[int, int, int]
    rounds: int
    grow: int
    """Epochs after each growth."""
    remove: int
    """Epochs after each removal."""
    batch: int = 64

    @property
    def about(self) -> str:
        depth, widths = 6 * self.blocks + 2, ", ".join(map(str, self.widths))
        return (
            f"ResNet-{depth} of widths {widths} on {self.data}, {self.budget.train or 'all'} training images: "
            f"{self.budget.epochs} epochs, then {self.rounds} rounds of {self.grow} + {self.remove} epochs"
        )


DEFAULT = Setup(Budget("default", 6, train=2000), "cifar-10", 10, 1, (8, 16, 32), rounds=2, grow=2, remove=1)
FULL = Setup(Budget("full", 60), "cifar-100", 100, 1, (16, 32, 64), rounds=6, grow=20, remove=10)
GPU = Setup(Budget("gpu", 20), "cifar-10", 10, 1, (16, 32, 64), rounds=3, grow=6, remove=4, batch=256)
REHEARSAL = Setup(Budget("rehearsal", 1, train=512), "cifar-10", 10, 1, (8, 16, 32), rounds=1, grow=1, remove=1)


def jobs(seeds: Sequence[int], setup: Setup) -> Iterator[Job]:
    """Seed by seed."""
    for seed in seeds:
        for name in NAMES:
            yield Job(name, seed, setup.budget, functools.partial(_arm, name, setup, seed))


# --- the arms ---------------------------------------------------------------------------------------------------------


def training(epochs: int, batch: int) -> TrainingSpec:
    return TrainingSpec(
        epochs=epochs,
        batch=batch,
        lr=3e-3,
        schedule="cosine",
        precision="bfloat16",
        augmentation=Augmentation(flip=True, shift=2),
    )


def loop(setup: Setup, *, removal: bool = True, stop: Stop | None = None) -> Plan:
    """The document's loop as a plan."""
    growth = Decision(GROWTH, "spread", {"count": 2, "amount": 1.0})
    removed = (Decision(REMOVAL, "threshold", {"tau": TAU}, {"spans": "blocks"}),) if removal else ()
    phases = (
        Phase("grow", (growth,), training(setup.grow, setup.batch)),
        Phase("remove", removed, training(setup.remove, setup.batch)),
    )
    return Plan((Phase("loop", rounds=setup.rounds, phases=phases, stop=stop),))


def _arm(name: str, setup: Setup, seed: int) -> Figures:
    work: Mapping[str, Callable[[], Figures]] = {
        "small": lambda: _carried_out(_without_edits(loop(setup)), setup, seed),
        "grown": lambda: _carried_out(loop(setup), setup, seed),
        "never removed": lambda: _carried_out(loop(setup, removal=False), setup, seed),
        "random growth": lambda: _carried_out(_at_random(GROWTH, setup, seed), setup, seed),
        "random removal": lambda: _carried_out(_at_random(REMOVAL, setup, seed), setup, seed),
        "grown size": lambda: _from_new_weights(setup, seed),
        "stop rule": lambda: _carried_out(loop(setup, stop=Stop(MIN_GAIN)), setup, seed),
    }
    return work[name]()


def _without_edits(plan: Plan) -> Plan:
    return Plan(tuple(replace(phase, steps=()) for phase in plan.unrolled()))


def _carried_out(plan: Plan, setup: Setup, seed: int) -> Figures:
    network, outcome = _trial(plan, setup, seed)
    return {**measured(network, _data(setup), _base(setup, seed).onnx), **_course(outcome)}


@functools.lru_cache(4)
def _trial_of(text: str, setup: Setup, seed: int) -> tuple[Network, Plan, Outcome]:
    base, data = _base(setup, seed), _data(setup)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcome = run_trial(
            Plan.from_json(text), base, data, SETTINGS, seed=seed, folder=folder, checkpoints=checkpoints()
        )
        if outcome.metrics is None:
            raise RuntimeError(outcome.reason)
        network = load_candidate(folder, base, base.evidence(data, SETTINGS.calibration))
        return network, Plan.from_json((folder / "plan.json").read_bytes()), outcome


def _trial(plan: Plan, setup: Setup, seed: int) -> tuple[Network, Outcome]:
    network, _, outcome = _trial_of(plan.to_json(), setup, seed)
    return network, outcome


def _course(outcome: Outcome) -> dict[str, Figure]:
    """Validation accuracy and parameters at the end of every round; edits carried out."""
    figures: dict[str, Figure] = {}
    times: Counter[str] = Counter()
    for stage in outcome.stages:
        times[stage.phase] += 1  # of a plan carried out, every round is a phase of its own
        number = times[stage.phase]
        figures[f"validation after {number}"], figures[f"parameters after {number}"] = stage.quality, stage.params
    notes = [stage.note for stage in outcome.stages if stage.note]
    edits = {
        name: sum(stage.edits for stage in outcome.stages if stage.phase == f"loop.{phase}")
        for name, phase in (("grown", "grow"), ("removed", "remove"))
    }
    return {**figures, **edits, "note": "; ".join(notes)}


def _at_random(plugin: str, setup: Setup, seed: int) -> Plan:
    """What the loop carried out, with the edits of one plugin at places drawn by chance.

    Where an edit of the other no longer has its place, because of what was drawn, it is drawn too.
    """
    base = _base(setup, seed)
    _, plan, _ = _trial_of(loop(setup).to_json(), setup, seed)
    evidence, fork, rng = base.evidence(_data(setup), SETTINGS.calibration), base.network.fork(), random.Random(seed)
    phases = []
    for phase in plan.phases:
        edits: list[Edit] = []
        for edit in (step for step in phase.steps if isinstance(step, Edit)):
            options = [edit] if edit.plugin != plugin else []
            drawn = sites_of(make(edit.plugin, edit.options), fork)
            rng.shuffle(drawn)
            options += [edit_at(Decision(edit.plugin, "spread", {}, edit.options), site, edit.choice) for site in drawn]
            edits += _first_that_applies(options, fork, evidence)
        phases.append(replace(phase, steps=tuple(edits)))
    return Plan(tuple(phases))


def _first_that_applies(options: Sequence[Edit], network: Network, evidence: Evidence) -> list[Edit]:
    for edit in options:
        try:
            apply_edit(network, edit, evidence)
        except Refusal:
            continue
        return [edit]
    return []


def _from_new_weights(setup: Setup, seed: int) -> Figures:
    """The loop's last network from new weights: the first training, then what the loop trained."""
    network, plan, _ = _trial_of(loop(setup).to_json(), setup, seed)
    fresh, data = network.fork(), _data(setup)
    reinitialise(fresh, seed)
    fit(fresh, data, training(setup.budget.epochs, setup.batch), seed=seed)
    for number, phase in enumerate(plan.phases):
        if phase.training is not None:
            fit(fresh, data, phase.training, seed=seed + number)
    return measured(fresh, data, _base(setup, seed).onnx)


@functools.cache
def _data(setup: Setup) -> Data:
    return load_data(DataSpec(name=setup.data, validation=1000, limit=setup.budget.train))


@functools.lru_cache(1)
def _base(setup: Setup, seed: int) -> Baseline:
    torch.manual_seed(seed)
    module: nn.Module = ResNet(setup.blocks, setup.classes, setup.widths)
    data = _data(setup)
    network = capture(module, data.input_shape)
    fit(network, data, training(setup.budget.epochs, setup.batch), seed=seed)
    return measure_baseline(network, data)


# --- the page ---------------------------------------------------------------------------------------------------------

ABOUT = (
    "“Self-Optimizing Networks” proposes a network that grows blocks which change nothing, trains, removes the blocks "
    "whose loss increase per saving is below τ, and trains again. It gives no results; what is held against figures "
    "here are the claims it makes. Every arm starts from the same trained network of its seed and is trained as long; "
    "validation images chose the epochs, the test images were scored once per arm, by the ONNX file in ONNX Runtime."
)
CLAIMS: Mapping[str, tuple[str, str]] = {
    "Growing pays: the network gains what training alone would not give it.": ("never removed", "small"),
    "The whole loop, with removal, pays.": ("grown", "small"),
    "The gradient tells where to grow.": ("grown", "random growth"),
    "The measured bypass is a better criterion for removal than chance.": ("grown", "random removal"),
    "Growing is better than training the same network from new weights.": ("grown", "grown size"),
}


def page(arms: Arms) -> Page:
    setup = FULL if arms.shown(NAMES, (FULL.budget, DEFAULT.budget)) == FULL.budget else DEFAULT
    return Page(
        name="self_grow",
        title="Networks that optimize themselves",
        about=f"{ABOUT} {setup.about}.",
        commands=(tables_of("self_grow", full=setup is FULL),),
        tables=(_arms_table(arms, setup), _course_table(arms, setup)),
        claims=tuple(_claim(text, arms, setup.budget, *pair) for text, pair in CLAIMS.items()),
        not_run=() if setup is FULL else (f"The larger setting (`--full`): {FULL.about}.",),
    )


def _arms_table(arms: Arms, setup: Setup) -> Table:
    rows = []
    for name in NAMES:
        found = arms.of(name, setup.budget)
        figures = [count(found, key) for key in ("grown", "removed", "parameters", "macs", "bytes")]
        rows.append((name, *figures, percent(found, "validation"), percent(found, "test"), speed(found)))
    return Table(
        "The arms",
        ("arm", "grown", "removed", "parameters", "MACs", "ONNX bytes", "validation", "test", "speed-up"),
        rows,
        (
            "Percent, mean ± standard deviation over the seeds. *Grown* and *removed* count the edits carried out, an "
            f"undone round's too. Two growths a round (`self-grow`, amount 1), removal below τ = {TAU:g} "
            "(`layer-removal`, blocks); *random growth* and *random removal* take the numbers of *grown*, at places "
            f"drawn by chance; *stop rule* undoes the first round that brings less than {100 * MIN_GAIN:g} points. "
            "Speed-up over the network the arms start from, of the first seed, one image, paired, 95 % interval.",
        ),
    )


def _course_table(arms: Arms, setup: Setup) -> Table:
    rounds = range(1, setup.rounds + 1)
    rows = []
    for name in ("small", "grown", "never removed", "stop rule"):
        found = arms.of(name, setup.budget)
        cells = [
            f"{percent(found, f'validation after {number}')}; {count(found, f'parameters after {number}') or '–'}"
            for number in rounds
        ]
        rows.append((name, *cells))
    return Table(
        "Round by round",
        ("arm", *(f"after round {number}" for number in rounds)),
        rows,
        (
            "Validation accuracy in percent; parameters, from least to most over the seeds. *Small* has every training "
            "of the loop, one after the other, and no edits.",
        ),
    )


def _claim(text: str, arms: Arms, budget: Budget, better: str, worse: str) -> Claim:
    """Test accuracies, seed by seed."""
    gains = paired(arms, budget, better, worse)
    if len(gains) < 2:
        return Claim(text, "not tested", "Fewer than two seeds.")
    each = ", ".join(f"{gain:+.2f}" for gain in gains)
    sizes = [count(arms.of(name, budget), "parameters") for name in (better, worse)]
    ours = (
        f"*{better}* ({sizes[0]} parameters) against *{worse}* ({sizes[1]}), test: {statistics.mean(gains):+.2f} "
        f"points in the mean, standard error {standard_error(gains):.2f} ({each})."
    )
    return Claim(text, settled(gains), ours)
