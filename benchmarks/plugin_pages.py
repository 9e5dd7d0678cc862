"""The figures on the pages of binarize and layer-removal: LeNet on Fashion-MNIST, before and after short training.

    python benchmarks/plugin_pages.py [--seeds 3] [--train 12000] [--epochs 2]

How, says ``_lenet.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from _lenet import Start, Variant, write_page

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.plugin import sites_of
from compressor.registry import make

BINARIZE: Mapping[str, tuple[dict[str, Any], list[str]]] = {
    "fc3": ({}, ["fc3"]),
    "fc2, fc3": ({}, ["fc2", "fc3"]),
    "fc1, fc2, fc3": ({}, ["fc1", "fc2", "fc3"]),
    "all five layers": ({}, ["conv1", "conv2", "fc1", "fc2", "fc3"]),
    "fc3, binary inputs": ({"activations": "binary"}, ["fc3"]),
    "fc2, fc3, binary inputs": ({"activations": "binary"}, ["fc2", "fc3"]),
    "fc1, fc2, fc3, binary inputs": ({"activations": "binary"}, ["fc1", "fc2", "fc3"]),
}


def variants(start: Start) -> Iterator[Variant]:
    plans = {f"binarize {name}": ("binarize", choices, paths) for name, (choices, paths) in BINARIZE.items()}
    for site in sites_of(make("layer-removal"), start.network):
        plans[f"layer-removal {site.path} ({site.about.rpartition(': ')[2]})"] = ("layer-removal", {}, [site.path])
    for name, (plugin, options, paths) in plans.items():
        network = start.network.fork()
        for path in paths:
            apply_edit(network, Edit(plugin, path, options=options), start.evidence)
        start.evidence.calibrate(network)
        untrained = start.accuracy(network)
        start.train(network)
        yield Variant(name, network, untrained, start.accuracy(network))


if __name__ == "__main__":
    title = "Every rewrite of the first plugins alone: LeNet, Fashion-MNIST"
    write_page("plugin_pages", title, __doc__, variants, "after the rewrite and recalibration of BatchNorm")
