"""Who quantizes in the benchmarks: the plugin, ONNX Runtime's ``quantize_static``, NNCF; float network in, file out.

All take the same images to calibrate. NNCF lives in an environment of its own, whose Python ``nncf_file`` is given.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from compressor_plugins.pool_first import PoolFirst
from compressor_plugins.quantize import Quantize
from compressor_plugins.quantize_weights import QuantizeWeights
from compressor_plugins.swap_activation import SwapActivation
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from torch import Tensor

from compressor.engine.plan import Edit
from compressor.engine.together import saved_together
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choices
from compressor.measure.latency import FULL, compare
from compressor.plugin import Plugin, Site, sites_of

Files = Mapping[str, Callable[[], bytes]]
"""By title, each made when it is asked for."""
OURS, QDQ = "quantize", "ONNX Runtime, QDQ, min-max"
STATIC = {
    QDQ: (QuantFormat.QDQ, CalibrationMethod.MinMax),
    "ONNX Runtime, QOperator, percentile": (QuantFormat.QOperator, CalibrationMethod.Percentile),
}
"""Forms of ``quantize_static`` that are fast here."""
NNCF = "NNCF"
OPTIONS = {
    "the same, mse": Quantize(range="mse"),
    "the same, min-max": Quantize(range="min-max"),
    "the same, percentile": Quantize(range="percentile"),
    "the same, entropy": Quantize(range="entropy"),
    "the same, no bias correction": Quantize(correct_bias=False),
    "the same, weights to the nearest": Quantize(rounding="nearest"),
    "the same, to the nearest, no bias correction": Quantize(rounding="nearest", correct_bias=False),
}
"""One thing other than by default; they differ in accuracy alone."""
STORED_BITS = 8
"""Of the weights of layers that compute in floats."""
MATTERS = 0.01
"""Share of the whole time from which a layer that is slower in integers is left in floats."""


def integers(
    network: Network, images: Tensor, plugin: Quantize | None = None, bits: int = 8, left: Collection[str] = ()
) -> Network:
    """Every layer that has an integer form in integers; nothing is trained.

    Those in ``left`` compute in floats, and are stored in 8 bits.
    """
    plugin, fork = plugin or Quantize(), network.fork()
    for site in [site for site in sites_of(plugin, network) if site.path not in left]:
        _rewrite(fork, plugin, site, {"bits": bits} if "bits" in site.knobs else {})
    for site in [site for site in sites_of(QuantizeWeights(), fork) if site.path in left]:
        _rewrite(fork, QuantizeWeights(), site, {})
    evidence_of(images).calibrate_leaves(fork)  # what BatchNorm is left keeps the statistics that it was trained with
    return fork


def _rewrite(network: Network, plugin: Plugin, site: Site, choice: Choices) -> None:
    editor = Editor(network)
    plugin.rewrite(editor, site, choice)
    editor.commit()


def placed(network: Network, images: Tensor, bits: int = 8, batch: int = 1) -> Network:
    """In integers where that saves time for so many images at once: everywhere, but for the layers that cost time by
    what each saves beside the others, or nowhere; the first of them that no later one is evidently faster than.

    What costs less than a hundredth of the whole is not told from noise, and stays inside.
    """
    edits = [Edit("quantize", site.path) for site in sites_of(Quantize(), network)]
    known = saved_together(network, to_onnx(network), edits, evidence_of(images), batch) or {}
    costly = [path for path, saved in known.items() if saved < -MATTERS]
    best = integers(network, images, bits=bits)
    for left in filter(None, [costly, list(known) if bits == STORED_BITS else []]):
        other = integers(network, images, bits=bits, left=left)
        best = other if compare(to_onnx(best), to_onnx(other), batch=batch, protocol=FULL).low > 1 else best
    return best


def ours(network: Network, known: Tensor, options: Mapping[str, Quantize]) -> Files:
    """What the plugin makes of a network, by what was asked of it."""
    nearest = Quantize(rounding="nearest")
    networks: dict[str, Callable[[], Network]] = {
        OURS: lambda: placed(network, known),
        "quantize, every layer": lambda: integers(network, known),
        "the same, weights at 4 bits": lambda: integers(network, known, bits=4),
        "the same, weights at 4 bits to the nearest": lambda: integers(network, known, nearest, bits=4),
        **{name: partial(integers, network, known, plugin) for name, plugin in options.items()},
    }
    averaging = pooled_first(network)
    if averaging is not None:
        networks |= {"pool-first, float": averaging.fork, "pool-first, quantize": lambda: placed(averaging, known)}
    return files_of(networks)


def files_of(networks: Mapping[str, Callable[[], Network]]) -> Files:
    return {name: partial(_exported, made) for name, made in networks.items()}


def _exported(made: Callable[[], Network]) -> bytes:
    return to_onnx(made())


def swapped(network: Network) -> Network | None:
    """With rectifiers for smooth activations, untrained; None where there are none."""
    return _everywhere(SwapActivation(), network)


def pooled_first(network: Network) -> Network | None:
    """With averages before 1×1 convolutions, the same function; None where there are none."""
    return _everywhere(PoolFirst(), network)


def _everywhere(plugin: Plugin, network: Network) -> Network | None:
    fork, sites = network.fork(), sites_of(plugin, network)
    for site in sites:
        _rewrite(fork, plugin, site, {})
    return fork if sites else None


def evidence_of(images: Tensor) -> Evidence:
    """Images without targets, as calibration takes them."""
    parts = torch.split(images, 50)
    return Evidence([(part, torch.zeros(len(part), dtype=torch.long)) for part in parts])


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, images: Tensor) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter([{name: image[None].numpy()} for image in images])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def static_file(network: Network, images: Tensor, form: QuantFormat, method: CalibrationMethod) -> bytes:
    """``quantize_static`` with its faster settings here: uint8 activations, int8 weights per channel."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(to_onnx(network))
        quantize_static(
            source, target, _Reader(onnx.load(source).graph.input[0].name, images), quant_format=form, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=method,
        )  # fmt: skip
        return target.read_bytes()


def nncf_file(network: Network, images: Tensor, python: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, samples, target = Path(folder, "float.onnx"), Path(folder, "samples.npy"), Path(folder, "int8.onnx")
        source.write_bytes(to_onnx(network))
        np.save(samples, images.numpy())
        script = Path(__file__).with_name("_nncf.py")
        subprocess.run([python, script, source, samples, target], check=True, capture_output=True)
        return target.read_bytes()


def peers(network: Network, images: Tensor, nncf: Path | None) -> Files:
    """The files of everybody else."""
    files = {name: partial(static_file, network, images, *settings) for name, settings in STATIC.items()}
    return files if nncf is None else {**files, NNCF: partial(nncf_file, network, images, nncf)}
