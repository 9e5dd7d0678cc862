"""Conv3d and Meta layers on CIFAR-10: Kondaurova & Semenov, "Optimization of the number of parameters…".

networks   all twelve, T1, T2, T3 × {Conv2d, Conv3d, Meta, Meta head}: counts, bytes and speed, untrained
built      trained from new weights, as the document does
rewritten  the trained Conv2d network, rewritten by the toolkit and trained on with itself as teacher
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edits
from compressor.engine.plan import Edit
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.measure.latency import FULL as FULL_PROTOCOL
from compressor.measure.latency import Protocol, compare
from compressor.measure.quality import onnx_quality
from compressor.models import find
from compressor.train.fit import fit
from compressor.train.spec import Distillation, TrainingSpec
from papers.arms import Arms, Budget, Figure, Figures, Job
from papers.commands import tables_of
from papers.measured import count, missing, paired, percent, settled, so_far, standard_error
from papers.page import Claim, Page, Table, Verdict
from papers.weights import trained

TRAINING = TrainingSpec(batch=128, lr=1e-3, precision="bfloat16")
"""The document's: Adam, cross entropy, no augmentation. Ours: bfloat16 where there is some, and validation chooses."""
REWRITTEN = replace(TRAINING, schedule="cosine", distillation=Distillation(logits=0.5))
PROTOCOLS = {1: FULL_PROTOCOL, 64: Protocol(min_rounds=1, max_rounds=1)}
"""How long to time at which batch: 64 images take T3 half a second."""
LABELS = {"conv2d": "Conv2d", "conv3d": "Conv3d", "meta": "Meta", "meta-head": "Meta head"}


@dataclass(frozen=True)
class Theirs:
    """What the document says about a network: parameters, accuracy in percent, and the cut of parameters in percent."""

    parameters: int
    accuracy: float
    cut: float = 0.0


THEIRS: Mapping[str, Theirs] = {
    "t1-conv2d": Theirs(88_170, 72.80),
    "t1-conv3d": Theirs(83_526, 68.82, 5.3),
    "t1-meta": Theirs(84_126, 70.39, 4.6),
    "t1-meta-head": Theirs(26_750, 71.98, 69.7),
    "t2-conv2d": Theirs(357_265, 83.40),
    "t2-conv3d": Theirs(176_761, 80.93, 50.5),
    "t2-meta": Theirs(187_433, 78.34, 47.5),
    "t2-meta-head": Theirs(292_961, 84.25, 18.0),
    "t3-conv2d": Theirs(1_573_902, 84.23),
    "t3-conv3d": Theirs(846_222, 82.99, 46.2),
    "t3-meta": Theirs(931_086, 82.96, 40.8),
    "t3-meta-head": Theirs(1_516_766, 84.27, 3.6),
}


def _volumes(path: str, count: int) -> Edit:
    return Edit("conv3d", path, {"volumes": count}, {"mode": "same"})


def _groups(path: str, groups: int, mixed: int) -> Edit:
    return Edit("meta-head", path, {"groups": groups, "mixed": mixed}, {"layers": "conv"})


DOCUMENT_HEAD = {"layers": "linear", "activation": "prelu", "allow_slower": True}
"""Its heads of T2 and T3 run slower than the layers they replace, which the plugin refuses by itself."""


def _head(path: str, groups: int, mixed: int) -> Edit:
    return Edit("meta-head", path, {"groups": groups, "mixed": mixed}, DOCUMENT_HEAD)


