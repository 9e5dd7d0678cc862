"""The tables of the five source documents, theirs beside ours: regenerates ``docs/results/<recipe>.md``.

    python benchmarks/paper_tables.py                                    # every page, within what two cores can do
    python benchmarks/paper_tables.py --recipe lenet_binarize --seeds 5  # one page, five seeds
    python benchmarks/paper_tables.py --render                           # pages anew from the figures kept
    python benchmarks/paper_tables.py --full                             # the documents' own budgets; wants a GPU

Every training is an arm whose figures are kept in ``docs/results/data/<recipe>.json``: what is there is not run again,
and an interrupted run goes on where it was. Validation chooses; the test split is opened once per arm.
"""

from __future__ import annotations

import argparse
import importlib

import torch
from _report import RESULTS
from papers.arms import Arms
from papers.page import Page

RECIPES = (
    "vgg_redundancy",
    "conv3d_meta",
    "lenet_binarize",
    "mnist_lottery",
    "self_grow",
    "joint",
    "joint_cifar",
    "cifar_resnet",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recipe", action="append", choices=RECIPES, help="one page (may be repeated); default: all")
    parser.add_argument("--seeds", type=int, default=3, help="trainings per arm")
    parser.add_argument("--full", action="store_true", help="the documents' own budgets")
    parser.add_argument("--render", action="store_true", help="train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.recipe or RECIPES:
        paper = importlib.import_module(f"papers.{name}")
        arms = Arms(RESULTS / "data" / f"{name}.json")
        if not options.render:
            paper.run(arms, range(options.seeds), full=options.full)
        page: Page = paper.page(arms, full=options.full)
        path = RESULTS / f"{page.name}.md"
        path.write_text(page.markdown(arms.places()), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
