"""What growing costs in bytes and time: each operator once on a small residual network, in ONNX Runtime.

Growing pays in accuracy, if at all (``benchmarks/growing.py``); no speed or size is required of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.engine.site_measurement import measure_sensitivities
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.models import build
from payoffs._rows import PayoffRow, measured


def rows() -> Iterator[PayoffRow]:
    torch.manual_seed(0)
    network = capture(build("resnet8"), (3, 32, 32))
    evidence = Evidence([(torch.randn(32, 3, 32, 32), torch.arange(32) % 10)])
    known = measure_sensitivities(network, [("self-grow", {})], evidence).of("self-grow", {})
    for path in [path for path in known if path.endswith("+depth")]:
        for operator in ("residual", "dirac"):
            yield _grown(network, path, {"operator": operator}, evidence)
    for path in [path for path in known if path.endswith("+width")]:
        yield _grown(network, path, {}, evidence)


def _grown(network: Network, path: str, choice: dict[str, str], evidence: Evidence) -> PayoffRow:
    grown = network.fork()
    apply_edit(grown, Edit("self-grow", path, choice), evidence)
    return measured(f"self-grow {path} {choice.get('operator', 'copy')}", network, grown)
