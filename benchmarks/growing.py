"""Whether growing pays: a narrow network on Fashion-MNIST, grown round by round.

    python benchmarks/growing.py [--seeds 3] [--rounds 4] [--train 6000]

A trained narrow network goes through rounds of one growth and two epochs; every arm is trained as long. ``best`` grows
where the engine's ranking says (gradient opened up per share added), ``last`` where it says last, ``none`` not at all.
Accuracy on 3,000 validation images, mean ± standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from torch import nn

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.engine.sensitivity import rank
from compressor.engine.site_measurement import measure_sensitivities
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.train.evaluate import evaluate
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec

ARMS = ("none", "best", "last")


def growing(seeds: int, rounds: int, train: int) -> None:
    """Print the table."""
    data = load_data(DataSpec(name="fashion-mnist", validation=3000, limit=train))
    table: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for seed in range(seeds):
        torch.manual_seed(seed)
        network = capture(_narrow(), data.input_shape)
        fit(network, data, TrainingSpec(epochs=6, batch=64, lr=4e-3), seed=seed)
        for arm in ARMS:
            grown = network.fork()
            for number in range(rounds + 1):
                table.setdefault((arm, number), []).append(_score(grown, data))
                if arm != "none":
                    _grow(grown, data, arm)
                fit(grown, data, TrainingSpec(epochs=2, batch=64, lr=2e-3), seed=seed + number)
    print(f"| arm | {' | '.join(f'{number} rounds' for number in range(rounds + 1))} | parameters |")
    print("|" + "---|" * (rounds + 3))
    for arm in ARMS:
        cells = [_cell([accuracy for _, accuracy in table[arm, number]]) for number in range(rounds + 1)]
        sizes = [statistics.mean(params for params, _ in table[arm, number]) for number in (0, rounds)]
        print(f"| {arm} | {' | '.join(cells)} | {sizes[0]:,.0f} → {sizes[1]:,.0f} |", flush=True)


def _narrow() -> nn.Module:
    def unit(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(*unit(1, 4), *unit(4, 6), *unit(6, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def _grow(network: Network, data: Data, arm: str) -> None:
    network.eval()
    evidence = Evidence(data.calibration_batches(512))
    known = measure_sensitivities(network, [("self-grow", {})], evidence).of("self-grow", {})
    ranked = rank(list(known), known, 1.0)
    apply_edit(network, Edit("self-grow", ranked[0] if arm == "best" else ranked[-1]), evidence)
    evidence.calibrate(network)


def _score(network: Network, data: Data) -> tuple[int, float]:
    return network.parameter_count, evaluate(network, data, data.validation).quality


def _cell(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} ± {100 * spread:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--train", type=int, default=6000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    growing(arguments.seeds, arguments.rounds, arguments.train)


if __name__ == "__main__":
    main()
