"""NNCF's post-training quantization of an ONNX file, in the Python that has NNCF installed; no part of the toolkit.

python benchmarks/_nncf.py FLOAT.onnx SAMPLES.npy TARGET.onnx
"""

from __future__ import annotations

import sys

import nncf
import numpy as np
import onnx


def main(source: str, samples: str, target: str) -> None:
    """NNCF's defaults: its preset for CPUs, fast bias correction; one sample at a time, as many as there are."""
    model, images = onnx.load(source), np.load(samples)
    name = model.graph.input[0].name
    batches = nncf.Dataset(list(images), lambda image: {name: image[None]})
    onnx.save(nncf.quantize(model, batches, subset_size=len(images)), target)


if __name__ == "__main__":
    main(*sys.argv[1:])