_BLOCKS = [f"{index}.branch.0.0" for index in (*range(4, 20), *range(22, 38))]
"""The first convolutions of T3's residual blocks."""
EDITS: Mapping[str, Sequence[Edit]] = {
    "t1-conv3d": [_volumes("4.0", 1)],
    "t1-meta": [_groups("4.0", 4, 8)],
    "t1-meta-head": [_head("8", 4, 4)],
    "t2-conv3d": [_volumes("5.0", 4), _volumes("9.0", 8)],
    "t2-meta": [_groups("5.0", 8, 8), _groups("9.0", 16, 16)],
    "t2-meta-head": [_head("13", 16, 8)],
    "t3-conv3d": [_volumes(path, 4) for path in _BLOCKS],
    "t3-meta": [_groups(path, 8, 8) for path in _BLOCKS],
    "t3-meta-head": [_head("40", 16, 8)],
}
"""Network → what turns its family's Conv2d network into it, or into the nearest one."""
NEAREST = {
    "t1-conv3d": "one BatchNorm scale per channel (32), theirs one per volume (2)",
    "t1-meta": "BatchNorm behind the mix, theirs PReLU and BatchNorm inside every group and none behind",
    "t2-conv3d": "theirs doubles the maps and halves depth in the pool: no replacement of one layer; here maps stay",
    "t2-meta": "the same: theirs makes twice the groups and pools over pairs of channels; here neither",
    "t3-conv3d": "one BatchNorm scale per channel, theirs one per volume",
    "t3-meta": "BatchNorm behind the mix, theirs PReLU and BatchNorm inside every group and none behind",
}
"""Why rewriting does not reach the document's network to the unit; what is missing here is reached exactly."""


@dataclass(frozen=True)
class Budgets:
    """What each part of the page is given; no entry means that it is not run."""

    built: Mapping[str, Budget]
    rewritten: Mapping[str, Budget]


STRUCTURE = Budget("structure", 0)
_SHORT = Budget("default", 3, train=4_000)
DEFAULT = Budgets(
    {"t1": Budget("default", 4, train=10_000), "t2": _SHORT, "t3": _SHORT},
    {"t1": Budget("default", 3, train=10_000), "t2": _SHORT},
)
_TWENTY = Budget("full", 20)
FULL = Budgets(dict.fromkeys(("t1", "t2", "t3"), _TWENTY), dict.fromkeys(("t1", "t2", "t3"), _TWENTY))
_TINY = Budget("rehearsal", 1, train=256)
REHEARSAL = Budgets({"t2": _TINY, "t3": _TINY}, {})


def jobs(seeds: Sequence[int], budgets: Budgets) -> Iterator[Job]:
    """Structures; then family by family and seed by seed, the networks built from the table before the rewritten."""
    for name in THEIRS:
        yield Job(f"network: {name}", 0, STRUCTURE, functools.partial(_structure, name, rewritten=False))
        if name in EDITS:
            yield Job(f"rewrite: {name}", 0, STRUCTURE, functools.partial(_structure, name, rewritten=True))
    for family, budget in budgets.built.items():
        for seed in seeds:
            for name in _versions(family):
                yield Job(f"built: {name}", seed, budget, functools.partial(_built, name, seed, budget))
            if family in budgets.rewritten:
                yield from _rewritten_jobs(family, seed, budget, budgets.rewritten[family])


def _rewritten_jobs(family: str, seed: int, before: Budget, budget: Budget) -> Iterator[Job]:
    for name in _versions(family):
        yield Job(f"rewritten: {name}", seed, budget, functools.partial(_rewritten, name, seed, before, budget))


def _versions(family: str) -> list[str]:
    return [f"{family}-{version}" for version in LABELS]


# --- the arms ------------------------------------------------------------------------------------------------------


def _structure(name: str, *, rewritten: bool) -> Figures:
    """Size and speed of an untrained network; speed beside its family's Conv2d network."""
    reference = to_onnx(_new(_plain(name), 0))
    network = _new(_plain(name) if rewritten else name, 0)
    if rewritten:
        apply_edits(network, EDITS[name], None)
    cost, model = network_cost(network), to_onnx(network)
    figures: dict[str, Figure] = {
        "parameters": cost.parameter_count,
        "macs": cost.mac_count,
        "bytes": len(model),
    }
    for batch, protocol in PROTOCOLS.items():
        timing = compare(reference, model, batch=batch, protocol=protocol)
        figures |= {f"speedup {batch}": timing.speedup, f"low {batch}": timing.low, f"high {batch}": timing.high}
    return figures


def _built(name: str, seed: int, budget: Budget) -> Figures:
    network, validation = _trained(name, seed, budget)
    return _scored(network, _data(budget.train), validation)


