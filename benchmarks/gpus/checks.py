"""Whether the accelerator says what the CPU says: training, scores, sensitivities, calibration, files, a whole run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import compressor
from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.engine.site_measurement import measure_sensitivities
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.device import working_on
from compressor.graph.network import Network
from compressor.measure.parity import numeric_parity
from compressor.models.small_cnn import digits_cnn
from compressor.plugin import sites_of
from compressor.registry import make
from compressor.train.evaluate import evaluate, predict
from compressor.train.fit import fit
from compressor.train.spec import Distillation, TrainingSpec
from gpus.part import Figures, Part, Setting

POINTS = 0.03
"""How far two trainings of one seed may end apart: sums are taken in another order, and training magnifies that."""
NEAR = 1e-3
"""Largest difference of numbers that no training stands between, relative to the largest of them."""


def training(setting: Setting) -> Figures:
    """One training from the same weights on each, with a teacher; seconds per image and epoch."""
    data = _digits()
    spec = TrainingSpec(
        epochs=2 if setting.quick else 8, batch=64, lr=2e-3, distillation=Distillation(logits=0.5, features=0.5)
    )

    def train() -> Figures:
        network = _network(data, setting.seed)
        teacher = network.fork()
        started = time.perf_counter()
        history = fit(network, data, spec, teacher=teacher, seed=setting.seed)
        seconds = time.perf_counter() - started
        score = evaluate(network, data, data.validation)
        own = 1e6 * seconds / (spec.epochs * len(data.train))
        return {"quality": score.quality, "device": history.device, "back on": str(network.device), "us_per_image": own}

    found = _both(setting, train)
    there, here = found["there"], found["here"]
    same = abs(there["quality"] - here["quality"]) <= POINTS
    return {**found, "ok": same and there["device"].startswith(setting.device.type) and there["back on"] == "cpu"}


def scores(setting: Setting) -> Figures:
    """The metric, the loss and the answers of one network on validation data."""
    data = _digits()
    network = _trained(data, setting)

    def score() -> Figures:
        found = evaluate(network, data, data.validation, error=True)
        return {"quality": found.quality, "loss": found.loss, "error": found.error}

    found = _both(setting, score)
    apart = _apart(*(torch.tensor([found[side]["quality"], found[side]["loss"]]) for side in ("here", "there")))
    answers = _both(setting, lambda: predict(network, data, data.validation))
    return {**found, "answers apart": _apart(*answers.values()), "apart": apart, "ok": apart <= NEAR}


def sensitivities(setting: Setting) -> Figures:
    """What rewriting each site alone does to the loss, for plugins of different kinds."""
    data = _digits()
    network = _trained(data, setting)
    evidence = Evidence(data.calibration_batches(256), data.task)
    uses: list[tuple[str, dict[str, Any]]] = [("magnitude-prune", {}), ("quantize", {}), ("self-grow", {})]

    def measure() -> Figures:
        started = time.perf_counter()
        measured = measure_sensitivities(network, uses, evidence)
        losses = {
            f"{name} {path}": one.loss_increase
            for name, sites in measured.entries.items()
            for path, one in sites.items()
        }
        return {"seconds": time.perf_counter() - started, "losses": losses}

    found = _both(setting, measure)
    here, there = (found[side]["losses"] for side in ("here", "there"))
    apart = max(abs(here[site] - there[site]) for site in here) if here.keys() == there.keys() else float("inf")
    return {
        "sites": len(here), "apart": apart, "seconds here": found["here"]["seconds"],
        "seconds there": found["there"]["seconds"], "ok": apart <= 10 * NEAR,
    }  # fmt: skip


def calibration(setting: Setting) -> Figures:
    """Every layer in 8-bit integers, steps from calibration data: the network's answers afterwards."""
    data = _digits()
    network = _trained(data, setting)
    evidence = Evidence(data.calibration_batches(256), data.task)

    def quantized() -> Any:
        fork = network.fork()
        for site in sites_of(make("quantize"), fork):
            apply_edit(fork, Edit("quantize", site.path), evidence)
        evidence.calibrate(fork)
        return predict(fork, data, data.validation)

    found = _both(setting, quantized)
    agree = float((found["here"].argmax(1) == found["there"].argmax(1)).float().mean())
    return {"apart": _apart(*found.values()), "same answers": agree, "ok": agree >= 0.99}


def files(setting: Setting) -> Figures:
    """The file of a network trained on the accelerator, in ONNX Runtime."""
    data = _digits()
    network = _trained(data, setting)
    parity = numeric_parity(network, to_onnx(network), data.calibration_batches(128))
    return {"apart": parity.max_error, "ok": parity.ok}


def whole(setting: Setting) -> Figures:
    """``compressor.optimize`` from a live network: data by name, and live, which its workers get by fork."""
    data = _digits()
    found: Figures = {}
    short = ["training.epochs=1", "measure.finalists=1", "search.sampler=tpe", "search.budget=0"]
    train = torch.utils.data.TensorDataset(data.train.images, data.train.targets())
    with tempfile.TemporaryDirectory() as folder:
        for name, given in (("by name", "digits"), ("live", train)):
            network = _trained(data, setting)
            started = time.perf_counter()
            result = compressor.optimize(
                network, data=given, trials=2, out=Path(folder) / name, max_drop=0.2, overrides=short
            )
            logs = "\n".join(log.read_text() for log in (Path(folder) / name).rglob("log.txt"))
            found[name] = {
                "trials": result.found.trials.complete, "seconds": time.perf_counter() - started,
                "failed": result.found.trials.failed, "errors": logs.count("Error"),
            }  # fmt: skip
    return {**found, "ok": all(one["trials"] and not one["failed"] for one in found.values())}


def _both(setting: Setting, work: Callable[[], Any]) -> dict[str, Any]:
    """What ``work`` gives on the CPU and on the accelerator."""
    found = {}
    for side, device in (("here", "cpu"), ("there", setting.device)):
        with working_on(device):
            found[side] = work()
    return found


def _apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.cpu() - theirs.cpu()).abs().max() / theirs.cpu().abs().max().clamp_min(1e-12))


def _digits() -> Data:
    return load_data(DataSpec(name="digits"))


def _network(data: Data, seed: int) -> Network:
    torch.manual_seed(seed)
    return capture(digits_cnn(), data.input_shape)


def _trained(data: Data, setting: Setting) -> Network:
    network = _network(data, setting.seed)
    with working_on(setting.device):
        fit(network, data, TrainingSpec(epochs=2 if setting.quick else 6, batch=64, lr=2e-3), seed=setting.seed)
    return network


CHECKS: dict[str, Part] = {
    "training": Part("does a training end where the CPU's ends?", training),
    "scores": Part("does a network score the same?", scores),
    "sensitivities": Part("are sites ranked by the same losses?", sensitivities),
    "calibration": Part("do integers from calibration answer the same?", calibration),
    "files": Part("does its ONNX file agree with a network trained there?", files),
    "whole": Part("does a whole run go through, with data by name and live?", whole, 90),
}
