"""The figures on the pages of magnitude-prune and quantize-weights: LeNet on Fashion-MNIST, before and after training.

    python benchmarks/compact_pages.py [--seeds 3] [--train 12000] [--epochs 2]

How, says ``_lenet.py``. ``rewound`` goes back to the weights from before the training, not those behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from _lenet import Start, Variant, write_page

from compressor.engine.apply import apply_edit
from compressor.engine.course import rewind
from compressor.engine.plan import Edit


@dataclass(frozen=True)
class Recipe:
    """One plugin at some sites, with training, in rounds."""

    name: str
    plugin: str
    sites: tuple[str, ...]
    choice: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    rounds: int = 1
    rewound: bool = False


PACKED = ("conv2", "fc1", "fc2", "fc3")
WEIGHTS = {"structure": "weights"}
RECIPES = (
    Recipe("quantize-weights 8 bits", "quantize-weights", PACKED, {"bits": 8}),
    Recipe("quantize-weights 4 bits", "quantize-weights", PACKED, {"bits": 4}),
    Recipe("4 bits, clip largest", "quantize-weights", PACKED, {"bits": 4}, {"clip": "largest"}),
    Recipe("4 bits, not trainable", "quantize-weights", PACKED, {"bits": 4}, {"trainable": False}),
    Recipe("magnitude-prune half of fc1, fc2", "magnitude-prune", ("fc1", "fc2"), {"ratio": 0.5}),
    Recipe("weights 50 %", "magnitude-prune", ("all",), {"fraction": 0.5}, WEIGHTS),
    Recipe("weights 90 %", "magnitude-prune", ("all",), {"fraction": 0.9}, WEIGHTS),
    Recipe("weights 90 %, 3 rounds", "magnitude-prune", ("all",), {"fraction": 0.9}, {**WEIGHTS, "rounds": 3}, 3),
    Recipe("as before, rewound", "magnitude-prune", ("all",), {"fraction": 0.9}, {**WEIGHTS, "rounds": 3}, 3, True),
    Recipe("weights 95 %, 3 rounds", "magnitude-prune", ("all",), {"fraction": 0.95}, {**WEIGHTS, "rounds": 3}, 3),
)


def variants(start: Start) -> Iterator[Variant]:
    for recipe in RECIPES:
        yield carried_out(recipe, start)


def carried_out(recipe: Recipe, start: Start) -> Variant:
    network, untrained = start.network.fork(), []
    for number in range(recipe.rounds):
        for site in recipe.sites:
            apply_edit(network, Edit(recipe.plugin, site, recipe.choice, recipe.options), start.evidence)
        start.evidence.calibrate(network)
        untrained.append(start.accuracy(network))
        if recipe.rewound:
            rewind(network, start.first)
        start.train(network, number)
    return Variant(recipe.name, network, untrained[0], start.accuracy(network))


if __name__ == "__main__":
    title = "Pruning and quantization alone: LeNet, Fashion-MNIST"
    write_page("compact_pages", title, __doc__, variants, "after the first rewrite")