def _trained(name: str, seed: int, budget: Budget) -> tuple[Network, float]:
    network, spec = _new(name, seed), replace(TRAINING, epochs=budget.epochs)
    kept = trained(network, _data(budget.train), spec, seed=seed, page="conv3d_meta", name=name)
    return network, kept.validation


def _rewritten(name: str, seed: int, before: Budget, budget: Budget) -> Figures:
    """With nothing rewritten, the control: the Conv2d network trained on as long in the same way."""
    data = _data(budget.train)
    teacher, _ = _trained(_plain(name), seed, before)
    network, evidence = teacher.fork(), Evidence(data.calibration_batches(512))
    apply_edits(network, EDITS.get(name, ()), evidence)
    evidence.calibrate(network)
    history = fit(network, data, replace(REWRITTEN, epochs=budget.epochs), seed=seed, teacher=teacher)
    assert history.best is not None
    return _scored(network, data, history.best.validation_quality)


def _scored(network: Network, data: Data, validation: float) -> Figures:
    test, model = data.open_test(), to_onnx(network)
    accuracy = onnx_quality(model, [(data.normalised(test.images), test.targets())], data.task)
    parameters = network_cost(network).parameter_count
    return {"validation": validation, "test": accuracy, "parameters": parameters, "bytes": len(model)}


def _new(name: str, seed: int) -> Network:
    entry = find(name)
    torch.manual_seed(seed)
    return capture(entry.build(), entry.input_shape, name)


def _plain(name: str) -> str:
    return f"{name.partition('-')[0]}-conv2d"


@functools.cache
def _data(train: int) -> Data:
    """Their normalisation: from 0…1 to −1…1."""
    return load_data(DataSpec(name="cifar-10", limit=train, mean=(0.5,) * 3, std=(0.5,) * 3))


# --- the page ------------------------------------------------------------------------------------------------------


def page(arms: Arms) -> Page:
    """From kept arms only."""
    budgets = _shown(arms)
    parts = (("built", budgets.built), ("rewritten", budgets.rewritten))
    wanted = [
        (f"{part}: {name}", budget)
        for part, families in parts
        for family, budget in families.items()
        for name in _versions(family)
    ]
    return Page(
        name="conv3d_meta",
        title="Conv3d and Meta layers on CIFAR-10",
        about=_about(budgets),
        commands=[tables_of("conv3d_meta", full=budgets.built["t1"] == _TWENTY)],
        tables=[_accuracies(arms, budgets), _networks(arms)],
        claims=[*_counted(arms), *_accuracy_claims(arms, budgets), *_slips()],
        not_run=[
            *missing(arms, wanted),
            *(
                line
                for family, budget in budgets.built.items()
                for line in so_far(arms, [f"built: {name}" for name in _versions(family)], _TWENTY, budget)
            ),
            *_left_out(budgets),
        ],
    )


def _shown(arms: Arms) -> Budgets:
    """The document's own budget, family by family, where it has been trained; else the default."""
    built, rewritten = dict(DEFAULT.built), dict(DEFAULT.rewritten)
    for family in FULL.built:
        parts = (("built", built), ("rewritten", rewritten))
        for part, shown in parts:
            names = [f"{part}: {name}" for name in _versions(family)]
            if arms.shown(names, (_TWENTY, STRUCTURE)) == _TWENTY:
                shown[family] = _TWENTY
    return Budgets(built, rewritten)


def _left_out(budgets: Budgets) -> list[str]:
    short = [family.upper() for family, budget in budgets.built.items() if budget != _TWENTY]
    never = [family.upper() for family in budgets.built if family not in budgets.rewritten]
    return [
        *([f"{' and '.join(short)} for {_TWENTY.text}: `--full`."] if short else []),
        *([f"{' and '.join(never)} rewritten: `--full`."] if never else []),
    ]


