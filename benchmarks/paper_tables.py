"""The tables of the five source documents, theirs beside ours: regenerates ``docs/results/<recipe>.md``.

    python benchmarks/paper_tables.py                                    # every page, within what two cores can do
    python benchmarks/paper_tables.py --recipe lenet_binarize --seeds 5  # one page, five seeds
    python benchmarks/paper_tables.py --full --plan                      # what the documents' own budgets would take
    python benchmarks/paper_tables.py --full --only 'rewrite: *'         # some arms of them
    python benchmarks/paper_tables.py --recipe self_grow --budget gpu    # what fits a few minutes of a GPU
    python benchmarks/paper_tables.py --render                           # pages anew from the figures kept

Every training is an arm whose figures are kept in ``docs/results/data/<recipe>.json``: what is there is not run again,
and an interrupted run goes on where it was. Started twice, it shares the arms out. Validation chooses; the test split
is opened once per arm.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType

import torch
from _report import RESULTS
from papers.arms import Arms, Job
from papers.page import Page

RECIPES: Mapping[str, int] = {
    "vgg_redundancy": 49_000,
    "conv3d_meta": 45_000,
    "lenet_binarize": 54_000,
    "mnist_lottery": 54_000,
    "self_grow": 54_000,
    "joint": 54_000,
    "joint_cifar": 45_000,
    "cifar_resnet": 45_000,
}
"""Pages, and how many training samples are all of them."""
KEPT = RESULTS / "data"
BUDGETS = ("default", "full", "gpu", "rehearsal")
"""``gpu``: a few minutes of a GPU. ``rehearsal``: as little as shows that arms run. Not every page has them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recipe", action="append", choices=RECIPES, help="one page (may be repeated); default: all")
    parser.add_argument("--seeds", type=int, default=3, help="trainings per arm")
    parser.add_argument("--seed", type=int, help="only the one with this seed")
    parser.add_argument("--budget", choices=BUDGETS, default="default", help="how long arms are trained")
    parser.add_argument("--full", dest="budget", action="store_const", const="full", help="the documents' own budgets")
    parser.add_argument("--only", action="append", metavar="GLOB", help="arms of such names (may be repeated)")
    parser.add_argument("--minutes", type=float, help="begin no arm that is not expected to end by then")
    parser.add_argument("--plan", action="store_true", help="say which arms are missing and how long they take")
    parser.add_argument("--data", type=Path, default=KEPT, metavar="FOLDER", help="where figures are kept")
    parser.add_argument("--merge", type=Path, metavar="FOLDER", help="take in the figures of another machine first")
    parser.add_argument("--render", action="store_true", help="train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * options.minutes if options.minutes else None
    for name in options.recipe or RECIPES:
        paper = importlib.import_module(f"papers.{name}")
        arms = Arms(options.data / f"{name}.json", RECIPES[name])
        if options.merge:
            print(f"{name}: {arms.merge(options.merge / f'{name}.json')} arms more")
        if not options.render:
            run(arms, arms.missing(wanted(paper, options)), end, plan=options.plan)
        if not options.plan and options.data == KEPT:
            page: Page = paper.page(arms)
            path = RESULTS / f"{page.name}.md"
            path.write_text(page.markdown(arms.places()), encoding="utf-8")
            print(path)


def wanted(paper: ModuleType, options: argparse.Namespace) -> Iterator[Job]:
    """The arms of one page that were asked for."""
    budgets = getattr(paper, options.budget.upper(), None)
    if budgets is None:
        raise SystemExit(f"{paper.__name__}: has no budget {options.budget!r}")
    seeds = range(options.seeds) if options.seed is None else [options.seed]
    for job in paper.jobs(seeds, budgets):
        if not options.only or any(fnmatchcase(job.name, pattern) for pattern in options.only):
            yield job


def run(arms: Arms, jobs: Sequence[Job], end: float | None, *, plan: bool) -> None:
    """One after the other, each with the time that it should take; ``plan``: that alone."""
    total = sum(arms.seconds(job) or 0.0 for job in jobs)
    print(f"{arms.path.stem}: {len(jobs)} arms to do, {total / 60:.0f} minutes by what arms took before", flush=True)
    for job in jobs:
        expected = arms.seconds(job)
        about = "none of its name has been timed" if expected is None else f"about {expected:.0f} s"
        late = end is not None and time.monotonic() + (expected or 0.0) > end
        print(f"{job}: {about}{'; left out, no time' if late else ''}", flush=True)
        if not plan and not late and not arms.run(job):
            print(f"{job}: done, or being done, by another process", flush=True)


if __name__ == "__main__":
    main()
