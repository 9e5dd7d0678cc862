"""Conv3d and Meta layers on CIFAR-10: Kondaurova & Semenov, "Optimization of the number of parameters…".

networks   all twelve, T1, T2, T3 × {Conv2d, Conv3d, Meta, Meta head}: counts, bytes and speed, untrained
built      trained from new weights, as the document does
rewritten  the trained Conv2d network, rewritten by the toolkit and trained on with itself as teacher
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from papers.arms import Arms, Budget, Job, mean_std
from papers.commands import tables_of
from papers.conv3d_arms import (
    EDITS,
    STRUCTURE,
    THEIRS,
    conv2d_of,
    label,
    measure_structure,
    train_built,
    train_rewritten,
    versions,
)
from papers.conv3d_claims import accuracy_claims, counted, slips
from papers.measured import count, missing, paired, percent, so_far
from papers.page import Page, Table

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
        yield Job(f"network: {name}", 0, STRUCTURE, functools.partial(measure_structure, name, rewritten=False))
        if name in EDITS:
            yield Job(f"rewrite: {name}", 0, STRUCTURE, functools.partial(measure_structure, name, rewritten=True))
    for family, budget in budgets.built.items():
        for seed in seeds:
            for name in versions(family):
                yield Job(f"built: {name}", seed, budget, functools.partial(train_built, name, seed, budget))
            if family in budgets.rewritten:
                yield from _rewritten_jobs(family, seed, budget, budgets.rewritten[family])


def _rewritten_jobs(family: str, seed: int, before: Budget, budget: Budget) -> Iterator[Job]:
    for name in versions(family):
        yield Job(f"rewritten: {name}", seed, budget, functools.partial(train_rewritten, name, seed, before, budget))


def page(arms: Arms) -> Page:
    """From kept arms only."""
    budgets = _shown(arms)
    parts = (("built", budgets.built), ("rewritten", budgets.rewritten))
    wanted = [
        (f"{part}: {name}", budget)
        for part, families in parts
        for family, budget in families.items()
        for name in versions(family)
    ]
    return Page(
        name="conv3d_meta",
        title="Conv3d and Meta layers on CIFAR-10",
        about=_about(budgets),
        commands=list(_commands(budgets)),
        tables=[_accuracies(arms, budgets), _networks(arms)],
        claims=[*counted(arms), *accuracy_claims(arms, budgets.built), *slips()],
        not_run=[
            *missing(arms, wanted),
            *(
                line
                for family, budget in budgets.built.items()
                for line in so_far(arms, [f"built: {name}" for name in versions(family)], _TWENTY, budget)
            ),
            *_left_out(budgets),
        ],
    )


def _shown(arms: Arms) -> Budgets:
    """The document's own budget for the families whose networks were built at it; what is rewritten is one of these."""
    built, rewritten = dict(DEFAULT.built), dict(DEFAULT.rewritten)
    for family in FULL.built:
        names = [f"built: {name}" for name in versions(family)]
        if arms.shown(names, (_TWENTY, STRUCTURE)) == _TWENTY:
            built[family] = rewritten[family] = _TWENTY
    return Budgets(built, rewritten)


def _commands(budgets: Budgets) -> Iterator[str]:
    yield tables_of("conv3d_meta")
    for family, budget in budgets.built.items():
        if budget == _TWENTY:
            yield tables_of("conv3d_meta", full=True, only=f"*: {family}-*")


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
                label(name),
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
        + "; ".join(f"{label(name)}: {reason}" for name, reason in NEAREST.items())
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
                label(name),
                f"{theirs.accuracy:.2f}",
                percent(built, "validation"),
                percent(built, "test"),
                percent(again, "test"),
                _against_control(arms, name, budgets.rewritten.get(family)),
            ]
        )
    columns = ["network", "theirs: best epoch on test, %", "ours: validation, %", "ours: test, %"]
    columns += ["rewritten and distilled: test, %", "points against the control"]
    spent = "; ".join(f"{family.upper()} {budget.text}" for family, budget in budgets.built.items())
    note = (
        "*Rewritten*: the built Conv2d network, rewritten and trained on; its own row is the control, trained on as "
        "long with nothing rewritten. *Points*: test accuracy less the control's, seed by seed."
    )
    return Table("Accuracy", columns, rows, [f"{spent}.", note])


def _against_control(arms: Arms, name: str, budget: Budget | None) -> str:
    if name not in EDITS or budget is None:
        return ""
    return mean_std(paired(arms, budget, f"rewritten: {name}", f"rewritten: {conv2d_of(name)}"))


def _speed(arms: Arms, name: str, batch: int) -> str:
    found = arms.of(name, STRUCTURE)
    if not found:
        return ""
    value, low, high = (float(found[0].figures[f"{figure} {batch}"]) for figure in ("speedup", "low", "high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