def _about(budgets: Budgets) -> str:
    spent = "; ".join(f"{family.upper()} {budget.text}" for family, budget in budgets.built.items())
    on = "; ".join(f"{family.upper()} {budget.text}" for family, budget in budgets.rewritten.items())
    return (
        "Kondaurova & Semenov, *Optimization of the number of parameters*: convolutions and dense layers of three "
        "CIFAR-10 networks replaced by Conv3d and Meta layers. Their accuracies are one run's *maximum test accuracy "
        "over 20 epochs*. Ours are test accuracies of the epoch that validation (5,000 held-out images) chose, scored "
        "by the ONNX file; same optimizer, batch, normalisation, no augmentation; convolutions and products in "
        f"bfloat16 where the hardware has it. Budget here: {spent}; 45,000 images are all. Rewritten networks, with "
        f"cosine and the Conv2d network as teacher: {on} more."
    )


def _networks(arms: Arms) -> Table:
    rows = []
    for name, theirs in THEIRS.items():
        built, rewritten = arms.of(f"network: {name}", STRUCTURE), arms.of(f"rewrite: {name}", STRUCTURE)
        rows.append(
            [
                _label(name),
                f"{theirs.parameters:,}",
                count(built, "parameters"),
                count(built, "macs"),
                count(built, "bytes"),
                *("—" if name not in EDITS else _speed(arms, f"network: {name}", batch) for batch in (1, 64)),
                count(rewritten, "parameters"),
                count(rewritten, "bytes"),
                *(_speed(arms, f"rewrite: {name}", batch) for batch in (1, 64)),
            ]
        )
    columns = ["network", "theirs: parameters", "built: parameters", "MACs", "ONNX bytes", "speed-up, batch 1"]
    columns += ["batch 64", "rewritten: parameters", "bytes", "speed-up, batch 1 ", "batch 64 "]
    notes = [
        "Speed-up: time of the family's Conv2d network / time, ONNX Runtime, one thread, thread CPU time, [95 %]; "
        "above 1 is faster.",
        "*Rewritten*: the Conv2d network after the toolkit's `conv3d` or `meta-head` plugin. It has the document's "
        "network to the unit, unless said here: "
        + "; ".join(f"{_label(name)}: {reason}" for name, reason in NEAREST.items())
        + ".",
    ]
    return Table("The twelve networks", columns, rows, notes)


def _accuracies(arms: Arms, budgets: Budgets) -> Table:
    rows = []
    for name, theirs in THEIRS.items():
        family = name.partition("-")[0]
        built = arms.of(f"built: {name}", budgets.built[family])
        again = arms.of(f"rewritten: {name}", budgets.rewritten[family]) if family in budgets.rewritten else []
        rows.append(
            [
                _label(name),
                f"{theirs.accuracy:.2f}",
                percent(built, "validation"),
                percent(built, "test"),
                percent(again, "test"),
            ]
        )
    columns = ["network", "theirs: best epoch on test, %", "ours: validation, %", "ours: test, %"]
    columns.append("rewritten and distilled: test, %")
    spent = "; ".join(f"{family.upper()} {budget.text}" for family, budget in budgets.built.items())
    note = "In the last column the Conv2d rows are the control: nothing rewritten, trained on as long."
    return Table("Accuracy", columns, rows, [f"{spent}.", note])


def _counted(arms: Arms) -> list[Claim]:
    """Parameters, cuts, and what they are worth."""
    found = {name: arms.of(f"network: {name}", STRUCTURE) for name in THEIRS}
    if not all(found.values()):
        return []
    sizes = {name: int(of[0].figures["parameters"]) for name, of in found.items()}
    equal = sum(sizes[name] == theirs.parameters for name, theirs in THEIRS.items())
    cuts = {name: 100 * (1 - sizes[name] / sizes[_plain(name)]) for name in EDITS}
    as_printed = sum(abs(cuts[name] - THEIRS[name].cut) <= 0.051 for name in EDITS)
    plain = {name: found[_plain(name)][0].figures for name in EDITS}
    fewer = [name for name in EDITS if float(found[name][0].figures["macs"]) < float(plain[name]["macs"])]
    faster = _faster(arms, "network")
    return [
        Claim("The parameters of all twelve networks.", _verdict(equal == 12), f"{equal} of 12 to the unit."),
        Claim(
            "Parameters are cut by 5.3/4.6/69.7 % (T1), 50.5/47.5/18.0 % (T2), 46.2/40.8/3.6 % (T3).",
            _verdict(as_printed == len(EDITS)),
            f"{as_printed} of {len(EDITS)} to the decimal printed.",
        ),
        Claim(
            "Networks with fewer parameters and multiplications are the more economical ones.",
            _verdict(len(faster) == len(EDITS)),
            f"{len(fewer)} of 9 multiply less, {len(faster)} of 9 are faster than their Conv2d network at batch 1"
            f"{': ' + ', '.join(faster) if faster else ''}. As the toolkit rewrites and exports them, "
            f"{len(_faster(arms, 'rewrite'))} of 9 are.",
        ),
    ]


