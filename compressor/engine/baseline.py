"""The measured baseline: what every limit and every ratio is relative to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compressor.data.dataset import Data
from compressor.data.fit import check_fit
from compressor.engine.candidate import Latency, Metrics
from compressor.errors import DamagedFileError
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.files import write_atomic
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.graph.pt2 import read_pt2, write_pt2
from compressor.measure.latency import QUICK, compare
from compressor.stored import Stored, check_digests, content, digests_of
from compressor.task import Quality
from compressor.train.evaluate import evaluate

_WRITTEN = ("model.onnx", "model.pt2")


@dataclass(frozen=True)
class _Measured:
    """What ``metrics.json`` holds: the figures, and SHA-256 of the files they are about."""

    metrics: Metrics
    files: Mapping[str, str]


@dataclass(frozen=True)
class Baseline:
    """The network as it came, its ONNX file and its figures. Nothing may change ``network``."""

    network: Network
    onnx: bytes
    metrics: Metrics

    def evidence(self, data: Data, samples: int) -> Evidence:
        """Calibration batches of the training split, with the baseline itself as teacher."""
        return Evidence(data.calibration_batches(samples), data.task.fitted(self.network), teacher=self.network)


def measure_baseline(network: Network, data: Data, *, batch: int = 1) -> Baseline:
    """Export, score on the validation split and time. Raises ``DataError`` when the data do not fit the network."""
    check_fit(network, data)
    network.eval()
    onnx = to_onnx(network)
    score = evaluate(network, data, data.validation, error=True)
    timing = compare(onnx, onnx, batch=batch, protocol=QUICK)
    cost = network_cost(network)
    metrics = Metrics(
        params=cost.parameter_count,
        size_bytes=len(onnx),
        macs=cost.mac_count,
        quality=Quality.of(data.task.metric, score.quality, score.error, score.parts),
        latency=Latency(us=timing.baseline_us),
    )
    return Baseline(network, onnx, metrics)


def save_baseline(baseline: Baseline, folder: Path) -> None:
    """Write ``model.pt2``, ``model.onnx`` and, last, ``metrics.json``, which holds their digests."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").unlink(missing_ok=True)
    write_pt2(baseline.network, folder / "model.pt2")
    write_atomic(folder / "model.onnx", baseline.onnx)
    _MEASURED.write(folder / "metrics.json", _Measured(baseline.metrics, digests_of(folder, _WRITTEN)))


def load_baseline(folder: Path) -> Baseline:
    """Read what ``save_baseline`` wrote. Raises ``DamagedFileError`` where a file is missing or holds other bytes."""
    metrics = check_baseline(folder)
    return Baseline(read_pt2(folder / "model.pt2"), content(folder / "model.onnx"), metrics)


def check_baseline(folder: Path) -> Metrics:
    """The figures of the baseline, once its files are what they are about. Raises ``DamagedFileError``."""
    measured = _MEASURED.read(folder / "metrics.json")
    if set(measured.files) != set(_WRITTEN):
        raise DamagedFileError(f"{folder / 'metrics.json'}: is damaged (it is not about the files of a baseline)")
    check_digests(folder, measured.files)
    check_size(measured.metrics, folder, "metrics.json")
    return measured.metrics


def check_size(metrics: Metrics, folder: Path, said_by: str) -> None:
    """Raises ``DamagedFileError`` where the figures are not those of the ONNX file in their folder."""
    held = (folder / "model.onnx").stat().st_size
    if metrics.size_bytes != held:
        raise DamagedFileError(f"{folder / said_by}: is damaged ({metrics.size_bytes:,} bytes, the file has {held:,})")


_MEASURED: Stored[_Measured] = Stored(_Measured)
