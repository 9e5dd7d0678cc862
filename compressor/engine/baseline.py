"""The measured baseline: what every limit and every ratio is relative to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from compressor.data.dataset import Data
from compressor.data.fit import check_fit
from compressor.engine.candidate import Accuracy, Latency, Metrics
from compressor.errors import RunFolderError
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.files import write_atomic
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.graph.pt2 import read_pt2, write_pt2
from compressor.measure.latency import QUICK, compare
from compressor.train.evaluate import evaluate


@dataclass(frozen=True)
class Baseline:
    """The network as it came, its ONNX file and its figures. Nothing may change ``network``."""

    network: Network
    onnx: bytes
    metrics: Metrics

    def evidence(self, data: Data, samples: int) -> Evidence:
        """Calibration batches of the training split, with the baseline itself as teacher."""
        return Evidence(data.calibration_batches(samples), teacher=self.network)


def measure_baseline(network: Network, data: Data, *, batch: int = 1) -> Baseline:
    """Export, score on the validation split and time. Raises ``DataError`` when the data do not fit the network."""
    check_fit(network, data)
    network.eval()
    onnx = to_onnx(network)
    score = evaluate(network, data, data.validation)
    timing = compare(onnx, onnx, batch=batch, protocol=QUICK)
    cost = network_cost(network)
    metrics = Metrics(
        params=cost.parameter_count,
        size_bytes=len(onnx),
        macs=cost.mac_count,
        accuracy=Accuracy(validation=score.accuracy),
        latency=Latency(us=timing.baseline_us),
    )
    return Baseline(network, onnx, metrics)


def save_baseline(baseline: Baseline, folder: Path) -> None:
    """Write ``model.pt2``, ``model.onnx`` and, last, ``metrics.json``: its presence means the rest is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    write_pt2(baseline.network, folder / "model.pt2")
    write_atomic(folder / "model.onnx", baseline.onnx)
    write_atomic(folder / "metrics.json", _METRICS.dump_json(baseline.metrics, indent=1))


def load_baseline(folder: Path) -> Baseline:
    """Read what ``save_baseline`` wrote. Raises ``RunFolderError`` when it is not there."""
    try:
        metrics = _METRICS.validate_json((folder / "metrics.json").read_bytes())
        return Baseline(read_pt2(folder / "model.pt2"), (folder / "model.onnx").read_bytes(), metrics)
    except FileNotFoundError as error:
        raise RunFolderError(f"{folder}: no measured baseline here ({Path(error.filename).name} is missing)") from None


_METRICS: TypeAdapter[Metrics] = TypeAdapter(Metrics)