def _faster(arms: Arms, kind: str) -> list[str]:
    """Networks whose interval at batch 1 lies above 1."""
    found = {name: arms.of(f"{kind}: {name}", STRUCTURE) for name in EDITS}
    return [_label(name) for name, of in found.items() if of and float(of[0].figures["low 1"]) > 1]


def _accuracy_claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    claims = []
    for family in ("t1", "t2", "t3"):
        plain = f"{family}-conv2d"
        for name in _versions(family)[1:]:
            better = THEIRS[name].accuracy > THEIRS[plain].accuracy
            theirs = (
                f"{_label(name)} {'beats' if better else 'loses to'} its Conv2d network: "
                f"{THEIRS[name].accuracy:.2f} against {THEIRS[plain].accuracy:.2f}."
            )
            claims.append(_compared(arms, budgets.built.get(family), theirs, name, plain, better))
    return claims


def _compared(arms: Arms, budget: Budget | None, theirs: str, name: str, plain: str, better: bool) -> Claim:
    """Seeds are paired; a difference within two standard errors settles nothing, and is said to."""
    pairs = [] if budget is None else paired(arms, budget, f"built: {name}", f"built: {plain}")
    if budget is None or len(pairs) < 2:
        return Claim(theirs, "not tested", "Fewer than two seeds of each.")
    verdict = settled(pairs if better else [-points for points in pairs])
    difference, error = statistics.mean(pairs), standard_error(pairs)
    ours = f"{difference:+.2f} ± {error:.2f} points (standard error, n = {len(pairs)}) after {budget.text}."
    return Claim(theirs, verdict, ours)


def _slips() -> list[Claim]:
    """Errors in the text, with the numbers that show them."""
    channels, outputs = 16, 32
    convolution = (9 * channels + 1) * outputs
    features, groups, mixed, width = 1152, 16, 8, 8
    head = groups * (features // groups * width + width) + groups + groups * mixed + 1
    text = features // groups * width + groups**2
    return [
        Claim(
            "The text's count of a Conv2d's parameters, and the Conv3d that equals a Conv2d.",
            "misprinted",
            f"It is (h·v·C + 1)·D, which for 16 → 32 channels is {convolution:,}, and the case u = C, s = D.",
        ),
        Claim(
            "The sum of the valid Conv3d over the depth of its kernel.",
            "misprinted",
            "It ends at a + u − 1, with a ∈ 1 … C − u + 1.",
        ),
        Claim(
            "A Meta head has (K/G)·L + G² parameters.",
            "misprinted",
            f"The factor G is forgotten: T2's has {head:,} with its slopes and biases, the formula gives {text:,}.",
        ),
        Claim(
            "A Meta head mixes by Meta(G, G) with L = H/G.",
            "misprinted",
            "The networks that were counted have G = 16, M = 8, L = 8 (T2, T3) and G = M = 4, L = 10 (T1).",
        ),
        Claim(
            "The weights of a Meta layer are normalised by a softmax.",
            "misprinted",
            "The code takes it and does not use the result; `normalise` of the plugin offers both.",
        ),
    ]


def _verdict(holds: bool) -> Verdict:
    return "held" if holds else "did not hold"


def _label(name: str) -> str:
    family, _, version = name.partition("-")
    return f"{family.upper()} {LABELS[version]}"


def _speed(arms: Arms, name: str, batch: int) -> str:
    found = arms.of(name, STRUCTURE)
    if not found:
        return ""
    value, low, high = (float(found[0].figures[f"{figure} {batch}"]) for figure in ("speedup", "low", "high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
